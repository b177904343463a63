"""Paths, handshakes over HTTP, origins, and the request as handlers see it."""

import asyncio

import pytest
from apps import Log, app_with, echo
from nexios import NexiosApp, WSRouter
from raw_client import request
from serving import close_of


def says(text):
    async def handler(ws):
        await ws.accept()
        await ws.send_json({"says": text, "params": dict(ws.path_params)})

    return handler


async def answer(server, path):
    import json

    async with server.connect(path) as ws:
        found = json.loads(await ws.recv())
        return (found["says"], found["params"]) if found["params"] else found["says"]


async def missing(server, path):
    return (await server.refusal(path)).status_code == 404


# --- paths


async def test_prefixes_match_whole_segments_only(serve):
    router = WSRouter(prefix="/chat")
    router.ws("/general")(says("general"))
    app = NexiosApp()
    app.mount_ws_router(router)
    async with serve(app) as server:
        assert await answer(server, "/chat/general") == "general"
        for path in "/chatgeneral", "/chat", "/chat/general2", "/cha/general", "/", "/general":
            assert await missing(server, path), path


async def test_duplicate_and_trailing_slashes_do_not_count(serve):
    router = WSRouter(prefix="//chat/")
    router.ws("general/")(says("general"))
    app = NexiosApp()
    app.mount_ws_router(router)
    async with serve(app) as server:
        for path in "/chat/general", "/chat/general/", "//chat///general", "/chat/general?x=1":
            assert await answer(server, path) == "general", path


async def test_static_beats_parameters(serve):
    app = NexiosApp()
    for path in "/{name}", "/{number:int}", "/static", "/{rest:path}":
        app.ws(path)(says(path))
    async with serve(app) as server:
        assert await answer(server, "/static") == "/static"
        assert await answer(server, "/12") == ("/{number:int}", {"number": 12})
        assert await answer(server, "/other") == ("/{name}", {"name": "other"})
        assert await answer(server, "/a/b/c") == ("/{rest:path}", {"rest": "a/b/c"})


async def test_parameters_are_percent_decoded(serve):
    app = NexiosApp()
    app.ws("/rooms/{room}/users/{user:int}")(says("user"))
    async with serve(app) as server:
        assert await answer(server, "/rooms/caf%C3%A9%2F1/users/7") == ("user", {"room": "café/1", "user": 7})
        assert await missing(server, "/rooms/x/users/seven")


async def test_nested_prefixes_concatenate(serve):
    app, outer, inner = NexiosApp(), WSRouter(prefix="/outer"), WSRouter(prefix="/inner")
    inner.ws("/ws")(says("inner"))
    outer.mount_ws_router(inner)
    app.mount_ws_router(outer)
    async with serve(app) as server:
        assert await answer(server, "/outer/inner/ws") == "inner"
        assert await missing(server, "/inner/ws")


async def test_a_prefix_at_mount_replaces_the_routers_own(serve):
    app, router = NexiosApp(), WSRouter(prefix="/own")
    router.ws("/ws")(says("here"))
    app.mount_ws_router(router, prefix="/x")
    async with serve(app) as server:
        assert await answer(server, "/x/ws") == "here"
        assert await missing(server, "/own/ws")


async def test_a_prefix_may_have_parameters(serve):
    app, router = NexiosApp(), WSRouter(prefix="/tenants/{tenant}")
    router.ws("/{room}")(says("room"))
    app.mount_ws_router(router)
    async with serve(app) as server:
        assert await answer(server, "/tenants/a/b") == ("room", {"tenant": "a", "room": "b"})


def test_mounting_a_router_twice_raises_at_once():
    app, router = NexiosApp(), WSRouter(prefix="/x")
    app.mount_ws_router(router)
    with pytest.raises((ValueError, RuntimeError)):
        app.mount_ws_router(router)
    with pytest.raises((ValueError, RuntimeError)):
        app.mount_ws_router(router, prefix="/y")
    with pytest.raises((ValueError, RuntimeError)):
        router.mount_ws_router(router)


def test_two_routes_on_one_path_raise_at_once():
    router = WSRouter()
    router.ws("/ws")(echo)
    with pytest.raises(ValueError, match="/ws"):
        router.ws("/ws/")(echo)


def test_two_routes_on_one_path_raise_across_routers():
    app, one, two = NexiosApp(), WSRouter(prefix="/x"), WSRouter(prefix="/x")
    one.ws("/{a}")(echo)
    two.ws("/{b}")(echo)
    app.mount_ws_router(one)
    with pytest.raises(ValueError, match="/x"):
        app.mount_ws_router(two)


def test_a_broken_path_raises_at_once():
    for path in "/{", "/{a:float}", "/{a:path}/b", "/{a}/{a}", "/x{a}y{b}":
        with pytest.raises(ValueError):
            WSRouter().ws(path)(echo)


async def test_two_routers_of_one_name_raise_at_start(serve):
    app = NexiosApp()
    for prefix in "/a", "/b":
        router = WSRouter(prefix=prefix, name="same")
        router.ws("/ws")(echo)
        app.mount_ws_router(router)
    with pytest.raises(ValueError, match="same"):
        async with serve(app):
            pass


# --- HTTP


async def test_a_path_that_nobody_routes_is_404(serve):
    async with serve(app_with(echo)) as server:
        assert await missing(server, "/nowhere")
        assert (await server.get("/nowhere"))[0] == 404


async def test_a_plain_request_to_a_websocket_route_is_426(serve):
    async with serve(app_with(echo)) as server:
        status, headers, _ = await server.get("/ws")
    assert (status, headers["upgrade"].lower()) == (426, "websocket")


