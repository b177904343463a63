"""`nexios.client` and the server of this package: what both say of `nexios.v1` is the same."""

import asyncio

import pytest
from nexios import History, NexiosApp, RequestError
from nexios.client import Joined, Left, Member, Message, NexiosError, Parked, connect


def make_app():
    app = NexiosApp(live=True)

    @app.ws("/live")
    async def live(ws):
        ws.client_id = ws.query_params.get("name", "nobody")
        await ws.accept()
        await ws.join("news")
        await app.room("news").track(ws, {"name": ws.client_id})
        async for message in ws:
            if message == '"leave"':
                await ws.leave("news")
            elif message == '"close"':
                await ws.close(4000, "enough")
            else:
                await ws.send(message)

    @app.authorize_join
    async def may_join(ws, room):
        return room.startswith("chat")

    @app.authorize_publish
    async def may_publish(ws, room):
        return room in ws.rooms

    @app.authorize_presence
    async def may_see(ws, room):
        return room == "news"

    @app.on_request("divide", json=True)
    async def divide(ws, numbers):
        if numbers[1] == 0:
            raise RequestError("by_zero", "cannot divide by 0")
        return numbers[0] / numbers[1]

    return app


def told_by(emitter, event):
    told = asyncio.Queue()
    emitter.on(event)(lambda *values: told.put_nowait(values))
    return lambda: asyncio.wait_for(told.get(), 10)


def client_of(server, name="ann"):
    return connect(server.url(f"/live?name={name}"), json=True, proxy=None)


async def test_rooms_are_joined_left_and_refused(serve):
    async with serve(make_app()) as server, client_of(server) as client:
        news, chat = client.room("news"), client.room("chat-1")
        joined, left = told_by(news, "joined"), told_by(news, "left")
        assert await joined() == (Joined(recovered=False, has_history=False),)
        await chat.join()
        assert chat.joined
        with pytest.raises(NexiosError, match="forbidden"):
            await client.room("staff").join()
        await chat.leave()
        assert not chat.joined
        await client.send("leave")
        assert await left() == (Left(),)


async def test_messages_of_rooms_and_of_the_handler(serve):
    async with serve(make_app()) as server, client_of(server) as ann, client_of(server, "bob") as bob:
        own, heard = told_by(ann, "message"), told_by(bob.room("chat-1"), "message")
        await ann.room("chat-1").join()
        await bob.room("chat-1").join()
        published = await ann.room("chat-1").publish({"text": "hi"}, key="k1")
        assert (published.key, published.position) == ("k1", None)
        assert await heard() == (Message({"text": "hi"}),)
        assert await ann.send("\x1e as text")
        assert await own() == ("\x1e as text",)


async def test_requests_are_answered(serve):
    async with serve(make_app()) as server, client_of(server) as client:
        assert await client.request("divide", [6, 4]) == 1.5
        with pytest.raises(NexiosError, match="by_zero: cannot divide by 0"):
            await client.request("divide", [1, 0])
        with pytest.raises(NexiosError) as unknown:
            await client.request("unknown")
        assert unknown.value.code == "not_found"


async def test_presence_is_told(serve):
    async with serve(make_app()) as server, client_of(server) as ann:
        news = ann.room("news")
        joined, changed = told_by(news, "joined"), told_by(news, "presence")
        await joined()
        while await news.presence() != [Member("ann", {"name": "ann"})]:
            await asyncio.sleep(0.01)
        async with client_of(server, "bob"):
            while (change := (await changed())[0]).user != "bob":
                pass
            assert (change.event, change.data) == ("join", {"name": "bob"})
        while (change := (await changed())[0]).event != "leave":
            pass
        assert change.user == "bob"


async def test_a_client_that_was_cut_comes_back_to_its_rooms(serve):
    async with serve(make_app()) as server, client_of(server) as client:
        chat = client.room("chat-1")
        closed, joined = told_by(client, "close"), told_by(chat, "joined")
        await chat.join()
        await joined()
        first = client.id
        client.drop(away=True)
        assert (await closed())[0].retry
        client.reconnect()
        await joined()
        assert client.state == "open" and client.id != first


async def test_a_call_that_cannot_be_sent_hurts_no_other(serve):
    async with serve(make_app()) as server, client_of(server) as client:
        chat, joined = client.room("chat-1"), told_by(client.room("chat-1"), "joined")
        await chat.join()
        await joined()
        for data, error in [("\ud83d", ValueError), ({1, 2}, TypeError), (float("nan"), ValueError)]:
            with pytest.raises(error):
                await chat.publish(data)
        with pytest.raises(ValueError, match="4096"):
            await client.room("chat-" + "x" * 5000).join()
        client.drop(away=True)
        client.reconnect()
        await joined()
        assert (await chat.publish("hi", key="k")).key == "k"


async def test_a_room_that_is_left_and_joined_at_once_is_joined(serve):
    async with serve(make_app()) as server, client_of(server) as client:
        chat = client.room("chat-1")
        heard = told_by(chat, "message")
        await chat.join()
        for _ in range(20):
            leaving = asyncio.create_task(chat.leave())
            await asyncio.sleep(0)
            await chat.join()
            await leaving
        assert chat.joined
        await chat.publish("hi")
        assert await heard() == (Message("hi"),)


