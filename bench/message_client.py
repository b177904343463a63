"""A WebSocket client of messages, which says more of one than libraries do: whether it was compressed."""

from __future__ import annotations

import socket
import ssl
import sys
import zlib
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "testing"))

from raw_client import ACCEPT, BINARY, CLOSE, RESERVED_1, TEXT, RawClient, frame  # noqa: E402

__all__ = ["BINARY", "TEXT", "Client", "Message"]

FIN = 0x80
OFFER = {"Sec_WebSocket_Extensions": "permessage-deflate; client_max_window_bits"}


@dataclass(frozen=True)
class Message:
    """A data message; two with the same payload are equal, compressed or not."""

    opcode: int
    payload: bytes
    compressed: bool = field(default=False, compare=False)


class Client:
    """One connection. What it sends is compressed where deflate was negotiated, without context takeover."""

    def __init__(self, address: tuple[str, int], path: str, deflate: bool = False, tls: bool = False) -> None:
        connected = socket.create_connection(address, timeout=5)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            # The certificate of a bench is made by itself.
            connected = ssl._create_unverified_context().wrap_socket(connected)
        self._raw = RawClient(connected, path, host="%s:%d" % address, **(OFFER if deflate else {}))
        self._require_accepted()
        extension = self._raw.headers.get("sec-websocket-extensions", "")
        self.deflates = extension.startswith("permessage-deflate")
        self._keeps_window = "server_no_context_takeover" not in extension
        self._inflater = zlib.decompressobj(-15)

    def send(self, *messages: Message) -> None:
        """All of them with one write."""
        self._raw.send(b"".join(self._frame(message) for message in messages))

    def receive(self, seconds: float = 5) -> Message:
        """The next message; fragments are joined, control frames are skipped."""
        self._raw.socket.settimeout(seconds)
        opcode, payload, compressed = 0, b"", False
        while True:
            head, part = self._raw.read_frame()
            if head & 0x0F == CLOSE:
                raise EOFError(f"the server closed: {part!r}")
            if head & 0x08:
                continue
            if head & 0x0F:
                opcode, compressed = head & 0x0F, bool(head & RESERVED_1)
            payload += part
            if head & FIN:
                return Message(opcode, self._inflate(payload) if compressed else payload, compressed)

    def has_more(self) -> bool:
        """Returns true if anything has come that was not received."""
        return self._raw.has_more()

    def close(self) -> None:
        self._raw.socket.close()

    def _require_accepted(self) -> None:
        if self._raw.status != 101:
            raise ValueError(f"refused: {self._raw.status}")
        if self._raw.headers.get("sec-websocket-accept") != ACCEPT:
            raise ValueError("another accept key")

    def _frame(self, message: Message) -> bytes:
        if not self.deflates:
            return frame(message.opcode, message.payload)
        deflater = zlib.compressobj(wbits=-15)
        payload = (deflater.compress(message.payload) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]
        return frame(message.opcode, payload, first=FIN | RESERVED_1)

    def _inflate(self, payload: bytes) -> bytes:
        if not self._keeps_window:
            self._inflater = zlib.decompressobj(-15)
        return self._inflater.decompress(payload + b"\x00\x00\xff\xff")
