"""Robyn with one process and one worker, after the chapter on WebSockets of its documentation."""

import sys

from listening import options

chosen = options(__doc__)
# Robyn reads the command line for itself.
sys.argv[1:] = ["--processes", "1", "--workers", "1", "--log-level", "WARNING", "--disable-openapi"]

from robyn import Robyn  # noqa: E402

app = Robyn(__file__)
subscribers = set()


@app.websocket("/echo")
async def echo(websocket):
    while True:
        # What is public gives text only, or bytes only; this is what both call.
        await send(websocket, await websocket._receive())


async def send(websocket, message):
    if isinstance(message, str):
        await websocket.send_text(message)
    else:
        await websocket.send_bytes(bytes(message))


@app.websocket("/bcast")
async def broadcast(websocket):
    while True:
        await websocket.broadcast(await websocket._receive())


@app.websocket("/pub")
async def publish(websocket):
    while True:
        message = await websocket._receive()
        for subscriber in list(subscribers):
            await send(subscriber, message)


@app.websocket("/sub")
async def subscribe(websocket):
    subscribers.add(websocket)
    try:
        while True:
            await websocket._receive()
    finally:
        subscribers.discard(websocket)


@app.get("/")
async def hello(request):
    return "Hello, bench"


app.start(host=chosen.host, port=chosen.port)
