"""What clients do to a server: each visit is one way to come, to stay, and to go."""

from __future__ import annotations

import asyncio
import itertools
import random
import struct
import zlib
from collections.abc import Awaitable, Callable

from raw_client import BINARY, CLOSE, PING, PONG, RESERVED_1, TEXT, AsyncRawClient, frame, request

#: Messages that a visit has exchanged, whatever they were.
Visit = Callable[[int], Awaitable[int]]

DICE = random.Random(6455)
NUMBERS = itertools.count()
GOODBYE = frame(CLOSE, struct.pack("!H", 1000))
DEFLATE = {"Sec_WebSocket_Extensions": "permessage-deflate"}
WORDS = " ".join(DICE.choices(["lorem", "ipsum", "dolor", "sit", "amet", "grüße", "日本"], k=400)).encode()
LARGE = DICE.randbytes(900_000)
LONG = WORDS * 100


def unmasked(opcode: int, payload: bytes) -> bytes:
    """A frame as the server sends it."""
    length = len(payload)
    if length < 126:
        return bytes([0x80 | opcode, length]) + payload
    if length < 1 << 16:
        return struct.pack("!BBH", 0x80 | opcode, 126, length) + payload
    return struct.pack("!BBQ", 0x80 | opcode, 127, length) + payload


def burst(opcode: int, *payloads: bytes) -> tuple[bytes, bytes]:
    """What is sent, and what an echo of it is."""
    sent = b"".join(frame(opcode, payload) for payload in payloads)
    return sent, b"".join(unmasked(opcode, payload) for payload in payloads)


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


SMALL_TEXT = burst(TEXT, *(b"message %d" % i for i in range(300)))
SMALL_BINARY = burst(BINARY, *(DICE.randbytes(DICE.randrange(100)) for _ in range(300)))
JSON = burst(TEXT, *(b'{"n":%d,"text":"hi"}' % i for i in range(100)))
BIG = burst(BINARY, LARGE)
BIG_TEXT = burst(TEXT, LONG)
COMPRESSED = frame(TEXT, deflated(WORDS), first=0x80 | RESERVED_1)


async def opened(port: int, path: str, receive_buffer: int | None = None, **headers: str) -> AsyncRawClient:
    """A client that has shaken hands."""
    client = await AsyncRawClient.open(port, receive_buffer)
    client.send(request(path, **headers))
    if await client.read_head() != 101:
        raise AssertionError(f"{path} answers {client.status}")
    return client


async def exchange(client: AsyncRawClient, messages: tuple[bytes, bytes]) -> None:
    sent, expected = messages
    client.send(sent)
    if await client.reader.readexactly(len(expected)) != expected:
        raise AssertionError("the echo differs")


async def part(client: AsyncRawClient) -> None:
    """Both say goodbye."""
    client.send(GOODBYE)
    code, _ = await client.read_close()
    if code != 1000:
        raise AssertionError(f"closed with {code}")
    await client.read_to_end()
    client.cut()


# --- messages


async def small_messages(port: int) -> int:
    client = await opened(port, "/echo")
    for _ in range(3):
        await exchange(client, SMALL_TEXT)
        await exchange(client, SMALL_BINARY)
    await part(client)
    return 3600


async def large_messages(port: int) -> int:
    client = await opened(port, "/echo")
    await exchange(client, BIG)
    await exchange(client, BIG_TEXT)
    await part(client)
    return 4


async def compressed_messages(port: int) -> int:
    takeover = DICE.random() < 0.3
    client = await opened(port, "/echo/takeover" if takeover else "/echo", **DEFLATE)
    unpacker = zlib.decompressobj(wbits=-15)
    for _ in range(20):
        client.send(COMPRESSED)
        first, payload = await client.read_frame()
        if not takeover:
            unpacker = zlib.decompressobj(wbits=-15)
        if first != 0x80 | RESERVED_1 | TEXT or unpacker.decompress(payload + b"\0\0\xff\xff") != WORDS:
            raise AssertionError("the compressed echo differs")
    await part(client)
    return 40


async def json_messages(port: int) -> int:
    client = await opened(port, "/json")
    await exchange(client, JSON)
    await part(client)
    return 200


async def pings(port: int) -> int:
    client = await opened(port, "/pings")
    while True:
        first, payload = await client.read_frame()
        if first != 0x80 | PING:
            break
        client.send(frame(PONG, payload))
    await part(client)
    return 1


