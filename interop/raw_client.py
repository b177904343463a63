"""A WebSocket client of a few lines: it sends bytes that no library would."""

import struct

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
MASK = b"\x37\xfa\x21\x3d"


def request(path="/", version="13", **headers):
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Key: {KEY}", f"Sec-WebSocket-Version: {version}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def frame(opcode, payload=b"", first=0x80, masked=True):
    """One frame; `first` holds FIN and the reserved bits."""
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
    """`with RawClient(server) as client:` has shaken hands."""

    def __init__(self, server, path="/", **headers):
        self.socket = server.connect()
        self._pending = b""
        try:
            self.send(request(path, **headers))
            self.status, self.headers = self._read_head()
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
        """The first byte, and the payload."""
        first, length = self._take(2)
        if length == 126:
            (length,) = struct.unpack("!H", self._take(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self._take(8))
        return first, self._take(length)

    def read_close(self):
        """The code and the reason of the Close frame that must come now."""
        first, payload = self.read_frame()
        assert first == 0x80 | CLOSE, f"not a Close frame: {first:#x} {payload[:100]!r}"
        return (struct.unpack("!H", payload[:2])[0], payload[2:].decode()) if payload else (1005, "")

    def is_at_end(self):
        """Whether the server ends the connection now, cleanly."""
        return not self._pending and self.socket.recv(1) == b""

    def _read_head(self):
        """Status, and headers by lower-case name."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self._take(1)
        status, *lines = head.decode("latin-1").strip().split("\r\n")
        return int(status.split()[1]), {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}

    def _take(self, count):
        while len(self._pending) < count:
            more = self.socket.recv(1 << 16)
            if not more:
                raise EOFError(f"the server hung up with {self._pending!r} under way")
            self._pending += more
        taken, self._pending = self._pending[:count], self._pending[count:]
        return taken
