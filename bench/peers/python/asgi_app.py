"""The routes as an ASGI app without a framework, for uvicorn and granian."""

import contextlib

everybody = set()
everybody_deflated = set()
subscribers = set()


async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await ROUTES[scope["path"]](receive, send)
    elif scope["type"] == "http":
        await hello(send)
    else:
        await lifespan(receive, send)


async def hello(send):
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"12")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"Hello, bench"})


async def echo(receive, send):
    while (event := await receive())["type"] == "websocket.receive":
        await send(answer(event))


def chat(clients):
    async def handler(receive, send):
        clients.add(send)
        try:
            await hear(receive, clients)
        finally:
            clients.discard(send)

    return handler


async def publish(receive, _send):
    await hear(receive, subscribers)


async def subscribe(receive, send):
    subscribers.add(send)
    try:
        await hear(receive, ())
    finally:
        subscribers.discard(send)


async def hear(receive, audience):
    while (event := await receive())["type"] == "websocket.receive":
        message = answer(event)
        for send in list(audience):
            # A client that has gone takes itself out.
            with contextlib.suppress(Exception):
                await send(message)


def answer(event):
    if (text := event.get("text")) is not None:
        return {"type": "websocket.send", "text": text}
    return {"type": "websocket.send", "bytes": event["bytes"]}


async def lifespan(receive, send):
    while True:
        step = (await receive())["type"]
        await send({"type": f"{step}.complete"})
        if step == "lifespan.shutdown":
            return


ROUTES = {
    "/echo": echo,
    "/deflate": echo,
    "/bcast": chat(everybody),
    "/bcast-deflate": chat(everybody_deflated),
    "/pub": publish,
    "/sub": subscribe,
}
