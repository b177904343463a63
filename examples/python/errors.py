"""Errors: raised anywhere, handled by class, nearest first. `python examples/python/errors.py`."""

from nexios import NexiosApp, WebSocketException, WSRouter

LARGEST = 2**31 - 1

ws_router = WSRouter()


@ws_router.exception_handler(WebSocketException)
async def handle_ws_error(ws, exc):
    await ws.close(code=1011, reason=str(exc))


@ws_router.exception_handler(ValueError)
async def handle_bad_number(ws, exc):
    """Every class of exceptions can have a handler of its own."""
    await ws.close(code=1007, reason=f"not a number: {exc}")


@ws_router.ws("/square")
async def square(ws):
    """What is raised here and has no handler would close 1011 and be logged."""
    await ws.accept()
    while True:
        number = int(await ws.receive_text())
        if number * number > LARGEST:
            raise WebSocketException(reason="that number is too large")
        await ws.send_json(number * number)


@ws_router.ws("/chat")
async def chat(ws):
    """Caught on the spot."""
    try:
        await ws.accept()
        name, text = await ws.receive_json()
        await ws.send_text(f"{name} says {text}")
    except Exception as e:
        await ws.close(code=1011, reason=str(e))


app = NexiosApp()
app.mount_ws_router(ws_router)

if __name__ == "__main__":
    print("ws://127.0.0.1:8000/square and /chat")
    app.run()
