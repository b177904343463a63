"""How connections end: by the handler, by close(), by the client."""

import asyncio

import pytest
from apps import Log, app_with, echo
from listening_apps import listened
from nexios import WebSocketDisconnect, WebSocketState
from raw_client import CLOSE, TEXT, frame

# --- the handler ends


async def test_a_handler_that_returns_after_accept_closes_1000(serve):
    async def handler(ws):
        await ws.accept()

    async with serve(app_with(handler)) as server:
        assert await server.closed() == (1000, "")


async def test_a_handler_that_returns_before_accept_is_500_and_logged(serve, caplog):
    async def handler(ws):
        pass

    async with serve(app_with(handler)) as server:
        assert (await server.refusal()).status_code == 500
    assert "/ws" in caplog.text


async def test_wait_closed_returns_at_the_end_and_never_raises(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        assert await ws.wait_closed() is None
        assert await ws.wait_closed() is None
        log(ws.close_code)

    app = app_with(handler)

    @app.on("message")
    async def listen(ws, message):
        log(message)

    async with serve(app) as server:
        async with server.connect() as ws:
            # More than the inbox holds: what the listeners have seen is discarded.
            for i in range(200):
                await ws.send(str(i))
            await ws.close(4001)
        entries = await log.has(201)
    assert [entry for entry in entries if entry != 4001] == [str(i) for i in range(200)]


@pytest.mark.parametrize("how", ["task", "gather"])
async def test_a_task_that_receives_beside_wait_closed_gets_every_message(serve, how):
    log, count = Log(), 100

    async def read(ws):
        async for message in ws:
            log(message)
            # Busy, and with more than the inbox holds behind it.
            await asyncio.sleep(0.01 if message == "0" else 0)

    async def handler(ws):
        await ws.accept()
        if how == "gather":
            await asyncio.gather(ws.wait_closed(), read(ws))
        else:
            reader = asyncio.create_task(read(ws))
            await ws.wait_closed()
            await reader

    async with serve(app_with(handler)) as server, server.connect() as ws:
        for i in range(count):
            await ws.send(str(i))
        assert await log.has(count) == [str(i) for i in range(count)]


async def test_a_task_that_is_busy_when_wait_closed_begins_loses_nothing(serve):
    log, go_on = Log(), asyncio.Event()

    async def read(ws):
        async for message in ws:
            log(message)
            await go_on.wait()

    async def handler(ws):
        await ws.accept()
        reader = asyncio.create_task(read(ws))
        assert await ws.receive_ping() == b"wait now"
        await ws.wait_closed()
        await reader

    async with serve(app_with(handler)) as server, server.connect() as ws:
        await ws.send("a")
        await log.has(1)
        await (await ws.ping("wait now"))
        await ws.send("b")
        await (await ws.ping())
        go_on.set()
        assert await log.has(2) == ["a", "b"]


async def test_wait_closed_after_a_receive_sees_the_end_behind_many_messages(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        log(await ws.receive_text())
        await ws.wait_closed()
        log(ws.close_code)

    async with serve(app_with(handler)) as server:
        client = await server.raw()
        client.send(b"".join(frame(TEXT, b"x") for _ in range(300)) + frame(CLOSE, b"\x0f\xa1"))
        assert await log.has(2) == ["x", 4001]


# --- close


async def test_close_returns_at_once_and_receives_raise_after_it(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        await ws.receive_text()
        await ws.close(code=4002, reason="enough")
        log((ws.close_code, ws.close_reason))
        for receive in ws.receive, ws.receive_text, ws.receive_bytes, ws.receive_json, ws.receive_ping:
            with pytest.raises(WebSocketDisconnect) as caught:
                await receive()
            log((caught.value.code, caught.value.reason))

    async with serve(app_with(handler)) as server:
        client = await server.raw()
        client.send(frame(TEXT, b"x"))
        # The client has not answered the Close frame, and need not for the server to go on.
        assert await log.has(6) == [(4002, "enough")] * 6
        assert await client.read_close() == (4002, "enough")
        client.cut()


async def test_close_is_idempotent_and_never_raises(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        await ws.close(code=4002)
        await ws.close(code=4003)
        await ws.wait_closed()
        await ws.close()
        log(ws.close_code)

    async with serve(app_with(handler)) as server:
        assert await server.closed() == (4002, "")
        assert await log.has(1) == [4002]


@pytest.mark.parametrize(
    "payload, code, reason",
    [(b"\x0f\xa1bye", 4001, "bye"), (b"", 1005, ""), (None, 1006, "")],
    ids=["a code", "no code", "cut"],
)
async def test_close_code_is_that_of_whoever_closed_first(serve, payload, code, reason):
    log = Log()

    async def handler(ws):
        await ws.accept()
        assert ws.close_code is None
        await ws.wait_closed()
        log((ws.close_code, ws.close_reason or ""))

    app = listened(app_with(handler), log)
    async with serve(app) as server:
        client = await server.raw()
        await log.has(1)
        if payload is None:
            client.cut()
        else:
            client.send(frame(CLOSE, payload))
            answered = await client.read_close()
            assert answered[0] == code
        entries = await log.has(3)
    assert (code, reason) in entries
    assert [(entry[0], entry[1], entry[2] or "") for entry in entries if len(entry) == 3] == [
        ("disconnect", code, reason)
    ]


@pytest.mark.parametrize("reason", ["x" * 200, "é" * 100, "🦀" * 40])
async def test_a_long_close_reason_is_cut_at_a_character(serve, reason):
    async def handler(ws):
        await ws.accept()
        await ws.close(code=1011, reason=reason)

    async with serve(app_with(handler)) as server:
        code, cut = await server.closed()
    size = len(reason[0].encode())
    assert (code, cut) == (1011, reason[0] * (123 // size))


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000])
async def test_a_code_that_may_not_be_sent_raises_at_the_call(serve, code):
    async def handler(ws):
        await ws.accept()
        with pytest.raises(ValueError):
            ws.close(code=code)
        assert ws.state == WebSocketState.CONNECTED
        await ws.send_text("alive")

    async with serve(app_with(handler)) as server, server.connect() as ws:
        assert await ws.recv() == "alive"


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1014, 3000, 4999])
async def test_a_code_that_may_be_sent_arrives(serve, code):
    async def handler(ws):
        await ws.accept()
        await ws.close(code)

    async with serve(app_with(handler)) as server:
        assert await server.closed() == (code, "")


# --- the client is gone


async def test_a_client_that_goes_is_noticed_while_nobody_receives(serve):
    log = Log()
    go_on = asyncio.Event()

    async def handler(ws):
        await ws.accept()
        log("in")
        await go_on.wait()
        log(ws.state == WebSocketState.DISCONNECTED)

    app = app_with(handler)

    @app.on("disconnect")
    async def gone(ws):
        log(ws.close_code)

    async with serve(app) as server:
        client = await server.raw()
        await log.has(1)
        client.cut()
        assert await log.has(2) == ["in", 1006]
        go_on.set()
        assert await log.has(3) == ["in", 1006, True]


async def test_receives_hand_out_what_had_arrived_then_raise_every_time(serve):
    log = Log()
    go_on = asyncio.Event()

    async def handler(ws):
        await ws.accept()
        log("in")
        await go_on.wait()
        for _ in range(4):
            try:
                log(await ws.receive_text())
            except WebSocketDisconnect as gone:
                log((gone.code, gone.reason))

    app = app_with(handler)

    @app.on("disconnect")
    async def left(ws):
        go_on.set()

    async with serve(app) as server:
        async with server.connect() as ws:
            await log.has(1)
            await ws.send("one")
            await ws.send("two")
            await ws.close(4001, "bye")
        assert await log.has(5) == ["in", "one", "two", (4001, "bye"), (4001, "bye")]


async def test_sends_raise_the_disconnect_when_the_client_is_gone(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        await ws.wait_closed()
        sends = [(ws.send, "x"), (ws.send_text, "x"), (ws.send_bytes, b"x"), (ws.send_json, 1), (ws.send_ping, b"")]
        for send, value in sends:
            try:
                await send(value)
            except WebSocketDisconnect as gone:
                log((gone.code, gone.reason))
        await ws.close()

    async with serve(app_with(handler)) as server:
        async with server.connect() as ws:
            await ws.close(4001, "bye")
        assert await log.has(5) == [(4001, "bye")] * 5


async def test_answers_to_what_came_right_before_a_close_frame_still_go_out(serve):
    async with serve(app_with(echo)) as server:
        client = await server.raw()
        client.send(frame(TEXT, b"a") + frame(TEXT, b"b") + frame(CLOSE, b"\x03\xe8"))
        assert [await client.read_frame() for _ in range(2)] == [(0x80 | TEXT, b"a"), (0x80 | TEXT, b"b")]
        assert await client.read_close() == (1000, "")


async def test_no_handler_is_cancelled_when_its_client_goes(serve):
    log = Log()
    go_on = asyncio.Event()

    async def handler(ws):
        await ws.accept()
        log("in")
        await ws.wait_closed()
        await go_on.wait()
        log("done")

    async with serve(app_with(handler)) as server:
        async with server.connect():
            await log.has(1)
        go_on.set()
        assert await log.has(2) == ["in", "done"]


async def test_cancel_on_disconnect_cancels_the_handler(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        log("in")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            log("cancelled")
            raise

    async with serve(app_with(handler, cancel_on_disconnect=True)) as server:
        client = await server.raw()
        await log.has(1)
        client.cut()
        assert await log.has(2) == ["in", "cancelled"]
