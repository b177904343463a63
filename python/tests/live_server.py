"""A server that speaks `nexios.v1` as a test says."""

import asyncio
import contextlib
import json

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

NONCE = "0123456789abcdef0123456789abcdef"


def position(offset, epoch="a1"):
    return f"{epoch}-{offset}-{NONCE}"


def framed(header, payload=""):
    head = f"\x1e{header if isinstance(header, str) else json.dumps(header)}\n"
    return head + payload if isinstance(payload, str) else head.encode() + payload


def unframed(message):
    """What a client sent: a header with its payload, or an application's message."""
    mark, end = ("\x1e", "\n") if isinstance(message, str) else (b"\x1e", b"\n")
    if not message.startswith(mark):
        return {"message": message}
    header, _, payload = message[1:].partition(end)
    if not header:
        return {"message": payload}
    return json.loads(header) | ({"payload": payload} if payload else {})


class Connection:
    """One connection as the server sees it."""

    def __init__(self, socket):
        self.socket = socket

    async def take(self):
        return unframed(await asyncio.wait_for(self.socket.recv(), 30))

    async def say(self, header, payload=""):
        await self.socket.send(framed(header, payload))

    async def welcome(self, **members):
        hello = await self.take()
        assert hello["type"] == "hello"
        await self.say({"type": "welcome", "id": "c1", "retry_ms": [0, 1]} | members)
        return hello

    async def joined(self, room, offset, recovered=False):
        await self.say({"type": "joined", "room": room, "position": position(offset), "recovered": recovered})

    async def message(self, room, offset):
        header = {"type": "message", "room": room, "offset": offset, "nonce": NONCE}
        await self.say(header, f"m{offset}")

    def cut(self):
        self.socket.transport.abort()

    async def ended(self):
        await self.socket.wait_closed()
        return self.socket.close_code, self.socket.close_reason


class LiveServer:
    """`async with LiveServer() as server`: clients connect to `server.url`, the test has each by `next()`."""

    def __init__(self, **options):
        self.options = {"subprotocols": ["nexios.v1"]} | options
        self.arrived = asyncio.Queue()

    async def _handle(self, socket):
        self.arrived.put_nowait(Connection(socket))
        await socket.wait_closed()

    async def next(self):
        return await asyncio.wait_for(self.arrived.get(), 30)

    async def __aenter__(self):
        self.server = await serve(self._handle, "127.0.0.1", 0, **self.options)
        self.url = f"ws://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/live"
        return self

    async def __aexit__(self, *error):
        for socket in list(self.server.connections):
            socket.transport.abort()
        self.server.close()
        await self.server.wait_closed()


class RoomServer(LiveServer):
    """A server with one room with history, `log`; each connection is in it."""

    def __init__(self):
        super().__init__()
        self.log, self.keys, self.members = [], {}, set()

    async def _handle(self, socket):
        connection = Connection(socket)
        with contextlib.suppress(ConnectionClosed):
            await self._enter(connection, (await connection.welcome(retry_ms=[0, 2])).get("rooms", {}).get("log"))
            while True:
                await self._answer(connection, await connection.take())
        self.members.discard(connection)

    async def _enter(self, connection, at):
        offset = len(self.log) if at is None else int(at.split("-")[1])
        await connection.joined("log", offset, recovered=at is not None)
        while offset < len(self.log):
            offset += 1
            await self._send(connection, offset)
        self.members.add(connection)

    async def _answer(self, connection, frame):
        match frame:
            case {"type": "publish", "id": number, "key": key, "payload": payload}:
                if key not in self.keys:
                    self.log.append(payload)
                    self.keys[key] = offset = len(self.log)
                    for member in list(self.members):
                        with contextlib.suppress(ConnectionClosed):
                            await self._send(member, offset)
                await connection.say({"type": "ack", "id": number, "position": position(self.keys[key])})

    async def _send(self, connection, offset):
        header = {"type": "message", "room": "log", "offset": offset, "nonce": NONCE}
        await connection.say(header, self.log[offset - 1])

    def cut(self):
        for member in list(self.members):
            member.cut()
