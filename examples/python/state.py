"""State of a connection, and of the app. `python examples/python/state.py`."""

import itertools

from nexios import NexiosApp

app = NexiosApp()

# One for the whole app: all its handlers run on one thread, so no lock is needed.
visits = itertools.count(1)


@app.middleware
async def sign_in(ws, next):
    """What a middleware stores, the handler finds."""
    ws.state["user_id"] = 42
    ws.state["room"] = "general"
    return await next(ws)


@app.ws("/ws")
async def count(ws):
    await ws.accept()
    user_id = ws.state.get("user_id")
    room = ws.state.get("room")
    await ws.send_text(f"visit {next(visits)}: user {user_id} in {room}")

    # Items and attributes are the same.
    ws.state.messages = 0
    async for _ in ws:
        ws.state.messages += 1
        await ws.send_text(f"message {ws.state['messages']}")


if __name__ == "__main__":
    print("ws://127.0.0.1:8000/ws")
    app.run()
