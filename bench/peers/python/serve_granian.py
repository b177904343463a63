"""granian, embedded so that server and worker are one process; by its own interface RSGI, or by ASGI."""

import asyncio

import asgi_app
import uvloop
from granian.constants import Interfaces
from granian.log import LogLevels
from granian.rsgi import ProtocolClosed, WebsocketMessageType
from granian.server.embed import Server
from listening import options

everybody = set()
subscribers = set()


async def rsgi_app(scope, protocol):
    if scope.proto == "http":
        protocol.response_str(200, [("content-type", "text/plain")], "Hello, bench")
        return
    transport = await protocol.accept()
    try:
        await ROUTES[scope.path](transport)
    except ProtocolClosed:
        pass
    protocol.close()


async def send(transport, message):
    if message.kind == WebsocketMessageType.string:
        await transport.send_str(message.data)
    else:
        await transport.send_bytes(message.data)


async def echo(transport):
    while (message := await transport.receive()).kind != WebsocketMessageType.close:
        await send(transport, message)


async def hear(transport, audience):
    while (message := await transport.receive()).kind != WebsocketMessageType.close:
        for client in list(audience):
            try:
                await send(client, message)
            except ProtocolClosed:
                # It takes itself out.
                continue


def chat(clients):
    async def handler(transport):
        clients.add(transport)
        try:
            await hear(transport, clients)
        finally:
            clients.discard(transport)

    return handler


async def publish(transport):
    await hear(transport, subscribers)


async def subscribe(transport):
    subscribers.add(transport)
    try:
        await hear(transport, ())
    finally:
        subscribers.discard(transport)


ROUTES = {"/echo": echo, "/bcast": chat(everybody), "/pub": publish, "/sub": subscribe}

chosen = options(__doc__, ("--interface", ["rsgi", "asgi"]))
uvloop.run(
    Server(
        rsgi_app if chosen.interface == "rsgi" else asgi_app.app,
        address=chosen.host,
        port=chosen.port,
        interface=Interfaces.RSGI if chosen.interface == "rsgi" else Interfaces.ASGI,
        backlog=1024,
        backpressure=20_000,
        log_level=LogLevels.warning,
    ).serve()
)
