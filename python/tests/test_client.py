"""`nexios.client`: a client of `nexios.v1` that comes back, against a server that does as the test says."""

import asyncio
import contextlib
import subprocess
import sys

import pytest
from live_server import NONCE, LiveServer, RoomServer, framed, position
from nexios.client import Closed, Gap, Joined, Left, Member, Message, NexiosError, Parked, PresenceChange, connect
from websockets.exceptions import InvalidURI


@contextlib.asynccontextmanager
async def opened(**options):
    """A server, a client, its first connection, and the `hello`."""
    async with LiveServer() as server:
        async with connect(server.url, proxy=None, stable_after=0, **options) as client:
            connection = await server.next()
            hello = await connection.welcome()
            await until(client, "open")
            yield server, client, connection, hello


async def until(client, state):
    while client.state != state:
        await asyncio.sleep(0)


def recorded(emitter, *events):
    """What an emitter tells, as a queue of `(event, *values)`."""
    told = asyncio.Queue()
    for event in events:
        emitter.on(event)(lambda *values, event=event: told.put_nowait((event, *values)))
    return told


async def take(queue):
    return await asyncio.wait_for(queue.get(), 5)


async def come_back(server, **members):
    connection = await server.next()
    return connection, await connection.welcome(**members)


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


# --- rooms


@contextlib.asynccontextmanager
async def in_room(**options):
    """A client in the room `r`, at 5."""
    async with opened(**options) as (server, client, connection, _):
        room = client.room("r")
        told = recorded(room, "joined", "left", "message", "reset", "gap")
        await connection.joined("r", 5)
        assert await take(told) == ("joined", Joined(recovered=False, remembers=True))
        yield server, client, connection, room, told


async def test_a_room_that_the_server_joins_is_announced_before_its_messages():
    async with opened() as (_, client, connection, _):
        told = asyncio.Queue()

        @client.on("joined")
        async def entered(room, joined):
            await asyncio.sleep(0)
            room.on("message")(lambda message: told.put_nowait((room.name, joined.recovered, message)))

        await connection.joined("r", 5)
        await connection.message("r", 6)
        assert await take(told) == ("r", False, Message("m6", 6))
        assert client.room("r").joined


async def test_rooms_that_do_not_remember_have_no_offsets():
    async with opened() as (_, client, connection, _):
        told = recorded(client.room("r"), "joined", "message")
        await connection.say({"type": "joined", "room": "r"})
        await connection.say({"type": "message", "room": "r"}, b"\x01")
        assert await take(told) == ("joined", Joined(False, False))
        assert await take(told) == ("message", Message(b"\x01"))


async def test_a_message_whose_offset_is_not_above_is_dropped():
    async with in_room() as (_, _, connection, _, told):
        for offset in (5, 4, 6, 6, 9, 8, 10):
            await connection.message("r", offset)
        assert [(await take(told))[1].offset for _ in range(3)] == [6, 9, 10]


async def test_messages_are_handled_one_after_another_and_the_position_is_kept_behind():
    storage = {}
    async with in_room(storage=storage) as (_, _, connection, room, _):
        begun, go = asyncio.Queue(), asyncio.Semaphore(0)

        @room.on("message")
        async def handle(message):
            begun.put_nowait((message.offset, storage["r"]))
            await go.acquire()

        await connection.message("r", 6)
        await connection.message("r", 7)
        assert await take(begun) == (6, position(5))
        assert begun.empty()
        go.release()
        assert await take(begun) == (7, position(6))
    # Closed while the handler ran: it comes again another time.
    assert storage == {"r": position(6)}


async def test_the_next_run_goes_on_behind_what_was_handled():
    async with opened(storage={"r": position(6), "broken": "x"}) as (_, _, _, hello):
        assert hello["rooms"] == {"r": position(6)}


async def test_a_handler_that_fails_has_not_handled():
    storage = {}
    async with in_room(storage=storage) as (_, client, connection, room, told):
        errors = recorded(client, "error")

        @room.on("message")
        def fail(message):
            if message.offset == 6:
                raise ValueError("no 6")

        await connection.message("r", 6)
        assert isinstance((await take(errors))[1], ValueError)
        assert storage == {"r": position(5)}
        await connection.message("r", 7)
        await take(told)
        assert (await take(told))[1].offset == 7
        await asyncio.sleep(0)
        assert storage == {"r": position(7)}


