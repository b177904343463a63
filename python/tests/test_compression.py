"""Compression: when messages are compressed."""

from apps import Log, app_with, echo
from nexios import NexiosApp


async def test_nothing_is_compressed_before_it_is_asked_for(serve):
    async def handler(ws):
        await ws.accept()
        await ws.send_text("x" * 5000)
        assert ws.enable_compression() is True
        await ws.send_text("x" * 5000)
        await ws.send_text("x" * 5000, compress=False)
        await ws.send_text("x" * 1000)

    async with serve(app_with(handler)) as server:
        client = await server.raw(Sec_WebSocket_Extensions="permessage-deflate; client_max_window_bits")
        extension = client.headers["sec-websocket-extensions"]
        assert "server_no_context_takeover" in extension and "client_no_context_takeover" in extension
        frames = [await client.read_frame() for _ in range(4)]
        client.cut()
    assert [first for first, _ in frames] == [0x81, 0xC1, 0x81, 0x81]
    assert [len(payload) < 100 for _, payload in frames] == [False, True, False, False]


async def test_enable_compression_says_whether_it_took_effect(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        log(ws.enable_compression())
        await ws.send_text("x" * 5000)

    async with serve(app_with(handler)) as server:
        client = await server.raw()
        assert "sec-websocket-extensions" not in client.headers
        assert await client.read_frame() == (0x81, b"x" * 5000)
        client.cut()
    assert log.entries == [False]


async def test_compressed_messages_are_received_before_anything_is_asked_for(serve):
    async with serve(app_with(echo)) as server, server.connect(compression="deflate") as ws:
        await ws.send("x" * 100_000)
        assert await ws.recv() == "x" * 100_000


async def test_compression_may_be_declined_or_have_its_context(serve):
    app = NexiosApp(compression=None)
    app.ws("/none")(echo)
    app.ws("/context", compression={"context_takeover": True, "window_bits": 12})(echo)
    async with serve(app) as server:
        offer = {"Sec_WebSocket_Extensions": "permessage-deflate"}
        client = await server.raw("/none", **offer)
        assert "sec-websocket-extensions" not in client.headers
        client.cut()
        client = await server.raw("/context", **offer)
        assert "no_context_takeover" not in client.headers["sec-websocket-extensions"]
        client.cut()
