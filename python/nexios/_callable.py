"""Functions that may be registered: ``async def``, with the parameters that they are called with."""

from __future__ import annotations

import contextlib
import enum
import inspect
import re
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


# In an annotation that is still text.
_MARKER = re.compile(r"\b(Depends|Security)\(")


def require_async(function: Any, what: str, takes: tuple[str, ...] = ("ws",)) -> None:
    """Refuses, at registration, what could not be called later.

    A plain ``def`` could only block the event loop. A parameter that nothing fills would keep its default, which
    for a marker such as FastAPI's ``Depends`` means that it is never filled.
    """
    if not callable(function):
        raise TypeError(f"{what} has to be an async function, not {function!r}")
    name = getattr(function, "__qualname__", repr(function))
    if not (inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)):
        raise TypeError(f"{what} has to be declared with 'async def': {name} is a plain function")
    _require_parameters(function, f"{what} {name}()", takes)


def _require_parameters(function: Any, what: str, takes: tuple[str, ...]) -> None:
    parameters = _parameters_of(function)
    if parameters is None:
        return
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    takes_any = any(one.kind is one.VAR_POSITIONAL for one in parameters)
    if len(positional) < len(takes) and not takes_any:
        expected = ", ".join(takes)
        raise TypeError(f"{what} is called with {len(takes)} ({expected}) and takes {len(positional)}")
    keyword_only = [one for one in parameters if one.kind is one.KEYWORD_ONLY]
    for parameter in positional[: len(takes)]:
        _require_plain(parameter, what)
    for parameter in positional[len(takes) :] + keyword_only:
        if parameter.default is parameter.empty:
            raise TypeError(
                f"{what}: nothing fills the parameter {parameter.name!r}; it is called with {', '.join(takes)}. "
                "There is no dependency injection such as FastAPI's Depends: take it from ws, or set it in middleware"
            )
        _require_plain(parameter, what)
    wrapped = getattr(function, "__wrapped__", None)
    if wrapped is not None and takes_any:
        # A decorator that hands everything on: the function behind it is what is called.
        _require_parameters(wrapped, what, takes)
        return
    while wrapped is not None:
        # A decorator may fill what it likes, but calls the function without a dependency.
        for parameter in _parameters_of(wrapped) or ():
            _require_plain(parameter, what)
        wrapped = getattr(wrapped, "__wrapped__", None)


def _parameters_of(function: Any) -> list[inspect.Parameter] | None:
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        # Made in C, it does not say what it takes.
        return None
    # Annotations may be text that names what only type checkers import.
    with contextlib.suppress(Exception):
        signature = inspect.signature(function, follow_wrapped=False, eval_str=True)
    return list(signature.parameters.values())


def _require_plain_annotation(parameter: inspect.Parameter, what: str) -> None:
    """Refuses ``Annotated[User, Depends(current_user)]``, whatever the default."""
    annotation = parameter.annotation
    if isinstance(annotation, str):
        marked = _MARKER.search(annotation) is not None
    else:
        marked = any(hasattr(mark, "dependency") for mark in getattr(annotation, "__metadata__", ()))
    if marked:
        raise TypeError(
            f"{what}: the parameter {parameter.name!r} is annotated with a dependency, which nothing would call. "
            "There is no dependency injection such as FastAPI's Depends: call the function in the handler, or in "
            "middleware that puts what it returns into ws.state"
        )


def _require_plain(parameter: inspect.Parameter, what: str) -> None:
    _require_plain_annotation(parameter, what)
    default = parameter.default
    if default is parameter.empty or default is None or isinstance(default, (bool, int, float, str, bytes, enum.Enum)):
        return
    raise TypeError(
        f"{what}: the default of the parameter {parameter.name!r} is {default!r}, and would be passed as it is. "
        "There is no dependency injection such as FastAPI's Depends: call the function in the handler, or in "
        "middleware that puts what it returns into ws.state"
    )
