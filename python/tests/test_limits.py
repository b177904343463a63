"""Limits: a test for each, named in docs/semantics.md under "Limits"."""

import asyncio
import random
import zlib

import pytest
from apps import Log, app_with, echo, stay
from nexios import NexiosApp, WSRouter
from raw_client import BINARY, CLOSE, PING, PONG, RESERVED_1, TEXT, frame, request
from serving import close_of

MIB = 1 << 20
DEFLATE = {"Sec_WebSocket_Extensions": "permessage-deflate"}


def deflated(data):
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


async def closed_by(server, *frames, path="/ws", **headers):
    """What the server closes with after these frames."""
    client = await server.raw(path, **headers)
    client.send(b"".join(frames))
    try:
        return await client.read_close()
    finally:
        client.cut()


# --- messages


async def test_a_message_over_1_mib_is_1009_before_it_has_arrived(serve):
    async with serve(app_with(echo)) as server:
        # Only the head is sent: whoever waits for the rest would wait for ever.
        head = frame(BINARY, b"x" * 70_000)[:2] + (MIB + 1).to_bytes(8, "big") + b"mask"
        assert (await closed_by(server, head))[0] == 1009


async def test_a_message_of_1_mib_fits(serve):
    async with serve(app_with(echo)) as server, server.connect() as ws:
        message = random.Random(1).randbytes(MIB)
        await ws.send(message)
        assert await ws.recv() == message


async def test_fragments_count_together(serve):
    async with serve(app_with(echo, message_bytes_max=100)) as server:
        first, more = frame(TEXT, b"x" * 60, first=0), frame(0, b"x" * 60, first=0)
        assert (await closed_by(server, first, more))[0] == 1009


async def test_the_limit_is_that_of_the_route(serve):
    app = NexiosApp(message_bytes_max=10)
    app.ws("/ws")(echo)
    app.ws("/large", message_bytes_max=None)(echo)
    async with serve(app) as server:
        assert (await closed_by(server, frame(TEXT, b"x" * 11)))[0] == 1009
        async with server.connect("/large") as ws:
            await ws.send("x" * (2 * MIB))
            assert await ws.recv() == "x" * (2 * MIB)


async def test_the_inflated_size_counts(serve):
    bomb = deflated(b"\0" * (64 * MIB))
    assert len(bomb) < 100_000
    async with serve(app_with(echo)) as server:
        assert (await closed_by(server, frame(BINARY, bomb, first=0x80 | RESERVED_1), **DEFLATE))[0] == 1009


async def test_over_1024_fragments_are_1008(serve):
    fragments = [frame(TEXT, b"x", first=0), *(frame(0, b"x", first=0) for _ in range(1023))]
    async with serve(app_with(echo)) as server:
        client = await server.raw()
        client.send(b"".join([*fragments, frame(0, b"", first=0)]))
        assert (await client.read_close())[0] == 1008
        client.cut()
        client = await server.raw()
        client.send(b"".join([*fragments[:-1], frame(0, b"x")]))
        assert await client.read_frame() == (0x81, b"x" * 1024)
        client.cut()


async def test_a_fragmented_message_may_not_stall(serve):
    async with serve(app_with(echo, fragment_timeout=0.05)) as server:
        assert (await closed_by(server, frame(TEXT, b"x", first=0)))[0] == 1008


async def test_a_message_may_not_take_too_long_though_its_bytes_keep_coming(serve):
    async with serve(app_with(echo, message_timeout=0.3)) as server:
        client = await server.raw()
        client.send(frame(TEXT, b"x", first=0))
        closed = asyncio.ensure_future(client.read_close())
        while not closed.done():
            client.send(frame(0, b"x", first=0))
            await asyncio.sleep(0.02)
        assert await closed == (1008, "message not finished in time")
        client.cut()


async def test_of_messages_that_nobody_finishes_the_largest_are_1013(serve):
    async with serve(app_with(echo, settings={"waiting_bytes_max": MIB})) as server:
        large, small = await server.raw(), await server.raw()
        large.send(frame(TEXT, b"x" * (900 << 10), first=0))
        small.send(frame(TEXT, b"x" * (200 << 10), first=0))
        assert await large.read_close() == (1013, "too many bytes wait for their handlers")
        small.send(frame(0, b"x"))
        opcode, payload = await small.read_frame()
        assert (opcode, len(payload)) == (0x81, (200 << 10) + 1)
        large.cut()
        small.cut()


# --- the head of a request


async def status_of(server, head):
    client = await server.dial()
    client.send(head)
    try:
        return await client.read_head()
    finally:
        client.cut()


async def test_a_head_over_8_kib_is_431(serve):
    async with serve(app_with(echo)) as server:
        assert await status_of(server, request(X_Long="x" * 8192)) == 431
        assert await status_of(server, request(X_Long="x" * 7000)) == 101


async def test_over_64_headers_are_431(serve):
    async with serve(app_with(echo)) as server:
        assert await status_of(server, request(**{f"X_{i}": "x" for i in range(64)})) == 431
        assert await status_of(server, request(**{f"X_{i}": "x" for i in range(50)})) == 101


async def test_a_slow_head_is_408(serve):
    async with serve(app_with(echo, settings={"head_timeout": 0.05})) as server:
        assert await status_of(server, b"GET /ws HTT") == 408


# --- pings


