"""Who is in a room: on one node, and on several of one app."""

import asyncio
import contextlib

import nexios
import pytest
from nexios import Broker, MemoryBroker, NexiosApp, PresenceError, PresenceEvent, Present
from nexios.testing import TestClient


def node(broker=None, **settings):
    """An app that tracks its clients in the room ``x``, under the name of their path, with what they send."""
    app = NexiosApp(broker=broker, **settings)
    app.told = []

    @app.ws("/{name}")
    async def member(ws):
        ws.client_id = ws.path_params["name"]
        await ws.accept()
        await ws.join("x")
        room = app.room("x")
        async for data in ws.iter_json():
            if data == "untrack":
                await ws.send_json(await room.untrack(ws))
            elif data == "leave":
                await ws.send_json(await ws.leave("x"))
            else:
                await room.track(ws, data)
                await ws.send_json(await room.presence_count())

    @app.on("join")
    async def joined(event):
        app.told.append(("join", event))

    @app.on("leave")
    async def left(event):
        app.told.append(("leave", event))

    return app


@contextlib.asynccontextmanager
async def member(server, name, data="here"):
    async with server.connect(f"/{name}") as ws:
        await ws.send(f'"{data}"')
        await ws.recv()
        yield ws


async def until(holds):
    while not await holds():
        await asyncio.sleep(0.01)


def users(present):
    return [(one.user, one.data, one.connections) for one in present]


async def test_several_tabs_are_one_user_with_the_newest_data(serve):
    app = node()
    room = app.room("x")
    async with serve(app) as served, member(served, "ann", "1"):
        async with member(served, "ann", "2") as tab:
            assert await room.presence() == [Present("ann", "2", 2)]
            await tab.send('{"status": ["busy", null]}')
            await tab.recv()
            assert users(await room.presence()) == [("ann", {"status": ["busy", None]}, 2)]
            await tab.send('"untrack"')
            assert await tab.recv() == "true"
            assert users(await room.presence()) == [("ann", "1", 1)]
        async with member(served, "bob"):
            assert await room.presence_count() == 2
    event = PresenceEvent(room="x", user="bob", data="here", here=True)
    assert [(kind, event.kind) for kind, event in app.told] == [(kind, kind) for kind, _ in app.told]
    assert app.told[1:3] == [("join", event), ("leave", event)]
    assert await room.presence() == [] and await room.presence_count() == 0


async def test_leaving_the_room_ends_it(serve):
    app = node()
    async with serve(app) as served, member(served, "ann") as ann:
        await ann.send('"leave"')
        assert await ann.recv() == "true"
        assert await app.room("x").presence() == []

        async def told():
            return [kind for kind, _ in app.told] == ["join", "leave"]

        await until(told)


async def test_who_cannot_be_tracked_says_why(serve):
    app = NexiosApp()
    room = app.room("x")

    @app.ws("/")
    async def handler(ws):
        await ws.accept()
        with pytest.raises(PresenceError, match="is not in the room"):
            await room.track(ws)
        await ws.join("x")
        with pytest.raises(PresenceError, match="4097 bytes of JSON"):
            await room.track(ws, "x" * 4095)
        with pytest.raises(TypeError):
            await room.track(ws, object())
        await room.track(ws)
        assert await room.presence() == [Present(ws.id, None, 1)]
        await ws.send_text("done")

    async with serve(app) as served, served.connect("/") as ws:
        assert await ws.recv() == "done"
    with pytest.raises(PresenceError, match="not served"):
        await room.track(None)
    assert not await room.untrack(None)


@pytest.mark.parametrize("broker", [MemoryBroker], ids=["memory"])
async def test_presence_is_that_of_all_nodes(serve, broker):
    broker = broker()
    one, other, late = node(broker), node(broker), node(broker)
    async with serve(one) as first, serve(other) as second, serve(late):
        async with member(first, "ann", "1"), member(second, "bob", "2"), member(second, "ann", "3"):
            everybody = [("ann", "3", 2), ("bob", "2", 1)]
            assert users(await late.room("x").presence()) == everybody

            async def converged():
                return users(await one.room("x").presence()) == users(await other.room("x").presence()) == everybody

            await until(converged)

        async def empty():
            return await late.room("x").presence_count() == 0

        await until(empty)

        async def told():
            return len(late.told) == 4

        await until(told)
        assert {(kind, event.user, event.here) for kind, event in late.told} == {
            ("join", "ann", False),
            ("join", "bob", False),
            ("leave", "ann", False),
            ("leave", "bob", False),
        }


