"""`nexios.client` and the server of this package: what both say of `nexios.v1` is the same."""

import asyncio

import pytest
from nexios import NexiosApp, RequestError
from nexios.client import Joined, Left, Member, Message, NexiosError, connect


def make_app():
    app = NexiosApp()

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
        assert await joined() == (Joined(recovered=False, remembers=False),)
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


async def test_a_handlers_close_is_told_with_its_code(serve):
    async with serve(make_app()) as server, client_of(server) as client:
        joined = told_by(client.room("news"), "joined")
        await joined()
        await client.send("close")
        closed = await client.wait_closed()
        assert (closed.code, closed.reason, closed.kind) == (4000, "enough", "application")
