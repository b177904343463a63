"""picows' client against the servers."""

import asyncio
from contextlib import asynccontextmanager

import picows
import pytest
from picows import WSMsgType


class Listener(picows.WSListener):
    """Puts (type, payload) of each frame where the test waits for it."""

    def __init__(self):
        self.frames = asyncio.Queue()

    def on_ws_frame(self, transport, frame):
        if frame.msg_type == WSMsgType.CLOSE:
            payload = (frame.get_close_code(), (frame.get_close_message() or b"").decode())
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        else:
            payload = frame.get_payload_as_bytes()
        self.frames.put_nowait((frame.msg_type, payload))


@asynccontextmanager
async def client(server, trusting=None, path="/", **options):
    if server.scheme == "wss":
        options["ssl_context"] = trusting
    options = {"enable_auto_pong": False} | options
    transport, listener = await picows.ws_connect(Listener, server.url(path), **options)
    try:
        yield transport, lambda: asyncio.wait_for(listener.frames.get(), 5)
    finally:
        transport.disconnect()
        await transport.wait_disconnected()


@pytest.fixture(params=["echo", "echo_tls"])
def over_tcp(request, language):
    return request.getfixturevalue(request.param)


def test_messages_come_back_as_they_were(over_tcp, trusting):
    async def talk():
        async with client(over_tcp, trusting) as (transport, frame):
            for payload in [b"", b"hello", "grüße".encode(), b"x" * 126, b"x" * 70_000, b"x" * (1 << 20)]:
                for kind in [WSMsgType.TEXT, WSMsgType.BINARY]:
                    transport.send(kind, payload)
                    assert await frame() == (kind, payload)

    asyncio.run(talk())


def test_messages_sent_in_one_burst_come_back_in_order(over_tcp, trusting):
    async def talk():
        async with client(over_tcp, trusting) as (transport, frame):
            sent = [f"message {i}".encode() for i in range(5_000)]
            for payload in sent:
                transport.send(WSMsgType.BINARY, payload)
            assert [(await frame())[1] for _ in sent] == sent

    asyncio.run(talk())


def test_a_fragmented_message_comes_back_whole(over_tcp, trusting):
    async def talk():
        async with client(over_tcp, trusting) as (transport, frame):
            transport.send(WSMsgType.TEXT, b"frag", fin=False)
            transport.send(WSMsgType.CONTINUATION, b"men", fin=False)
            transport.send(WSMsgType.CONTINUATION, b"ted", fin=True)
            assert await frame() == (WSMsgType.TEXT, b"fragmented")

    asyncio.run(talk())


def test_a_ping_is_answered_with_its_payload(over_tcp, trusting):
    async def talk():
        async with client(over_tcp, trusting) as (transport, frame):
            transport.send_ping(b"are you there")
            assert await frame() == (WSMsgType.PONG, b"are you there")
            assert all(seconds < 1 for seconds in await transport.measure_roundtrip_time(5))

    asyncio.run(talk())


def test_a_close_is_answered_with_the_same_code(over_tcp, trusting):
    async def talk():
        async with client(over_tcp, trusting) as (transport, frame):
            transport.send_close(picows.WSCloseCode.GOING_AWAY, b"bye")
            kind, (code, _) = await frame()
            assert (kind, code) == (WSMsgType.CLOSE, picows.WSCloseCode.GOING_AWAY)

    asyncio.run(talk())


def test_the_servers_close_arrives_with_code_and_reason(chat):
    async def talk():
        headers = {"Authorization": "Bearer wrong"}
        async with client(chat, path="/chat/picows?name=ann", extra_headers=headers) as (_, frame):
            assert await frame() == (WSMsgType.CLOSE, (1008, "Invalid token"))

    asyncio.run(talk())
