"""Parameters that nothing fills are an error at registration: nobody is let in because a check was never called."""

# ruff: noqa: B008, RUF013 - this is what is refused
import enum
import functools
from typing import Annotated

import pytest
from fastapi import Depends
from nexios import NexiosApp, WSRouter


def current_user():
    raise AssertionError("never called")


class Color(enum.Enum):
    RED = 1


async def depends(ws, user=Depends(current_user)): ...
async def keyword(ws, *, user=Depends(current_user)): ...
async def annotated(ws, user: Annotated[str, Depends(current_user)]): ...
async def required(ws, user): ...
async def required_keyword(ws, *, user): ...
async def marker(ws, user=object()): ...
async def called(ws, user=current_user): ...
async def nothing(): ...


class Callable:
    async def __call__(self, ws, user=Depends(current_user)): ...

    async def method(self, ws, user=Depends(current_user)): ...


def passing_on(function):
    @functools.wraps(function)
    async def wrapper(*args, **kwargs):
        return await function(*args, **kwargs)

    return wrapper


async def annotated_with_default(ws, user: Annotated[str, Depends(current_user)] = None): ...
async def annotated_as_text(ws, user: "Annotated[str, Depends(current_user)]" = "x"): ...
async def annotated_connection(ws: Annotated[object, Depends(current_user)]): ...


CurrentUser = Annotated[str, Depends(current_user)]


async def annotated_by_an_alias(ws, user: "CurrentUser" = ""): ...


def hiding(function):
    @functools.wraps(function)
    async def wrapper(ws):
        return await function(ws)

    return wrapper


def hiding_some(function):
    @functools.wraps(function)
    async def wrapper(ws, **kwargs):
        return await function(ws, **kwargs)

    return wrapper


BAD = [
    annotated_with_default, annotated_as_text, annotated_connection, hiding(depends), hiding_some(depends),
    hiding(annotated_with_default), hiding(hiding(keyword)), annotated_by_an_alias,
    depends, keyword, annotated, required, required_keyword, marker, called, nothing, Callable(), Callable().method,
    functools.partial(depends), passing_on(depends), passing_on(required),
]  # fmt: skip


@pytest.mark.parametrize("handler", BAD)
def test_a_handler_with_parameters_that_nothing_fills_is_refused(handler):
    app = NexiosApp()
    with pytest.raises(TypeError) as refused:
        app.ws("/ws")(handler)
    assert "a WebSocket handler" in str(refused.value)
    assert "Depends" in str(refused.value) or handler is nothing
    assert not app.routes


async def plain(ws): ...
async def with_defaults(ws, page: int = 1, name="x", flag=False, nobody=None, ratio=0.5, color=Color.RED): ...
async def variable(*args): ...
async def variable_keywords(ws, **kwargs): ...


class GoodCallable:
    async def __call__(self, ws): ...

    async def method(self, ws): ...


async def bound(user, ws): ...


GOOD = [
    plain, with_defaults, variable, variable_keywords, GoodCallable(), GoodCallable().method,
    functools.partial(bound, "ann"), hiding(required), passing_on(plain), passing_on(with_defaults),
]  # fmt: skip


@pytest.mark.parametrize("handler", GOOD)
def test_a_handler_that_can_be_called_is_taken(handler):
    app = NexiosApp()
    app.ws("/ws")(handler)
    assert [route.path for route in app.routes] == ["/ws"]


@pytest.mark.parametrize(
    "register",
    [
        lambda router: router.middleware,
        lambda router: router.on("connect"),
        lambda router: router.on("disconnect"),
        lambda router: router.on("message"),
        lambda router: router.on("drop"),
        lambda router: router.on("gap"),
        lambda router: router.on("join"),
        lambda router: router.exception_handler(ValueError),
        lambda router: router.authorize_join,
        lambda router: router.authorize_publish,
        lambda router: router.on_request("x"),
    ],
)
def test_the_same_holds_for_all_that_is_registered(register):
    async def too_many(first, second, third, user=Depends(current_user)): ...

    async def none(): ...

    for function in (too_many, none):
        with pytest.raises(TypeError):
            register(WSRouter())(function)
