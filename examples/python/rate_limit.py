"""Rate limits: ready-made and hand-written. `python examples/python/rate_limit.py`."""

import time
from collections import defaultdict

from nexios import NexiosApp, RateLimit, WSRouter

# Ready-made: for handshakes by host, for messages by connection.
dial = RateLimit(handshakes=5, per=10.0)
talk = RateLimit(messages=10, per=1.0, burst=30)
# Instead of closing, let the client wait; all connections of one user count together.
patient = RateLimit(messages=1, on_excess="wait", key=lambda ws: ws.query_params.get("user", ws.id))

ready_made = WSRouter(prefix="/ready-made", middleware=[dial])


@ready_made.ws("/close", middleware=[talk])
@ready_made.ws("/wait", middleware=[patient])
async def echo(ws):
    await ws.accept()
    async for text in ws.iter_text():
        await ws.send_text(text)


by_hand = WSRouter(prefix="/by-hand")


@by_hand.middleware
async def rate_limit(ws, next):
    if not await check_rate_limit(ws.client):
        await ws.close(code=1008, reason="Rate limit exceeded")
        return
    return await next(ws)


# When each host has connected in the last minute.
recent = defaultdict(list)


async def check_rate_limit(client):
    """At most ten connections of one host in a minute."""
    if client is None:
        return True
    now = time.monotonic()
    for host, times in list(recent.items()):
        recent[host] = [moment for moment in times if now - moment < 60]
        if not recent[host]:
            del recent[host]
    recent[client.host].append(now)
    return len(recent[client.host]) <= 10


by_hand.ws("/echo")(echo)

app = NexiosApp()
app.mount_ws_router(ready_made)
app.mount_ws_router(by_hand)

if __name__ == "__main__":
    print("ws://127.0.0.1:8000/ready-made/close, /ready-made/wait?user=ann and /by-hand/echo")
    app.run()
