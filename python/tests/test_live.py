"""`nexios.v1` on a route: opening, messages, the end."""

import asyncio
import contextlib

import pytest
import websockets
from apps import Log, echo
from live_client import app_with, closed, frame, read, served
from nexios import NexiosApp, WebSocketDisconnect, WSRouter
from nexios.testing import AsyncTestClient, TestClient

# --- opening


async def test_accept_returns_once_hello_is_there_and_listeners_run_then(serve):
    log = Log()

    async def handler(ws):
        log("handler")
        await ws.accept()
        log("accepted")
        await ws.wait_closed()

    app = app_with(handler)

    @app.on("connect")
    async def connected(ws):
        log(f"connected {ws.subprotocol}")

    async with serve(app) as server, server.connect(subprotocols=["nexios.v1"]) as client:
        assert await log.has(1) == ["handler"]
        await client.send(frame(type="hello"))
        assert read(await client.recv())[0]["type"] == "welcome"
        assert await log.has(3) == ["handler", "connected nexios.v1", "accepted"]


@pytest.mark.parametrize("listens", [False, True])
async def test_a_wrong_first_message_closes_1002_and_accept_raises(serve, listens):
    log = Log()

    async def handler(ws):
        try:
            await ws.accept()
        except WebSocketDisconnect as gone:
            log(gone.code)

    app = app_with(handler)
    if listens:

        @app.on("connect")
        async def connected(ws):
            log("connected")

    @app.on("disconnect")
    async def disconnected(ws):
        log("disconnected")

    async with serve(app) as server, server.connect(subprotocols=["nexios.v1"]) as client:
        await client.send("hello")
        with pytest.raises(websockets.ConnectionClosed) as gone:
            await client.recv()
        assert gone.value.rcvd.code == 1002
        assert await log.has(1) == [1002]


@pytest.mark.parametrize("listens", [False, True])
async def test_an_accept_that_is_cancelled_before_hello_closes_1008(serve, listens):
    async def handler(ws):
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(ws.accept(), 0.02)
        await ws.wait_closed()

    app = app_with(handler)
    if listens:

        @app.on("connect")
        async def connected(ws):
            raise AssertionError("never connected")

    async with serve(app) as server, server.connect(subprotocols=["nexios.v1"]) as client:
        assert await closed(client) == 1008


def test_the_window_for_coming_back_is_a_setting(loop):
    app = NexiosApp(live=True, retry=(0, 9))
    near = WSRouter("/near", retry=(1, 5.5))
    near.ws("/ws")(echo)
    near.ws("/route", retry=(2, 3))(echo)
    app.ws("/ws")(echo)
    app.mount_ws_router(near)
    with TestClient(app, loop=loop) as test:
        for path, window in [("/ws", [0, 9000]), ("/near/ws", [1000, 5500]), ("/near/route", [2000, 3000])]:
            with test.websocket_connect(path, subprotocols=["nexios.v1"]) as client:
                client.send_text(frame(type="hello"))
                assert read(client.receive_text())[0]["retry_ms"] == window
    with pytest.raises((TypeError, ValueError), match="retry"):
        NexiosApp(retry=5)


def test_a_client_is_told_the_limits(loop):
    app = NexiosApp(live=True, message_bytes_max=5000)
    app.ws("/ws")(echo)
    app.ws("/open", message_bytes_max=None)(echo)
    with TestClient(app, loop=loop) as test:
        for path, limits in [("/ws", {"message_bytes": 5000}), ("/open", {})]:
            with test.websocket_connect(path, subprotocols=["nexios.v1"]) as client:
                client.send_text(frame(type="hello"))
                assert read(client.receive_text())[0]["limits"] == {"unanswered": 256, "rooms": 1000} | limits


# --- messages


def test_messages_come_and_go_without_frames_and_escapes(loop):
    with served(app_with(echo), loop) as (_, client):
        for sent, back in [("hello", "hello"), ("\x1e\nx", "x"), ("\x1e\n\x1ex", "\x1e\n\x1ex")]:
            client.socket.send_text(sent)
            assert client.socket.receive_text() == back
        client.send(type="request", id=1, method="none")
        client.socket.send_text("behind")
        assert {client.receive()[1], client.receive()[1]} == {"", "behind"}


@pytest.mark.parametrize("malformed", ["\x1e", "\x1e{}\n", "\x1ex\n", '\x1e{"type":"join","room":"x"}\n'])
def test_malformed_frames_close_1002_unannounced(loop, malformed):
    with served(app_with(echo), loop) as (_, client):
        client.socket.send_text(malformed)
        assert client.socket.wait_closed()[0] == 1002


@pytest.mark.parametrize(
    "members",
    [
        {"type": "none"},
        {"type": "join"},
        {"type": "join", "room": 5},
        {"type": "publish", "room": "x", "key": []},
        {"type": "request", "method": "m" * 5000},
    ],
)
def test_a_frame_that_is_not_valid_is_answered(loop, members):
    with served(app_with(echo), loop) as (_, client):
        client.send(**members, id=7)
        told = client.header()
        assert (told["type"], told["id"], told["code"]) == ("error", 7, "invalid")
        assert told["message"].startswith("invalid frame: ")
        client.socket.send_text("still here")
        assert client.socket.receive_text() == "still here"


# --- the end


def test_a_close_is_announced(loop):
    async def handler(ws):
        await ws.accept()
        await ws.close(await ws.receive_json(), "as told")

    for code, window in [(1000, None), (1008, None), (4000, None), (1011, [100, 2000]), (1012, [100, 2000])]:
        with served(app_with(handler), loop) as (_, client):
            client.socket.send_text(str(code))
            closing = client.header()
            assert (closing["type"], closing["code"], closing["reason"]) == ("closing", code, "as told")
            assert closing.get("retry_ms") == window
            assert client.socket.wait_closed() == (code, "as told")


def test_a_close_for_a_message_of_the_client_is_not_announced(loop):
    async def handler(ws):
        await ws.accept()
        await ws.receive_json()
        await ws.receive_text()

    for messages, code in [(["no json"], 1007), (["1", b"bytes"], 1003), (["x" * 2000], 1009)]:
        with served(app_with(handler, settings={"message_bytes_max": 1000}), loop) as (_, client):
            for message in messages:
                send = client.socket.send_bytes if isinstance(message, bytes) else client.socket.send_text
                send(message)
            assert client.socket.wait_closed()[0] == code


async def test_a_shutdown_is_announced():
    async with AsyncTestClient(app_with(echo)) as test:
        async with test.websocket_connect("/ws", subprotocols=["nexios.v1"]) as client:
            await client.send_text(frame(type="hello"))
            await client.receive_text()
            test.shutdown()
            closing = read(await client.receive_text())[0]
            assert (closing["code"], closing["retry_ms"]) == (1012, [100, 2000])
