"""What a handshake asks for, and what an application may answer."""

import pytest
from apps import Log, app_with, echo
from nexios import NexiosApp, WSRouter
from nexios.testing import TestClient
from raw_client import request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse

PLAIN = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def sees(scope, receive, send):
    if scope["type"] != "http":
        return
    host = dict(scope["headers"]).get(b"host", b"").decode()
    seen = f"{host} {scope['path']} {scope['raw_path'].decode()} {scope['query_string'].decode()}"
    await PlainTextResponse(seen)(scope, receive, send)


async def tells(ws):
    await ws.accept()
    await ws.send_text(f"{ws.headers['host']} {ws.url} {ws.path}")


async def asked(server, data, first=b""):
    """The client that has the head of the answer."""
    client = await server.dial()
    if first:
        client.send(first)
        assert await client.read_head() == 200
        await client.read_body()
    client.send(data)
    await client.read_head()
    return client


# --- targets


@pytest.mark.parametrize("first", [b"", PLAIN], ids=["first", "kept alive"])
@pytest.mark.parametrize(
    "target, seen",
    [
        ("http://h/ws", "h ws://h/ws /ws"),
        ("http://h:81/ws?x=1", "h:81 ws://h:81/ws?x=1 /ws"),
        ("/ws?x=http://h/", "localhost ws://localhost/ws?x=http://h/ /ws"),
    ],
)
async def test_an_absolute_target_names_host_and_path_of_a_websocket(serve, first, target, seen):
    async with serve(app_with(tells, settings={"health": "/health"})) as server:
        client = await asked(server, request(target), first)
        assert client.status == 101
        assert await client.read_frame() == (0x81, seen.encode())


@pytest.mark.parametrize("first", [b"", PLAIN], ids=["first", "kept alive"])
@pytest.mark.parametrize(
    "target, seen",
    [
        ("http://h/a%20b?c", "h /a b /a%20b c"),
        ("http://h?x=/echo", "h / / x=/echo"),
        ("http://h", "h / / "),
        ("/a", "localhost /a /a "),
    ],
)
async def test_an_absolute_target_is_in_the_scope_of_an_application_what_it_stands_for(serve, first, target, seen):
    async with serve(app_with(echo, settings={"http": sees, "health": "/health"})) as server:
        client = await asked(server, f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(), first)
        assert (client.status, (await client.read_body()).decode()) == (200, seen)


@pytest.mark.parametrize("first", [b"", PLAIN], ids=["first", "kept alive"])
@pytest.mark.parametrize("target", ["ws", "?x=/ws", "*", "*://a/ws", "http:///ws", "http://u@h/ws", "h:80"])
async def test_other_targets_are_400(serve, first, target):
    async with serve(app_with(echo, settings={"http": sees, "health": "/health"})) as server:
        assert (await asked(server, request(target), first)).status == 400
        plain = f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        assert (await asked(server, plain, first)).status == 400
        whole = b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n"
        assert (await asked(server, whole, first)).status == 200


@pytest.mark.parametrize("host", ["a b", "a/b", "u@a", "a:b", "[::1", "a:80:80"])
async def test_hosts_that_are_not_valid_are_400(serve, host):
    async with serve(app_with(echo, settings={"http": sees, "health": "/health"})) as server:
        for first in (b"", PLAIN):
            upgrade = request().replace(b"Host: localhost", f"Host: {host}".encode())
            assert (await asked(server, upgrade, first)).status == 400
            assert (await asked(server, f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(), first)).status == 400


