"""Log lines of the server, through ``logging.getLogger("nexios")`` and ``"nexios.access"``."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nexios._escaped import Escaping, escaped
from nexios._fallback import Fallback

if TYPE_CHECKING:
    from nexios._nexios import WebSocket

logger = logging.getLogger("nexios")
#: A line for each HTTP answer, each handshake and each connection's end, where they are asked for.
access = logging.getLogger("nexios.access")
for _each in (logger, access):
    _each.addFilter(Escaping())

_fallback = Fallback(logger, access)

#: Names that records have themselves: a field of that name gets an underscore.
_RESERVED = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


def show_log(level: str) -> None:
    """Shows messages from a level on, on stderr where the application has not set up ``logging``."""
    _fallback.show(level)


def settle_level() -> None:
    """Looks again at what the application has set up meanwhile."""
    _fallback.settle()


def fault(ws: WebSocket | None, error: BaseException, what: str = "the handler failed") -> None:
    """Logs an exception that no handler took, with its traceback."""
    if isinstance(error, asyncio.CancelledError):
        logger.info("%s: cancelled%s", what, place(ws), extra=fields(ws))
        return
    logger.error("%s%s", what, place(ws), exc_info=(type(error), error, error.__traceback__), extra=fields(ws))
    if ws is not None and (on_fault := ws.app._serving.on_fault) is not None:
        on_fault(ws.id, error)


def place(ws: WebSocket | None) -> str:
    """Names a connection and its route at the end of a log line."""
    return "" if ws is None else f" (route {ws.route.path}, connection {ws.id})"


def fields(ws: WebSocket | None) -> dict[str, Any]:
    """Returns the fields of a record that name a connection."""
    if ws is None:
        return {"pid": os.getpid()}
    known = {"connection": ws.id, "route": ws.route.path, "path": escaped(ws.path), "pid": os.getpid()}
    if (client := ws.client) is not None:
        # As the access log has it.
        host = f"[{client.host}]" if ":" in client.host else client.host
        known["client"] = f"{host}:{client.port}"
    return known


def blocked(seconds: float, ws: WebSocket | None) -> None:
    """Names a handler that held its thread."""
    logger.warning(
        "a handler%s blocked the event loop for %.0f ms: move the work to loop.run_in_executor()",
        place(ws),
        seconds * 1000,
        extra=fields(ws),
    )


def log_record(level: int, target: str, message: str, details: Mapping[str, Any]) -> None:
    """Logs a record of the engine."""
    if target == "nexios::access":
        _log_access(details)
        return
    listed = ", ".join(f"{name}={value}" for name, value in details.items())
    extra = {f"{name}_" if name in _RESERVED else name: value for name, value in details.items()}
    logger.log(level, "%s", f"{message} ({listed})" if listed else message, extra={"pid": os.getpid(), **extra})


def _log_access(details: Mapping[str, Any]) -> None:
    if not access.isEnabledFor(logging.INFO):
        return
    request = (details.get("client", "-"), details["method"], details["path"])
    where = f" (route {details['route']}, connection {details['connection']})" if "route" in details else ""
    if "status" in details:
        answered = (details["status"], details["duration"] * 1000)
        access.info('%s "%s %s" %d in %.1f ms%s', *request, *answered, where, extra=dict(details))
        return
    ended = (details["code"], details["reason"], details["duration"])
    access.info('%s "%s %s" closed %d "%s" after %.3f s%s', *request, *ended, where, extra=dict(details))
