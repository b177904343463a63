"""socketify, which is uWebSockets for Python, after its documentation: handlers are plain functions, or coroutines."""

import ctypes
from pathlib import Path

from listening import options

# Where the system has no libuv, the build of the peer uwebsockets has fetched one.
libuv = Path(__file__).resolve().parents[2] / ".cache/uwebsockets/libuv.so.1"
ctypes.CDLL(str(libuv), mode=ctypes.RTLD_GLOBAL)

from socketify import App, AppListenOptions, CompressOptions  # noqa: E402

PAYLOAD_BYTES_MAX = 1024 * 1024
BACKPRESSURE_BYTES_MAX = 1024 * 1024

chosen = options(__doc__, ("--handlers", ["plain", "coroutines"]))
app = App()


def behavior(message=None, open=None, compress=False):
    """The library's defaults of uWebSockets, but for the limits."""
    return {
        "compression": CompressOptions.SHARED_COMPRESSOR | CompressOptions.SHARED_DECOMPRESSOR if compress else 0,
        "max_payload_length": PAYLOAD_BYTES_MAX,
        "max_backpressure": BACKPRESSURE_BYTES_MAX,
        "idle_timeout": 120,
        "send_pings_automatically": True,
        "open": open,
        "message": message,
    }


def echo(compress):
    def plain(ws, message, opcode):
        ws.send(message, opcode, compress)

    async def coroutine(ws, message, opcode):
        ws.send(message, opcode, compress)

    return plain if chosen.handlers == "plain" else coroutine


def publish(topic, compress=False):
    def plain(ws, message, opcode):
        ws.publish(topic, message, opcode, compress)

    async def coroutine(ws, message, opcode):
        ws.publish(topic, message, opcode, compress)

    return plain if chosen.handlers == "plain" else coroutine


def subscribe(topic):
    return lambda ws: ws.subscribe(topic)


app.ws("/echo", behavior(echo(False)))
app.ws("/deflate", behavior(echo(True), compress=True))
app.ws("/bcast", behavior(publish("everybody"), subscribe("everybody")))
app.ws("/bcast-deflate", behavior(publish("deflated", True), subscribe("deflated"), compress=True))
app.ws("/pub", behavior(publish("subscribers")))
app.ws("/sub", behavior(None, subscribe("subscribers")))
app.any("/", lambda response, request: response.end("Hello, bench"))
app.listen(AppListenOptions(port=chosen.port, host=chosen.host), lambda config: None)
app.run()
