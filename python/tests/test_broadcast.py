"""Broadcasts, rooms and ids: a test for each row of docs/semantics.md."""

import asyncio
import contextlib
import json

import pytest
from apps import Log, app_with, echo, stay
from nexios import NexiosApp, WSRouter
from serving import until


@contextlib.asynccontextmanager
async def clients(server, *paths, **options):
    """Clients that are there: each has got its "ready"."""
    async with contextlib.AsyncExitStack() as stack:
        opened = []
        for path in paths:
            ws = await stack.enter_async_context(server.connect(path, **options))
            assert await ws.recv() == "ready"
            opened.append(ws)
        yield opened


async def named(ws):
    """Has the client id that it asks for."""
    ws.client_id = ws.query_params.get("as")
    await stay(ws)


def tree():
    app, outer, inner, other = NexiosApp(), WSRouter(prefix="/outer"), WSRouter(prefix="/inner"), WSRouter("/other")
    for router in app, outer, inner, other:
        router.ws("/ws")(named)
    outer.mount_ws_router(inner)
    app.mount_ws_router(outer)
    app.mount_ws_router(other)
    return app, outer, inner, other


PATHS = "/ws", "/outer/ws", "/outer/inner/ws", "/other/ws"


async def test_a_broadcast_reaches_the_router_and_all_below_it(serve):
    app, outer, inner, other = tree()
    async with serve(app) as server, clients(server, *PATHS) as (a, o, i, x):
        assert await inner.broadcast("inner") == 1
        assert await outer.broadcast("outer") == 2
        assert await other.broadcast("other") == 1
        assert await app.broadcast("all") == 4
        expected = {a: [], o: ["outer"], i: ["inner", "outer"], x: ["other"]}
        for ws, messages in expected.items():
            assert [await ws.recv() for _ in range(len(messages) + 1)] == [*messages, "all"]


async def test_a_broadcast_reaches_only_who_is_connected(serve):
    log = Log()
    go_on = asyncio.Event()

    async def late(ws):
        log("late")
        await go_on.wait()
        await ws.accept()
        await ws.send_text("hello")
        await ws.wait_closed()

    app = app_with(late, "/late")
    app.ws("/ws")(stay)
    async with serve(app) as server, clients(server, "/ws") as (ws,):
        connecting = asyncio.ensure_future(server.connect("/late").__aenter__())
        await log.has(1)
        assert await app.broadcast("x") == 1
        go_on.set()
        other = await connecting
        assert await other.recv() == "hello"
        await other.close()
        await until(lambda: len(app.connections) == 1)
        assert await app.broadcast("y") == 1
        assert [await ws.recv(), await ws.recv()] == ["x", "y"]


async def test_a_broadcast_sends_text_binary_and_anything_else_as_json(serve):
    app = app_with(stay)
    async with serve(app) as server, clients(server, "/ws") as (ws,):
        for value in "text", b"bytes", bytearray(b"array"), {"a": [1]}, [1], 7, None:
            await app.broadcast(value)
        got = [await ws.recv() for _ in range(7)]
    assert got[:3] == ["text", b"bytes", b"array"]
    assert [json.loads(message) for message in got[3:]] == [{"a": [1]}, [1], 7, None]


async def test_a_broadcast_may_leave_some_out(serve):
    app = app_with(named)
    async with serve(app) as server, clients(server, "/ws?as=a", "/ws?as=b", "/ws?as=c") as (a, b, c):
        sockets = {ws.client_id: ws for ws in app.connections}
        assert await app.broadcast("by connection", exclude=[sockets["a"]]) == 2
        assert await app.broadcast("by id", exclude=[sockets["b"].id]) == 2
        assert await app.broadcast("by client id", exclude=["c"]) == 2
        assert await app.broadcast("only one", exclude="b") == 2
        assert await app.broadcast("all", exclude=[]) == 3
        got = {}
        for name, ws in ("a", a), ("b", b), ("c", c):
            got[name] = []
            while not got[name] or got[name][-1] != "all":
                got[name].append(await ws.recv())
    assert got == {
        "a": ["by id", "by client id", "only one", "all"],
        "b": ["by connection", "by client id", "all"],
        "c": ["by connection", "by id", "only one", "all"],
    }


async def test_a_broadcast_returns_a_count_that_has_dropped(serve):
    app = app_with(stay)
    assert await app.broadcast("nobody is served") == 0
    async with serve(app) as server, clients(server, "/ws", "/ws"):
        outcome = await app.broadcast("x")
        assert (outcome, int(outcome), f"{outcome}", outcome.dropped) == (2, 2, "2", 0)
        assert outcome > 1 and outcome


async def test_sends_and_broadcasts_form_one_line(serve):
    async def handler(ws):
        await ws.accept()
        for i in range(0, 300, 2):
            await ws.send_text(str(i))
            await ws.app.broadcast(str(i + 1))

    async with serve(app_with(handler)) as server, server.connect() as ws:
        assert [await ws.recv() for _ in range(300)] == [str(i) for i in range(300)]


