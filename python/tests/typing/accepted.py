"""What users write, in full: mypy has nothing to say against it, and finds the types stated here."""

import asyncio
import contextlib
import functools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import nexios
from fastapi import FastAPI
from litestar import Litestar
from nexios import (
    Address,
    Handle,
    Headers,
    NexiosApp,
    Next,
    OutboxFull,
    Outcome,
    PresenceEvent,
    Present,
    RateLimit,
    Room,
    Route,
    State,
    WebSocket,
    WebSocketDisconnect,
    WebSocketException,
    WebSocketState,
    WebSocketTypeError,
    WSRouter,
)
from nexios.settings import RouterSettings
from starlette.applications import Starlette
from typing_extensions import assert_type

# --- building


@contextlib.asynccontextmanager
async def lifespan(app: NexiosApp) -> AsyncIterator[None]:
    yield


app = NexiosApp(
    lifespan=lifespan,
    health="/health",
    trusted_proxies=["10.0.0.0/8"],
    allowed_origins=("https://example.org",),
    message_bytes_max=None,
    ping_interval=10,
    compression={"context_takeover": True, "window_bits": 12},
    slow_client="conflate",
    shutdown_grace=5,
    middleware=[RateLimit(handshakes=5, per=10.0, key="host", on_excess="drop")],
)
shared: RouterSettings = {"ping_timeout": 5.0, "compression": False}
chat_group = WSRouter("/chat", name="chat", **shared)
app.mount_ws_router(chat_group)
app.mount_ws_router(WSRouter(prefix="/other"), prefix="/x")
app.static("/files", Path("files"))
app.static("/", directory="site")


@app.on_startup
async def startup() -> None: ...


@app.on_shutdown
async def shutdown() -> int:
    return 0


async def restart() -> None:
    assert_type(await shutdown(), int)


# Any ASGI application, whatever it calls its types.
NexiosApp(http=FastAPI())
NexiosApp(http=Starlette())
NexiosApp(http=Litestar([]))


async def plain(scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Any) -> None: ...


NexiosApp(http=plain)

# --- middleware


@app.middleware
async def authenticate(ws: WebSocket, next: Next) -> None:
    if ws.bearer_token is None:
        await ws.close(code=1008, reason="Authentication required")
        return
    assert_type(await next(ws), Any)


async def timed(ws: WebSocket, next: Callable[[WebSocket], Awaitable[Any]]) -> Any:
    return await next(ws)


class Tagged:
    """A middleware with a setting of its own."""

    def __init__(self, tag: str) -> None:
        self.tag = tag

    async def __call__(self, ws: WebSocket, next: Next) -> Any:
        ws.state.tag = self.tag
        return await next(ws)


chat_group.middleware(timed)
chat_group.middleware(Tagged("chat"))
limit = RateLimit(messages=10, per=1.0, burst=30, key=lambda ws: str(ws.state["user"]), on_excess="wait")
assert_type(limit.dropped, int)

# --- listeners


@app.on("connect")
async def connected(ws: WebSocket) -> None:
    await ws.send_json({"hello": ws.id})


@app.on("disconnect")
async def disconnected(ws: WebSocket) -> None:
    print(ws.close_code, ws.close_reason)


@app.on("message")
async def seen(ws: WebSocket, message: str | bytes) -> None:
    print(len(message))


@app.on("drop")
async def dropped(ws: WebSocket, messages: list[str | bytes]) -> None:
    print(len(messages))


@app.on("join")
@app.on("leave")
async def came_or_went(event: PresenceEvent) -> None:
    assert_type(event.here, bool)
    room = app.room(event.room)
    assert_type(await room.presence(), list[Present])
    assert_type(await room.presence_count(), int)


# --- exception handlers


@app.exception_handler(WebSocketException)
async def refused(ws: WebSocket, exc: WebSocketException) -> None:
    await ws.close(exc.code, exc.reason)


@chat_group.exception_handler(KeyError)
@chat_group.exception_handler(ValueError)
async def mistaken(ws: WebSocket, exc: KeyError | ValueError) -> None:
    await ws.close(1011, str(exc))


# --- handlers


@chat_group.ws("/{room}", name="room", middleware=[limit], subprotocols=["v1"], cancel_on_disconnect=True)
async def chat(ws: WebSocket) -> None:
    room = ws.path_params["room"]
    ws.client_id = ws.query_params.get("user")
    await ws.accept(headers={"X-Room": room})
    assert_type(await ws.join(room), bool)
    ws.state["user"] = ws.client_id
    async for message in ws:
        assert_type(message, str | bytes)
        outcome = await app.room(room).broadcast(message, exclude=ws, key="last")
        assert_type(outcome, Outcome)
        print(outcome + outcome.dropped, outcome.count)
    await app.room(room).track(ws, {"status": "busy"})
    assert_type(await app.room(room).untrack(ws), bool)
    await ws.leave(room)


@app.ws("/{id:int}")
async def untyped(ws):  # type: ignore[no-untyped-def]
    await ws.accept()