async def test_a_handlers_close_is_told_with_its_code(serve):
    async with serve(make_app()) as server, client_of(server) as client:
        joined, parked = told_by(client.room("news"), "joined"), told_by(client, "parked")
        await joined()
        await client.send("close")
        assert await parked() == (Parked(4000, "enough", "application"),)
        client.reconnect()
        await joined()


async def test_a_room_that_remembers_goes_on_where_the_client_was(serve):
    app = make_app()
    news = app.room("news", history=History(size=100, ttl=60))
    async with serve(app) as server, client_of(server) as client:
        room = client.room("news")
        joined, received = told_by(room, "joined"), told_by(room, "message")
        assert await joined() == (Joined(recovered=False, has_history=True),)
        published = await room.publish("first", key="k1")
        assert await room.publish("first", key="k1") == published
        assert (await received())[0].data == "first"
        client.drop(away=True)
        for text in ("one", "two", "three"):
            await news.broadcast(f'"{text}"')
        client.reconnect()
        assert await joined() == (Joined(recovered=True, has_history=True),)
        await room.publish("last")
        offset = int(published.position.split("-")[1])
        expected = [Message(text, offset + n) for n, text in enumerate(("one", "two", "three", "last"), 1)]
        assert [(await received())[0] for _ in expected] == expected


@pytest.mark.parametrize("policy", ["drop_newest", "drop_oldest"])
async def test_a_client_that_read_too_slowly_gets_all_in_order(serve, policy):
    app = NexiosApp(live=True, slow_client=policy)
    news = app.room("news", history=History(size=300, ttl=60))
    dropped = asyncio.Event()

    @app.ws("/live")
    async def live(ws):
        await ws.accept()
        await ws.join("news")
        await ws.wait_closed()

    @app.on("drop")
    async def told(ws, messages):
        dropped.set()

    async with serve(app) as server, client_of(server) as client:
        room = client.room("news")
        closed, received = told_by(client, "close"), told_by(room, "message")
        await told_by(room, "joined")()
        client._dialogue._connection.transport.pause_reading()
        sent = 0
        while not dropped.is_set():
            assert sent < 250
            await news.broadcast(f'"{sent} {"x" * (256 << 10)}"')
            await asyncio.sleep(0)
            sent += 1
        client._dialogue._connection.transport.resume_reading()
        await news.broadcast('"last"')
        assert [(await received())[0].data.split()[0] for _ in range(sent + 1)] == [*map(str, range(sent)), "last"]
        assert (await closed())[0].retry


async def test_one_who_asks_first_and_joins_then_misses_nothing(serve):
    app = NexiosApp(live=True)
    room = app.room("x", history=History(size=5, ttl=60))

    @app.ws("/live")
    async def live(ws):
        await ws.accept()
        await ws.wait_closed()

    @app.authorize_join
    async def may_join(ws, name):
        return True

    @app.authorize_history
    async def may_read_all(ws, name):
        return ws.query_params.get("name") == "ann"

    @app.on_request("history", json=True)
    async def history(ws, _):
        page = await room.history()
        return [[stored.message for stored in page.messages], page.position]

    async with serve(app) as server:
        async with client_of(server) as client:
            # Nobody has used the room yet.
            (messages, position), entered = await client.request("history", 0), client.room("x")
            heard = told_by(entered, "message")
            await room.broadcast('"0"')
            assert messages == []
            await entered.join(since=position)
            await room.broadcast('"1"')
            assert [(await heard())[0].data for _ in range(2)] == ["0", "1"]
        for n in range(2, 8):
            await room.broadcast(f'"{n}"')
        async with client_of(server) as client:
            messages, position = await client.request("history", 0)
            await room.broadcast('"8"')
            entered = client.room("x")
            joined, heard = told_by(entered, "joined"), told_by(entered, "message")
            await entered.join(since=position)
            assert (await joined())[0].recovered
            assert (messages[-1], (await heard())[0].data) == ('"7"', "8")
        async with client_of(server) as client:
            entered = client.room("x")
            joined, heard = told_by(entered, "joined"), told_by(entered, "message")
            await entered.join(since="start")
            assert (await joined())[0].recovered
            assert [(await heard())[0].data for _ in range(5)] == ["4", "5", "6", "7", "8"]
            with pytest.raises(ValueError, match=r'^invalid since "?\'nowhere\''):
                await entered.join(since="nowhere")
        async with client_of(server, "bob") as client:
            with pytest.raises(NexiosError) as refused:
                await client.room("x").join(since="start")
            assert refused.value.code == "forbidden"
        # The documented form of a storage, written by the application itself.
        async with connect(server.url("/live"), json=True, proxy=None, storage={"x": position}) as client:
            entered = client.room("x")
            joined, heard = told_by(entered, "joined"), told_by(entered, "message")
            await entered.join()
            assert (await joined())[0].recovered
            assert (await heard())[0].data == "8"
