"""A `nexios.v1` client of a few lines."""

import contextlib
import json

import pytest
import websockets
from apps import app_with as plain_app_with
from nexios.testing import TestClient


def app_with(handler, settings=None, **route):
    return plain_app_with(handler, settings={"live": True} | (settings or {}), **route)


def frame(payload="", **header):
    return f"\x1e{json.dumps(header)}\n{payload}"


def read(message):
    """The header and the payload of a frame; an application's message has no header."""
    if not message.startswith("\x1e"):
        return None, message
    header, payload = message[1:].split("\n", 1)
    return json.loads(header), payload


async def closed(client):
    """The code that a client is told before its connection is closed, and then."""
    told = read(await client.recv())[0]
    with pytest.raises(websockets.ConnectionClosed) as gone:
        await client.recv()
    assert told["type"] == "closing" and told["code"] == gone.value.rcvd.code
    return told["code"]


class Live:
    """A client that has said hello."""

    def __init__(self, socket):
        self.socket = socket

    def send(self, payload="", **header):
        self.socket.send_text(frame(payload, **header))

    def receive(self):
        return read(self.socket.receive_text())

    def header(self):
        return self.receive()[0]


@contextlib.contextmanager
def served(app, loop, path="/ws"):
    with TestClient(app, loop=loop) as test, test.websocket_connect(path, subprotocols=["nexios.v1"]) as socket:
        client = Live(socket)
        client.send(type="hello")
        welcome = client.header()
        assert welcome["type"] == "welcome" and welcome["id"] == socket.id
        yield test, client