@app.ws("/all")
async def everything(ws: WebSocket) -> None:
    await ws.accept("v1", [("X-Tag", "1"), ("X-Tag", "2")])
    assert_type(await ws.receive(), str | bytes)
    assert_type(await ws.receive_text(), str)
    assert_type(await ws.receive_bytes(), bytes)
    assert_type(await ws.receive_json(), Any)
    assert_type(await ws.receive_ping(), bytes)
    assert_type(await ws.receive_pong(), bytes)
    assert_type(await ws.ping(), float)
    async for text in ws.iter_text():
        assert_type(text, str)
    async for data in ws.iter_bytes():
        assert_type(data, bytes)
    async with contextlib.aclosing(ws.iter_json()) as values:
        async for value in values:
            assert_type(value, Any)
    await ws.send({"any": ["value"]}, compress=False)
    await ws.send_text("text")
    await ws.send_bytes(memoryview(b"data"))
    await ws.send_json([1, None])
    await ws.send_ping()
    await ws.send_pong(b"payload")
    assert_type(ws.enable_compression(), bool)
    await ws.wait_closed()
    await ws.close()


@app.ws("/request")
async def request(ws: WebSocket) -> None:
    assert_type(ws.headers, Headers)
    assert_type(ws.headers.get("Authorization"), str | None)
    assert_type(ws.headers.get_all("X-Tag"), list[str])
    assert_type(ws.cookies, dict[str, str])
    assert_type(ws.subprotocols, list[str])
    assert_type(ws.subprotocol, str | None)
    assert_type(ws.client, Address | None)
    assert_type(ws.route, Route)
    assert_type(ws.rooms, list[str])
    assert_type(ws.close_code, int | None)
    await ws.app.broadcast(ws.url + ws.path)
    await ws.reject(404, {"X-Why": "none"}, b"no such thing")


@app.ws("/state")
async def state(ws: WebSocket) -> None:
    assert_type(ws.state, State)
    assert_type(ws.state["user_id"], Any)
    assert_type(ws.state.room, Any)
    ws.state["user_id"] = 42
    ws.state.room = "general"
    if ws.state == WebSocketState.CONNECTED or ws.state != WebSocketState.CLOSING:
        assert_type(ws.connection_state, WebSocketState)


@app.ws("/tasks")
async def tasks(ws: WebSocket) -> None:
    await ws.accept()
    receiving = asyncio.create_task(ws.receive_text())
    assert_type(receiving, asyncio.Task[str])
    assert_type(await asyncio.wait_for(ws.receive_json(), 1), Any)
    text, seconds = await asyncio.gather(ws.receive_text(), ws.ping())
    assert_type(text, str)
    assert_type(seconds, float)
    handle = ws.handle()
    assert_type(handle, Handle)
    await asyncio.get_running_loop().run_in_executor(None, handle.send_text, "from a thread")
    await asyncio.to_thread(work, handle)


def work(handle: Handle) -> None:
    try:
        if handle.is_connected():
            handle.send({"id": handle.id, "client": handle.client_id})
        handle.close(1000, "done")
    except (WebSocketDisconnect, OutboxFull) as error:
        print(error)


async def errors(ws: WebSocket) -> None:
    try:
        await ws.receive_text()
    except WebSocketTypeError as error:
        assert_type(error.message, str | bytes)
    except WebSocketDisconnect as error:
        assert_type((error.code, error.reason), tuple[int, str])
    raise WebSocketException(1008, "members only")


# Decorators give back the function that they are given.
kept: Callable[[WebSocket], Awaitable[None]] = chat
told: Callable[[WebSocket, str | bytes], Awaitable[None]] = seen


async def greet(greeting: str, ws: WebSocket) -> None:
    await ws.accept()
    await ws.send_text(greeting)


app.ws("/hello")(functools.partial(greet, "hello"))

# --- clients


async def broadcasts() -> None:
    assert_type(await chat_group.broadcast({"any": "value"}, exclude=["id"], compress=True), Outcome)
    outcome = await app.broadcast_to(["client1", *app.connections], b"data")
    assert_type(outcome.unknown, list[str])
    assert_type(app.room("general"), Room)
    for ws in app.room("general").members():
        assert_type(ws, WebSocket)
    assert_type(len(chat_group.connections), int)
    task = asyncio.create_task(app.broadcast("text"))
    assert_type(task, asyncio.Task[Outcome])


# --- serving


async def serve() -> None:
    stop = asyncio.Event()
    await app.serve("127.0.0.1", 0, stop=stop, on_listen=print)
    await chat_group.serve(uds=Path("socket"))


def run() -> None:
    app.run(port=8000, loop="uvloop", ssl_certfile="cert.pem", ssl_keyfile=Path("key.pem"))
    chat_group.run(fd=3, reuse_port=True)
    assert_type(app.routes, list[Route])
    print(nexios.__doc__, ssl.OPENSSL_VERSION)
