"""The Python client over a simulated network."""

import asyncio
import contextlib

from live_server import LiveServer
from nexios.client import Joined, connect


@contextlib.asynccontextmanager
async def opened(**options):
    """A server, a client, its first connection, and the `hello`."""
    async with LiveServer() as server:
        async with connect(server.url, proxy=None, stable_after=0, **options) as client:
            connection = await server.next()
            hello = await connection.welcome()
            await until(client, "open")
            yield server, client, connection, hello


async def until(client, state):
    while client.state != state:
        await asyncio.sleep(0)


def recorded(emitter, *events):
    """What an emitter tells, as a queue of `(event, *values)`."""
    told = asyncio.Queue()
    for event in events:
        emitter.on(event)(lambda *values, event=event: told.put_nowait((event, *values)))
    return told


async def take(queue):
    return await asyncio.wait_for(queue.get(), 30)


async def come_back(server, **members):
    connection = await server.next()
    return connection, await connection.welcome(**members)


@contextlib.asynccontextmanager
async def in_room(**options):
    """A client in the room `r`, at 5."""
    async with opened(**options) as (server, client, connection, _):
        room = client.room("r")
        told = recorded(room, "joined", "left", "message", "reset", "gap")
        await connection.joined("r", 5)
        assert await take(told) == ("joined", Joined(recovered=False, has_history=True))
        yield server, client, connection, room, told
