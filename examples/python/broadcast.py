"""Broadcasts: to everybody, to a group, to a room, to some. `python examples/python/broadcast.py`."""

import asyncio
import contextlib

from nexios import NexiosApp, WSRouter

ANNOUNCE_SECONDS = 10

chat_group = WSRouter(prefix="/chat")


@chat_group.ws("/{room}")
async def chat(ws):
    """`/chat/{room}?name=client1`"""
    ws.client_id = ws.query_params.get("name")
    await ws.accept()

    name = ws.path_params["room"]
    await ws.join(name)
    room = ws.app.room(name)
    async for text in ws.iter_text():
        heard = await room.broadcast(text, exclude=[ws])
        await ws.send_text(f"{heard} of {room.count() - 1} heard you")


async def announce(app):
    """Any task of the server's loop may broadcast."""
    while True:
        await asyncio.sleep(ANNOUNCE_SECONDS)
        await app.broadcast("Hello, everyone!")
        await chat_group.broadcast("Hello, chat!")
        outcome = await app.broadcast_to(["client1", "client2"], "Hello, specific clients!")
        print(f"{outcome.count} got it, {outcome.dropped} were too slow, not here: {outcome.unknown}")


@contextlib.asynccontextmanager
async def lifespan(app):
    """Starts with the server, and ends with it."""
    announcing = asyncio.create_task(announce(app))
    yield
    announcing.cancel()


app = NexiosApp(lifespan=lifespan)
app.mount_ws_router(chat_group)

if __name__ == "__main__":
    print("ws://127.0.0.1:8000/chat/general?name=client1")
    app.run()
