"""Sending and receiving: text, binary, JSON, ping and pong. `python examples/python/messages.py`."""

from nexios import NexiosApp, WebSocketTypeError

app = NexiosApp()


@app.ws("/all-kinds")
async def all_kinds(ws):
    """Sends one of each kind, then asks for one of each kind."""
    await ws.accept()

    await ws.send_text("Hello, World!")
    await ws.send_bytes(b"Hello, World!")
    await ws.send_json({"message": "Hello", "type": "greeting"})
    await ws.send_ping(b"are you there?")
    await ws.send_pong()

    text = await ws.receive_text()
    binary = await ws.receive_bytes()
    data = await ws.receive_json()
    pong = await ws.receive_pong()
    print(f"{text}, {len(binary)} bytes, {data['message']}, pong {pong!r}")


@app.ws("/more")
async def more(ws):
    """What else there is: round trips, and both kinds at once."""
    await ws.accept()
    print(f"the client is {await ws.ping() * 1000:.1f} ms away")

    # Binary where text is expected is an exception that carries the message; nothing is lost.
    try:
        await ws.send_text(f"text: {await ws.receive_text()}")
    except WebSocketTypeError as error:
        await ws.send_text(f"binary: {len(error.message)} bytes")

    # A message is `str` or `bytes`, and `send` keeps it so.
    async for message in ws:
        await ws.send(message, compress=isinstance(message, str))


@app.ws("/pings")
async def pings(ws):
    """Pings are answered by themselves; `receive_ping` only looks at them."""
    await ws.accept()
    while True:
        ping = await ws.receive_ping()
        await ws.send_text(f"you pinged with {ping.decode()}")


if __name__ == "__main__":
    print("ws://127.0.0.1:8000/all-kinds, /more and /pings")
    app.run()
