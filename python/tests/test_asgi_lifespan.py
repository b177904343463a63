"""Faults of ASGI applications, and their lifespan."""

import asyncio
import contextlib
import logging

import pytest
from apps import Log
from asgi_apps import answering, app_with, ask, body, plain, start
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

# --- faults of the application


async def test_exception_before_the_response_is_a_500_with_a_traceback(serve, caplog):
    @plain
    async def http(scope, receive, send):
        await send(start())
        raise LookupError("a bug")

    async with serve(app_with(http)) as server:
        client = await server.dial()
        for _ in range(2):
            client.send(b"GET /x HTTP/1.1\r\nHost: here\r\n\r\n")
            assert await client.read_head() == 500
            assert await client.read_body() == b"internal error\n"
    records = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.message for record in records] == ["the HTTP application failed (GET /x)"] * 2
    assert records[0].exc_info[0] is LookupError


async def test_exception_in_the_middle_cuts_the_connection(serve, caplog):
    assert await broken_off(serve, LookupError("a bug")) == b"5\r\nbegun\r\n"
    assert "LookupError: a bug" in caplog.text


async def test_application_that_answers_nothing_is_a_500(serve, caplog):
    async with serve(app_with(answering())) as server:
        assert (await server.get("/"))[0] == 500
    assert "the HTTP application returned without a response (GET /)" in caplog.text


async def test_application_that_stops_in_the_middle_cuts_the_connection(serve, caplog):
    assert await broken_off(serve) == b"5\r\nbegun\r\n"
    assert "returned in the middle of its response" in caplog.text


async def broken_off(serve, error=None):
    """All that a client gets of a stream whose application raises or returns."""
    go_on = asyncio.Event()

    @plain
    async def http(scope, receive, send):
        await send(start())
        await send(body(b"begun", more=True))
        await go_on.wait()
        if error:
            raise error

    async with serve(app_with(http)) as server:
        client = await ask(server, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        begun = await client.reader.readexactly(10)
        go_on.set()
        return begun + await client.read_to_end()


@pytest.mark.parametrize(
    "messages, text",
    [
        ([body()], "before http.response.start"),
        ([start(), start()], "sent twice"),
        ([start(), body(), body()], "complete"),
        ([start(), body(), start()], "complete"),
        ([{"type": "http.request"}], 'no ASGI message "http.request"'),
        ([{}], "type"),
        ([start(101)], "101 is not the status"),
        ([start(200, (b"a b", b""))], "cannot be the name"),
        ([start(200, (b"a", b"x\r\ny: z"))], "cannot be the value"),
        ([start(200, (b"content-length", b"x"))], "not a number"),
        ([start(200, (b"content-length", b"1")), body(b"xx")], "longer"),
        ([start(200, (b"content-length", b"2")), body(b"x")], "shorter"),
        ([start(200, (b"content-length", b"2")), body(b"xx", more=True), body(b"x")], "longer"),
    ],
)
async def test_messages_that_make_no_sense_raise(serve, messages, text):
    log = Log()

    @plain
    async def http(scope, receive, send):
        try:
            await answering(*messages)(scope, receive, send)
        except RuntimeError as error:
            log(str(error))

    async with serve(app_with(http)) as server:
        client = await server.dial()
        client.send(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        assert text in (await log.has(1))[0]


async def test_send_takes_bytes_and_nothing_else(serve):
    log = Log()

    @plain
    async def http(scope, receive, send):
        await send(start())
        try:
            await send(body("text"))
        except TypeError as error:
            log(str(error))
        await send(body(bytearray(b"bytes"), more=True))
        await send(body(memoryview(b" too")))

    async with serve(app_with(http)) as server:
        assert (await server.get("/"))[0] == 200
    assert "expected bytes, not str" in log.entries[0]


# --- lifespan


def living(log, **failing):
    """An application with a lifespan, that logs what happens."""

    async def http(scope, receive, send):
        if scope["type"] == "http":
            log(scope["state"]["name"])
            scope["state"]["name"] = "changed"
            await answering(start(), body())(scope, receive, send)
            return
        scope["state"]["name"] = "shared"
        for event in ("startup", "shutdown"):
            assert await receive() == {"type": f"lifespan.{event}"}
            log(event)
            if event in failing:
                await send({"type": f"lifespan.{event}.failed", "message": failing[event]})
                return
            await send({"type": f"lifespan.{event}.complete"})

    return http


async def test_lifespan_surrounds_the_requests_and_shares_state(serve):
    log = Log()
    async with serve(app_with(living(log))) as server:
        await server.get("/")
        await server.get("/")
    assert log.entries == ["startup", "shared", "shared", "shutdown"]


async def test_startup_that_fails_stops_the_start(serve):
    log = Log()
    with pytest.raises(RuntimeError, match="no database"):
        await app_with(living(log, startup="no database")).serve(port=0)
    assert log.entries == ["startup"]


async def test_shutdown_that_fails_is_logged(serve, caplog):
    async with serve(app_with(living(Log(), shutdown="too late"))) as server:
        await server.get("/")
    assert "failed to shut down: too late" in caplog.text


async def test_starlette_lifespan_runs_and_gives_state(serve):
    log = Log()

    @contextlib.asynccontextmanager
    async def lifespan(app):
        log("startup")
        yield {"name": "shared"}
        log("shutdown")

    async def name(request):
        return PlainTextResponse(request.state.name)

    async with serve(app_with(Starlette(routes=[Route("/", name)], lifespan=lifespan))) as server:
        assert (await server.get("/"))[2] == b"shared"
        assert log.entries == ["startup"]
    assert log.entries == ["startup", "shutdown"]


async def test_starlette_lifespan_that_fails_stops_the_start(serve):
    @contextlib.asynccontextmanager
    async def lifespan(app):
        raise LookupError("no database")
        yield

    with pytest.raises(RuntimeError, match="LookupError: no database"):
        await app_with(Starlette(lifespan=lifespan)).serve(port=0)


async def test_draining_waits_for_requests_before_the_shutdown(serve):
    log, stop = Log(), asyncio.Event()

    async def http(scope, receive, send):
        if scope["type"] == "lifespan":
            await living(log)(scope, receive, send)
            return
        log("request")
        await go_on.wait()
        await answering(start(), body(b"late"))(scope, receive, send)
        log("answered")

    go_on = asyncio.Event()
    async with serve(app_with(http), stop=stop) as server:
        client = await server.dial()
        client.send(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        await log.has(2)
        stop.set()
        await asyncio.sleep(0.05)
        assert log.entries == ["startup", "request"]
        go_on.set()
        await client.read_head()
        assert await client.read_to_end() == b"late"
        client.cut()
        await log.has(4)
    assert log.entries == ["startup", "request", "answered", "shutdown"]


async def test_a_request_that_outlasts_the_grace_period_is_cancelled(serve, caplog):
    log, stop = Log(), asyncio.Event()

    @plain
    async def http(scope, receive, send):
        log("request")
        try:
            await asyncio.sleep(60)
        finally:
            log("cancelled")

    async with serve(app_with(http, shutdown_grace=0.05), stop=stop) as server:
        client = await server.dial()
        client.send(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        await log.has(1)
        stop.set()
        await asyncio.wait_for(asyncio.shield(server.task), 5)
    assert log.entries == ["request", "cancelled"]
