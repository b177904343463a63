"""A WebSocket client of a few lines, for tests of all parts: it sends bytes that no library would."""

import asyncio
import select
import socket
import struct

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
MASK = b"\x37\xfa\x21\x3d"
RESERVED_1 = 0x40


def request(path="/ws", version="13", host="localhost", **headers):
    """Returns a handshake request; underscores in the names of headers stand for hyphens."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Key: {KEY}", f"Sec-WebSocket-Version: {version}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def frame(opcode, payload=b"", first=0x80, masked=True):
    """Returns one frame; `first` holds FIN and the reserved bits."""
    bit, length = 0x80 if masked else 0, len(payload)
    if length < 126:
        head = struct.pack("!BB", first | opcode, bit | length)
    elif length < 1 << 16:
        head = struct.pack("!BBH", first | opcode, bit | 126, length)
    else:
        head = struct.pack("!BBQ", first | opcode, bit | 127, length)
    if not masked:
        return head + payload
    mask = (MASK * (length // 4 + 1))[:length]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")
    return head + MASK + masked.to_bytes(length, "big")


class RawClient:
    """A blocking client: `with RawClient(socket, "/ws") as client:` has shaken hands, and closes the socket."""

    def __init__(self, connected, path, **headers):
        self.socket = connected
        self._pending = b""
        try:
            self.send(request(path, **headers))
            self.status, self.headers = _parsed(self._take_head())
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def read_frame(self):
        """Returns the first byte and the payload of the next frame."""
        steps, taken = _frame(), None
        while True:
            try:
                count = steps.send(taken)
            except StopIteration as end:
                return end.value
            taken = self._take(count)

    def read_close(self):
        """Returns the code and the reason of the Close frame that must come now."""
        first, payload = self.read_frame()
        assert first == 0x80 | CLOSE, f"not a Close frame: {first:#x} {payload[:100]!r}"
        return _close(payload)

    def is_at_end(self):
        """Returns true if the server ends the connection now, cleanly."""
        return not self._pending and self.socket.recv(1) == b""

    def has_more(self):
        """Returns true if anything has come that was not read."""
        return bool(self._pending or select.select([self.socket], [], [], 0)[0])

    def _take_head(self):
        while b"\r\n\r\n" not in self._pending:
            self._receive()
        return self._take(self._pending.index(b"\r\n\r\n") + 4)

    def _take(self, count):
        while len(self._pending) < count:
            self._receive()
        taken, self._pending = self._pending[:count], self._pending[count:]
        return taken

    def _receive(self):
        more = self.socket.recv(1 << 18)
        if not more:
            raise EOFError(f"the server hung up with {self._pending!r} under way")
        self._pending += more


class AsyncRawClient:
    """A client on an event loop; the handshake is sent and read like anything else."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.status, self.headers = None, {}

    @classmethod
    async def open(cls, port, receive_buffer=None):
        """Connects. A small `receive_buffer` makes a client that is soon behind."""
        connected = socket.socket()
        if receive_buffer:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connected.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(connected, ("127.0.0.1", port))
        except OSError:
            connected.close()
            raise
        return cls(*await asyncio.open_connection(sock=connected, limit=receive_buffer or 1 << 16))

    def send(self, data):
        self.writer.write(data)

    def cut(self):
        """Drops the connection without a Close frame."""
        self.writer.transport.abort()

    async def read_head(self):
        """Reads the head of an answer; returns its status."""
        self.status, self.headers = _parsed(await self.reader.readuntil(b"\r\n\r\n"))
        return self.status

    async def read_body(self):
        return await self.reader.readexactly(int(self.headers.get("content-length", 0)))

    async def read_frame(self):
        """Returns the first byte and the payload of the next frame."""
        steps, taken = _frame(), None
        while True:
            try:
                count = steps.send(taken)
            except StopIteration as end:
                return end.value
            taken = await self.reader.readexactly(count)

    async def read_close(self):
        """Returns code and reason of the next Close frame; frames before it are passed over."""
        while True:
            first, payload = await self.read_frame()
            if first == 0x80 | CLOSE:
                return _close(payload)

    async def read_to_end(self):
        """Returns what is left; a reset is an end as well."""
        try:
            return await self.reader.read()
        except ConnectionResetError:
            return b""


def _frame():
    """Yields how many bytes it needs next; returns the first byte and the payload of a frame."""
    first, length = yield 2
    if length == 126:
        (length,) = struct.unpack("!H", (yield 2))
    elif length == 127:
        (length,) = struct.unpack("!Q", (yield 8))
    return first, (yield length)


def _close(payload):
    return (struct.unpack("!H", payload[:2])[0], payload[2:].decode()) if payload else (1005, "")


def _parsed(head):
    """Returns the status, and the headers by lower-case name."""
    status, *lines = head.decode("latin-1").strip().split("\r\n")
    headers = (line.split(":", 1) for line in lines)
    return int(status.split()[1]), {name.lower(): value.strip() for name, value in headers}
