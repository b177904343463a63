"""Messages: their kinds, iteration, pings and pongs."""

import asyncio
import json

import pytest
from apps import Log, app_with, echo
from nexios import WebSocketDisconnect, WebSocketException, WebSocketTypeError
from raw_client import BINARY, CLOSE, PING, PONG, TEXT, frame
from serving import close_of, messages_of

# --- kinds of messages


@pytest.mark.parametrize("kind, sent", [("receive_text", b"\x00\x01"), ("receive_bytes", "text")])
async def test_a_message_of_the_other_kind_raises_and_the_connection_goes_on(serve, kind, sent):
    log = Log()

    async def handler(ws):
        await ws.accept()
        try:
            await getattr(ws, kind)()
        except WebSocketTypeError as error:
            assert isinstance(error, WebSocketException)
            log((error.code, error.message))
        await ws.send(await ws.receive())

    async with serve(app_with(handler)) as server, server.connect() as ws:
        await ws.send(sent)
        await ws.send("next")
        assert await ws.recv() == "next"
    assert log.entries == [(1003, sent)]


@pytest.mark.parametrize("kind, sent", [("receive_text", b"\x00\x01"), ("receive_bytes", "text")])
async def test_a_message_of_the_other_kind_closes_1003_when_nobody_cares(serve, kind, sent):
    async def handler(ws):
        await ws.accept()
        await getattr(ws, kind)()

    async with serve(app_with(handler)) as server, server.connect() as ws:
        await ws.send(sent)
        assert (await close_of(ws))[0] == 1003


async def test_receive_json_takes_both_kinds(serve):
    async def handler(ws):
        await ws.accept()
        while True:
            await ws.send_json(await ws.receive_json())

    async with serve(app_with(handler)) as server, server.connect() as ws:
        for value in {"a": [1, 2.5, None, True, "é"]}, [], 0, "text", None:
            await ws.send(json.dumps(value))
            assert json.loads(await ws.recv()) == value
            await ws.send(json.dumps(value).encode())
            assert json.loads(await ws.recv()) == value


@pytest.mark.parametrize("text", ["{", "", "nothing", b"\xff\xfe"])
async def test_malformed_json_is_1007(serve, text):
    log = Log()

    async def handler(ws):
        await ws.accept()
        try:
            await ws.receive_json()
        except WebSocketException as error:
            log(error.code)
        await ws.receive_json()

    async with serve(app_with(handler)) as server, server.connect() as ws:
        await ws.send(text)
        await ws.send(text)
        assert (await close_of(ws))[0] == 1007
    assert log.entries == [1007]


