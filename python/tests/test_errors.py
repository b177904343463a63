"""Exceptions of handlers, and the exception handlers that take them."""

import logging

import nexios
import pytest
from apps import Log, app_with, echo
from nexios import NexiosApp, WebSocketDisconnect, WebSocketException, WSRouter


class Odd(Exception):
    pass


class Odder(Odd):
    pass


def raising(error):
    async def handler(ws):
        if "early" not in ws.query_params:
            await ws.accept()
        raise error

    return handler


async def test_an_error_closes_1011_without_a_reason_and_is_logged_whole(serve, caplog):
    log = Log()

    async def handler(ws):
        log(ws.id)
        await ws.accept()
        raise Odd("secret")

    async with serve(app_with(handler, path="/rooms/{name}")) as server:
        assert await server.closed("/rooms/x") == (1011, "")
    assert "Odd: secret" in caplog.text and "Traceback" in caplog.text and "in handler" in caplog.text
    assert "/rooms/{name}" in caplog.text and log.entries[0] in caplog.text


async def test_an_error_before_accept_is_500(serve):
    async with serve(app_with(raising(Odd("secret")))) as server:
        refused = await server.refusal("/ws?early=1")
    assert refused.status_code == 500 and b"secret" not in refused.body


async def test_a_websocket_exception_closes_with_its_own_code(serve, caplog):
    async with serve(app_with(raising(WebSocketException(code=4009, reason="no such room")))) as server:
        assert await server.closed() == (4009, "no such room")
    assert "Traceback" not in caplog.text


async def test_a_websocket_exception_before_accept_shows_its_code(serve):
    async with serve(app_with(raising(WebSocketException(code=4009, reason="no such room")))) as server:
        assert await server.closed("/ws?early=1") == (4009, "no such room")


def test_a_websocket_exception_is_1008_and_its_text_is_the_reason():
    error = WebSocketException()
    assert (error.code, error.reason, str(error)) == (1008, "", "")
    error = WebSocketException(code=4000, reason="why")
    assert (error.code, error.reason, str(error)) == (4000, "why", "why")
    assert not issubclass(WebSocketDisconnect, WebSocketException)
    assert issubclass(nexios.WebSocketTypeError, WebSocketException)


async def test_an_escaping_disconnect_is_a_normal_end(serve, caplog):
    caplog.set_level(logging.DEBUG)
    log = Log()

    async def handler(ws):
        await ws.accept()
        log("in")
        try:
            await ws.receive_text()
        finally:
            log("out")

    async with serve(app_with(handler)) as server:
        client = await server.raw()
        await log.has(1)
        client.cut()
        await log.has(2)
        await server.stop()
    assert "Traceback" not in caplog.text
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def handlers_on(log, where, level, *kinds):
    def handler_of(kind):
        async def handler(ws, error):
            log((level, kind.__name__, str(error)))
            await ws.close(code=4000, reason=level)

        return handler

    for kind in kinds:
        where.exception_handler(kind)(handler_of(kind))


async def test_the_nearest_exception_handler_takes_it(serve):
    log = Log()
    app, parent, child = NexiosApp(), WSRouter(prefix="/parent"), WSRouter(prefix="/child")
    for router, level in (app, "app"), (parent, "parent"), (child, "child"):
        router.ws("/odd")(raising(Odd(level)))
    app.ws("/type")(raising(TypeError("app")))
    parent.ws("/type")(raising(TypeError("parent")))
    child.ws("/type")(raising(TypeError("child")))
    handlers_on(log, app, "app", Exception)
    handlers_on(log, parent, "parent", TypeError)
    handlers_on(log, child, "child", Odd)
    parent.mount_ws_router(child)
    app.mount_ws_router(parent)
    async with serve(app) as server:
        assert await server.closed("/parent/child/odd") == (4000, "child")
        assert await server.closed("/parent/odd") == (4000, "app")
        assert await server.closed("/odd") == (4000, "app")
        assert await server.closed("/parent/child/type") == (4000, "parent")
        assert await server.closed("/parent/type") == (4000, "parent")
        assert await server.closed("/type") == (4000, "app")


@pytest.mark.parametrize("error, kind", [(Odder("x"), "Odder"), (Odd("x"), "Odd"), (LookupError("x"), "Exception")])
async def test_the_most_specific_class_wins(serve, error, kind):
    log = Log()
    app = app_with(raising(error))
    handlers_on(log, app, "app", Exception, Odder, Odd)
    async with serve(app) as server:
        assert await server.closed() == (4000, "app")
    assert log.entries == [("app", kind, "x")]


async def test_of_two_exception_handlers_for_one_class_the_later_wins(serve):
    app, log = app_with(raising(Odd("x"))), Log()

    @app.exception_handler(Odd)
    async def first(ws, exc):
        log("first")

    @app.exception_handler(Odd)
    async def second(ws, exc):
        log("second")

    async with serve(app) as server:
        assert await server.closed() == (1000, "")
    assert log.entries == ["second"]


async def test_a_handler_for_all_exceptions_sees_the_disconnect(serve):
    app, log = app_with(raising(WebSocketDisconnect(1001, "away"))), Log()

    @app.exception_handler(Exception)
    async def all_of_them(ws, exc):
        log((type(exc), exc.code, exc.reason))

    async with serve(app) as server:
        assert await server.closed() == (1000, "")
    assert log.entries == [(WebSocketDisconnect, 1001, "away")]


async def test_an_exception_handler_covers_middleware_too(serve):
    log = Log()
    app = app_with(echo)
    handlers_on(log, app, "app", Odd)

    @app.middleware
    async def fail(ws, next):
        raise Odd("in the middleware")

    async with serve(app) as server:
        assert await server.closed() == (4000, "app")
    assert log.entries == [("app", "Odd", "in the middleware")]


async def test_an_exception_handler_that_does_not_close_ends_like_the_handler(serve):
    app = app_with(raising(Odd("x")))

    @app.exception_handler(Odd)
    async def swallow(ws, error):
        pass

    async with serve(app) as server:
        assert await server.closed() == (1000, "")
        assert (await server.refusal("/ws?early=1")).status_code == 500


async def test_an_exception_handler_that_raises_gets_the_default(serve, caplog):
    app = app_with(raising(Odd("first")))

    @app.exception_handler(Odd)
    async def worse(ws, error):
        raise LookupError("second")

    async with serve(app) as server:
        assert await server.closed() == (1011, "")
    assert "second" in caplog.text
