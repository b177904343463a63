"""Groups: routers with a prefix, mounted on the app or on each other. `python examples/python/groups.py`."""

from nexios import NexiosApp, WSRouter

chat_group = WSRouter(prefix="/chat")


@chat_group.ws("/general")
async def general_chat(ws):
    await ws.accept()
    await ws.send_text("general")
    await ws.wait_closed()


@chat_group.ws("/private")
async def private_chat(ws):
    await ws.accept()
    await ws.send_text("private")
    await ws.wait_closed()


# Prefixes of nested routers concatenate: /chat/support/{number}.
support = WSRouter(prefix="/support")


@support.ws("/{number:int}")
async def ticket(ws):
    """A parameter that is declared as `int` is a number."""
    await ws.accept()
    await ws.send_text(f"ticket {ws.path_params['number']} of {ws.route.path}")
    await ws.wait_closed()


app = NexiosApp()
chat_group.mount_ws_router(support)
app.mount_ws_router(chat_group)

if __name__ == "__main__":
    print("ws://127.0.0.1:8000/chat/general, /chat/private and /chat/support/17")
    app.run()
