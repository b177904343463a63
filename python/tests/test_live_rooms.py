"""Rooms and publishing of `nexios.v1` clients, and what the application permits."""

import asyncio
import contextlib

import pytest
from apps import app_with as plain_app_with
from apps import echo
from live_client import Live, app_with, frame, served
from nexios import MemoryBroker, NexiosApp, RateLimit, RequestError, WebSocketDisconnect, WebSocketException, WSRouter
from nexios.testing import TestClient

# --- coming back


def looking_up(look_up, ends, **settings):
    """An app that looks something up after it has accepted a client, and then lets it into its room."""

    async def handler(ws):
        await ws.accept()
        await look_up()
        await ws.join("x")
        await ends(ws)

    app = app_with(handler, settings=settings)

    @app.authorize_publish
    async def may_publish(ws, room):
        return room in ws.rooms

    return app


async def receives(ws):
    await ws.receive()


async def waits(ws):
    await ws.wait_closed()


async def iterates(ws):
    async for _ in ws:
        pass


async def times_out(ws):
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(ws.receive_text(), 0.001)
    await asyncio.Event().wait()


@pytest.mark.parametrize("ends", [receives, waits, iterates, times_out])
def test_a_publish_that_is_repeated_finds_the_client_in_its_room(loop, ends):
    # A machine that stands still for a second is no fault of the server.
    app = looking_up(lambda: asyncio.sleep(0.005), ends, hold_timeout=60)
    with TestClient(app, loop=loop) as test:
        for number in range(20):
            with test.websocket_connect("/ws", subprotocols=["nexios.v1"]) as socket:
                client = Live(socket)
                client.send(type="hello")
                client.send("hello", type="publish", id=number, room="x", key=str(number))
                assert [client.header()["type"] for _ in range(3)] == ["welcome", "joined", "message"]
                assert client.header() == {"type": "ack", "id": number}


def test_a_publish_waits_so_long_at_most(loop):
    for timeout in (0.05, 0):
        looked_up = asyncio.Event()
        with served(looking_up(looked_up.wait, waits, hold_timeout=timeout), loop) as (_, client):
            client.send("hello", type="publish", id=1, room="x")
            assert client.header()["code"] == "forbidden"
            looked_up.set()
            assert client.header()["type"] == "joined"


def test_the_joins_of_a_client_that_comes_back_are_one_message_to_limits(loop):
    app = NexiosApp(live=True)
    app.ws("/ws", middleware=[RateLimit(messages=10, per=600, burst=30)])(echo)

    @app.authorize_join
    async def anybody(ws, room):
        return True

    with served(app, loop) as (_, client):
        for number in range(40):
            client.send(type="join", id=number, room=str(number))
        assert sorted({client.header()["type"] for _ in range(80)}) == ["ack", "joined"]
        with contextlib.suppress(WebSocketDisconnect):
            for number in range(40):
                client.send(type="join", id=number, room=str(number))
        while (told := client.header())["type"] == "ack":
            pass
        assert (told["type"], told["code"], told["retry_ms"]) == ("closing", 1008, [100, 2000])


def test_a_leave_of_the_application_counts_instead_of_a_join_that_waits(loop):
    gate = asyncio.Event()

    async def handler(ws):
        await ws.accept()
        async for room in ws:
            assert not await ws.leave(room)
            gate.set()

    app = app_with(handler)

    @app.authorize_join
    async def later(ws, room):
        await gate.wait()
        return True

    with served(app, loop) as (_, client):
        client.send(type="join", id=1, room="x")
        client.socket.send_text("x")
        told = client.header()
        assert (told["type"], told["code"]) == ("error", "forbidden")
        assert app.room("x").count() == 0


# --- rooms


def chat(**settings):
    """Joins the room of each text message; says in it what came as bytes."""

    async def handler(ws):
        await ws.accept()
        async for message in ws:
            if isinstance(message, str):
                assert await ws.join(message)
            else:
                await ws.app.room("x").broadcast(message.decode())

    return app_with(handler, settings=settings)


def test_both_kinds_of_clients_share_a_room(loop):
    with served(chat(), loop) as (test, client), test.websocket_connect("/ws") as plain:
        client.socket.send_text("x")
        assert client.receive() == ({"type": "joined", "room": "x"}, "")
        plain.send_text("x")
        plain.send_bytes(b"1")
        plain.send_bytes(b"\x1e2")
        assert [client.receive(), client.receive()] == [
            ({"type": "message", "room": "x"}, "1"),
            ({"type": "message", "room": "x"}, "\x1e2"),
        ]
        assert [plain.receive_text(), plain.receive_text()] == ["1", "\x1e2"]


