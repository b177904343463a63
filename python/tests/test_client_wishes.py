"""What the contract of clients cannot say of `nexios.client`: subscriptions in Python, logs, the order of handlers."""

import asyncio
import logging

import pytest
from live_server import LiveServer
from nexios.client import Message, NexiosError, connect
from simulated_client import come_back, opened, recorded, take, until


async def answer(connection, type, **members):
    asked = await connection.take()
    assert asked["type"] == type
    if type == "join":
        await connection.say({"type": "joined", "room": asked["room"]})
    if type == "leave":
        await connection.say({"type": "left", "room": asked["room"]})
    await connection.say({"type": "ack", "id": asked["id"]} | members)
    return asked


async def test_a_subscription_ends_with_its_handlers_and_the_last_one_leaves():
    async with opened() as (_, client, connection, _):
        first, second = asyncio.Queue(), asyncio.Queue()
        stop = client.subscribe("r", message=first.put_nowait)
        async with client.subscribe("r", message=second.put_nowait) as subscription:
            await answer(connection, "join")
            await connection.say({"type": "message", "room": "r"}, "1")
            assert [await take(first), await take(second)] == [Message("1"), Message("1")]
            stop()
            stop()
            await connection.say({"type": "message", "room": "r"}, "2")
            assert await take(second) == Message("2")
            assert first.empty()
            assert subscription.room.joined
        await answer(connection, "leave")
        assert not client.room("r").joined


async def test_a_subscription_outlives_the_leave_of_another_user_of_the_room():
    async with opened() as (_, client, connection, _):
        with client.subscribe("r"):
            await answer(connection, "join")
            room = client.room("r")
            await room.join()
            await room.leave()
            assert room.joined
            await client.send("nothing else")
            assert await connection.take() == {"message": "nothing else"}


async def test_a_subscription_that_is_stopped_after_the_client_is_no_error():
    async with opened() as (_, client, connection, _):
        stop = client.subscribe("r")
        await answer(connection, "join")
    stop()


async def test_joins_of_one_moment_are_one_frame():
    async with opened() as (_, client, connection, _):
        room = client.room("r")
        waiting = asyncio.gather(room.join(), room.leave(), room.join())
        await answer(connection, "join")
        await waiting
        await client.send("nothing else")
        assert await connection.take() == {"message": "nothing else"}


async def test_wishes_with_and_without_a_timeout_are_in_the_order_of_their_calls():
    async with opened() as (_, client, connection, _):
        room = client.room("r")
        waiting = asyncio.gather(room.join(timeout=5), room.leave(), return_exceptions=True)
        await answer(connection, "join")
        await answer(connection, "leave")
        refused, _ = await waiting
        assert refused.code == "closed"


async def test_a_reason_that_does_not_fit_closes_nothing():
    async with opened() as (_, client, _, _):
        for reason in ("x" * 124, "\ud83d"):
            with pytest.raises(ValueError, match="invalid reason"):
                await client.close(1000, reason)
        assert client.state == "open"


async def test_joins_go_before_what_a_handler_of_open_sends():
    async with opened() as (server, client, connection, _):
        with client.subscribe("r"):
            await answer(connection, "join")

            @client.on("open")
            async def back(opened):
                await client.send("I am back")

            connection.cut()
            connection, _ = await come_back(server)
            assert (await connection.take())["type"] == "join"
            assert await connection.take() == {"message": "I am back"}


async def test_a_join_that_was_not_waited_for_any_longer_does_not_join_later():
    async with opened() as (server, client, connection, _):
        client.drop(away=True)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.room("r").join(), 0.01)
        with pytest.raises(NexiosError, match="timeout"):
            await client.room("s").join(timeout=0.01)
        client.reconnect()
        connection, _ = await come_back(server)
        await until(client, "open")
        await client.send("nothing else")
        assert await connection.take() == {"message": "nothing else"}


async def test_a_storage_that_names_what_cannot_be_sent_keeps_no_client_from_connecting():
    storage = {"\ud83d": "a1-5-" + "0" * 32, 5: "x", "r": "a1-5-" + "0" * 32}
    async with opened(storage=storage) as (_, _, _, hello):
        assert hello["rooms"] == {"r": "a1-5-" + "0" * 32}


@pytest.mark.parametrize("name", ["\ud83d", "x" * 5000])
async def test_a_room_of_the_server_that_the_client_cannot_name_keeps_it_from_nothing(name):
    async with opened() as (server, client, connection, _):
        told = recorded(client, "error")
        await connection.joined(name, 5)
        error = (await take(told))[1]
        assert str(error).startswith("invalid room") and len(str(error)) < 200
        connection.cut()
        _, hello = await come_back(server)
        assert hello["rooms"] == {}


async def test_an_answer_of_presence_that_is_none_is_an_error_of_the_call():
    async with opened() as (_, client, connection, _):
        for reply in ("no json", "5", "[5]", '{"a":1}'):
            asking = asyncio.create_task(client.room("r").presence())
            await connection.say({"type": "reply", "id": (await connection.take())["id"]}, reply)
            with pytest.raises(NexiosError, match="failed"):
                await asking


async def test_the_first_failure_of_an_address_is_logged_once(caplog):
    async with LiveServer() as away:
        gone = away.url
    with caplog.at_level(logging.WARNING, "nexios.client"):
        async with connect(gone + "?token=secret", proxy=None) as client:
            told = recorded(client, "close", "reconnecting")
            client.on("reconnecting")(lambda event: event.attempt == 1 and client.reconnect())
            for _ in range(3):
                await take(told)
    (record,) = caplog.records
    assert f"cannot connect to {gone}: " in record.getMessage()
    assert "secret" not in record.getMessage()


async def test_a_parked_client_is_logged_unless_there_is_a_handler(caplog):
    async with opened() as (server, client, connection, _):
        with caplog.at_level(logging.WARNING, "nexios.client"):
            await connection.socket.close(4000, "enough")
            await until(client, "parked")
            (record,) = caplog.records
            assert "parked until reconnect(): application 4000 enough" in record.getMessage()
            told = recorded(client, "parked")
            client.reconnect()
            connection, _ = await come_back(server)
            await connection.socket.close(4000, "enough")
            await take(told)
            assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "options",
    [{"token": "a b"}, {"token": 5}, {"protocols": "bearer"}, {"protocols": ["a,b"]}, {"bigint": "float"}, {"url": 5}]
    + [{"user_agent": 5}, {"user_agent": "\udc00"}, {"subprotocols": ["x"]}],
)
def test_options_that_cannot_be_are_refused_at_once(options):
    with pytest.raises((TypeError, ValueError)):
        connect(**({"url": "ws://localhost/live"} | options))