async def sends_of_a_thread(port: int) -> int:
    client = await opened(port, "/thread")
    heard = [(await client.read_frame())[1] for _ in range(20)]
    if heard != [b"%d" % i for i in range(20)]:
        raise AssertionError(f"from a thread came {heard}")
    await part(client)
    return 20


# --- cuts


async def cut_in_a_message(port: int) -> int:
    client = await opened(port, "/echo")
    client.send(SMALL_TEXT[0] + BIG[0][: DICE.randrange(len(BIG[0]))])
    await client.read_frame()
    client.cut()
    return 301


async def cut_while_it_is_sent_to(port: int) -> int:
    client = await opened(port, "/flood", receive_buffer=4096)
    await client.read_frame()
    await asyncio.sleep(DICE.random() * 0.02)
    client.cut()
    return 1


async def cut_while_cancelled(port: int) -> int:
    client = await opened(port, "/cancelled")
    await client.read_frame()
    client.cut()
    return 1


async def cancelled_receives(port: int) -> int:
    client = await opened(port, "/cancels")
    await client.read_frame()
    await exchange(client, SMALL_TEXT)
    await part(client)
    return 601


# --- exceptions and refusals

ENDS = {
    "connect": 1011,
    "handler": 1011,
    "exception": 4001,
    "handled": 4000,
    "json": 1007,
    "message": 1000,
    "disconnect": 1000,
}


async def exceptions(port: int) -> int:
    where = DICE.choice(list(ENDS))
    client = await opened(port, f"/faults/any?in={where}")
    client.send(frame(TEXT, b"x") + frame(TEXT, b"no json"))
    code, _ = await client.read_close()
    if code != ENDS[where]:
        raise AssertionError(f"an exception in {where} closed with {code}")
    client.send(GOODBYE)
    client.cut()
    return 2


REFUSALS = {
    "/nowhere": 404,
    "/faults/rejected": 403,
    "/faults/any?in=start": 500,
    "/faults/any?in=middleware": 500,
    "/faults/closed": 101,
}


async def refusals(port: int) -> int:
    path = DICE.choice(list(REFUSALS))
    client = await AsyncRawClient.open(port)
    client.send(request(path))
    status = await client.read_head()
    if status != REFUSALS[path]:
        raise AssertionError(f"{path} answers {status}")
    client.cut()
    return 0


# --- handshakes that never become one

STARTS = [b"", b"G", request("/echo")[:40], request("/echo")[:-2], b"\x16\x03\x01\x02\x00", b"\0" * 200]


async def half_open_handshakes(port: int) -> int:
    client = await AsyncRawClient.open(port)
    client.send(DICE.choice(STARTS))
    await asyncio.sleep(DICE.random() * 0.01)
    client.cut()
    return 0


async def plain_requests(port: int) -> int:
    client = await AsyncRawClient.open(port)
    for path, status in (("/health", 200), ("/echo", 426), ("/nowhere", 404)):
        client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        if await client.read_head() != status:
            raise AssertionError(f"{path} answers {client.status}")
        await client.read_body()
    client.cut()
    return 0


# --- many


async def broadcasts(port: int) -> int:
    room = f"room{next(NUMBERS)}"
    clients = await asyncio.gather(*(opened(port, f"/rooms/{room}") for _ in range(10)))
    for client in clients:
        await until(client, b"ready")
    clients[0].send(frame(TEXT, b"go"))
    heard = await asyncio.gather(*(until(client, f"{room} end".encode()) for client in clients))
    for client in clients:
        await part(client) if DICE.random() < 0.7 else client.cut()
    return sum(heard)


async def until(client: AsyncRawClient, last: bytes) -> int:
    count = 0
    while True:
        _, payload = await client.read_frame()
        count += 1
        if payload == last:
            return count


async def slow_readers(port: int) -> int:
    client = await opened(port, "/slow", receive_buffer=4096)
    await asyncio.sleep(DICE.random() * 0.05)
    client.cut()
    return 20


ALL: list[Visit] = [
    small_messages,
    large_messages,
    compressed_messages,
    json_messages,
    pings,
    sends_of_a_thread,
    cut_in_a_message,
    cut_while_it_is_sent_to,
    cut_while_cancelled,
    cancelled_receives,
    exceptions,
    refusals,
    half_open_handshakes,
    plain_requests,
    broadcasts,
    slow_readers,
]
