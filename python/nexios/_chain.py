"""From the levels of a route to one coroutine function: middleware, handler, exceptions, listeners."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from nexios._exception_groups import essence
from nexios._log import fault
from nexios.exceptions import WebSocketDisconnect

if TYPE_CHECKING:
    from nexios._callable import ExceptionHandler, ExceptionHandlers, Handler, Listener, MessageListener, Middleware
    from nexios._nexios import WebSocket

__all__ = ["Chain", "Next", "acceptor", "find", "guarded", "listener", "message_listener"]


class Next:
    """The rest of the middleware, and the handler behind it: the second parameter of a middleware.

    >>> @app.middleware
    ... async def members_only(ws: WebSocket, next: Next) -> None:
    ...     if ws.query_params.get("token") != "letmein":
    ...         await ws.close(1008, "members only")
    ...         return
    ...     await next(ws)
    ...     print("what follows is teardown")
    """

    __slots__ = ("_called", "_chain", "_index")

    def __init__(self, chain: Chain, index: int) -> None:
        self._chain = chain
        self._index = index
        self._called = False

    def __call__(self, ws: WebSocket) -> Coroutine[Any, Any, Any]:
        if self._called:
            raise RuntimeError("a middleware called next() twice for one connection")
        self._called = True
        return self._chain.run(ws, self._index)


class Chain:
    """The middleware of a route, outermost first, each object once."""

    __slots__ = ("handler", "middleware")

    def __init__(self, middleware: Iterable[Middleware], handler: Handler) -> None:
        unique: list[Middleware] = []
        for function in middleware:
            if not any(function is other for other in unique):
                unique.append(function)
        self.middleware = unique
        self.handler = handler

    def run(self, ws: WebSocket, index: int) -> Coroutine[Any, Any, Any]:
        if index < len(self.middleware):
            return self.middleware[index](ws, Next(self, index + 1))
        ws._reached_handler()
        return self.handler(ws)

    async def __call__(self, ws: WebSocket) -> None:
        try:
            await self.run(ws, 0)
        except BaseException:
            # The line of a fault before `accept()` has what middleware has set.
            ws._keep_context()
            raise


def guarded(serve: Handler, levels: Sequence[ExceptionHandlers]) -> Handler:
    """Hands what is raised to the nearest exception handler that fits."""

    async def run(ws: WebSocket) -> None:
        try:
            await serve(ws)
        except Exception as raised:
            error = essence(raised)
            handler = find(levels, error)
            if handler is None:
                raise
            await handler(ws, error)

    return run


def find(levels: Sequence[ExceptionHandlers], error: Exception) -> ExceptionHandler | None:
    """The nearest level that has a handler for it; there the most specific class."""
    for level in levels:
        for kind in type(error).__mro__:
            if kind in level:
                return level[kind]
    return None


def acceptor(listeners: Sequence[Listener]) -> Callable[[WebSocket, str | None, Any], Coroutine[Any, Any, None]]:
    """``accept()`` where somebody listens for connects."""

    async def accept(ws: WebSocket, subprotocol: str | None, headers: Any) -> None:
        entering = ws._answer(subprotocol, headers)
        try:
            if entering is not None:
                await entering
            for listener in listeners:
                await listener(ws)
        finally:
            ws._opened()

    return accept


def message_listener(listeners: Sequence[MessageListener]) -> MessageListener:
    """Shows a message to a router's listeners; the connection outlives their errors."""

    async def call(ws: WebSocket, message: str | bytes) -> None:
        for listener in listeners:
            try:
                await listener(ws, message)
            except Exception as error:
                await _listener_failed(ws, error)

    return call


async def _listener_failed(ws: WebSocket, raised: Exception) -> None:
    error = essence(raised)
    handler = find(ws.route.exception_levels, error)
    try:
        if handler is None:
            raise error
        await handler(ws, error)
    except Exception as unhandled:
        if isinstance(essence(unhandled), WebSocketDisconnect):
            return
        fault(ws, unhandled, "a message listener failed")


def listener(
    listeners: Sequence[Callable[..., Coroutine[Any, Any, Any]]], event: str
) -> Callable[..., Coroutine[Any, Any, None]]:
    """Calls a router's listeners one after another; their errors are logged."""

    async def call(ws: WebSocket, *what: Any) -> None:
        for listener in listeners:
            try:
                await listener(ws, *what)
            except Exception as error:
                fault(ws, error, f"a {event} listener failed")

    return call