async def test_after_a_cut_nothing_comes_twice():
    async with in_room() as (server, client, connection, room, _):
        go, told = asyncio.Event(), asyncio.Queue()

        @room.on("message")
        async def handle(message):
            await go.wait()
            told.put_nowait(message.offset)

        await connection.message("r", 6)
        await connection.message("r", 7)
        await asyncio.wait_for(connection.socket.ping(), 5)
        while room._at.offset < 7:
            await asyncio.sleep(0)
        connection.cut()
        connection, hello = await come_back(server)
        assert hello["rooms"] == {"r": position(7)}
        assert room.joined is False
        await connection.joined("r", 7, recovered=True)
        await connection.message("r", 7)
        await connection.message("r", 8)
        go.set()
        assert [await take(told) for _ in range(3)] == [6, 7, 8]
        assert client.state == "open"


async def test_reset_gives_a_new_position():
    storage = {}
    async with in_room(storage=storage) as (server, _, connection, _, told):
        await connection.say({"type": "reset", "room": "r", "position": position(1, "b2")})
        assert await take(told) == ("reset",)
        header = {"type": "message", "room": "r", "offset": 2, "nonce": NONCE}
        await connection.say(header, "again")
        assert await take(told) == ("message", Message("again", 2))
        connection.cut()
        _, hello = await come_back(server)
        assert hello["rooms"] == {"r": position(2, "b2")} == storage


async def test_a_gap_is_told_to_what_does_not_remember():
    async with in_room() as (_, client, connection, _, told):
        plain, whole = recorded(client.room("plain"), "gap"), recorded(client, "gap")
        await connection.say({"type": "joined", "room": "plain"})
        await connection.say({"type": "gap", "room": "plain", "missed": 3})
        await connection.say({"type": "gap"})
        assert [await take(plain), await take(plain)] == [("gap", Gap(3)), ("gap", Gap(None))]
        assert await take(whole) == ("gap", Gap(None))
        assert told.empty()


async def test_join_is_acknowledged_and_asked_for_again():
    async with opened() as (server, client, connection, _):
        joining = asyncio.create_task(client.room("r").join())
        asked = await connection.take()
        assert asked == {"type": "join", "id": asked["id"], "room": "r"}
        await connection.joined("r", 5)
        await connection.say({"type": "ack", "id": asked["id"]})
        await joining
        connection.cut()
        connection, _ = await come_back(server)
        asked = await connection.take()
        assert asked == {"type": "join", "id": asked["id"], "room": "r", "position": position(5)}


async def test_a_join_that_is_refused_raises():
    async with opened() as (server, client, connection, _):
        joining = asyncio.create_task(client.room("r").join())
        asked = await connection.take()
        await connection.say({"type": "error", "id": asked["id"], "code": "forbidden", "message": "not you"})
        with pytest.raises(NexiosError, match="forbidden: not you"):
            await joining
        connection.cut()
        connection, _ = await come_back(server)
        await until(client, "open")
        await client.send("nothing else")
        assert await connection.take() == {"message": "nothing else"}


async def test_a_refusal_after_a_reconnect_is_told_as_left():
    async with in_room() as (server, client, connection, room, told):
        await room.join()
        room._is_wanted = True
        connection.cut()
        connection, _ = await come_back(server)
        asked = await connection.take()
        await connection.say({"type": "error", "id": asked["id"], "code": "forbidden", "message": "no more"})
        assert await take(told) == ("left", Left("forbidden", "no more"))
        assert client.state == "open"


async def test_leave_is_told_once_and_forgets_the_position():
    storage = {}
    async with in_room(storage=storage) as (_, _, connection, room, told):
        leaving = asyncio.create_task(room.leave())
        asked = await connection.take()
        assert asked == {"type": "leave", "id": asked["id"], "room": "r"}
        await connection.message("r", 6)
        await connection.say({"type": "left", "room": "r"})
        await connection.say({"type": "ack", "id": asked["id"]})
        await leaving
        assert await take(told) == ("left", Left())
        assert told.empty()
        assert storage == {}


