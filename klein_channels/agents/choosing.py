"""From what the operator names to a backend: by inspection, unless it is stated."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from difflib import get_close_matches
from typing import Any

from ..errors import ConfigError, StartError
from ..policy import Policy
from . import AgentBackend
from .deferred import DeferredAgent
from .threads import ThreadPoolAgent


def as_backend(agent: Any, policy: Policy) -> AgentBackend:
    """A backend for any agent: itself, or the adapter that its kind of function needs.

    Coroutine and async generator functions run on the reactor, all other functions on threads.
    Raises `ConfigError` for what is no agent.
    """
    if isinstance(agent, AgentBackend) and not inspect.isclass(agent):
        return agent
    handler = getattr(agent, "handle_message", agent)
    if not callable(handler) or inspect.isclass(agent):
        raise ConfigError(f"agent: {agent!r} is no function and has no handle_message")
    if _is_async(handler):
        return DeferredAgent(agent)
    return ThreadPoolAgent(agent, threads=policy.agent_threads, replaceable=policy.stuck_threads)


def _is_async(function: Any) -> bool:
    # A partial is seen through as it is, an object with a __call__ is not.
    called = (function, getattr(function, "__call__", None))  # noqa: B004
    return any(inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one) for one in called)


def load_agent(spec: str) -> Any:
    """The agent that ``module:attribute`` or a directory names; raise `StartError` if it is not there."""
    if spec.startswith(("http://", "https://")):
        raise StartError(f"agent: {spec!r}: agents over HTTP are not available yet; use module:attribute")
    if os.path.isdir(spec) or ":" not in spec:
        from .stories import StoriesAgent

        return StoriesAgent.load(spec)
    module_name, _, attribute = spec.partition(":")
    return _attribute(_module(module_name, spec), attribute, spec)


def _module(name: str, spec: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            where = sys.path[0] or "the current directory"
            raise StartError(
                f"agent: {spec!r}: no module {name!r} in {where} or among the installed"
            ) from None
        raise StartError(f"agent: {spec!r} cannot be imported: {error}") from error
    except (Exception, SystemExit) as error:
        # A SystemExit would hang the parent of a daemon that starts.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise StartError(f"agent: {spec!r} cannot be imported: {reason}") from error


def _attribute(module: Any, path: str, spec: str) -> Any:
    found = module
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            close = get_close_matches(name, dir(found), n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise StartError(f"agent: {spec!r}: {module.__name__} has no {name!r}{hint}") from None
    return found
