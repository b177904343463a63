"""Basic setup and the life of a connection: `python examples/python/basic.py`.

Then connect to ws://127.0.0.1:8000/ws.
"""

from nexios import NexiosApp, WebSocketState, WSRouter

ws_router = WSRouter()


@ws_router.ws("/ws")
async def websocket_endpoint(ws):
    await ws.accept()
    await ws.send_text("Connected!")

    # Ends with an exception as soon as the client is gone; that is a normal end.
    while ws.state == WebSocketState.CONNECTED:
        data = await ws.receive_text()
        if data == "bye":
            await ws.close(code=1000, reason="Normal closure")
            break
        await ws.send_text(f"Echo: {data}")


app = NexiosApp()
app.mount_ws_router(ws_router)

if __name__ == "__main__":
    print("ws://127.0.0.1:8000/ws")
    app.run()
