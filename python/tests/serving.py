"""An app on the loop of the test, and the clients that talk to it from outside."""

import asyncio
import contextlib
import socket

import websockets.asyncio.client
from raw_client import AsyncRawClient, request
from websockets.exceptions import ConnectionClosed, InvalidStatus


def bound_socket():
    """A listening socket on a free port; whoever connects early waits in its queue."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", 0))
    listening.listen(1024)
    return listening


class Server:
    """`async with Server(app) as server:` - the same thread serves and asks."""

    def __init__(self, app, **options):
        self._app = app
        self._options = options
        self._socket = bound_socket()
        self.port = self._socket.getsockname()[1]
        self.task = None
        self._raw = []

    async def __aenter__(self):
        self.task = asyncio.ensure_future(self._app.serve(fd=self._socket.fileno(), **self._options))
        await asyncio.sleep(0)
        if self.task.done():
            self._socket.close()
            self.task.result()
        return self

    async def __aexit__(self, *_):
        await self.stop()

    async def stop(self):
        self.forget()
        self.task.cancel()
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await self.task
        finally:
            self._socket.close()

    def forget(self):
        """Cuts the clients that send what no library would."""
        while self._raw:
            self._raw.pop().cut()

    def url(self, path="/ws"):
        return f"ws://127.0.0.1:{self.port}{path}"

    def connect(self, path="/ws", **options):
        """A client of the package `websockets`; uncompressed unless told otherwise."""
        options = {"compression": None, "max_size": None, "ping_interval": None, "proxy": None} | options
        if "headers" in options:
            options["additional_headers"] = options.pop("headers")
        return websockets.asyncio.client.connect(self.url(path), **options)

    async def dial(self, receive_buffer=None):
        """A client that sends what no library would; it has said nothing yet, and is cut at the end."""
        client = await AsyncRawClient.open(self.port, receive_buffer)
        self._raw.append(client)
        return client

    async def raw(self, path="/ws", receive_buffer=None, **headers):
        """The same, when it has shaken hands."""
        client = await self.dial(receive_buffer)
        client.send(request(path, **headers))
        await client.read_head()
        return client

    async def get(self, path, **headers):
        """A plain HTTP request: status, headers, body."""
        client = await self.dial()
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        client.send("\r\n".join([*lines, "", ""]).encode())
        await client.read_head()
        body = await client.read_to_end()
        return client.status, client.headers, body

    async def refusal(self, path="/ws", **options):
        """The HTTP answer to a handshake that is refused."""
        try:
            async with self.connect(path, **options) as ws:
                raise AssertionError(f"not refused, but {await close_of(ws)}")
        except InvalidStatus as refused:
            return refused.response

    async def closed(self, path="/ws", **options):
        """Connects and reads to the end: code and reason of the server's Close frame."""
        async with self.connect(path, **options) as ws:
            return await close_of(ws)


async def messages_of(ws):
    """All messages until the end, however that comes."""
    messages = []
    try:
        while True:
            messages.append(await ws.recv())
    except ConnectionClosed:
        return messages


async def close_of(ws):
    """Reads to the end: code and reason of the server's Close frame, `None` if it sent none."""
    try:
        while True:
            await ws.recv()
    except ConnectionClosed as closed:
        return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else None


async def until(condition, what="the condition", seconds=5.0):
    """Waits for something that nobody announces."""
    end = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < end, f"waited {seconds} s in vain for {what}"
        await asyncio.sleep(0.005)
