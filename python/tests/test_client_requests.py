"""Publishes, requests and presence of the Python client."""

import asyncio

import pytest
from live_server import position
from nexios.client import Member, NexiosError, PresenceChange
from simulated_client import come_back, opened, recorded, take


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
