"""Joining and leaving: what names a room, and when it may be entered."""

import contextlib

import pytest
from apps import app_with
from nexios import History, MemoryBroker, NexiosApp
from nexios.testing import TestClient


@pytest.mark.parametrize("remembers", [False, True])
def test_a_room_or_its_name_is_joined_and_left(loop, remembers):
    app = NexiosApp()
    room = app.room("x", history=History(size=5, ttl=60) if remembers else None)

    @app.ws("/ws")
    async def handler(ws):
        await ws.accept()
        for one, other in [(room, "x"), ("x", app.room("x"))]:
            assert await ws.join(one) is True
            assert ws.rooms == ["x"]
            assert await ws.leave(other) is True
        joined = await ws.join(room, since=None)
        await ws.send_json([bool(joined), ws.rooms])
        for wrong in (5, None, b"x", app):
            for call in (ws.join, ws.leave):
                with pytest.raises(TypeError, match="expected a Room or the name of one, not "):
                    call(wrong)
        await ws.send_text("refused")

    with TestClient(app, loop=loop) as test, test.websocket_connect("/ws") as client:
        assert client.receive_json() == [True, ["x"]]
        assert client.receive_text() == "refused"


@pytest.mark.parametrize("remembers", [False, True])
@pytest.mark.parametrize("broker", [None, MemoryBroker])
def test_what_a_client_is_sent_comes_behind_its_own_broadcast(loop, remembers, broker):
    app = NexiosApp(broker=broker and broker())
    room = app.room("x", history=History(size=500, ttl=60) if remembers else None)

    @app.ws("/ws")
    async def handler(ws):
        await ws.accept()
        await ws.join("x")
        for n in range(200):
            assert await room.broadcast(f"said {n}") == 1
            await ws.send_text(f"sent {n}")

    with TestClient(app, loop=loop) as test, test.websocket_connect("/ws") as client:
        for n in range(200):
            assert [client.receive_text(), client.receive_text()] == [f"said {n}", f"sent {n}"]


def test_a_room_is_entered_and_left_from_accept_on(loop):
    async def handler(ws):
        for call in (ws.join, ws.leave, lambda room: ws.join(room, since=None)):
            with pytest.raises(RuntimeError, match=r"call accept\(\) before joining or leaving a room"):
                await call("x")
        await ws.accept()
        await ws.join("x")
        await ws.send_json(ws.rooms)
        with contextlib.suppress(Exception):
            await ws.receive()
        # After the end nothing can be entered; that is no mistake of the handler's.
        assert await ws.join("y") is False
        assert await ws.leave("x") is False

    with TestClient(app_with(handler), loop=loop) as test, test.websocket_connect("/ws") as client:
        assert client.receive_json() == ["x"]


def test_a_connect_listener_may_join(loop):
    async def handler(ws):
        await ws.accept()
        await ws.send_json(ws.rooms)

    app = app_with(handler)

    @app.on("connect")
    async def connected(ws):
        assert await ws.join("x")

    with TestClient(app, loop=loop) as test, test.websocket_connect("/ws") as client:
        assert client.receive_json() == ["x"]
