"""One node of nexios in Python, which Redis connects with the others, as its users would write it."""

import argparse
import resource

from nexios import History, NexiosApp

ROOM = "bench"

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--listen", metavar="HOST:PORT", required=True)
parser.add_argument("--broker", metavar="URL", required=True)
options = parser.parse_args()

app = NexiosApp(broker=options.broker)
room = app.room(ROOM)
remembering = app.room("history", history=History())


@app.ws("/room")
async def listen(ws):
    await ws.accept()
    await ws.join(ROOM)
    await ws.wait_closed()


@app.ws("/publish")
async def publish(ws):
    await ws.accept()
    while True:
        await room.broadcast(await ws.receive())


@app.ws("/history", live=True)
async def come_back(ws):
    await ws.accept()
    await ws.join(remembering.name)
    await ws.wait_closed()


@app.ws("/history-publish")
async def store(ws):
    await ws.accept()
    while True:
        await remembering.broadcast(await ws.receive())


# The soft limit is 1,024 on most systems, whatever the hard one allows.
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

host, _, port = options.listen.rpartition(":")
app.run(host=host, port=int(port), loop="uvloop")
