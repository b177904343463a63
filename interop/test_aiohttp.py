"""aiohttp's client against the echo server."""

import asyncio
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import WSMsgType

WORDS = "lorem ipsum dolor sit amet " * 2_000
COMPRESS = pytest.mark.parametrize("compress", [0, 15, 9], ids=["plain", "deflate", "deflate-9-bits"])


@asynccontextmanager
async def client(server, trusting=None, path="/", **options):
    connector = aiohttp.UnixConnector(str(server.uds)) if server.uds else None
    async with aiohttp.ClientSession(connector=connector) as session:
        tls = {"ssl": trusting} if server.scheme == "wss" else {}
        async with session.ws_connect(server.url(path), max_msg_size=0, **tls, **options) as ws:
            connected = ws.get_extra_info("socket")
            yield ws
        # A session does not wait for the end of a TLS connection that a WebSocket has closed; the event loop would be
        # gone before.
        await asyncio.wait_for(is_closed(connected), 10)


async def is_closed(connected):
    """Waits until a transport has closed its socket."""
    while connected.fileno() != -1:
        await asyncio.sleep(0.005)


@COMPRESS
def test_messages_come_back_as_they_were(echo_anywhere, trusting, compress):
    async def talk():
        async with client(echo_anywhere, trusting, compress=compress) as ws:
            assert bool(ws.compress) == bool(compress)
            for text in ["hello", "", "grüße 日本 🦀", WORDS]:
                await ws.send_str(text)
                assert await ws.receive_str(timeout=10) == text
            for binary in [b"", bytes(range(256)), b"\x80" * (1 << 20)]:
                await ws.send_bytes(binary)
                assert await ws.receive_bytes(timeout=10) == binary
            await ws.send_json({"type": "message", "n": 1})
            assert await ws.receive_json(timeout=10) == {"type": "message", "n": 1}

    asyncio.run(talk())


@COMPRESS
def test_messages_sent_at_once_come_back_in_order(echo, compress):
    async def talk():
        async with client(echo, compress=compress) as ws:
            sent = [f"{i} {WORDS[: i * 7]}" for i in range(500)]

            async def send():
                for text in sent:
                    await ws.send_str(text)

            sending = asyncio.create_task(send())
            assert [await ws.receive_str(timeout=10) for _ in sent] == sent
            await sending

    asyncio.run(talk())


def test_a_ping_is_answered_with_its_payload(echo_anywhere, trusting):
    async def talk():
        async with client(echo_anywhere, trusting, autoping=False) as ws:
            for payload in [b"", b"are you there", b"p" * 125]:
                await ws.ping(payload)
                answer = await ws.receive(timeout=5)
                assert (answer.type, answer.data) == (WSMsgType.PONG, payload)

    asyncio.run(talk())


def test_a_heartbeat_keeps_the_connection(echo):
    async def talk():
        async with client(echo, heartbeat=0.2) as ws:
            await ws.send_str("hello")
            assert await ws.receive_str() == "hello"
            # Several heartbeats long: each needs the server's pong in half its time.
            # (The timeout of receive() itself begins anew with every pong.)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(ws.receive(), 1)
            assert not ws.closed
            await ws.send_str("still here")
            assert await ws.receive_str(timeout=5) == "still here"

    asyncio.run(talk())


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
def test_a_close_is_answered_with_the_same_code(echo_anywhere, trusting, code):
    async def talk():
        async with client(echo_anywhere, trusting) as ws:
            assert await ws.close(code=code, message="grüße".encode())
            assert ws.close_code == code
            assert ws.exception() is None

    asyncio.run(talk())


def test_the_servers_close_arrives_with_code_and_reason(chat):
    async def talk():
        async with client(chat, path="/chat/aiohttp?name=ann", protocols=["bearer", "wrong"]) as ws:
            close = await ws.receive(timeout=5)
            assert (close.type, close.data, close.extra) == (WSMsgType.CLOSE, 1008, "Invalid token")

    asyncio.run(talk())


def test_a_hundred_clients_at_once_get_their_own_messages(echo):
    async def talk(number):
        async with client(echo, compress=15) as ws:
            for i in range(5):
                await ws.send_str(f"client {number}, message {i}, {WORDS[:3000]}")
                assert (await ws.receive_str(timeout=10)).startswith(f"client {number}, message {i}, ")

    async def all_talk():
        await asyncio.gather(*(talk(number) for number in range(100)))

    asyncio.run(all_talk())
