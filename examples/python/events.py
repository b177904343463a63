"""Events: who comes, who goes, what is said. `python examples/python/events.py`."""

from nexios import NexiosApp, WSRouter

ws_router = WSRouter()


@ws_router.on("connect")
async def on_connect(ws):
    print(f"Client connected: {name(ws)}")
    await ws.send_text("Welcome")


@ws_router.on("disconnect")
async def on_disconnect(ws):
    print(f"Client disconnected: {name(ws)}, code {ws.close_code}")


@ws_router.on("message")
async def on_message(ws, message):
    """Sees each message before a handler receives it."""
    if isinstance(message, str):
        print(f"Received message from {name(ws)}: {message}")
    else:
        print(f"Received {len(message)} bytes from {name(ws)}")


@ws_router.ws("/ws")
async def only_events(ws):
    """Everything happens in the listeners."""
    await ws.accept()
    await ws.wait_closed()


def name(ws):
    return f"{ws.client.host}:{ws.client.port}" if ws.client else "somebody on a Unix socket"


app = NexiosApp()
app.mount_ws_router(ws_router)

if __name__ == "__main__":
    print("ws://127.0.0.1:8000/ws")
    app.run()