async def test_a_static_file_may_have_the_path_of_a_route(serve, tmp_path):
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / "index.html").write_text("<p>the page")
    (tmp_path / "a.txt").write_text("a file")
    app = app_with(echo)
    app.static("/", directory=tmp_path)
    async with serve(app) as server:
        status, headers, body = await server.get("/ws/")
        assert (status, body) == (200, b"<p>the page") and headers["content-type"].startswith("text/html")
        assert (await server.get("/a.txt"))[::2] == (200, b"a file")
        assert (await server.get("/b.txt"))[0] == 404
        assert (await server.get("/../conftest.py"))[0] in (400, 403, 404)
        async with server.connect("/ws") as ws:
            await ws.send("x")
            assert await ws.recv() == "x"


async def test_a_wrong_version_is_426_with_the_right_one(serve):
    async with serve(app_with(echo)) as server:
        client = await server.dial()
        client.send(request("/ws", version="8"))
        assert await client.read_head() == 426
        assert client.headers["sec-websocket-version"] == "13"
        client.cut()


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        ("GET", "POST", 405),
        ("HTTP/1.1", "HTTP/1.0", 505),
        ("Sec-WebSocket-Key: ", "Sec-WebSocket-Key: short", 400),
        ("Host: localhost", "Host: localhost\r\nContent-Length: 1", 400),
    ],
)
async def test_other_faults_of_a_handshake(serve, old, new, status):
    async with serve(app_with(echo)) as server:
        client = await server.dial()
        client.send(request().decode().replace(old, new, 1).encode())
        assert await client.read_head() == status


async def test_an_upgrade_may_follow_plain_requests(serve):
    async with serve(app_with(echo)) as server:
        client = await server.dial()
        for status in 404, 404:
            client.send(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert await client.read_head() == status
            await client.read_body()
        client.send(request("/ws"))
        assert await client.read_head() == 101
        client.cut()


# --- the request


async def test_the_request_as_handlers_see_it(serve):
    log = Log()

    async def handler(ws):
        log(ws)
        await ws.accept()

    app = app_with(handler, path="/rooms/{room}", name="room")
    async with serve(app) as server:
        headers = [("Cookie", "a=1; b=2"), ("X-Many", "1"), ("x-many", "2"), ("X-One", "one")]
        async with server.connect("/rooms/a%20b?q=1&q=2&r=%C3%A9", headers=headers, subprotocols=["p"]) as client:
            await close_of(client)
            local = client.local_address
        (ws,) = log.entries
        assert dict(ws.path_params) == {"room": "a b"}
        assert ws.query_params["r"] == "é" and ws.query_params.get("none") is None
        assert ws.query_params.get_all("q") == ["1", "2"]
        assert ws.headers["x-ONE"] == "one" and ws.headers.get("none") is None and "X-one" in ws.headers
        assert ws.headers.get_all("X-Many") == ["1", "2"]
        assert dict(ws.cookies) == {"a": "1", "b": "2"}
        assert ws.path == "/rooms/a%20b"
        assert ws.url == f"ws://127.0.0.1:{server.port}/rooms/a%20b?q=1&q=2&r=%C3%A9"
        assert list(ws.subprotocols) == ["p"]
        assert ws.client == tuple(local) and (ws.client.host, ws.client.port) == local
        assert ws.app is app
        assert (ws.route.name, ws.route.path) == ("room", "/rooms/{room}")
        assert isinstance(ws.id, str) and len(ws.id) >= 32


async def test_client_is_none_on_a_unix_socket(tmp_path):
    from websockets.asyncio.client import unix_connect

    log = Log()

    async def handler(ws):
        log(ws.client)
        await ws.accept()

    path = tmp_path / "ws.sock"
    task = asyncio.ensure_future(app_with(handler).serve(uds=str(path)))
    while not path.exists():
        await asyncio.sleep(0.005)
    async with unix_connect(str(path), "ws://localhost/ws") as ws:
        assert await close_of(ws) == (1000, "")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert log.entries == [None]


@pytest.mark.parametrize("trusted, host", [(["127.0.0.1"], "203.0.113.7"), ([], "127.0.0.1")])
async def test_forwarded_headers_only_from_trusted_proxies(serve, trusted, host):
    log = Log()

    async def handler(ws):
        log(ws.client.host)
        await ws.accept()

    async with serve(app_with(handler, settings={"trusted_proxies": trusted})) as server:
        assert await server.closed(headers={"X-Forwarded-For": "10.0.0.1, 203.0.113.7"}) == (1000, "")
    assert log.entries == [host]


# --- origins


@pytest.mark.parametrize(
    "origin, allowed, status",
    [
        ("http://127.0.0.1:{port}", None, 101),
        ("http://evil.example", None, 403),
        ("null", None, 403),
        ("http://good.example", ["http://good.example"], 101),
        ("http://good.example.evil", ["http://good.example"], 403),
        ("http://evil.example", ["*"], 101),
    ],
)
async def test_origins(serve, caplog, origin, allowed, status):
    settings = {"allowed_origins": allowed} if allowed else {}
    async with serve(app_with(echo, settings=settings)) as server:
        headers = {"Origin": origin.format(port=server.port)}
        if status == 101:
            async with server.connect(headers=headers):
                pass
        else:
            assert (await server.refusal(headers=headers)).status_code == status
            assert "allowed_origins" in caplog.text


async def test_a_trusted_proxy_says_which_host_the_page_was_of(serve):
    headers = {"Origin": "https://chat.example", "X-Forwarded-Host": "chat.example"}
    async with serve(app_with(echo)) as server:
        assert (await server.refusal(headers=headers)).status_code == 403
    async with serve(app_with(echo, settings={"trusted_proxies": ["127.0.0.1"]})) as server:
        async with server.connect(headers=headers) as ws:
            await ws.send("x")
            assert await ws.recv() == "x"
