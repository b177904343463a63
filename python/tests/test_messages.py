"""Messages, control frames and listeners: a test for each row of docs/semantics.md."""

import asyncio
import json

import pytest
from apps import Log, app_with, echo
from nexios import NexiosApp, WebSocketDisconnect, WebSocketException, WebSocketTypeError
from raw_client import BINARY, CLOSE, PING, PONG, TEXT, frame, request
from serving import close_of, messages_of, until

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


# --- listeners


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


# --- inbox and outbox


async def test_a_full_inbox_stops_reading_until_there_is_room(serve):
    log = Log()
    go_on = asyncio.Event()

    async def handler(ws):
        await ws.accept()
        await go_on.wait()
        async for message in ws.iter_bytes():
            log(len(message))

    count, payload = 400, b"x" * (64 << 10)
    async with serve(app_with(handler)) as server:
        client = await server.raw()
        one = frame(BINARY, payload)
        for _ in range(count):
            client.send(one)
        client.writer.transport.set_write_buffer_limits(high=0)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.writer.drain(), 0.5)
        go_on.set()
        await client.writer.drain()
        assert await log.has(count) == [len(payload)] * count
        client.cut()


async def test_a_hang_up_with_a_full_inbox_is_1006_after_the_inbox_was_handed_out(serve):
    log = Log()
    go_on = asyncio.Event()

    async def handler(ws):
        await ws.accept()
        await ws.send_text("ready")
        await go_on.wait()
        try:
            while True:
                log(await ws.receive_text())
        except WebSocketDisconnect as gone:
            log(gone.code)

    async with serve(app_with(handler, settings={"inbox_messages_max": 4})) as server:
        client = await server.raw()
        await client.read_frame()
        client.send(b"".join(frame(TEXT, b"%d" % i) for i in range(4)))
        await client.writer.drain()
        client.send(frame(PING, b"behind"))
        client.cut()
        go_on.set()
        entries = await log.has(5)
    assert entries == ["0", "1", "2", "3", 1006]


