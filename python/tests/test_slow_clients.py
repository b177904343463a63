"""Full inboxes and outboxes: what waits, what is dropped, what is closed."""

import asyncio

import pytest
from apps import Log, app_with, echo
from nexios import NexiosApp, WebSocketDisconnect
from raw_client import BINARY, PING, TEXT, frame, request
from serving import until


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
