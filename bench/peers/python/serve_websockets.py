"""websockets, or picows with the same interface: a coroutine for each client, after the documentation's examples."""

import asyncio

import uvloop
from listening import options

chosen = options(__doc__, ("--library", ["websockets", "picows"]))
if chosen.library == "picows":
    from picows.websockets.asyncio.server import broadcast, serve
    from picows.websockets.exceptions import ConnectionClosed
else:
    from websockets.asyncio.server import broadcast, serve
    from websockets.exceptions import ConnectionClosed

everybody = set()
everybody_deflated = set()
subscribers = set()


async def echo(websocket):
    async for message in websocket:
        await websocket.send(message)


def chat(clients):
    async def handler(websocket):
        clients.add(websocket)
        try:
            async for message in websocket:
                broadcast(clients, message)
        finally:
            clients.discard(websocket)

    return handler


async def publish(websocket):
    async for message in websocket:
        broadcast(subscribers, message)


async def subscribe(websocket):
    subscribers.add(websocket)
    try:
        await websocket.wait_closed()
    finally:
        subscribers.discard(websocket)


ROUTES = {
    "/echo": echo,
    "/deflate": echo,
    "/bcast": chat(everybody),
    "/bcast-deflate": chat(everybody_deflated),
    "/pub": publish,
    "/sub": subscribe,
}


async def handler(websocket):
    try:
        await ROUTES[websocket.request.path](websocket)
    except ConnectionClosed:
        pass


async def main():
    async with serve(handler, chosen.host, chosen.port, backlog=1024) as server:
        await server.serve_forever()


uvloop.run(main())
