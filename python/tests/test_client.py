"""The Python client: opening, the end, several addresses."""

import asyncio
import subprocess
import sys

import pytest
from live_server import NONCE, LiveServer, framed, position
from nexios.client import Closed, Message, NexiosError, Parked, connect
from simulated_client import come_back, in_room, opened, recorded, take, until
from websockets.exceptions import InvalidURI

# --- opening


async def test_hello_comes_first_and_welcome_opens():
    async with LiveServer() as server:
        async with connect(server.url, proxy=None, user_agent="test/1") as client:
            told = recorded(client, "open")
            assert client.state == "connecting"
            connection = await server.next()
            assert await connection.welcome(id="c7") == {"type": "hello", "user_agent": "test/1", "rooms": {}}
            assert (await take(told))[1].id == "c7"
            assert (client.state, client.id) == ("open", "c7")
        assert client.state == "closed"
        assert await connection.ended() == (1000, "")


async def test_protocols_may_be_made_anew_for_each_attempt():
    offered = []

    def select(connection, protocols):
        offered.append(list(protocols))
        return "nexios.v1"

    async def protocols():
        return ["bearer", f"token{len(offered)}"]

    async with LiveServer(select_subprotocol=select) as server:
        async with connect(server.url, proxy=None, protocols=protocols):
            connection, _ = await come_back(server)
            connection.cut()
            await come_back(server)
    assert offered == [["nexios.v1", "bearer", "token0"], ["nexios.v1", "bearer", "token1"]]


async def test_a_server_that_does_not_speak_it_parks_the_client():
    async with LiveServer(subprotocols=None) as server:
        async with connect(server.url, proxy=None) as client:
            told = recorded(client, "close", "parked")
            reason = "the server does not speak nexios.v1"
            assert await take(told) == ("close", Closed(1002, reason, False, "protocol"))
            assert await take(told) == ("parked", Parked(1002, reason, "protocol"))
            assert client.state == "parked"


async def test_a_server_that_says_nothing_is_given_up():
    async with LiveServer() as server:
        async with connect(server.url, proxy=None, open_timeout=0.05) as client:
            told = recorded(client, "close")
            await server.next()
            reason = "the server did not answer in time"
            assert await take(told) == ("close", Closed(1006, reason, True, "lost"))


@pytest.mark.parametrize(("status", "retry"), [(401, False), (403, False), (404, False), (429, True), (503, True)])
async def test_a_refusal_is_final_unless_it_may_pass(status, retry):
    def refuse(connection, request):
        return connection.respond(status, "no")

    async with LiveServer(process_request=refuse) as server:
        async with connect(server.url, proxy=None) as client:
            told = recorded(client, "close")
            _, closed = await take(told)
    assert (closed.kind, closed.retry) == ("refused", retry)
    assert str(status) in closed.reason


async def test_what_is_wrong_with_the_address_is_said_at_once():
    with pytest.raises(InvalidURI):
        connect("http://localhost")


async def test_messages_of_the_application_pass_as_they_are():
    async with opened() as (_, client, connection, _):
        told = recorded(client, "message")
        for message in ("plain", "", b"\x01"):
            await connection.socket.send(message)
            assert await take(told) == ("message", message)
        for data, sent in [("text", "text"), ({"a": 1}, '{"a":1}'), (bytearray(b"x"), b"x")]:
            assert await client.send(data)
            assert await connection.socket.recv() == sent


async def test_what_looks_like_a_frame_travels_behind_an_empty_header():
    async with opened() as (_, client, connection, _):
        told = recorded(client, "message")
        for message, framed_message in [("\x1e{}\n", "\x1e\n\x1e{}\n"), (b"\x1e\xff", b"\x1e\n\x1e\xff")]:
            await client.send(message)
            assert await connection.socket.recv() == framed_message
            await connection.socket.send(framed_message)
            assert await take(told) == ("message", message)


async def test_with_json_every_text_is_a_value():
    async with opened(json=True) as (_, client, connection, _):
        told = recorded(client, "message", "error")
        await client.send("text")
        assert await connection.socket.recv() == '"text"'
        for message in ('{"a":1}', "no json", b"x"):
            await connection.socket.send(message)
        assert await take(told) == ("message", {"a": 1})
        # What is told of an error waits behind what waits already.
        others = [await take(told), await take(told)]
        assert ("message", b"x") in others
        assert "error" in [event for event, *_ in others]


async def test_what_cannot_go_out_now_is_not_sent_later():
    async with opened() as (server, client, connection, _):
        client.drop(away=True)
        assert await client.send("late") is False
        client.reconnect()
        connection, _ = await come_back(server)
        await until(client, "open")
        await client.send("in time")
        assert await connection.take() == {"message": "in time"}


# --- the end


async def test_closing_says_when_to_come_back_and_why():
    async with opened() as (server, client, connection, _):
        told = recorded(client, "close", "reconnecting")
        await connection.say({"type": "closing", "code": 4001, "reason": "moved", "retry_ms": [3, 3]})
        connection.cut()
        assert await take(told) == ("close", Closed(4001, "moved", True, "application"))
        assert (await take(told))[1].delay == 0.003
        connection, _ = await come_back(server)
        await connection.say({"type": "closing", "code": 1012, "reason": "for good"})
        await connection.socket.close(1012, "for good")
        assert await take(told) == ("close", Closed(1012, "for good", False, "restart"))
        assert client.state == "parked"


