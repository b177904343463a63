"""aiohttp's own server, after its documentation; it compresses for every client that offers it."""

import asyncio
import contextlib

import uvloop
from aiohttp import WSMsgType, web
from listening import options

everybody = set()
everybody_deflated = set()
subscribers = set()


async def opened(request):
    websocket = web.WebSocketResponse()
    await websocket.prepare(request)
    return websocket


async def send(websocket, message):
    if message.type == WSMsgType.TEXT:
        await websocket.send_str(message.data)
    elif message.type == WSMsgType.BINARY:
        await websocket.send_bytes(message.data)


async def echo(request):
    websocket = await opened(request)
    async for message in websocket:
        await send(websocket, message)
    return websocket


async def hear(websocket, audience):
    async for message in websocket:
        for client in list(audience):
            # A client that has gone takes itself out.
            with contextlib.suppress(ConnectionError):
                await send(client, message)


def chat(clients):
    async def handler(request):
        websocket = await opened(request)
        clients.add(websocket)
        try:
            await hear(websocket, clients)
        finally:
            clients.discard(websocket)
        return websocket

    return handler


async def publish(request):
    websocket = await opened(request)
    await hear(websocket, subscribers)
    return websocket


async def subscribe(request):
    websocket = await opened(request)
    subscribers.add(websocket)
    try:
        await hear(websocket, ())
    finally:
        subscribers.discard(websocket)
    return websocket


app = web.Application()
app.add_routes(
    [
        web.get("/echo", echo),
        web.get("/deflate", echo),
        web.get("/bcast", chat(everybody)),
        web.get("/bcast-deflate", chat(everybody_deflated)),
        web.get("/pub", publish),
        web.get("/sub", subscribe),
    ]
)
chosen = options(__doc__)
asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
web.run_app(app, host=chosen.host, port=chosen.port, backlog=1024, print=None, access_log=None)