async def test_what_is_far_behind_is_fetched_again_in_order():
    async with in_room() as (server, _, connection, room, _):
        go, handled = asyncio.Event(), []

        @room.on("message")
        async def handle(message):
            await go.wait()
            handled.append(message.offset)

        with contextlib.suppress(Exception):
            for offset in range(6, 1506):
                await connection.message("r", offset)
        await connection.ended()
        go.set()
        connection, hello = await come_back(server)
        last = int(hello["rooms"]["r"].split("-")[1])
        assert 1000 <= last < 1505
        assert handled == list(range(6, last + 1))
        await connection.joined("r", last, recovered=True)
        for offset in range(last + 1, 1506):
            await connection.message("r", offset)
        while len(handled) < 1500:
            await asyncio.sleep(0)
        assert handled == list(range(6, 1506))


async def test_a_gap_in_a_room_that_remembers_is_made_good_by_the_next_connection():
    async with in_room() as (server, _, connection, _, told):
        await connection.message("r", 6)
        assert (await take(told))[1].offset == 6
        await connection.say({"type": "gap", "room": "r", "missed": 2, "offset": 7})
        await connection.message("r", 9)
        await connection.ended()
        connection, hello = await come_back(server)
        assert hello["rooms"] == {"r": position(6)}
        await connection.joined("r", 6, recovered=True)
        for offset in (7, 8, 9):
            await connection.message("r", offset)
        assert (await take(told))[0] == "joined"
        assert [(await take(told))[1].offset for _ in range(3)] == [7, 8, 9]


async def test_a_gap_before_what_has_come_already_is_a_reset():
    async with in_room() as (_, _, connection, _, told):
        await connection.message("r", 8)
        await connection.say({"type": "gap", "room": "r", "missed": 2, "offset": 6})
        await connection.message("r", 9)
        assert [(await take(told))[0] for _ in range(3)] == ["message", "reset", "message"]


async def test_in_rooms_that_do_not_remember_what_does_not_fit_is_a_gap():
    async with opened() as (_, client, connection, _):
        room, go = client.room("r"), asyncio.Event()
        handled, missed = [], []

        @room.on("message")
        async def handle(message):
            await go.wait()
            handled.append(message)

        @room.on("gap")
        def count(gap):
            missed.append(gap.missed)

        behind = recorded(client, "message")
        await connection.say({"type": "joined", "room": "r"})
        for _ in range(1501):
            await connection.say({"type": "message", "room": "r"}, "x")
        await connection.socket.send("behind")
        await take(behind)
        go.set()
        while len(handled) + sum(missed) < 1501:
            await asyncio.sleep(0)
        assert 998 <= len(handled) <= 1001  # one or two are taken out while the others come


async def test_nothing_is_lost_and_nothing_comes_twice_over_many_cuts():
    async with RoomServer() as server:
        options = {"proxy": None, "stable_after": 0}
        async with connect(server.url, **options) as writer, connect(server.url, **options) as reader:
            told, entered = [], recorded(reader.room("log"), "joined")

            @reader.room("log").on("message")
            async def handle(message):
                await asyncio.sleep(0)
                told.append(message.data)

            await take(entered)
            publishing = []
            for number in range(300):
                publishing.append(asyncio.create_task(writer.room("log").publish(str(number))))
                await asyncio.sleep(0)
                if number % 50 == 0:
                    server.cut()
                if number % 70 == 0 and reader.state == "open":
                    reader.drop()
            await asyncio.gather(*publishing)
            while len(told) < 300:
                await asyncio.sleep(0.001)
    assert told == [str(number) for number in range(300)]


# --- what is asked


async def test_a_publish_is_acknowledged_with_its_position():
    async with opened() as (_, client, connection, _):
        publishing = asyncio.create_task(client.room("r").publish({"text": "hi"}, key="k1"))
        asked = await connection.take()
        expected = {"type": "publish", "id": asked["id"], "room": "r", "key": "k1", "payload": '{"text":"hi"}'}
        assert asked == expected
        await connection.say({"type": "ack", "id": asked["id"], "position": position(7)})
        published = await publishing
        assert (published.key, published.position) == ("k1", position(7))