async def test_messages_are_str_or_bytes_everywhere(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        log(("receive", await ws.receive()))
        log(("receive", await ws.receive()))
        async for message in ws:
            log(("iteration", message))

    app = app_with(handler)

    @app.on("message")
    async def listen(ws, message):
        log(("listener", message))

    async with serve(app) as server, server.connect() as ws:
        for message in "text", b"bytes", "", b"":
            await ws.send(message)
        await log.has(8)
    for who, count in ("receive", 2), ("iteration", 2), ("listener", 4):
        seen = [message for by, message in log.entries if by == who]
        assert seen == {"receive": ["text", b"bytes"], "iteration": ["", b""]}.get(who, ["text", b"bytes", "", b""])
        assert len(seen) == count


async def test_send_takes_text_bytes_and_anything_else_as_json(serve):
    async def handler(ws):
        await ws.accept()
        for value in "text", b"bytes", bytearray(b"array"), memoryview(b"view"), {"a": 1}, [1], None, 7:
            await ws.send(value)

    async with serve(app_with(handler)) as server, server.connect() as ws:
        messages = await messages_of(ws)
    assert messages[:4] == ["text", b"bytes", b"array", b"view"]
    assert [json.loads(message) for message in messages[4:]] == [{"a": 1}, [1], None, 7]


async def test_sends_of_the_wrong_type_raise_at_the_call(serve):
    async def handler(ws):
        await ws.accept()
        for send, value in (ws.send_text, b"x"), (ws.send_text, 1), (ws.send_bytes, "x"), (ws.send_json, object()):
            with pytest.raises(TypeError):
                send(value)
        with pytest.raises((TypeError, ValueError)):
            ws.send_json(float("nan"))
        with pytest.raises(UnicodeEncodeError):
            ws.send_text("\ud800")
        await ws.send_text("alive")

    async with serve(app_with(handler)) as server, server.connect() as ws:
        assert await messages_of(ws) == ["alive"]


async def test_sending_or_receiving_before_accept_raises(serve):
    async def handler(ws):
        for call in (lambda: ws.send_text("x")), (lambda: ws.receive_text()), (lambda: ws.send_ping()):
            with pytest.raises(RuntimeError, match="accept"):
                await call()
        await ws.accept()

    async with serve(app_with(handler)) as server:
        assert await server.closed() == (1000, "")


@pytest.mark.parametrize("size", [125, 126, 65535, 65536, 1 << 20])
async def test_messages_of_all_sizes_come_back_as_they_were(serve, size):
    async with serve(app_with(echo)) as server, server.connect() as ws:
        for message in b"\xf0" * size, "é" * (size // 2):
            await ws.send(message)
            assert await ws.recv() == message


async def test_text_that_is_no_utf8_closes_1007(serve):
    async with serve(app_with(echo)) as server:
        client = await server.raw()
        client.send(frame(TEXT, b"\xff"))
        assert (await client.read_close())[0] == 1007
        client.cut()


# --- iteration


@pytest.mark.parametrize("how", ["iter_text", "iter_bytes", "iter_json", "ws"])
@pytest.mark.parametrize("ending", ["close", "cut"])
async def test_iteration_ends_quietly_at_disconnect(serve, how, ending):
    log = Log()
    sent = b"[1]" if how == "iter_bytes" else "[1]"

    async def handler(ws):
        await ws.accept()
        messages = ws if how == "ws" else getattr(ws, how)()
        async for message in messages:
            log(message)
        log("end")

    async with serve(app_with(handler)) as server:
        client = await server.raw()
        for _ in range(2):
            client.send(frame(BINARY if how == "iter_bytes" else TEXT, b"[1]"))
        expected = [1] if how == "iter_json" else sent
        await log.has(2)
        if ending == "close":
            client.send(frame(CLOSE, b"\x03\xe8"))
        else:
            client.cut()
        assert await log.has(3) == [expected, expected, "end"]
        client.cut()


async def test_iteration_raises_what_is_no_disconnect(serve):
    async def handler(ws):
        await ws.accept()
        async for _ in ws.iter_text():
            pass

    async with serve(app_with(handler)) as server, server.connect() as ws:
        await ws.send(b"binary")
        assert (await close_of(ws))[0] == 1003


# --- pings and pongs


async def test_every_ping_is_answered_while_nobody_receives(serve):
    async def handler(ws):
        await ws.accept()
        await asyncio.Event().wait()

    async with serve(app_with(handler)) as server:
        client = await server.raw()
        client.send(frame(PING, b"1"))
        assert await client.read_frame() == (0x80 | PONG, b"1")
        client.send(frame(PING, b""))
        assert await client.read_frame() == (0x80 | PONG, b"")
        client.cut()


async def test_receive_ping_observes_in_order_and_data_stays_queued(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        for receive in ws.receive_ping, ws.receive_ping, ws.receive_pong, ws.receive_text, ws.receive_text:
            log(await receive())

    async with serve(app_with(handler)) as server:
        client = await server.raw()
        frames = (TEXT, b"a"), (PING, b"1"), (TEXT, b"b"), (PONG, b"2"), (PING, b"3")
        client.send(b"".join(frame(opcode, payload) for opcode, payload in frames))
        assert await log.has(5) == [b"1", b"3", b"2", "a", "b"]
        # The engine answered them by itself.
        assert [await client.read_frame() for _ in range(2)] == [(0x80 | PONG, b"1"), (0x80 | PONG, b"3")]
        client.cut()


async def test_the_queue_of_control_frames_drops_the_oldest_first(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        await ws.receive_text()
        log(await ws.receive_pong())

    async with serve(app_with(handler)) as server:
        client = await server.raw()
        client.send(b"".join(frame(PONG, b"%d" % i) for i in range(50)) + frame(TEXT, b"go"))
        (oldest,) = await log.has(1)
        client.cut()
    assert 0 < int(oldest) < 50


async def test_keepalive_pongs_are_not_shown(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        log(await ws.receive_pong())

    async with serve(app_with(handler, settings={"ping_interval": 0.05})) as server:
        async with server.connect() as ws:
            # The client of `websockets` answers by itself.
            await asyncio.sleep(0.3)
            assert log.entries == []
            await ws.pong(b"mine")
            assert await log.has(1) == [b"mine"]


async def test_control_frames_over_125_bytes_raise(serve):
    async def handler(ws):
        await ws.accept()
        for send in ws.send_ping, ws.send_pong:
            with pytest.raises(ValueError):
                send(b"x" * 126)
            await send(b"x" * 125)

    async with serve(app_with(handler)) as server:
        client = await server.raw()
        assert await client.read_frame() == (0x80 | PING, b"x" * 125)
        assert await client.read_frame() == (0x80 | PONG, b"x" * 125)
        assert await client.read_close() == (1000, "")
        client.cut()


async def test_ping_returns_the_round_trip_time(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        log(await ws.ping())

    async with serve(app_with(handler)) as server:
        client = await server.raw()
        first, payload = await client.read_frame()
        assert first == 0x80 | PING
        await asyncio.sleep(0.05)
        client.send(frame(PONG, payload))
        (seconds,) = await log.has(1)
        client.cut()
    assert isinstance(seconds, float) and 0.04 < seconds < 5


async def test_ping_raises_when_the_client_goes(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        try:
            await ws.ping()
        except WebSocketDisconnect as gone:
            log(gone.code)

    async with serve(app_with(handler)) as server:
        client = await server.raw()
        await client.read_frame()
        client.cut()
        assert await log.has(1) == [1006]