async def test_a_node_that_ends_takes_its_users_with_it(serve):
    broker = MemoryBroker()
    one, other = node(broker), node(broker)
    async with serve(one) as first, member(first, "ann"):
        async with serve(other) as second, member(second, "bob"):

            async def both():
                return await one.room("x").presence_count() == 2

            await until(both)

        async def alone():
            return users(await one.room("x").presence()) == [("ann", "here", 1)]

        await until(alone)


async def test_an_error_in_a_listener_is_logged_and_the_next_is_told(serve, caplog):
    app = node()

    @app.on("join")
    async def failing(event):
        raise ValueError("of the listener")

    told = []

    @app.on("join")
    async def slow(event):
        await asyncio.sleep(0)
        told.append(event.user)

    async with serve(app) as served, member(served, "ann"), member(served, "bob"):

        async def both():
            return len(told) == 2

        await until(both)
    assert told == ["ann", "bob"]
    assert caplog.text.count("a join listener failed") == 2 and "of the listener" in caplog.text


def test_the_test_client_has_presence_too():
    app = node()
    with TestClient(app) as test, test.websocket_connect("/ann") as ws:
        ws.send_json("1")
        assert ws.receive_json() == 1
    assert [kind for kind, _ in app.told] == ["join", "leave"]


async def test_settings_bound_it(serve):
    app = node(Broker(MemoryBroker(), presence_ttl=0.5, presence_bytes_max=100))
    caught = []

    @app.exception_handler(PresenceError)
    async def full(ws, error):
        caught.append(str(error))

    async with serve(app) as served, served.connect("/ann") as ws:
        await ws.send('"1"')
        await ws.wait_closed()
    assert caught == ["presence has no room for more: it may take 100 bytes"]
    with pytest.raises(ValueError):
        Broker(MemoryBroker(), presence_ttl=-1)


async def test_a_user_who_is_back_within_the_delay_has_neither_left_nor_joined(serve):
    broker = MemoryBroker()
    one, other = node(broker, leave_delay=30), node(broker, leave_delay=0.3)
    async with serve(one) as here, serve(other) as there:
        for server, data in [(here, "1"), (here, "2"), (there, "3"), (here, "4")]:
            async with member(server, "ann", data):
                pass

        async def is_only_here():
            return users(await one.room("x").presence()) == [("ann", "4", 1)]

        await until(is_only_here)
        assert [kind for kind, _ in one.told] == ["join"]
        async with member(there, "bob"):
            pass

        async def has_left():
            return [kind for kind, _ in one.told] == ["join", "join", "leave"]

        await until(has_left)
        assert one.told[-1][1].user == "bob"


def test_the_public_names_are_those_of_the_package():
    assert {"Present", "PresenceEvent", "PresenceError"} <= set(nexios.__all__)


def test_a_client_watches_so_many_rooms_at_a_time():
    for settings, most in (({}, 100), ({"watched_rooms_max": 1}, 1)):
        app = NexiosApp(live=True, **settings)

        @app.authorize_presence
        async def may_see(ws, room):
            return True

        @app.ws("/")
        async def member(ws):
            await ws.accept()
            for number in range(101):
                await ws.join(str(number))
            await ws.wait_closed()

        with TestClient(app) as test, test.websocket_connect("/", subprotocols=["nexios.v1"]) as client:
            client.send_text('\x1e{"type":"hello"}\n')
            while '"joined","room":"100"' not in client.receive_text():
                pass
            answers = []
            for number in range(101):
                client.send_text(f'\x1e{{"type":"presence","id":{number},"room":"{number}"}}\n')
                answers.append(client.receive_text())
        assert [number for number, answer in enumerate(answers) if '"reply"' in answer] == list(range(most))
        assert f"may watch the presence of {most} rooms" in answers[most]


async def test_a_connection_tracks_itself_in_a_room_that_it_names_or_has(serve):
    app = NexiosApp()

    @app.ws("/")
    async def member(ws):
        await ws.accept()
        room = app.room("x")
        with pytest.raises(PresenceError, match='not in the room "x"'):
            await ws.track("x", 1)
        await ws.join(room)
        told = []
        for track in (lambda: ws.track("x", 1), lambda: ws.track(room, {"a": 2}), lambda: ws.track(room)):
            assert await track() is None
            told.append((await room.presence())[0].data)
        told += [await ws.untrack("x"), await ws.untrack(room), await room.presence_count()]
        await ws.send_json(told)

    async with serve(app) as server, server.connect("/") as ws:
        assert await ws.recv() == '[1,{"a":2},null,true,false,0]'