async def test_an_upgrade_of_http_1_0_reaches_the_application_as_such(serve):
    versions = Log()

    async def http(scope, receive, send):
        if scope["type"] == "http":
            versions(scope["http_version"])
            await StreamingResponse(iter(["a", "b"]))(scope, receive, send)

    async with serve(app_with(echo, settings={"http": http})) as server:
        client = await asked(server, request("/nowhere").replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert "transfer-encoding" not in client.headers
        assert await client.read_to_end() == b"ab"
    assert versions.entries == ["1.0"]


async def test_a_kept_alive_upgrade_over_the_head_limit_is_431_and_the_log_says_what_to_change(serve, caplog):
    async with serve(app_with(echo, settings={"health": "/health"})) as server:
        for first in (b"", PLAIN):
            caplog.clear()
            bare = len(request(X=""))
            assert (await asked(server, request(X="x" * (8192 - bare)), first)).status == 101
            assert (await asked(server, request(X="x" * (8193 - bare)), first)).status == 431
            assert "head_bytes_max" in caplog.text


# --- answers


@pytest.mark.parametrize(
    "name, value",
    [
        ("Content-Length", "3"),
        ("content-length", "x"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "keep-alive"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Accept", "x"),
        ("Sec-WebSocket-Protocol", "x"),
    ],
)
def test_headers_that_frame_the_answer_are_the_server_s_own(loop, name, value):
    errors = []

    async def handler(ws):
        for call in (lambda: ws.accept(headers={name: value}), lambda: ws.reject(403, {name: value}, "four")):
            with pytest.raises(ValueError, match=name) as raised:
                await call()
            errors.append(str(raised.value))
        await ws.reject(403, {"Content-Length": "4", "Connection": "close"}, "four")

    with TestClient(app_with(handler), loop=loop) as client:
        refused = client.handshake("/ws")
        assert (refused.status, refused.text, refused.headers.get_all("content-length")) == (403, "four", ["4"])
    assert all(error.startswith(f'invalid header "{name}: {value}"') for error in errors)


@pytest.mark.parametrize(
    "response, status, text",
    [
        (lambda: PlainTextResponse("members only", 403, {"X-Why": "members"}), 403, "members only"),
        (lambda: JSONResponse({"error": "é"}, 401, {"X-Why": "members"}), 401, '{"error":"é"}'),
        (lambda: PlainTextResponse(status_code=304, headers={"X-Why": "members"}), 304, ""),
    ],
)
async def test_a_response_of_starlette_can_be_passed_on(serve, response, status, text):
    async def handler(ws):
        await ws.reject(response())

    async with serve(app_with(handler)) as server:
        client = await asked(server, request())
        body = await client.read_to_end()
    assert (client.status, body.decode(), client.headers["x-why"]) == (status, text, "members")
    assert client.headers.get("content-length", "0") == str(len(body))


def test_what_is_no_refusal_is_an_error_at_the_call(loop):
    async def handler(ws):
        for status in (70000, -1, 200, 101, 600, 10**30):
            with pytest.raises(ValueError, match=f"invalid status {status}: .*300 to 599"):
                await ws.reject(status)
        with pytest.raises(ValueError, match="invalid status 200"):
            await ws.reject(PlainTextResponse("fine"))
        for wrong in ("403", True, 403.0, StreamingResponse(iter([])), object()):
            with pytest.raises(TypeError):
                await ws.reject(wrong)
        with pytest.raises(TypeError, match="its own"):
            await ws.reject(PlainTextResponse("no", 403), body="more")
        await ws.reject(418, headers=[(b"X-Tea", b"green")], body=b"pot")

    with TestClient(app_with(handler), loop=loop) as client:
        refused = client.handshake("/ws")
        assert (refused.status, refused.body, refused.headers["x-tea"]) == (418, b"pot", "green")


@pytest.mark.parametrize("code", [70000, -1, 0, 999, 1005, 5000, 10**30])
def test_codes_that_must_not_be_sent_are_value_errors(loop, code):
    async def handler(ws):
        handle = ws.handle()
        for call in (lambda: ws.close(code), lambda: handle.close(code)):
            with pytest.raises(ValueError, match="must not be sent"):
                call()
        await ws.accept()
        await ws.wait_closed()

    with TestClient(app_with(handler), loop=loop) as client, client.websocket_connect("/ws") as ws:
        with pytest.raises(ValueError, match="must not be sent"):
            ws.close(code)
        ws.close(4000)


# --- settings


@pytest.mark.parametrize("setting", ["head_bytes_max", "headers_max"])
@pytest.mark.parametrize("value", [200_000, 0, 65_536, -1, 1 << 70])
def test_limits_of_heads_that_cannot_be_kept_are_errors(setting, value):
    with pytest.raises(ValueError, match=setting):
        NexiosApp(**{setting: value})


@pytest.mark.parametrize(
    "origin, hint",
    [
        ("x.org", "https://x.org"),
        ("localhost:3000", "https://localhost:3000"),
        ("*.x.org", r"https://\*.x.org"),
        ("https://x.org/path", "a host"),
        ("https://*", "a host"),
        ("wss://x.org", "http or https"),
    ],
)
def test_origins_that_no_page_has_are_errors_at_the_call(origin, hint):
    for make in (
        lambda: NexiosApp(allowed_origins=[origin]),
        lambda: WSRouter(allowed_origins=[origin]),
        lambda: NexiosApp().ws("/ws", allowed_origins=[origin])(echo),
    ):
        with pytest.raises(ValueError, match=f"allowed_origins: invalid origin .*{hint}"):
            make()


async def test_pages_of_all_hosts_below_a_listed_one_pass(serve):
    async with serve(app_with(echo, settings={"allowed_origins": ["https://*.x.org"]})) as server:
        for origin, status in (("https://a.x.org", 101), ("https://x.org", 403), ("https://evilx.org", 403)):
            assert (await asked(server, request(Origin=origin))).status == status


async def test_requests_to_other_hosts_are_400_where_hosts_are_listed(serve, caplog):
    settings = {"allowed_hosts": ["localhost", "*.x.org"], "health": "/health", "http": sees}
    async with serve(app_with(echo, settings=settings)) as server:
        for host, is_served in (("localhost:80", True), ("a.x.org", True), ("x.org", False), ("evil", False)):
            upgrade = request(Origin=f"http://{host}").replace(b"Host: localhost", f"Host: {host}".encode())
            for first in (b"", PLAIN):
                assert (await asked(server, upgrade, first)).status == (101 if is_served else 400)
            for path in ("/health", "/any", "/ws"):
                plain = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
                assert (await asked(server, plain)).status == (200 if is_served else 400)
        assert "allowed_hosts" in caplog.text


@pytest.mark.parametrize("hosts", ["https://x.org", ["x.org/"], [""], [".x.org"]])
def test_what_is_no_host_is_an_error(hosts):
    with pytest.raises(ValueError, match="invalid allowed host"):
        NexiosApp(allowed_hosts=hosts)
    assert NexiosApp(allowed_hosts="x.org")._allowed_hosts == ["x.org"]