async def test_sends_wait_above_the_high_water_mark(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        for i in range(400):
            await ws.send_bytes(b"x" * (64 << 10))
            log(i)

    async with serve(app_with(handler, settings={"drain_timeout": 60})) as server:
        client = await server.raw(receive_buffer=32 << 10)
        await log.has(1)
        before = -1
        # Until no progress is made any more: the kernel's buffers are full, and so is the outbox.
        while len(log.entries) != before:
            before = len(log.entries)
            await asyncio.sleep(0.2)
        assert len(log.entries) < 400
        for _ in range(400):
            assert await client.read_frame() == (0x82, b"x" * (64 << 10))
        assert await client.read_close() == (1000, "")
        client.cut()
    assert log.entries == list(range(400))


def app_for_slow_clients(policy, drops):
    async def handler(ws):
        await ws.accept()
        await ws.wait_closed()

    app = app_with(handler, settings={"slow_client": policy, "drain_timeout": 60})

    @app.on("drop")
    async def dropped(ws, messages):
        for message in messages:
            drops(message[:4])

    return app


@pytest.mark.parametrize("policy", ["drop_newest", "drop_oldest"])
async def test_broadcasts_to_a_slow_client_are_dropped_and_none_is_silent(serve, policy):
    drops, count = Log(), 200
    app = app_for_slow_clients(policy, drops)
    async with serve(app) as server:
        client = await server.raw(receive_buffer=4096)
        for i in range(count):
            await app.broadcast(f"{i:04}" + "x" * (32 << 10))
        await drops.has(1)
        got = []
        while len(got) + len(drops.entries) < count:
            got.append((await client.read_frame())[1][:4].decode())
    assert sorted([*drops.entries, *got]) == [f"{i:04}" for i in range(count)]
    assert got == sorted(got)
    assert ("0199" in got) == (policy == "drop_oldest")


async def test_an_error_in_a_drop_listener_is_logged(serve, caplog):
    app = app_for_slow_clients("drop_newest", Log())

    @app.on("drop")
    async def fails(ws, messages):
        raise LookupError("in the drop listener")

    async with serve(app) as server:
        await server.raw(receive_buffer=4096)
        for _ in range(200):
            await app.broadcast("x" * (32 << 10))
        await until(lambda: "in the drop listener" in caplog.text, "the log")
        assert len(app.connections) == 1
    assert "a drop listener failed" in caplog.text and "/ws" in caplog.text


async def test_a_send_is_queued_at_the_call(serve):
    """Awaiting it waits for room in the outbox, and for nothing else."""

    async def handler(ws):
        await ws.accept()
        for i in range(3):
            ws.send_text(str(i))
        await ws.receive()

    async with serve(app_with(handler)) as server, server.connect() as ws:
        assert [await ws.recv() for _ in range(3)] == ["0", "1", "2"]


async def test_drop_newest_is_counted_in_the_outcome(serve):
    drops = Log()
    app = app_for_slow_clients("drop_newest", drops)
    async with serve(app) as server:
        await server.raw(receive_buffer=4096)
        counted = 0
        for _ in range(200):
            counted += (await app.broadcast("x" * (32 << 10))).dropped
        await drops.has(counted)
        await asyncio.sleep(0)
    # The count is made at the call: one that fills the outbox in the same turn is told of only afterwards.
    assert 0 <= len(drops.entries) - counted <= 1
    assert counted > 100


async def test_a_slow_client_is_closed_1013_without_progress(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        await ws.wait_closed()
        log(ws.close_code)

    app = app_with(handler, settings={"drain_timeout": 0.2, "close_timeout": 0.1})
    async with serve(app) as server:
        client = await server.raw(receive_buffer=4096)
        while not log.entries:
            await app.broadcast(b"x" * (64 << 10))
            await asyncio.sleep(0)
        client.cut()
    assert log.entries == [1013]


async def test_conflate_keeps_the_newest_of_each_key(serve):
    drops = Log()
    app = app_for_slow_clients("conflate", drops)
    async with serve(app) as server:
        client = await server.raw(receive_buffer=4096)
        while not drops.entries:
            await app.broadcast(b"x" * (32 << 10), key="filler")
            await asyncio.sleep(0)
        for i in range(100):
            await app.broadcast(f"a{i}".encode(), key="a")
            await app.broadcast(f"b{i}".encode(), key="b")
        await app.broadcast(b"end", key="end")
        got = []
        while not got or got[-1] != b"end":
            payload = (await client.read_frame())[1]
            if payload[:1] != b"x":
                got.append(payload)
    assert got == [b"a99", b"b99", b"end"]


def test_an_unknown_policy_for_slow_clients_is_refused():
    app = NexiosApp()
    app.ws("/one", slow_client="drop_newest")(echo)
    app.ws("/two", slow_client="close")(echo)
    with pytest.raises(ValueError, match="slow_client"):
        app.ws("/three", slow_client="drop_nothing")(echo)


@pytest.mark.parametrize("apart", [0, 1, 4000])
async def test_much_that_comes_behind_the_request_waits_for_the_handler_and_stays_in_order(serve, apart):
    async def handler(ws):
        await asyncio.sleep(0.02)
        await ws.accept()
        await asyncio.sleep(0.02)
        for number in range(1000):
            assert (await ws.receive_text()).split()[0] == str(number)
        await ws.send("all in order")

    sent = request() + b"".join(frame(TEXT, f"{number} {'x' * 240}".encode()) for number in range(1000))
    async with serve(app_with(handler)) as server:
        client = await server.dial()
        client.send(sent[: len(sent) - apart])
        await asyncio.sleep(0.005)
        client.send(sent[len(sent) - apart :])
        assert await client.read_head() == 101
        assert await client.read_frame() == (0x80 | TEXT, b"all in order")