async def test_a_handles_sends_stand_in_the_same_line(serve):
    async def handler(ws):
        await ws.accept()
        handle = ws.handle()
        for i in range(0, 300, 3):
            await ws.send_text(str(i))
            await ws.app.broadcast(str(i + 1))
            handle.send_text(str(i + 2))

    async with serve(app_with(handler)) as server, server.connect() as ws:
        assert [await ws.recv() for _ in range(300)] == [str(i) for i in range(300)]


async def test_a_loop_of_broadcasts_does_not_fill_healthy_clients(serve):
    # More than an outbox holds: without a pause between them it would run over.
    count, message = 500, b"x" * (64 << 10)
    app = app_with(stay)
    async with serve(app) as server, clients(server, "/ws", "/ws") as opened:

        async def read(ws):
            for _ in range(count):
                assert await ws.recv() == message

        async def talk():
            for _ in range(count):
                outcome = await app.broadcast(message)
                assert (outcome, outcome.dropped) == (2, 0)

        await asyncio.gather(talk(), *(read(ws) for ws in opened))


async def test_a_broadcast_from_a_handler_and_from_outside(serve):
    async def handler(ws):
        await ws.accept()
        await ws.send_text("ready")
        async for message in ws:
            await ws.app.broadcast(f"{message}!", exclude=[ws])

    app = app_with(handler)
    async with serve(app) as server, clients(server, "/ws", "/ws", "/ws") as (a, b, c):
        await a.send("hello")
        assert [await b.recv(), await c.recv()] == ["hello!", "hello!"]


async def test_a_broadcast_is_compressed_for_those_who_can_read_it(serve):
    async def handler(ws):
        await ws.accept()
        ws.enable_compression()
        await stay_accepted(ws)

    app = app_with(handler)
    async with serve(app) as server:
        plain = await server.raw()
        packed = await server.raw(Sec_WebSocket_Extensions="permessage-deflate")
        for client in plain, packed:
            assert await client.read_frame() == (0x81, b"ready")
        assert await app.broadcast("x" * 5000) == 2
        assert await plain.read_frame() == (0x81, b"x" * 5000)
        first, payload = await packed.read_frame()
        assert first == 0xC1 and len(payload) < 100
        assert await app.broadcast("x" * 5000, compress=False) == 2
        assert await packed.read_frame() == (0x81, b"x" * 5000)
        plain.cut()
        packed.cut()


async def stay_accepted(ws):
    await ws.send_text("ready")
    await ws.wait_closed()


# --- ids


async def test_broadcast_to_takes_connection_ids_and_client_ids(serve):
    app = app_with(named)
    async with serve(app) as server:
        async with clients(server, "/ws?as=tabs", "/ws?as=tabs", "/ws?as=one", "/ws") as (tab1, tab2, one, other):
            ids = [ws.id for ws in app.connections if ws.client_id is None]
            outcome = await app.broadcast_to(["tabs", ids[0], "nobody"], "x")
            assert (outcome, outcome.unknown, outcome.dropped) == (3, ["nobody"], 0)
            assert await app.broadcast_to("one", "only") == 1
            await app.broadcast("end")
            assert [await ws.recv() for ws in (tab1, tab2, other)] == ["x"] * 3
            assert await one.recv() == "only"
            assert [await ws.recv() for ws in (tab1, tab2, one, other)] == ["end"] * 4


async def test_broadcast_to_reaches_each_connection_once(serve):
    app = app_with(named)
    async with serve(app) as server, clients(server, "/ws?as=a") as (ws,):
        (socket,) = app.connections
        assert await app.broadcast_to(["a", socket.id, socket], "once") == 1
        await app.broadcast("end")
        assert [await ws.recv(), await ws.recv()] == ["once", "end"]


async def test_broadcast_to_reaches_only_the_routers_own(serve):
    app, outer, _, other = tree()
    async with serve(app) as server, clients(server, "/outer/inner/ws?as=a", "/other/ws?as=a") as (i, x):
        outcome = await outer.broadcast_to(["a"], "outer")
        assert outcome == 1
        outcome = await other.broadcast_to(["b"], "nobody")
        assert (outcome, outcome.unknown) == (0, ["b"])
        await app.broadcast("end")
        assert [await i.recv(), await i.recv()] == ["outer", "end"]
        assert await x.recv() == "end"


async def test_a_client_id_can_be_changed_and_removed(serve):
    app = app_with(named)
    async with serve(app) as server, clients(server, "/ws?as=a") as (ws,):
        (socket,) = app.connections
        socket.client_id = "b"
        assert socket.client_id == "b"
        assert (await app.broadcast_to(["a"], "x")).unknown == ["a"]
        assert await app.broadcast_to(["b"], "y") == 1
        socket.client_id = None
        assert socket.client_id is None
        assert (await app.broadcast_to(["b"], "z")).unknown == ["b"]
        assert await ws.recv() == "y"


