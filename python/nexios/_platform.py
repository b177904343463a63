"""Platforms on which the package does not run: an error at import, with the reason."""

from __future__ import annotations

import importlib
import sys
import sysconfig

__all__ = ["refusal", "require_support"]


def require_support() -> None:
    """Raises ``ImportError`` where the package cannot work."""
    reason = refusal(
        platform=sys.platform,
        free_threaded=bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        subinterpreter=in_subinterpreter(),
    )
    if reason is not None:
        raise ImportError(reason)


def refusal(*, platform: str, free_threaded: bool, subinterpreter: bool) -> str | None:
    """Returns the reason why the package does not run here, or ``None``."""
    if platform == "win32":
        return "nexios does not run on Windows: its engine waits with epoll or kqueue"
    if free_threaded:
        return (
            "nexios does not run on free-threaded builds of Python: its engine relies on the GIL to be alone "
            "while it resumes handlers; use a build with the GIL"
        )
    if subinterpreter:
        return (
            "nexios does not run in sub-interpreters: its extension keeps Python objects that belong to the main "
            "one; start processes instead, with nexios run --workers"
        )
    return None


def in_subinterpreter() -> bool:
    """Returns true in any other interpreter than the process's first."""
    for name in ("_interpreters", "_xxsubinterpreters"):
        try:
            interpreters = importlib.import_module(name)
        except ImportError:
            continue
        return bool(interpreters.get_current() != interpreters.get_main())
    return False
