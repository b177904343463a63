"""Rooms of the Python client: joins, positions, gaps."""

import asyncio
import contextlib

import pytest
from live_server import NONCE, RoomServer, position
from nexios.client import Gap, Joined, Left, Message, NexiosError, connect
from simulated_client import come_back, in_room, opened, recorded, take, until


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
