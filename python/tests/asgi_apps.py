"""ASGI applications for tests, and clients that ask them."""

import contextlib

import aiohttp
from apps import echo
from nexios import NexiosApp

TEN_MEGABYTES = 10 << 20


def app_with(http, **settings):
    app = NexiosApp(http=http, **settings)
    app.ws("/ws")(echo)
    return app


def plain(http):
    """An application that has no lifespan, and says so as the specification wants."""

    async def checked(scope, receive, send):
        assert scope["type"] == "http"
        await http(scope, receive, send)

    return checked


def answering(*messages):
    """An application that sends these messages, whatever it is asked."""

    @plain
    async def http(scope, receive, send):
        for message in messages:
            await send(message)

    return http


def start(status=200, *headers):
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(content=b"", more=False):
    return {"type": "http.response.body", "body": content, "more_body": more}


@contextlib.asynccontextmanager
async def client_of(server):
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}", read_bufsize=1 << 20) as client:
        yield client


async def ask(server, request):
    """Sends a request as it is; the client has read the head of the answer."""
    client = await server.dial()
    client.send(request)
    await client.read_head()
    return client
