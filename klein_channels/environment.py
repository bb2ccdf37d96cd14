"""The process's environment variables, read when something is constructed and nowhere else."""

from __future__ import annotations

import os


def from_environment(name: str, default: str) -> str:
    """The variable `name`, or `default` where it is unset or empty."""
    return os.environ.get(name, "").strip() or default
