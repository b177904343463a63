"""What the server tells people, through ``logging.getLogger("nexios")``."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nexios._nexios import WebSocket

logger = logging.getLogger("nexios")


def fault(ws: WebSocket | None, error: BaseException, what: str = "the handler failed") -> None:
    """Logs an exception that nobody took, with its traceback."""
    if isinstance(error, asyncio.CancelledError):
        logger.info("%s: cancelled%s", what, place(ws))
        return
    logger.error("%s%s", what, place(ws), exc_info=(type(error), error, error.__traceback__))


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
