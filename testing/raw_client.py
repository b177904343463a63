"""A WebSocket client of a few lines: it sends bytes that no library would."""

import asyncio
import socket
import struct

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
MASK = b"\x37\xfa\x21\x3d"
RESERVED_1 = 0x40


def request(path="/ws", version="13", **headers):
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Key: {KEY}", f"Sec-WebSocket-Version: {version}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def frame(opcode, payload=b"", first=0x80):
    """One masked frame; `first` holds FIN and the reserved bits."""
    length = len(payload)
    if length < 126:
        head = struct.pack("!BB", first | opcode, 0x80 | length)
    elif length < 1 << 16:
        head = struct.pack("!BBH", first | opcode, 0x80 | 126, length)
    else:
        head = struct.pack("!BBQ", first | opcode, 0x80 | 127, length)
    mask = (MASK * (length // 4 + 1))[:length]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")
    return head + MASK + masked.to_bytes(length, "big")


class RawClient:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.status, self.headers = None, {}

    @classmethod
    async def open(cls, port, receive_buffer=None):
        """A small `receive_buffer` makes a client that is soon behind."""
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
        """Gone without a word."""
        self.writer.transport.abort()

    async def read_head(self):
        head = await self.reader.readuntil(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").strip().split("\r\n")
        self.status = int(status.split()[1])
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        return self.status

    async def read_body(self):
        return await self.reader.readexactly(int(self.headers.get("content-length", 0)))

    async def read_frame(self):
        """The first byte, and the payload."""
        first, length = await self.reader.readexactly(2)
        if length == 126:
            (length,) = struct.unpack("!H", await self.reader.readexactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
        return first, await self.reader.readexactly(length)

    async def read_close(self):
        """Code and reason of the next Close frame; data and control frames before it are passed over."""
        while True:
            first, payload = await self.read_frame()
            if first == 0x80 | CLOSE:
                return (struct.unpack("!H", payload[:2])[0], payload[2:].decode()) if payload else (1005, "")

    async def read_to_end(self):
        """What is left; a reset is an end as well."""
        try:
            return await self.reader.read()
        except ConnectionResetError:
            return b""
