"""The app that is soaked: everything that an app does, in small. Run as a process by `soak`."""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures
import contextlib
import logging
import os
import sys

from census import Census
from nexios import NexiosApp, OutboxFull, RateLimit, WebSocketException, WSRouter

app = NexiosApp(head_timeout=2.0, drain_timeout=0.5, close_timeout=2.0, health="/health")
rooms = WSRouter(prefix="/rooms")
slow = WSRouter(prefix="/slow", slow_client="drop_oldest", outbox_bytes_max=1 << 17)
faults = WSRouter(prefix="/faults")
uncaught: list[str] = []


@app.ws("/census")
async def census(ws):
    await ws.accept()
    async for _ in ws:
        await ws.send_json(Census.take(len(app.connections) - 1, uncaught).json())


# --- messages


@app.ws("/echo")
@app.ws("/echo/takeover", compression={"context_takeover": True, "window_bits": 12})
async def echo(ws):
    await ws.accept()
    ws.enable_compression()
    async for message in ws:
        await ws.send(message)


@app.ws("/json", middleware=[RateLimit(messages=1_000_000)])
async def json(ws):
    ws.state["self"] = ws  # a cycle, as apps make them
    await ws.accept()
    async for value in ws.iter_json():
        ws.state.last = value
        await ws.send_json(value)


@app.ws("/flood")
async def flood(ws):
    """Sends until the client is gone."""
    await ws.accept()
    while True:
        await ws.send_bytes(bytes(50_000))


@app.ws("/pings")
async def pings(ws):
    await ws.accept()
    for _ in range(3):
        await ws.ping()
    await ws.send_text("done")
    await ws.wait_closed()


@app.ws("/thread")
async def thread(ws):
    """Sends from another thread."""
    await ws.accept()
    handle = ws.handle()

    def send():
        for number in range(20):
            handle.send_text(str(number))
        handle.close(1000, "")

    await asyncio.get_running_loop().run_in_executor(None, send)
    await ws.wait_closed()


# --- cancelling


@app.ws("/cancels")
async def cancels(ws):
    """Starts to receive and lets it be, in every way that there is."""
    await ws.accept()
    for _ in range(10):
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(ws.receive_text(), 0.0005)
        task = asyncio.create_task(ws.receive_text())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.gather(ws.receive_ping(), ws.receive_pong()), 0.0005)
    await ws.send_text("go on")
    async for message in ws:
        await ws.send(message)


@app.ws("/cancelled", cancel_on_disconnect=True)
async def cancelled(ws):
    """Is cancelled when its client goes."""
    await ws.accept()
    child = asyncio.create_task(asyncio.sleep(3600))
    try:
        await ws.send_text("ready")
        await asyncio.gather(child, asyncio.sleep(3600))
    finally:
        child.cancel()


# --- exceptions


@faults.middleware
async def sometimes(ws, next):
    if ws.query_params.get("in") == "middleware":
        raise LookupError("in a middleware")
    return await next(ws)


@faults.on("connect")
async def on_connect(ws):
    if ws.query_params.get("in") == "connect":
        raise LookupError("in a connect listener")


@faults.on("message")
async def on_message(ws, message):
    if ws.query_params.get("in") == "message":
        raise LookupError("in a message listener")


@faults.on("disconnect")
async def on_disconnect(ws):
    if ws.query_params.get("in") == "disconnect":
        raise LookupError("in a disconnect listener")


@faults.exception_handler(KeyError)
async def handle(ws, error):
    await ws.close(4000, str(error))


@faults.ws("/any")
async def raises(ws):
    where = ws.query_params.get("in")
    if where == "start":
        raise LookupError("before accept")
    await ws.accept()
    await ws.receive()
    if where == "handler":
        raise LookupError("in a handler")
    if where == "exception":
        raise WebSocketException(4001, "as it likes")
    if where == "handled":
        raise KeyError("handled")
    if where == "json":
        await ws.receive_json()


@faults.ws("/closed")
async def closed(ws):
    await ws.close(1008, "not today")


@faults.ws("/rejected")
async def rejected(ws):
    await ws.reject(403, body="not today")


# --- many


@rooms.ws("/{room}")
async def room(ws):
    """What one says all in the room hear, and now and then all in all rooms."""
    await ws.accept()
    name = ws.path_params["room"]
    await ws.join(name)
    await ws.send_text("ready")
    async for text in ws.iter_text():
        for number in range(16):
            await rooms.room(name).broadcast(f"{name} {number}")
        await rooms.broadcast(b"to all rooms")
        await rooms.broadcast_to([ws.id, "nobody"], {"said": text})
        await rooms.room(name).broadcast(f"{name} end")


@slow.ws("/")
async def listen(ws):
    """Gets more than it reads: what is dropped is counted."""
    await ws.accept()
    handle = ws.handle()
    with contextlib.suppress(OutboxFull):
        for _ in range(20):
            await slow.broadcast(bytes(20_000))
            handle.send_text("x")
    await ws.wait_closed()


@slow.on("drop")
async def on_drop(ws, *what):
    ws.state.dropped = what


for router in (rooms, slow, faults):
    app.mount_ws_router(router)


@app.on_startup
async def prepare():
    loop = asyncio.get_running_loop()
    loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(2))
    loop.set_exception_handler(lambda _, context: uncaught.append(repr(context)))
    sys.unraisablehook = lambda unraisable: uncaught.append(repr(unraisable.exc_value))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), required=True)
    parser.add_argument("--fd", type=int, required=True, help="the socket that listens")
    args = parser.parse_args()
    # Tracebacks are written out as in real life, and read by nobody.
    logging.basicConfig(stream=open(os.devnull, "w"))  # noqa: SIM115
    app.run(fd=args.fd, loop=args.loop)


if __name__ == "__main__":
    main()
