"""Clients that speak `nexios.v1`: the rows of docs/protocol.md, as a handler in Python meets them."""

import asyncio
import contextlib
import json

import guides
import pytest
import websockets
from apps import Log, echo
from apps import app_with as plain_app_with
from nexios import (
    MemoryBroker,
    NexiosApp,
    RateLimit,
    RequestError,
    WebSocketDisconnect,
    WebSocketException,
    WSRouter,
)
from nexios.testing import AsyncTestClient, TestClient


def app_with(handler, settings=None, **route):
    return plain_app_with(handler, settings={"live": True} | (settings or {}), **route)


def frame(payload="", **header):
    return f"\x1e{json.dumps(header)}\n{payload}"


def read(message):
    """The header and the payload of a frame; an application's message has no header."""
    if not message.startswith("\x1e"):
        return None, message
    header, payload = message[1:].split("\n", 1)
    return json.loads(header), payload


async def closed(client):
    """The code that a client is told before its connection is closed, and then."""
    told = read(await client.recv())[0]
    with pytest.raises(websockets.ConnectionClosed) as gone:
        await client.recv()
    assert told["type"] == "closing" and told["code"] == gone.value.rcvd.code
    return told["code"]


class Live:
    """A client that has said hello."""

    def __init__(self, socket):
        self.socket = socket

    def send(self, payload="", **header):
        self.socket.send_text(frame(payload, **header))

    def receive(self):
        return read(self.socket.receive_text())

    def header(self):
        return self.receive()[0]


@contextlib.contextmanager
def served(app, loop, path="/ws"):
    with TestClient(app, loop=loop) as test, test.websocket_connect(path, subprotocols=["nexios.v1"]) as socket:
        client = Live(socket)
        client.send(type="hello")
        welcome = client.header()
        assert welcome["type"] == "welcome" and welcome["id"] == socket.id
        yield test, client


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


# --- requests


def with_requests():
    app = app_with(echo)

    @app.on_request("text")
    async def text(ws, argument):
        return argument + "!"

    @app.on_request("bytes")
    async def binary(ws, argument):
        return argument.encode()

    @app.on_request("nothing")
    async def nothing(ws, argument):
        pass

    @app.on_request("value")
    async def value(ws, argument):
        return {"length": len(argument)}

    @app.on_request("sum", json=True)
    async def total(ws, numbers):
        return sum(numbers)

    @app.on_request("long")
    async def long(ws, argument):
        raise RequestError("c" * 300, "€" * 200_000)

    @app.on_request("own")
    async def own(ws, argument):
        raise RequestError("sold_out", "come back tomorrow")

    return app


def test_requests_are_answered(loop):
    with served(with_requests(), loop) as (_, client):
        for method, argument, reply in [
            ("text", "hi", "hi!"),
            ("nothing", "", ""),
            ("value", "four", '{"length":4}'),
            ("sum", "[1, 2]", "3"),
        ]:
            client.send(argument, type="request", id=1, method=method)
            assert client.receive() == ({"type": "reply", "id": 1}, reply)
        client.send("hi", type="request", id=2, method="bytes")
        assert client.socket.receive_bytes() == b'\x1e{"type":"reply","id":2}\nhi'
        client.send("x", type="request", id=2, method="long")
        told = client.header()
        assert told["code"] == "c" * 256 and 43_000 < len(told["message"]) and set(told["message"]) == {"€"}
        for method, code in [("own", "sold_out"), ("sum", "invalid"), ("none", "not_found")]:
            client.send("[1,", type="request", id=3, method=method)
            assert client.header()["code"] == code


async def test_a_fault_is_logged_and_told_as_failed_and_the_connection_lives(serve, caplog):
    app = app_with(echo)

    @app.on_request("fault")
    async def fault(ws, argument):
        raise KeyError("a secret")

    @app.authorize_join
    async def forgets(ws, room):
        pass

    async with serve(app) as server, server.connect(subprotocols=["nexios.v1"]) as client:
        await client.send(frame(type="hello"))
        await client.recv()
        for number, asked in enumerate([{"type": "request", "method": "fault"}, {"type": "join", "room": "x"}]):
            await client.send(frame(id=number, **asked))
            told = {"type": "error", "id": number, "code": "failed", "message": "the server failed"}
            assert read(await client.recv()) == (told, "")
        await client.send("still here")
        assert await client.recv() == "still here"
    logged = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert logged[0] == "'a secret'" and len(logged) == 2
    caplog.clear()


async def test_a_request_is_cancelled_with_its_connection(serve):
    log, app = Log(), app_with(echo)

    @app.on_request("slow")
    async def slow(ws, argument):
        log("begun")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            log("cancelled")
            raise

    async with serve(app) as server:
        async with server.connect(subprotocols=["nexios.v1"]) as client:
            await client.send(frame(type="hello"))
            await client.send(frame(type="request", id=1, method="slow"))
            await log.has(1)
        assert await log.has(2) == ["begun", "cancelled"]


def test_the_nearest_router_answers(loop):
    app, near = with_requests(), WSRouter("/near")
    near.ws("/ws")(echo)

    @near.on_request("text")
    async def text(ws, argument):
        return "near"

    app.mount_ws_router(near)
    with served(app, loop, "/near/ws") as (_, client):
        for method, reply in [("text", "near"), ("sum", "0")]:
            client.send("[]", type="request", id=1, method=method)
            assert client.receive()[1] == reply


def test_a_plain_function_is_refused_at_once():
    router = WSRouter()
    for register in [
        router.authorize_join,
        router.authorize_publish,
        router.authorize_presence,
        router.authorize_leave,
        router.on_request("x"),
    ]:
        with pytest.raises(TypeError, match="async def"):
            register(lambda ws, what: True)


def test_the_guide_shows_what_works(loop, tmp_path):
    with guides.imported("live", tmp_path, "live") as guide, served(guide.app, loop, "/live?name=ann") as (_, client):
        assert client.header() == {"type": "joined", "room": "news"}
        client.socket.send_text("hello")
        assert client.receive() == (None, "you said hello")
        client.send("mine", type="publish", id=1, room="news")
        assert client.header()["code"] == "forbidden"
        client.send(type="join", id=2, room="chat-1")
        assert [client.header()["type"] for _ in range(2)] == ["joined", "ack"]
        client.send('"hello"', type="publish", id=3, room="chat-1")
        assert client.receive()[1] == '"hello"'
        assert client.header() == {"type": "ack", "id": 3}
        for numbers, answer in [("[1, 2]", ("reply", "0.5")), ("[1, 0]", ("error", ""))]:
            client.send(numbers, type="request", id=4, method="divide")
            header, payload = client.receive()
            assert (header["type"], payload) == answer


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
