"""ASGI applications next to WebSocket routes: the scope, paths, frameworks."""

import asyncio

import pytest
from asgi_apps import TEN_MEGABYTES, answering, app_with, ask, body, client_of, plain, start
from fastapi import FastAPI
from nexios import NexiosApp
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

# --- the scope


async def test_scope_has_all_that_the_specification_names(serve):
    scopes = []

    @plain
    async def http(scope, receive, send):
        scopes.append(scope)
        await answering(start(), body())(scope, receive, send)

    async with serve(app_with(http)) as server:
        target = b"GET /caf%C3%A9/a%2Fb?x=%20&y HTTP/1.1\r\n"
        client = await ask(server, target + b"Host: here\r\nX-Tag: 1\r\nOther: \xff\r\nx-TAG: 2\r\n\r\n")
        own = client.writer.get_extra_info("sockname")
        client.cut()
        (scope,) = scopes
        assert scope == {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/café/a/b",
            "raw_path": b"/caf%C3%A9/a%2Fb",
            "query_string": b"x=%20&y",
            "root_path": "",
            "headers": scope["headers"],
            "client": own,
            "server": ("127.0.0.1", server.port),
            "extensions": {},
        }
        assert [value for name, value in scope["headers"] if name == b"x-tag"] == [b"1", b"2"]
        assert (b"other", b"\xff") in scope["headers"]
        assert (b"host", b"here") in scope["headers"]


async def test_a_trusted_proxy_names_client_and_scheme(serve):
    @plain
    async def http(scope, receive, send):
        await PlainTextResponse(f"{scope['client'][0]} {scope['scheme']}")(scope, receive, send)

    forwarded = {"X_Forwarded_For": "1.2.3.4", "X_Forwarded_Proto": "https"}
    async with serve(app_with(http, trusted_proxies=["127.0.0.1"])) as server:
        assert (await server.get("/", **forwarded))[2] == b"1.2.3.4 https"
    async with serve(app_with(http)) as server:
        assert (await server.get("/", **forwarded))[2] == b"127.0.0.1 http"


# --- which paths are its own


async def test_files_and_health_win_over_it_and_plain_requests_for_websocket_routes_are_its_own(serve, tmp_path):
    (tmp_path / "page.txt").write_text("a file")
    app = app_with(answering(start(), body(b"from the app")), health="/health")
    app.static("/files", tmp_path)
    async with serve(app) as server:
        assert (await server.get("/health"))[2] == b"ok\n"
        assert (await server.get("/files/page.txt"))[2] == b"a file"
        assert (await server.get("/files/none"))[2] == b"from the app"
        assert (await server.get("/anywhere"))[2] == b"from the app"
        assert (await server.get("/ws"))[2] == b"from the app"


async def test_upgrade_without_a_route_is_a_request_for_it(serve):
    async with serve(app_with(answering(start(404), body(b"nothing")))) as server:
        assert (await server.refusal("/none")).status_code == 404


async def test_requests_are_answered_beside_an_open_websocket(serve):
    async with serve(app_with(answering(start(), body(b"hello")))) as server, client_of(server) as client:

        async def get():
            async with client.get("/") as response:
                return await response.text()

        async with server.connect() as ws:
            for _ in range(3):
                assert await asyncio.gather(*(get() for _ in range(50))) == ["hello"] * 50
                await ws.send("and you")
                assert await ws.recv() == "and you"


# --- frameworks


async def test_fastapi_serves_as_it_is(serve):
    api = FastAPI()

    @api.post("/items/{number}")
    async def item(number: int, content: dict):
        return {"number": number, **content}

    @api.get("/blocking")
    def blocking():
        return "from a thread"

    async with serve(app_with(api)) as server, client_of(server) as client:
        async with client.post("/items/7", json={"name": "x"}) as response:
            assert await response.json() == {"number": 7, "name": "x"}
        async with client.post("/items/x", json={}) as response:
            assert response.status == 422
        async with client.get("/blocking") as response:
            assert await response.json() == "from a thread"
        async with client.get("/none") as response:
            assert (response.status, await response.json()) == (404, {"detail": "Not Found"})


async def test_starlette_streams_in_both_directions(serve):
    async def upload(request):
        sizes = [len(part) async for part in request.stream()]
        return JSONResponse({"parts": len(sizes), "bytes": sum(sizes)})

    async def download(request):
        async def parts():
            for _ in range(160):
                yield b"x" * (64 << 10)

        return StreamingResponse(parts())

    http = Starlette(routes=[Route("/up", upload, methods=["POST"]), Route("/down", download)])
    async with serve(app_with(http)) as server, client_of(server) as client:

        async def chunks():
            for _ in range(10):
                yield b"x" * (1 << 20)

        async with client.post("/up", data=chunks()) as response:
            told = await response.json()
            assert told["bytes"] == TEN_MEGABYTES
            assert told["parts"] > 10
        async with client.get("/down") as response:
            assert response.headers["transfer-encoding"] == "chunked"
            assert len(await response.read()) == TEN_MEGABYTES


async def test_starlette_ends_an_endless_stream_when_the_client_goes(serve):
    ended = asyncio.Event()

    async def ticks(request):
        async def parts():
            try:
                while True:
                    yield b"tick\n"
                    await asyncio.sleep(0.001)
            finally:
                ended.set()

        return StreamingResponse(parts())

    async with serve(app_with(Starlette(routes=[Route("/", ticks)]))) as server:
        client = await ask(server, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        await client.reader.readexactly(20)
        client.cut()
        await asyncio.wait_for(ended.wait(), 5)


# --- lifespan


def test_http_has_to_be_an_application():
    with pytest.raises(TypeError, match="http has to be an ASGI application"):
        NexiosApp(http="module:app")