async def test_what_has_no_ack_is_published_again_behind_the_joins():
    async with opened() as (server, client, connection, _):
        room = client.room("r")
        publishing = [asyncio.create_task(room.publish(data)) for data in ("a", b"b")]
        first = [await connection.take() for _ in range(2)]
        joining = asyncio.create_task(room.join())
        await connection.take()
        connection.cut()
        connection, _ = await come_back(server)
        join = await connection.take()
        assert join["type"] == "join"
        again = [await connection.take() for _ in range(2)]
        assert [frame["key"] for frame in again] == [frame["key"] for frame in first]
        assert [frame["payload"] for frame in again] == ["a", b"b"]
        for frame in (join, *again):
            await connection.say({"type": "ack", "id": frame["id"]})
        await asyncio.gather(*publishing, joining)


async def test_requests_are_replied_in_any_order():
    async with opened(json=True) as (_, client, connection, _):
        asking = [
            asyncio.create_task(client.request(method, argument)) for method, argument in [("a", [1]), ("b", None)]
        ]
        one, other = await connection.take(), await connection.take()
        assert (one["method"], one["payload"], other["method"]) == ("a", "[1]", "b")
        assert "payload" not in other
        await connection.say({"type": "reply", "id": other["id"]}, "2")
        await connection.say({"type": "reply", "id": one["id"]}, '{"x":1}')
        assert await asyncio.gather(*asking) == [{"x": 1}, 2]


async def test_a_request_has_a_time_limit_and_a_late_answer_is_ignored():
    async with opened() as (_, client, connection, _):
        with pytest.raises(NexiosError, match="timeout"):
            await client.request("slow", timeout=0.01)
        await connection.say({"type": "reply", "id": (await connection.take())["id"]}, "late")
        asking = asyncio.create_task(client.request("quick"))
        await connection.say({"type": "reply", "id": (await connection.take())["id"]}, "in time")
        assert await asking == "in time"


async def test_a_request_that_was_sent_is_not_repeated():
    async with opened() as (server, client, connection, _):
        asking = asyncio.create_task(client.request("pay"))
        await connection.take()
        connection.cut()
        with pytest.raises(NexiosError) as raised:
            await asking
        assert raised.value.code == "disconnected"
        waiting = asyncio.create_task(client.request("balance"))
        connection, _ = await come_back(server)
        asked = await connection.take()
        assert asked["method"] == "balance"
        await connection.say({"type": "reply", "id": asked["id"]}, "0")
        assert await waiting == "0"


async def test_at_most_256_are_unanswered_and_a_thousand_wait():
    async with opened() as (_, client, connection, _):
        room = client.room("r")
        publishing = [asyncio.create_task(room.publish("x")) for _ in range(1000)]
        asked = [await connection.take() for _ in range(256)]
        with pytest.raises(NexiosError, match="busy"):
            await room.publish("one more")
        await client.send("behind")
        assert await connection.take() == {"message": "behind"}
        await connection.say({"type": "ack", "id": asked[0]["id"]})
        assert (await connection.take())["type"] == "publish"
        await client.close()
        results = await asyncio.gather(*publishing, return_exceptions=True)
        assert [getattr(result, "code", None) for result in results].count("closed") == 999


async def test_a_header_that_is_too_long_is_the_callers_mistake():
    async with opened() as (_, client, _, _):
        with pytest.raises(ValueError, match="4096"):
            await client.request("ü" * 2048)


async def test_presence_is_asked_for_told_and_asked_for_again():
    async with opened() as (server, client, connection, _):
        room = client.room("r")
        told = recorded(room, "presence")
        await connection.say({"type": "joined", "room": "r"})
        asking = asyncio.create_task(room.presence())
        asked = await connection.take()
        assert asked == {"type": "presence", "id": asked["id"], "room": "r"}
        await connection.say({"type": "reply", "id": asked["id"]}, '[{"user":"ann","data":1}]')
        assert await asking == [Member("ann", 1)]
        await connection.say({"type": "presence", "room": "r", "event": "leave", "user": "ann", "data": 1})
        assert await take(told) == ("presence", PresenceChange("leave", "ann", 1))
        connection.cut()
        connection, _ = await come_back(server)
        await connection.say({"type": "joined", "room": "r"})
        await connection.say({"type": "reply", "id": (await connection.take())["id"]}, '[{"user":"bob"}]')
        assert await take(told) == ("presence", PresenceChange("state", users=[Member("bob")]))


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