def test_a_client_enters_and_publishes_where_it_may(loop):
    app = chat()

    @app.authorize_join
    async def may_join(ws, room):
        await asyncio.sleep(0)
        if room == "closed":
            raise WebSocketException(1008, "members only")
        if room == "soon":
            raise RequestError("not_yet", "opens at nine")
        return room == "x"

    @app.authorize_publish
    async def may_publish(ws, room):
        return room in ws.rooms

    with served(app, loop) as (_, client):
        errors = {
            "closed": ("forbidden", "members only"),
            "soon": ("not_yet", "opens at nine"),
            "y": ("forbidden", "the application does not permit it"),
        }
        for room, (code, message) in errors.items():
            client.send(type="join", id=1, room=room)
            assert client.header() == {"type": "error", "id": 1, "code": code, "message": message}
        client.send("early", type="publish", id=2, room="x")
        assert client.header()["code"] == "forbidden"
        client.send(type="join", id=3, room="x")
        assert [client.header(), client.header()] == [{"type": "joined", "room": "x"}, {"type": "ack", "id": 3}]
        client.send("hello", type="publish", id=4, room="x")
        assert client.receive() == ({"type": "message", "room": "x"}, "hello")
        assert client.header() == {"type": "ack", "id": 4}
        client.send(type="leave", id=5, room="x")
        assert [client.header(), client.header()] == [{"type": "left", "room": "x"}, {"type": "ack", "id": 5}]


def test_without_authorization_nothing_is_permitted(loop):
    with served(chat(), loop) as (_, client):
        client.socket.send_text("x")
        assert client.header()["type"] == "joined"
        for kind, room in [("join", "y"), ("publish", "x"), ("presence", "x"), ("leave", "x")]:
            client.send(type=kind, id=1, room=room)
            told = client.header()
            assert (told["code"], told["message"]) == ("forbidden", "the application does not permit it")


def test_presence_and_leaving_are_for_the_application_to_permit(loop):
    app = chat()

    @app.authorize_join
    async def may_join(ws, room):
        return True

    @app.authorize_presence
    async def may_see(ws, room):
        return room == "seen"

    @app.authorize_leave
    async def may_leave(ws, room):
        if room == "soon":
            raise RequestError("not_yet", "opens at nine")
        return room == "seen"

    with served(app, loop) as (_, client):
        for room, code in [("x", "forbidden"), ("soon", "not_yet"), ("seen", None)]:
            client.socket.send_text(room)
            assert client.header() == {"type": "joined", "room": room}
            client.send(type="presence", id=1, room=room)
            assert client.header()["type"] == ("reply" if room == "seen" else "error")
            client.send(type="leave", id=2, room=room)
            if code:
                assert client.header()["code"] == code
            else:
                assert [client.header()["type"], client.header()["type"]] == ["left", "ack"]
        # What it has entered by itself it leaves unasked.
        client.send(type="join", id=3, room="own")
        client.send(type="leave", id=4, room="own")
        assert [client.header()["type"] for _ in range(4)] == ["joined", "ack", "left", "ack"]


def test_a_route_that_is_not_live_takes_it_for_any_unknown_subprotocol(loop):
    app = NexiosApp(live=True)
    off, plain = WSRouter("/off", live=False), WSRouter("/plain")
    app.ws("/on")(echo)
    app.ws("/route-off", live=False)(echo)
    off.ws("/router-off")(echo)
    off.ws("/route-on", live=True)(echo)
    plain.ws("/inherits")(echo)
    app.mount_ws_router(off)
    app.mount_ws_router(plain)
    with TestClient(app, loop=loop) as test:
        for path, is_live in [
            ("/on", True),
            ("/route-off", False),
            ("/off/router-off", False),
            ("/off/route-on", True),
            ("/plain/inherits", True),
        ]:
            with test.websocket_connect(path, subprotocols=["nexios.v1"]) as client:
                assert client.subprotocol == ("nexios.v1" if is_live else None), path
                if not is_live:
                    client.send_text(frame(type="hello"))
                    assert client.receive_text() == frame(type="hello")
    with TestClient(plain_app_with(echo), loop=loop) as test:
        with test.websocket_connect("/ws", subprotocols=["nexios.v1", "bearer", "token"]) as client:
            assert client.subprotocol == "bearer"


def test_nexios_v1_is_listed_and_picked_only_where_the_route_is_live(loop):
    with pytest.raises(ValueError, match=r'the route /ws lists the subprotocol "nexios.v1", which needs live'):
        NexiosApp().ws("/ws", subprotocols=["nexios.v1"])(echo)
    with pytest.raises(ValueError, match="needs live"):
        NexiosApp(live=True).ws("/ws", live=False, subprotocols=["nexios.v1"])(echo)

    async def picks(ws):
        with pytest.raises(ValueError, match="needs live"):
            await ws.accept(subprotocol="nexios.v1")
        await ws.accept()
        await ws.send_text("refused")
        await ws.wait_closed()

    with TestClient(plain_app_with(picks), loop=loop) as test:
        with test.websocket_connect("/ws", subprotocols=["nexios.v1"]) as client:
            assert client.receive_text() == "refused"
    with served(plain_app_with(echo, live=True, subprotocols=["nexios.v1"]), loop):
        pass


def test_rooms_reach_over_nodes(loop):
    broker = MemoryBroker()
    one, other = chat(broker=broker), chat(broker=broker)

    async def anybody(ws, room):
        return True

    one.authorize_join(anybody)
    other.authorize_join(anybody)
    with served(one, loop) as (_, here), served(other, loop) as (_, there):
        for client in (here, there):
            # `joined` may come before the broker knows of it, the acknowledgement only then.
            client.send(type="join", id=1, room="x")
            assert [client.header()["type"], client.header()["type"]] == ["joined", "ack"]
        here.socket.send_bytes(b"hello")
        for client in (here, there):
            assert client.receive() == ({"type": "message", "room": "x"}, "hello")
