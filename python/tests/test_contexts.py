"""Context variables: no client's are ever seen by another, and listeners see what middleware has set."""

import asyncio
import contextlib
import contextvars
import gc
import json
import logging
import weakref

import pytest
from nexios import History, MemoryBroker, NexiosApp, RequestError
from nexios.testing import TestClient
from raw_client import TEXT, frame
from serving import until

USER = contextvars.ContextVar("user", default=None)
HOLDER = contextvars.ContextVar("holder", default=None)


@contextlib.asynccontextmanager
async def cut_at_the_end(connecting):
    """A client that reads nothing: the closing handshake of its library would wait behind what it was sent."""
    client = await connecting
    try:
        yield client
    finally:
        client.transport.abort()


class Secret:
    pass


def busy_app(seen):
    """An app whose clients of ``/busy/{user}`` set a variable and then send without end; others note what they see."""
    app = NexiosApp()

    @app.ws("/busy/{user}")
    async def busy(ws):
        await ws.accept()
        USER.set(ws.path_params["user"])
        while True:
            await ws.send_text("tick")
            await app.room("all").broadcast("tick")
            await asyncio.sleep(0.001)

    @app.ws("/new")
    async def new(ws):
        seen.append(("handler", USER.get()))
        await ws.accept()
        await ws.join("all")
        await ws.receive_text()
        await ws.close()

    @app.on("connect")
    async def connect(ws):
        if ws.path == "/new":
            seen.append(("connect", USER.get()))

    @app.on("message")
    async def message(ws, text):
        seen.append(("message", USER.get()))

    @app.on("disconnect")
    async def disconnect(ws):
        if ws.path == "/new":
            seen.append(("disconnect", USER.get()))

    return app


@pytest.mark.timeout(60)
async def test_what_starts_in_a_turn_that_another_clients_task_has_scheduled_does_not_see_its_variables(serve):
    seen = []
    async with serve(busy_app(seen)) as server:
        async with cut_at_the_end(server.connect("/busy/ann")), cut_at_the_end(server.connect("/busy/bob")):
            for _ in range(20):
                async with server.connect("/new") as client:
                    await client.send("hello")
                    await client.wait_closed()
            await until(lambda: sum(kind == "disconnect" for kind, _ in seen) == 20)
    assert {kind for kind, _ in seen} == {"handler", "connect", "message", "disconnect"}
    assert {user for _, user in seen} == {None}


