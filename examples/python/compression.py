"""Compression: agreed on in the handshake, used from `enable_compression()` on.

`python examples/python/compression.py`
"""

from nexios import NexiosApp

app = NexiosApp()

# Messages that build on each other: smaller, at some 150 KiB for each connection.
TAKEOVER = {"context_takeover": True, "window_bits": 12, "message_bytes_min": 64}


@app.ws("/compressed")
@app.ws("/takeover", compression=TAKEOVER)
@app.ws("/off", compression=None)
async def compressed_endpoint(ws):
    await ws.accept()
    compressed = ws.enable_compression()

    await ws.send_text(f"compression: {compressed}")  # too short to be compressed
    await ws.send_text("all work and no play " * 500)

    # A secret beside text of somebody else's choice is guessed from the length (CRIME).
    await ws.send_text("0123456789abcdef" * 100, compress=False)
    await ws.wait_closed()


if __name__ == "__main__":
    print("ws://127.0.0.1:8000/compressed, /takeover and /off")
    app.run()
