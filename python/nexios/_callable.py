"""What may be registered: functions that are ``async def``."""

from __future__ import annotations

import inspect
from typing import Any


def require_async(function: Any, what: str) -> None:
    """Refuses a plain ``def``, which could only block the event loop, at registration."""
    if not callable(function):
        raise TypeError(f"{what} has to be an async function, not {function!r}")
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
        return
    name = getattr(function, "__qualname__", repr(function))
    raise TypeError(f"{what} has to be declared with 'async def': {name} is a plain function")