async def test_asgi_requests_do_not_see_the_variables_of_clients(serve):
    seen = []

    async def http(scope, receive, send):
        if scope["type"] != "http":
            raise RuntimeError("no lifespan")
        seen.append(USER.get())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    app = NexiosApp(http=http)

    @app.ws("/busy")
    async def busy(ws):
        await ws.accept()
        USER.set("ann")
        while True:
            await ws.send_text("tick")
            await asyncio.sleep(0.001)

    async with serve(app) as server, cut_at_the_end(server.connect("/busy")):
        for _ in range(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert b"200" in await reader.read()
            writer.close()
    assert seen == [None] * 20


def middleware_app(seen, user):
    app = NexiosApp()

    @app.middleware
    async def login(ws, next):
        USER.set(user)
        await next(ws)

    @app.on("connect")
    async def connect(ws):
        seen.append(("connect", USER.get()))

    @app.on("message")
    async def message(ws, text):
        seen.append(("message", USER.get()))
        USER.set("of one listener")

    @app.on("disconnect")
    async def disconnect(ws):
        seen.append(("disconnect", USER.get()))

    return app


async def test_listeners_run_in_copies_of_the_handlers_context_as_it_is_at_accept(serve):
    seen = []
    app = middleware_app(seen, "ann")

    @app.ws("/ws")
    async def handler(ws):
        await ws.accept()
        USER.set("set after accept")
        await ws.receive_text()
        await ws.receive_text()
        seen.append(("handler", USER.get()))

    async with serve(app) as server, server.connect() as client:
        await client.send("one")
        await client.send("two")
        await until(lambda: ("disconnect", "ann") in seen)
    assert [kind for kind, _ in seen] == ["connect", "message", "message", "handler", "disconnect"]
    assert {user for kind, user in seen if kind != "handler"} == {"ann"}
    assert ("handler", "set after accept") in seen


async def test_the_line_of_a_failed_handler_has_what_middleware_has_set(serve, caplog):
    users = []

    class Note(logging.Filter):
        def filter(self, record):
            users.append((record.getMessage().split(" (")[0], USER.get()))
            return True

    app = middleware_app([], "ann")

    @app.ws("/ws")
    async def handler(ws):
        await ws.accept()
        raise LookupError("a fault of the app")

    note = Note()
    logging.getLogger("nexios").addFilter(note)
    try:
        async with serve(app) as server, server.connect() as client:
            await client.wait_closed()
            await until(lambda: ("the handler failed", "ann") in users)
    finally:
        logging.getLogger("nexios").removeFilter(note)


async def test_a_variable_of_a_client_is_not_kept_by_what_it_has_scheduled(serve):
    kept = []
    app = NexiosApp()

    @app.ws("/ws")
    async def handler(ws):
        secret = Secret()
        kept.append(weakref.ref(secret))
        HOLDER.set(secret)
        await ws.accept()
        await ws.send_text("hello")
        await ws.receive_text()

    async with serve(app) as server:
        async with server.connect() as client:
            await client.recv()
            await client.send("go")
            async for _ in client:
                pass
        await until(lambda: gc.collect() >= 0 and kept[0]() is None)


async def test_the_variables_of_the_server_are_seen_by_all(serve):
    seen = []
    app = NexiosApp()

    @app.ws("/ws")
    async def handler(ws):
        seen.append(USER.get())
        USER.set("changed by a client")
        await ws.accept()

    USER.set("the server's")
    try:
        async with serve(app) as server:
            for _ in range(2):
                async with server.connect() as client:
                    async for _ in client:
                        pass
    finally:
        USER.set(None)
    assert seen == ["the server's"] * 2


async def test_what_a_client_asks_for_runs_in_copies_of_its_handlers_context(serve):
    """Authorisers and the answers to requests, while another client has turns scheduled from its own context."""
    seen = []
    app = NexiosApp(live=True)
    history = History(size=10, ttl=60)
    for name in ("general", "other"):
        app.room(name, history=history)

    @app.middleware
    async def login(ws, next):
        USER.set(ws.path_params.get("user", "busy"))
        await next(ws)

    @app.ws("/busy")
    async def busy(ws):
        await ws.accept()
        while True:
            await ws.send_text("tick")
            await asyncio.sleep(0.001)

    @app.ws("/live/{user}")
    async def live(ws):
        await ws.accept()
        await ws.join("application's")
        await ws.wait_closed()

    def noting(kind):
        async def note(ws, what):
            seen.append((kind, USER.get(), ws.path_params["user"]))
            USER.set("of one call")
            return True

        return note

    for kind in ("join", "publish", "history", "presence", "leave"):
        getattr(app, f"authorize_{kind}")(noting(kind))

    @app.on_request("whoami")
    async def whoami(ws, data):
        seen.append(("request", USER.get(), ws.path_params["user"]))
        await asyncio.sleep(0)
        raise RequestError("nobody", "x")

    headers = [
        {"type": "join", "id": 1, "room": "general"},
        {"type": "publish", "id": 2, "room": "general"},
        {"type": "join", "id": 3, "room": "other", "position": "start"},
        {"type": "presence", "id": 4, "room": "general"},
        {"type": "leave", "id": 5, "room": "application's"},
        {"type": "request", "id": 6, "method": "whoami"},
    ]
    kinds = {"join", "publish", "history", "presence", "leave", "request"}
    async with serve(app) as server, cut_at_the_end(server.connect("/busy")):
        for user in ("ann", "bob"):
            client = await server.raw(f"/live/{user}", Sec_WebSocket_Protocol="nexios.v1")
            client.send(frame(TEXT, b'\x1e{"type":"hello"}\n'))
            for header in headers * 2:
                client.send(frame(TEXT, f"\x1e{json.dumps(header)}\n".encode()))
            await until(lambda user=user: {kind for kind, _, of in seen if of == user} >= kinds, f"all of {user}'s")
    assert all(sees == of for _, sees, of in seen), seen


@pytest.mark.timeout(60)
async def test_drop_listeners_run_in_copies_of_the_handlers_context(serve):
    seen = []
    app = middleware_app([], "ann")

    @app.ws("/ws", slow_client="drop_newest", drain_timeout=60)
    async def handler(ws):
        await ws.accept()
        USER.set("set after accept")
        await ws.wait_closed()

    @app.on("drop")
    async def dropped(ws, messages):
        seen.append(USER.get())
        USER.set("of one listener")

    async with serve(app) as server:
        client = await server.raw(receive_buffer=4096)
        while len(seen) < 5:
            USER.set("who broadcasts")
            await app.broadcast("x" * (32 << 10))
            await asyncio.sleep(0)
        USER.set(None)
        client.cut()
    assert set(seen) == {"ann"}


async def test_gap_listeners_do_not_see_the_variables_of_clients(serve):
    seen, broker = [], MemoryBroker()
    app = NexiosApp(broker=broker)

    @app.ws("/busy")
    async def busy(ws):
        await ws.accept()
        USER.set("ann")
        while True:
            await ws.send_text("tick")
            await app.broadcast("tick")
            await asyncio.sleep(0.001)

    @app.on("gap")
    async def gap(what):
        seen.append(USER.get())

    async with serve(app) as server, cut_at_the_end(server.connect("/busy")):
        await until(lambda: app.broker_metrics() is not None)
        for count in range(1, 4):
            broker.stop()
            await until(lambda: not app.broker_metrics().connected)
            broker.start()
            await until(lambda count=count: len(seen) >= count)
    assert set(seen) == {None}


def test_the_test_client_keeps_contexts_apart_too(loop):
    seen = []
    app = busy_app(seen)
    with TestClient(app, loop=loop) as test:
        with test.websocket_connect("/busy/ann") as busy:
            busy.receive_text()
            with test.websocket_connect("/new") as client:
                client.send_text("hello")
    assert seen and {user for _, user in seen} == {None}