async def test_the_server_pings_and_cuts_who_does_not_answer(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        await ws.wait_closed()
        log(ws.close_code)

    async with serve(app_with(handler, ping_interval=0.05, ping_timeout=0.1)) as server:
        client = await server.raw()
        first, payload = await client.read_frame()
        assert first == 0x80 | PING
        client.send(frame(PONG, payload))
        first, _ = await client.read_frame()
        assert first == 0x80 | PING and log.entries == []
        # This one stays without an answer.
        assert await log.has(1) == [1006]
        await client.read_to_end()
        client.cut()


async def test_pings_can_be_off(serve):
    async with serve(app_with(echo, settings={"ping_interval": None})) as server:
        client = await server.raw()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.read_frame(), 0.1)
        client.cut()


async def test_over_100_unasked_control_frames_in_a_second_are_1008(serve):
    for opcode in PING, PONG:
        async with serve(app_with(echo)) as server:
            assert (await closed_by(server, *[frame(opcode, b"x")] * 150))[0] == 1008


# --- closing


async def test_who_does_not_answer_a_close_is_cut(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        await ws.close(4000)
        await ws.wait_closed()
        log(ws.close_code)

    async with serve(app_with(handler, close_timeout=0.1)) as server:
        client = await server.raw()
        assert await client.read_close() == (4000, "")
        assert await client.read_to_end() == b""
        assert await log.has(1) == [4000]
        client.cut()


async def test_a_close_frame_is_answered(serve):
    async with serve(app_with(echo)) as server:
        client = await server.raw()
        client.send(frame(CLOSE, b"\x0f\xa1bye"))
        assert await client.read_frame() == (0x80 | CLOSE, b"\x0f\xa1")
        assert await client.read_to_end() == b""
        client.cut()


# --- connections


async def test_no_room_for_a_connection_is_503(serve):
    async with serve(app_with(echo, settings={"connections_max": 2})) as server:
        clients = [await server.raw() for _ in range(2)]
        client = await server.dial()
        client.send(request())
        assert await client.read_head() == 503
        assert "retry-after" in client.headers
        for each in *clients, client:
            each.cut()


async def test_connections_of_one_host_can_be_limited(serve):
    async with serve(app_with(echo, settings={"connections_per_host_max": 1})) as server:
        held = await server.raw()
        client = await server.dial()
        client.send(request())
        assert await client.read_head() == 503
        held.cut()
        client.cut()


# --- outbox


async def test_new_connections_of_a_second_can_be_limited(serve):
    async with serve(app_with(stay, settings={"accept_rate_max": 2})) as server:
        statuses = []
        for _ in range(6):
            client = await server.raw()
            statuses.append(client.status)
    assert statuses[:2] == [101, 101] and 503 in statuses


async def test_the_head_can_be_let_go_of_at_accept(serve):
    app = NexiosApp()
    log = []

    @app.ws("/{name}", keep_head=False)
    async def handler(ws):
        log.append((ws.headers.get("host"), ws.path, dict(ws.query_params)))
        await ws.accept()
        log.append((dict(ws.headers), ws.path, dict(ws.query_params), dict(ws.path_params)))

    async with serve(app) as server:
        assert await server.closed("/x?q=1") == (1000, "")
    assert log == [(f"127.0.0.1:{server.port}", "/x", {"q": "1"}), ({}, "", {}, {"name": "x"})]


async def test_the_size_of_the_read_buffer_is_a_setting(serve):
    async with serve(app_with(echo, settings={"read_buffer_bytes": 4096})) as server, server.connect() as ws:
        await ws.send("x" * 100_000)
        assert await ws.recv() == "x" * 100_000


async def test_settings_of_the_inner_level_win(serve):
    app, router = NexiosApp(message_bytes_max=10), WSRouter("/r", message_bytes_max=20)
    app.ws("/app")(echo)
    router.ws("/router")(echo)
    router.ws("/route", message_bytes_max=30)(echo)
    app.mount_ws_router(router)
    async with serve(app) as server:
        for path, most in ("/app", 10), ("/r/router", 20), ("/r/route", 30):
            async with server.connect(path) as ws:
                await ws.send("x" * most)
                assert await ws.recv() == "x" * most
                await ws.send("x" * (most + 1))
                assert (await close_of(ws))[0] == 1009


async def test_a_handle_raises_where_the_outbox_is_over_its_limit(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        handle = ws.handle()
        try:
            while True:
                handle.send_bytes(b"x" * (64 << 10))
        except Exception as error:
            log(type(error).__name__)
        await ws.wait_closed()

    async with serve(app_with(handler)) as server:
        client = await server.raw(receive_buffer=4096)
        assert await log.has(1) == ["OutboxFull"]
        client.cut()


async def test_a_handler_that_blocks_its_thread_is_named_in_a_warning(serve, caplog):
    import time

    async def sleepy_handler(ws):
        await ws.accept()
        await ws.receive_text()
        time.sleep(0.15)  # noqa: ASYNC251
        await ws.send_text("awake")

    async with serve(app_with(sleepy_handler)) as server, server.connect() as ws:
        await ws.send("x")
        assert await ws.recv() == "awake"
    assert any(record.levelname == "WARNING" and "/ws" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("name", ["message_bytes_max", "ping_interval", "fragments_max", "connections_max"])
def test_no_limit_must_be_spelled_out(name):
    NexiosApp(**{name: None})
    with pytest.raises((TypeError, ValueError), match=name):
        NexiosApp(**{name: "many"}).ws("/ws")(echo)


def test_a_limit_that_makes_no_sense_is_refused():
    for settings in {"ping_interval": -1}, {"ping_timeout": float("nan")}, {"message_bytes_max": -1}:
        with pytest.raises((ValueError, OverflowError)):
            NexiosApp(**settings)
