"""What `nexios.client` takes from the package `websockets`, without a network: dials, and connections."""

import asyncio

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.frames import Close
from websockets.http11 import Response


class Network:
    """Where the client dials."""

    def __init__(self, loop):
        self.loop = loop
        self.dials = []

    async def dial(self, url, *, subprotocols, **options):
        dial = Dial(url, list(subprotocols), self.loop)
        self.dials.append(dial)
        return await dial.answer


class Dial:
    """An attempt, and the connection that comes of it."""

    def __init__(self, url, offers, loop):
        self.url, self.offers, self.at_ms = url, offers, loop.now_ms
        self.answer = loop.create_future()
        self.connection = None

    def accept(self, subprotocol):
        self.connection = Connection(subprotocol or None)
        self.answer.set_result(self.connection)

    def refuse(self, status, headers):
        self.answer.set_exception(InvalidStatus(Response(status, "", Headers(headers))))

    def fail(self):
        self.answer.set_exception(OSError("unreachable"))


class Connection:
    """A connection as the client sees it; `sent` and `closed` are for the test."""

    def __init__(self, subprotocol):
        self.subprotocol = subprotocol
        self.transport = self
        self.sent = []
        self.closed = None  # by the client: (code, reason)
        self._incoming = asyncio.Queue()
        self._end = None

    # --- for the client

    async def send(self, message):
        if self._end is not None:
            raise self._end
        (message if isinstance(message, str) else "").encode()  # as the package does
        self.sent.append(message)

    async def recv(self):
        if self._incoming.empty() and self._end is not None:
            raise self._end
        message = await self._incoming.get()
        if message is None:
            raise self._end
        return message

    async def close(self, code=1000, reason=""):
        self._leave((code, reason))

    def abort(self):
        self._leave((None, ""))

    async def wait_closed(self):
        pass

    def _leave(self, closed):
        if self._end is None:
            self.closed = closed
            self._end = ConnectionClosedError(None, None)

    # --- for the server

    @property
    def is_open(self):
        return self._end is None

    def say(self, message):
        assert self._end is None, "the server says something on a connection that has ended"
        self._incoming.put_nowait(message)

    def close_by_server(self, code, reason):
        close = Close(code, reason)
        error = ConnectionClosedOK if code in (1000, 1001) else ConnectionClosedError
        self._end_with(error(close, close, True))

    def cut(self):
        self._end_with(ConnectionClosedError(None, None))

    def _end_with(self, error):
        assert self._end is None, "the server ends a connection that has ended"
        self._end = error
        self._incoming.put_nowait(None)
