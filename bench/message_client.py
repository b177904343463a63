"""A WebSocket client of one file, which says more of a message than libraries do: whether it was compressed."""

from __future__ import annotations

import base64
import hashlib
import os
import select
import socket
import ssl
import struct
import zlib
from dataclasses import dataclass, field

TEXT = 1
BINARY = 2
_CLOSE = 8
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass(frozen=True)
class Message:
    """A data message; two with the same payload are equal, compressed or not."""

    opcode: int
    payload: bytes
    compressed: bool = field(default=False, compare=False)


class Client:
    """One connection. What it sends is compressed where deflate was negotiated, without context takeover."""

    def __init__(self, address: tuple[str, int], path: str, deflate: bool = False, tls: bool = False) -> None:
        self._socket = socket.create_connection(address, timeout=5)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            # The certificate of a bench is made by itself.
            self._socket = ssl._create_unverified_context().wrap_socket(self._socket)
        self._received = b""
        extension = self._open(address, path, deflate)
        self.deflates = extension.startswith("permessage-deflate")
        self._keeps_window = "server_no_context_takeover" not in extension
        self._inflater = zlib.decompressobj(-15)

    def send(self, *messages: Message) -> None:
        """All of them with one write."""
        self._socket.sendall(b"".join(self._frame(message) for message in messages))

    def receive(self, seconds: float = 5) -> Message:
        """The next message; fragments are joined, control frames are skipped."""
        self._socket.settimeout(seconds)
        opcode, payload, compressed = 0, b"", False
        while True:
            head, part = self._read_frame()
            if head & 0x0F == _CLOSE:
                raise EOFError(f"the server closed: {part!r}")
            if head & 0x08:
                continue
            if head & 0x0F:
                opcode, compressed = head & 0x0F, bool(head & 0x40)
            payload += part
            if head & 0x80:
                return Message(opcode, self._inflate(payload) if compressed else payload, compressed)

    def has_more(self) -> bool:
        """Whether anything has come that was not received."""
        return bool(self._received or select.select([self._socket], [], [], 0)[0])

    def close(self) -> None:
        self._socket.close()

    def _open(self, address: tuple[str, int], path: str, deflate: bool) -> str:
        key = base64.b64encode(os.urandom(16))
        offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" if deflate else ""
        self._socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key.decode()}\r\nSec-WebSocket-Version: 13\r\n{offer}\r\n".encode()
        )
        while b"\r\n\r\n" not in self._received:
            self._read_more()
        head, self._received = self._received.split(b"\r\n\r\n", 1)
        status, *lines = head.decode().split("\r\n")
        if " 101 " not in status:
            raise ValueError(f"refused: {status}")
        headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest()).decode()
        if headers.get("sec-websocket-accept") != accept:
            raise ValueError("another accept key")
        return headers.get("sec-websocket-extensions", "")

    def _frame(self, message: Message) -> bytes:
        payload, head = message.payload, 0x80 | message.opcode
        if self.deflates:
            deflater = zlib.compressobj(wbits=-15)
            payload = (deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]
            head |= 0x40
        length = len(payload)
        if length < 126:
            header = struct.pack("!BB", head, 0x80 | length)
        elif length < 65536:
            header = struct.pack("!BBH", head, 0x80 | 126, length)
        else:
            header = struct.pack("!BBQ", head, 0x80 | 127, length)
        # One mask for all four bytes, so that masking is a `translate`.
        mask = os.urandom(1)[0]
        return header + bytes([mask] * 4) + payload.translate(bytes(byte ^ mask for byte in range(256)))

    def _read_frame(self) -> tuple[int, bytes]:
        head, length = self._take(2)
        if length == 126:
            (length,) = struct.unpack("!H", self._take(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self._take(8))
        return head, self._take(length)

    def _inflate(self, payload: bytes) -> bytes:
        if not self._keeps_window:
            self._inflater = zlib.decompressobj(-15)
        return self._inflater.decompress(payload + b"\x00\x00\xff\xff")

    def _take(self, count: int) -> bytes:
        while len(self._received) < count:
            self._read_more()
        taken, self._received = self._received[:count], self._received[count:]
        return taken

    def _read_more(self) -> None:
        chunk = self._socket.recv(1 << 18)
        if not chunk:
            raise EOFError("the server cut the connection")
        self._received += chunk
