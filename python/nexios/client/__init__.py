"""A client of servers that speak ``nexios.v1``: it reconnects by itself, continues from its position in each room, and
its publishes are confirmed (``docs/protocol.md``, ``docs/clients.md``)::

    from nexios.client import connect

    async with connect("wss://example.org/live", json=True) as client:
        room = client.room("general")

        @room.on("message")
        async def received(message):
            await keep(message.data)  # the next message comes when this is done

        await room.publish({"text": "hello"})
        await client.wait_closed()

It needs the package ``websockets``: ``pip install "nexios-rs[client]"``. The names are those of the client in
JavaScript. In the examples of the docstrings ``client`` is an open client with ``json=True``, and ``room`` is its room
``general``, which it has joined.
"""

try:
    import websockets.asyncio.client  # noqa: F401  # from version 13 on
except ImportError as error:
    raise ImportError('nexios.client needs the package websockets: pip install "nexios-rs[client]"') from error

from nexios.client.client import Client, connect
from nexios.client.errors import NexiosError
from nexios.client.events import (
    Closed,
    CloseKind,
    Gap,
    Joined,
    Left,
    Member,
    Message,
    Opened,
    Parked,
    PresenceChange,
    Published,
    Reconnecting,
    Unauthorized,
)
from nexios.client.room import Room
from nexios.client.subscription import Subscription

__all__ = [
    "Client",
    "CloseKind",
    "Closed",
    "Gap",
    "Joined",
    "Left",
    "Member",
    "Message",
    "NexiosError",
    "Opened",
    "Parked",
    "PresenceChange",
    "Published",
    "Reconnecting",
    "Room",
    "Subscription",
    "Unauthorized",
    "connect",
]
