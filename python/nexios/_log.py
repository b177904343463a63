"""What the server tells people, through ``logging.getLogger("nexios")``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nexios._escaped import Escaping, escaped

if TYPE_CHECKING:
    from nexios._nexios import WebSocket
    from nexios.router import WSRouter

logger = logging.getLogger("nexios")
logger.addFilter(Escaping())

LEVELS = ("critical", "error", "warning", "info", "debug")


def show_log(level: str) -> None:
    """Shows messages from a level on, on stderr, where the application has not set up ``logging``."""
    if level not in LEVELS:
        raise ValueError(f"log_level: expected one of {', '.join(LEVELS)}, not {level!r}")
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")


@contextlib.contextmanager
def access_logged(root: WSRouter) -> Iterator[None]:
    """Logs each connection and its end, while an app is served."""

    async def connected(ws: WebSocket) -> None:
        logger.info("%s %s connected (%s)", _client(ws), escaped(ws.path), ws.id)

    async def disconnected(ws: WebSocket) -> None:
        reason = escaped(ws.close_reason or "-")
        logger.info("%s %s closed %s %s (%s)", _client(ws), escaped(ws.path), ws.close_code, reason, ws.id)

    listeners = (root._listeners["connect"], connected), (root._listeners["disconnect"], disconnected)
    for functions, function in listeners:
        # Before those of the application: it logs also what these fail at.
        functions.insert(0, function)
    try:
        yield
    finally:
        for functions, function in listeners:
            functions.remove(function)


def _client(ws: WebSocket) -> str:
    return "unix" if ws.client is None else f"{ws.client.host}:{ws.client.port}"


def fault(ws: WebSocket | None, error: BaseException, what: str = "the handler failed") -> None:
    """Logs an exception that nobody took, with its traceback."""
    if isinstance(error, asyncio.CancelledError):
        logger.info("%s: cancelled%s", what, place(ws))
        return
    logger.error("%s%s", what, place(ws), exc_info=(type(error), error, error.__traceback__))
    if ws is not None and (on_fault := ws.app._place.on_fault) is not None:
        on_fault(ws.id, error)


def place(ws: WebSocket | None) -> str:
    """Which connection, on which route."""
    return "" if ws is None else f" (route {ws.route.path}, connection {ws.id})"


def blocked(seconds: float, place: str | None) -> None:
    """Names a handler that held its thread."""
    logger.warning(
        "a handler%s blocked the event loop for %.0f ms: move the work to loop.run_in_executor()",
        f" ({place})" if place else "",
        seconds * 1000,
    )


def tell(level: int, text: str) -> None:
    """What the engine says."""
    logger.log(level, "%s", text)
