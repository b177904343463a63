"""Listeners of connects, messages and disconnects."""

import asyncio

import pytest
from apps import Log, app_with, echo
from raw_client import TEXT, frame
from serving import messages_of


async def test_message_listeners_see_every_message_before_a_receive_does(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        async for message in ws:
            log(("handler", message))

    app = app_with(handler)

    @app.on("message")
    async def slow(ws, message):
        log(("begin", message))
        await asyncio.sleep(0.001)
        log(("end", message))

    async with serve(app) as server, server.connect() as ws:
        for message in "a", "b", "c":
            await ws.send(message)
        entries = await log.has(9)
    # One at a time, in order, and each before it is handed out.
    assert [entry for entry in entries if entry[0] != "handler"] == [
        (what, message) for message in "abc" for what in ("begin", "end")
    ]
    assert [message for what, message in entries if what == "handler"] == ["a", "b", "c"]
    for message in "abc":
        assert entries.index(("end", message)) < entries.index(("handler", message))


async def test_message_listeners_run_where_the_handler_never_receives(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        await asyncio.Event().wait()

    app = app_with(handler)

    @app.on("message")
    async def listen(ws, message):
        log(message)

    async with serve(app) as server, server.connect() as ws:
        for i in range(20):
            await ws.send(str(i))
        assert await log.has(20) == [str(i) for i in range(20)]


async def test_a_message_listener_may_send(serve):
    app = app_with(echo)

    @app.on("message")
    async def listen(ws, message):
        await ws.send_text(f"heard {message}")

    async with serve(app) as server, server.connect() as ws:
        await ws.send("x")
        assert [await ws.recv(), await ws.recv()] == ["heard x", "x"]


async def test_an_error_in_a_message_listener_goes_to_the_exception_handlers(serve):
    log = Log()
    app = app_with(echo)

    @app.on("message")
    async def listen(ws, message):
        raise LookupError(message)

    @app.exception_handler(LookupError)
    async def handle(ws, error):
        log(str(error))

    async with serve(app) as server, server.connect() as ws:
        await ws.send("x")
        assert await ws.recv() == "x"
    assert log.entries == ["'x'"] or log.entries == ["x"]


async def test_an_error_in_a_message_listener_that_nobody_takes_is_logged(serve, caplog):
    app = app_with(echo)

    @app.on("message")
    async def listen(ws, message):
        raise LookupError("in the listener")

    async with serve(app) as server, server.connect() as ws:
        await ws.send("x")
        assert await ws.recv() == "x"
        await ws.send("y")
        assert await ws.recv() == "y"
    assert "in the listener" in caplog.text and "Traceback" in caplog.text


async def test_connect_listeners_run_before_accept_returns_and_may_send(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        log("accepted")
        await ws.send_text("handler")

    app = app_with(handler)

    @app.on("connect")
    async def connected(ws):
        await asyncio.sleep(0.01)
        log(ws.connection_state.name)
        await ws.send_text("listener")

    async with serve(app) as server, server.connect() as ws:
        assert await messages_of(ws) == ["listener", "handler"]
    assert log.entries == ["CONNECTED", "accepted"]


@pytest.mark.timeout(8)
async def test_a_message_that_comes_while_a_connect_listener_waits(serve):
    app = app_with(echo)

    @app.on("connect")
    async def connected(ws):
        await asyncio.sleep(0.05)

    @app.on("message")
    async def message(ws, message):
        await asyncio.sleep(0)

    async with serve(app) as server:
        client = await server.raw()
        client.send(frame(TEXT, b"early"))
        assert await asyncio.wait_for(client.read_frame(), 3) == (0x81, b"early")


async def test_disconnect_listeners_run_once_for_each_connect(serve):
    log = Log()
    app = app_with(echo)

    @app.on("connect")
    async def connected(ws):
        log(("connect", ws.id))

    @app.on("disconnect")
    async def disconnected(ws):
        log(("disconnect", ws.id))

    async with serve(app) as server:
        for _ in range(5):
            async with server.connect() as ws:
                await ws.send("x")
                await ws.recv()
        entries = list(await log.has(10))
        await server.stop()
    ids = [id for what, id in entries if what == "connect"]
    assert len(set(ids)) == 5
    assert sorted(id for what, id in entries if what == "disconnect") == sorted(ids)
    assert log.entries == entries


async def test_several_listeners_run_in_the_order_of_registration(serve):
    log = Log()
    app = app_with(echo)
    for i in range(3):

        @app.on("connect")
        async def connected(ws, i=i):
            await asyncio.sleep(0.01 * (3 - i))
            log(("connect", i))

        @app.on("message")
        async def message(ws, message, i=i):
            await asyncio.sleep(0.01 * (3 - i))
            log(("message", i))

        @app.on("disconnect")
        async def disconnected(ws, i=i):
            await asyncio.sleep(0.01 * (3 - i))
            log(("disconnect", i))

    async with serve(app) as server:
        async with server.connect() as ws:
            await ws.send("x")
            await ws.recv()
        entries = await log.has(9)
    assert entries == [(event, i) for event in ("connect", "message", "disconnect") for i in range(3)]