async def test_connection_ids_are_text_and_differ(serve):
    app = app_with(stay)
    async with serve(app) as server, clients(server, *["/ws"] * 20):
        ids = [ws.id for ws in app.connections]
        assert len(set(ids)) == 20 == len(app.connections)
        assert all(isinstance(id, str) and len(id) == 32 for id in ids)
        assert app.connections and ids[0] in app.connections


# --- rooms


async def in_rooms(ws):
    await ws.accept()
    for room in ws.query_params.get_all("room"):
        await ws.join(room)
    await ws.send_text("ready")
    async for message in ws.iter_text():
        await ws.leave(message)
        await ws.send_text(f"left {message}")


async def test_rooms_are_joined_left_and_broadcast_to(serve):
    app = app_with(in_rooms)
    async with serve(app) as server:
        async with clients(server, "/ws?room=x", "/ws?room=x&room=y", "/ws") as (one, two, three):
            assert (app.room("x").count(), app.room("y").count(), app.room("z").count()) == (2, 1, 0)
            assert sorted(sorted(ws.rooms) for ws in app.room("x").members()) == [["x"], ["x", "y"]]
            assert await app.room("x").broadcast("in x") == 2
            assert [await one.recv(), await two.recv()] == ["in x", "in x"]
            await two.send("x")
            assert await two.recv() == "left x"
            assert app.room("x").count() == 1
            assert await app.room("x").broadcast("again") == 1
            await app.broadcast("end")
            assert [await one.recv(), await one.recv()] == ["again", "end"]
            assert [await two.recv(), await three.recv()] == ["end", "end"]


async def test_a_room_is_left_at_disconnect(serve):
    app = app_with(in_rooms)
    async with serve(app) as server:
        async with clients(server, "/ws?room=x"):
            assert app.room("x").count() == 1
        await until(lambda: app.room("x").count() == 0)
        assert await app.room("x").broadcast("nobody") == 0


async def test_rooms_are_the_apps(serve):
    app, one, two = NexiosApp(), WSRouter(prefix="/one"), WSRouter(prefix="/two")
    for router in one, two:
        router.ws("/ws")(in_rooms)
        app.mount_ws_router(router)
    async with serve(app) as server, clients(server, "/one/ws?room=x", "/two/ws?room=x") as (a, b):
        assert one.room("x").count() == two.room("x").count() == app.room("x").count() == 2
        assert await one.room("x").broadcast("hello") == 2
        assert [await a.recv(), await b.recv()] == ["hello", "hello"]


async def test_join_before_accept_and_after_the_end_is_refused(serve):
    log = Log()

    async def handler(ws):
        try:
            await ws.join("x")
        except RuntimeError as error:
            log(str(error))
        await ws.accept()
        log(await ws.join("x"))
        log(list(ws.rooms))
        await ws.wait_closed()
        log(await ws.join("y"))
        log("y" in ws.rooms)

    async with serve(app_with(handler)) as server:
        async with server.connect():
            await log.has(3)
        assert await log.has(5) == ["call accept() before joining or leaving a room", True, ["x"], False, False]


async def test_a_room_may_leave_some_out_and_name_some(serve):
    app = app_with(in_rooms)
    async with serve(app) as server, clients(server, "/ws?room=x", "/ws?room=x", "/ws") as (one, two, _):
        first, second = list(app.room("x").members())
        (third,) = [ws for ws in app.connections if not ws.rooms]
        assert await app.room("x").broadcast("not the first", exclude=first) == 1
        outcome = await app.room("x").broadcast_to([second.id, third.id], "the second")
        assert (outcome, outcome.unknown) == (1, [third.id])
        await app.room("x").broadcast("end")
        got = {ws: [] for ws in (one, two)}
        for ws, messages in got.items():
            while not messages or messages[-1] != "end":
                messages.append(await ws.recv())
        assert sorted(got.values()) == [["end"], ["not the first", "the second", "end"]]


async def test_a_router_that_is_not_served_has_nobody(serve):
    router = WSRouter()
    router.ws("/ws")(echo)
    assert len(router.connections) == 0 and list(router.connections) == []
    assert router.room("x").count() == 0
    assert await router.broadcast("x") == 0
    outcome = await router.broadcast_to(["a", "b"], "x")
    assert (outcome, outcome.unknown) == (0, ["a", "b"])
    assert (await router.broadcast_to("one", "x")).unknown == ["one"]


async def test_an_app_can_be_served_again(serve):
    app = app_with(stay)
    for _ in range(2):
        async with serve(app) as server, clients(server, "/ws") as (ws,):
            assert await app.broadcast("x") == 1
            assert await ws.recv() == "x"
        assert len(app.connections) == 0


async def test_an_app_that_is_served_cannot_be_served_twice(serve):
    app = app_with(stay)
    async with serve(app):
        with pytest.raises(RuntimeError, match="served"):
            await app.serve(port=0)
