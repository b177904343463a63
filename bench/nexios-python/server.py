"""nexios as its users would write it in Python: the server that the Python peers are compared with."""

import argparse
import resource

from nexios import NexiosApp, WSRouter

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--listen", metavar="HOST:PORT", required=True)
parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="uvloop")
parser.add_argument("--deflate-level", type=int, choices=range(1, 10), default=2)


async def http(scope, receive, send):
    """`/`: twelve bytes over plain HTTP, from an ASGI app without a framework."""
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"12")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"Hello, bench"})


options = parser.parse_args()
# The routes with compression compress every message, as the peers do.
app = NexiosApp(http=http, compression={"message_bytes_min": 0, "level": options.deflate_level})
everybody = WSRouter()
everybody_deflated = WSRouter()
subscribers = WSRouter()


@app.ws("/echo")
async def echo(ws):
    await ws.accept()
    while True:
        await ws.send(await ws.receive())


@app.ws("/deflate")
async def echo_deflated(ws):
    await ws.accept()
    ws.enable_compression()
    while True:
        await ws.send(await ws.receive())


@everybody.ws("/bcast")
async def broadcast(ws):
    await ws.accept()
    while True:
        await everybody.broadcast(await ws.receive())


@everybody_deflated.ws("/bcast-deflate")
async def broadcast_deflated(ws):
    await ws.accept()
    ws.enable_compression()
    while True:
        await everybody_deflated.broadcast(await ws.receive())


@app.ws("/pub")
async def publish(ws):
    await ws.accept()
    while True:
        await subscribers.broadcast(await ws.receive())


@subscribers.ws("/sub")
async def subscribe(ws):
    await ws.accept()
    await ws.wait_closed()


for router in (everybody, everybody_deflated, subscribers):
    app.mount_ws_router(router)

# The soft limit is 1,024 on most systems, whatever the hard one allows.
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

host, _, port = options.listen.rpartition(":")
app.run(host=host, port=int(port), loop=options.loop)
