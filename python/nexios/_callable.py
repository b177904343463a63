"""What may be registered: functions that are ``async def``, and what they are called with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from nexios._chain import Next
    from nexios._nexios import WebSocket
    from nexios.broker import Gap
    from nexios.presence import PresenceEvent

    Handler = Callable[[WebSocket], Coroutine[Any, Any, Any]]
    Middleware = Callable[[WebSocket, Next], Coroutine[Any, Any, Any]]
    Listener = Callable[[WebSocket], Coroutine[Any, Any, Any]]
    MessageListener = Callable[[WebSocket, str | bytes], Coroutine[Any, Any, Any]]
    DropListener = Callable[[WebSocket, list[str | bytes]], Coroutine[Any, Any, Any]]
    GapListener = Callable[[Gap], Coroutine[Any, Any, Any]]
    PresenceListener = Callable[[PresenceEvent], Coroutine[Any, Any, Any]]
    Authorization = Callable[[WebSocket, str], Coroutine[Any, Any, bool]]
    RequestHandler = Callable[[WebSocket, Any], Coroutine[Any, Any, Any]]
    ExceptionHandler = Callable[[WebSocket, Any], Coroutine[Any, Any, Any]]
    # Of one level, by class.
    ExceptionHandlers = dict[type[Exception], ExceptionHandler]

# Decorators give back what they are given.
HandlerT = TypeVar("HandlerT", bound="Handler")
MiddlewareT = TypeVar("MiddlewareT", bound="Middleware")
ListenerT = TypeVar("ListenerT", bound="Listener")
MessageListenerT = TypeVar("MessageListenerT", bound="MessageListener")
DropListenerT = TypeVar("DropListenerT", bound="DropListener")
GapListenerT = TypeVar("GapListenerT", bound="GapListener")
PresenceListenerT = TypeVar("PresenceListenerT", bound="PresenceListener")
AuthorizationT = TypeVar("AuthorizationT", bound="Authorization")
RequestHandlerT = TypeVar("RequestHandlerT", bound="RequestHandler")
ExceptionHandlerT = TypeVar("ExceptionHandlerT", bound="ExceptionHandler")


def require_async(function: Any, what: str) -> None:
    """Refuses a plain ``def``, which could only block the event loop, at registration."""
    if not callable(function):
        raise TypeError(f"{what} has to be an async function, not {function!r}")
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
        return
    name = getattr(function, "__qualname__", repr(function))
    raise TypeError(f"{what} has to be declared with 'async def': {name} is a plain function")
