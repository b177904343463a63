"""What mypy has to refuse: each line here has an error, and no ignore is left over."""

from nexios import Handle, NexiosApp, Next, RateLimit, WebSocket, WebSocketException, WSRouter

app = NexiosApp()

# --- settings

NexiosApp(mesage_bytes_max=1)  # type: ignore[call-arg]
NexiosApp(message_bytes_max="1 MiB")  # type: ignore[arg-type]
NexiosApp(slow_client="drop")  # type: ignore[arg-type]
NexiosApp(compression={"size": 1})  # type: ignore[arg-type]
NexiosApp(http="module:app")  # type: ignore[arg-type]
NexiosApp("/prefix")  # type: ignore[call-arg]
# Limits of the server are no router's, and a route's own are no app's.
WSRouter(shutdown_grace=1)  # type: ignore[call-arg]
WSRouter(subprotocols=["v1"])  # type: ignore[call-arg]
app.ws("/", connections_max=1)  # type: ignore[call-arg]
app.run(loop="trio")  # type: ignore[arg-type]
app.run(workers=2)  # type: ignore[arg-type]

# --- functions that are not called so


@app.ws("/plain")  # type: ignore[type-var]
def plain(ws: WebSocket) -> None: ...


@app.ws("/two")  # type: ignore[type-var]
async def two(ws: WebSocket, more: str) -> None: ...


@app.ws("/text")  # type: ignore[type-var]
async def text(ws: str) -> None: ...


@app.middleware  # type: ignore[type-var]
async def without_next(ws: WebSocket) -> None: ...


@app.middleware  # type: ignore[type-var]
def plain_middleware(ws: WebSocket, next: Next) -> bool:
    return next is not None


@app.on("connect")  # type: ignore[type-var]
async def connected(ws: WebSocket, message: str) -> None: ...


@app.on("message")  # type: ignore[type-var]
async def no_message(ws: WebSocket) -> None: ...


@app.on("message")  # type: ignore[type-var]
async def only_text(ws: WebSocket, message: str) -> None: ...


@app.on("drop")  # type: ignore[type-var]
async def one_dropped(ws: WebSocket, message: str | bytes) -> None: ...


@app.on("join")  # type: ignore[type-var]
async def joined(ws: WebSocket) -> None: ...


app.on("connected")  # type: ignore[call-overload]
app.exception_handler(1008)  # type: ignore[arg-type]
app.exception_handler(BaseException)  # type: ignore[arg-type]


@app.exception_handler(WebSocketException)  # type: ignore[type-var]
async def no_exception(ws: WebSocket) -> None: ...


@app.on_startup  # type: ignore[type-var]
def startup() -> None: ...


app.ws("/", middleware=[plain_middleware])  # type: ignore[list-item]

# --- limits

RateLimit()  # type: ignore[call-overload]
RateLimit(messages=1, handshakes=1)  # type: ignore[call-overload]
RateLimit(messages=1, on_excess="refuse")  # type: ignore[call-overload]
RateLimit(messages=1, key=lambda ws: ws.client)  # type: ignore[arg-type, return-value]

# --- connections


async def handler(ws: WebSocket, handle: Handle) -> None:
    ws.send_text("not awaited")  # type: ignore[unused-coroutine]
    app.broadcast("not awaited")  # type: ignore[unused-coroutine]
    await ws.send_text(b"data")  # type: ignore[arg-type]
    await ws.send_bytes("text")  # type: ignore[arg-type]
    await ws.send_text("text", True)  # type: ignore[call-arg]
    await ws.close("1000")  # type: ignore[arg-type]
    await handle.send_text("text")  # type: ignore[func-returns-value, misc]
    number: int = await ws.receive_text()  # type: ignore[assignment]
    ws.id = str(number)  # type: ignore[misc]
    ws.state = {}  # type: ignore[misc, assignment]
    ws.user = "somebody"  # type: ignore[attr-defined]
    print(ws.connection_state == "connected")  # type: ignore[comparison-overlap]
    await app.broadcast_to([1], "text")  # type: ignore[list-item]
    await ws.app.room(1).broadcast("text")  # type: ignore[arg-type]


class Derived(WebSocket):  # type: ignore[misc]
    """A connection is made by the server only."""
