"""A client of a node: of its room, or one that publishes to it; plain messages or Socket.IO."""

from __future__ import annotations

import json

from message_client import TEXT, Client, Message

SOCKET_IO_PATH = "/socket.io/?EIO=4&transport=websocket"


class RoomClient:
    """One connection; `path` is `/room` or `/publish`."""

    def __init__(self, address: tuple[str, int], path: str, protocol: str) -> None:
        self._speaks_socket_io = protocol == "socket-io"
        self._client = Client(address, SOCKET_IO_PATH if self._speaks_socket_io else path)
        if self._speaks_socket_io:
            self._expect("0{")
            self._send("40")
            self._expect("40")
            if path == "/room":
                self._send('42["join"]')

    def publish(self, text: str) -> None:
        self._send("42" + json.dumps(["publish", text]) if self._speaks_socket_io else text)

    def hear(self) -> str:
        """The next message of the room."""
        if not self._speaks_socket_io:
            return self._client.receive().payload.decode()
        event, text = json.loads(self._expect("42").removeprefix("42"))
        if event != "message":
            raise ValueError(f"the event is {event}")
        return text

    def has_more(self) -> bool:
        return self._client.has_more()

    def close(self) -> None:
        self._client.close()

    def _send(self, text: str) -> None:
        self._client.send(Message(TEXT, text.encode()))

    def _expect(self, start: str) -> str:
        """The next packet, which begins so; some servers ask for a sign of life before."""
        while (packet := self._client.receive().payload.decode()) == "2":
            self._send("3")
        if not packet.startswith(start):
            raise ValueError(f"the server says {packet}")
        return packet