@pytest.mark.parametrize("code", [1000, 3000, 4999])
async def test_some_codes_park_the_client(code):
    async with opened() as (server, client, connection, _):
        told = recorded(client, "close", "parked")
        await connection.socket.close(code, "why")
        _, closed = await take(told)
        assert (closed.code, closed.reason, closed.retry) == (code, "why", False)
        assert await take(told) == ("parked", Parked(code, "why", closed.kind))
        client.reconnect()
        await come_back(server)


@pytest.mark.parametrize("code", [1001, 1003, 1008, 1009, 1011, 1012, 1014])
async def test_others_are_worth_another_attempt(code):
    async with opened() as (server, client, connection, _):
        told = recorded(client, "close")
        await connection.socket.close(code)
        await come_back(server)
        assert (await take(told))[1].retry


async def test_a_cable_that_was_pulled_stays_out_until_it_is_plugged_in():
    async with opened() as (server, client, connection, _):
        told = recorded(client, "close")
        client.drop(away=True)
        assert client.state == "reconnecting"
        assert (await take(told))[1] == Closed(1006, "dropped", True, "lost")
        assert (await connection.ended())[0] == 1006
        await asyncio.sleep(0.02)
        assert server.arrived.empty()
        client.reconnect()
        await come_back(server)
        await until(client, "open")


async def test_a_handler_may_close_the_client():
    async with in_room() as (_, client, connection, room, _):
        told = recorded(client, "close")

        @room.on("message")
        async def enough(message):
            await client.close(4000, "enough")

        await connection.message("r", 6)
        assert await client.wait_closed() == Closed(4000, "enough", False, "application")
        assert await connection.ended() == (4000, "enough")
        await take(told)
        with pytest.raises(NexiosError, match="closed"):
            await client.request("m")
        with pytest.raises(ValueError, match="1000"):
            await client.close(1002)


MALFORMED = {
    "a mark alone": "\x1e",
    "a header without an end": '\x1e{"type":"welcome"}',
    "a header that is too long": framed({"type": "x", "x": "x" * 131_072}),
    "no JSON": framed("welcome"),
    "an array": framed("[]"),
    "null": framed("null"),
    "deep": framed("[" * 4000),
    "bytes that are no UTF-8": b'\x1e{"type":"\xff"}\n',
    "a position that is none": framed({"type": "joined", "room": "r", "position": "5"}),
    "an offset that is too high": framed({"type": "joined", "room": "r", "position": f"1-9007199254740993-{NONCE}"}),
    "a reset without a position": framed({"type": "reset", "room": "r"}),
    "an offset that is no number": framed({"type": "message", "room": "r", "offset": "6", "nonce": NONCE}),
    "an offset that is a truth": framed({"type": "message", "room": "r", "offset": True, "nonce": NONCE}),
    "no type": framed({}),
    "a type that is no text": framed({"type": ["ack"]}),
    "an ack with an id that is none": framed({"type": "ack", "id": []}),
    "a left without a room": framed({"type": "left"}),
    "a room that is no text": framed({"type": "joined", "room": 5}),
    "an error without an id": framed({"type": "error"}),
    "a message without a nonce": framed({"type": "message", "room": "r", "offset": 6}),
}


@pytest.mark.parametrize("message", MALFORMED.values(), ids=MALFORMED)
async def test_what_is_malformed_ends_the_connection(message):
    async with in_room() as (server, client, connection, _, _):
        told = recorded(client, "close")
        await connection.socket.send(message)
        _, closed = await take(told)
        assert (closed.code, closed.retry, closed.kind) == (1002, True, "protocol")
        assert (await connection.ended())[0] == 1002
        await come_back(server)


async def test_what_is_unknown_is_ignored():
    async with in_room() as (_, client, connection, _, told):
        unknown = [
            {"type": "news", "more": "x" * 100_000},
            {"type": "left", "room": "other", "more": 1},
            {"type": "ack", "id": 7},
        ]
        others = [{"type": "message", "room": "other", "offset": 1}]
        for header in unknown + others:
            await connection.say(header, "payload")
        await connection.message("r", 6)
        assert await take(told) == ("message", Message("m6", 6))
        assert client.state == "open"


# --- the package


def test_importing_nexios_imports_no_client():
    code = "import nexios, sys; assert not [m for m in sys.modules if m.startswith(('nexios.client', 'websockets'))]"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_websockets_it_says_what_to_install():
    code = "import sys; sys.modules['websockets'] = None; import nexios.client"
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert 'pip install "nexios-rs[client]"' in ended.stderr


def test_an_event_that_is_none_is_a_mistake():
    with pytest.raises(ValueError, match="there is no event 'news'"):
        connect("ws://localhost").room("r").on("news")


# --- several addresses


async def test_of_several_addresses_the_next_is_tried_after_a_loss_and_after_a_failed_attempt():
    async with LiveServer() as away:
        gone = away.url
    async with LiveServer() as one, LiveServer() as other:
        async with connect([gone, one.url, other.url], proxy=None) as client:
            client.on("reconnecting")(lambda _: client.reconnect())
            connection, _ = await come_back(one)
            await connection.joined("r", 4)
            await until_joined(client.room("r"))
            connection.cut()
            _, hello = await come_back(other)
            assert hello["rooms"] == {"r": position(4)}


async def until_joined(room):
    while not room.joined:
        await asyncio.sleep(0)


async def test_no_address_and_one_that_is_none_are_refused_at_once():
    with pytest.raises(ValueError, match="no address"):
        connect([])
    with pytest.raises(InvalidURI):
        connect(["ws://localhost/live", "http://localhost"])
