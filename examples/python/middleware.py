"""Middleware for a router and for one route. `python examples/python/middleware.py`."""

import time

from nexios import NexiosApp, WSRouter

# The order is app, router, route; registered at two levels, a middleware runs once.
ws_router = WSRouter()


@ws_router.middleware
async def time_middleware(ws, next):
    """What follows `next` is teardown."""
    start = time.monotonic()
    try:
        return await next(ws)
    finally:
        print(f"{ws.id} was here for {time.monotonic() - start:.3f} s")


@ws_router.middleware
async def auth_middleware(ws, next):
    if not ws.headers.get("Authorization"):
        await ws.close(code=1008, reason="Authentication required")
        return
    return await next(ws)


@ws_router.ws("/chat", middleware=[auth_middleware])
async def chat(ws):
    await ws.accept()
    async for text in ws.iter_text():
        await ws.send_text(text)


app = NexiosApp()
app.mount_ws_router(ws_router)

if __name__ == "__main__":
    print("ws://127.0.0.1:8000/chat wants an Authorization header")
    app.run()
