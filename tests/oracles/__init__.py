"""
Our platforms held against the platforms' own SDKs (the extra ``oracles``).

Where an SDK is not installed its tests are skipped with the reason; ``.ci/run`` installs them all.
"""

from __future__ import annotations

from importlib.util import find_spec

NEEDS = "needs an SDK that is not installed: pip install 'klein_channels[oracles]'"


def missing(module: str) -> str | None:
    """Why tests against `module` cannot run here; None if they can."""
    return None if find_spec(module) is not None else f"{module} {NEEDS}"
