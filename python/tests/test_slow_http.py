"""Plain HTTP that does not go on, or that is not what it should be."""

import asyncio
import os

import pytest
from apps import Log, app_with, echo
from nexios import NexiosApp
from serving import until
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse

PATIENCE = {"http_stall_timeout": 0.3, "http_bytes_per_second_min": 1000}


def reading(log):
    """An application that answers with the length of the body."""

    async def http(scope, receive, send):
        if scope["type"] != "http":
            return
        length, more = 0, True
        while more:
            message = await receive()
            log(message["type"])
            if message["type"] == "http.disconnect":
                return
            length, more = length + len(message["body"]), message["more_body"]
        await PlainTextResponse(str(length))(scope, receive, send)

    return http


async def post(server, framing, body):
    client = await server.dial()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n" + body)
    return client


@pytest.mark.parametrize(
    "framing, body",
    [
        (b"Content-Length: 10", b"abc"),
        (b"Content-Length: 10", b""),
        (b"Transfer-Encoding: chunked", b"5\r\nabc"),
        (b"Transfer-Encoding: chunked", b"5;name="),
    ],
)
async def test_a_body_that_stops_is_408_and_the_application_sees_a_disconnect(serve, framing, body):
    log = Log()
    async with serve(app_with(echo, settings={"http": reading(log), **PATIENCE})) as server:
        client = await post(server, framing, body)
        assert await client.read_head() == 408
        assert client.headers["connection"] == "close"
        await until(lambda: log.entries[-1:] == ["http.disconnect"], "the disconnect")
        assert server._app.metrics().causes["slow_http"] == 1


async def test_a_body_by_a_byte_now_and_then_is_408(serve):
    settings = {"http": reading(Log()), "http_stall_timeout": 0.3, "http_bytes_per_second_min": 1 << 20}
    async with serve(app_with(echo, settings=settings)) as server:
        client = await post(server, b"Content-Length: 100000", b"")
        head = asyncio.ensure_future(client.read_head())
        while not head.done():
            client.send(b"x")
            await asyncio.sleep(0.02)
        assert head.result() == 408


async def test_time_that_the_application_takes_is_not_the_client_s(serve):
    async def http(scope, receive, send):
        if scope["type"] == "http":
            await asyncio.sleep(1)
            body = await Request(scope, receive).body()
            await asyncio.sleep(1)
            await PlainTextResponse(str(len(body)))(scope, receive, send)

    async with serve(app_with(echo, settings={"http": http, **PATIENCE})) as server:
        client = await post(server, b"Content-Length: 4", b"abcd")
        assert await client.read_head() == 200
        assert await client.read_body() == b"4"


def open_files():
    return [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]


@pytest.mark.parametrize("path", ["/large", "/files/large.bin"])
async def test_an_answer_that_nobody_reads_is_given_up(serve, tmp_path, path):
    log = Log()

    async def endless(scope, receive, send):
        if scope["type"] != "http":
            return
        pieces = (b"x" * 65536 for _ in range(100_000))
        await StreamingResponse(pieces)(scope, receive, send)
        log("over")

    (tmp_path / "large.bin").write_bytes(b"x" * (32 << 20))
    app = app_with(echo, settings={"http": endless, **PATIENCE})
    app.static("/files", tmp_path)
    async with serve(app) as server:
        client = await server.dial(receive_buffer=4096)
        client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        await until(lambda: server._app.metrics().causes["slow_http"] == 1, "the end", 20)
        await until(lambda: server._app.metrics().connections == 0, "the end of the connection")
        await until(lambda: path != "/large" or log.entries == ["over"], "the end of the application")
        assert str(tmp_path / "large.bin") not in open_files()


@pytest.mark.parametrize("body", [b"zz\r\n", b"3\r\nabcXX", b"-1\r\nx\r\n", b"fffffffffffffffff\r\n"])
async def test_a_body_in_chunks_that_are_none_is_400(serve, body):
    async def http(scope, receive, send):
        if scope["type"] == "http":
            read = await Request(scope, receive).body()
            await PlainTextResponse(str(len(read)))(scope, receive, send)

    async with serve(app_with(echo, settings={"http": http})) as server:
        client = await post(server, b"Transfer-Encoding: chunked", body)
        assert await client.read_head() == 400


async def test_files_that_hide_and_links_that_lead_out_are_404_unless_they_are_allowed(serve, tmp_path):
    page = tmp_path / "page"
    (page / "sub").mkdir(parents=True)
    (page / ".git").mkdir()
    (page / ".env").write_text("secret")
    (page / ".git" / "config").write_text("secret")
    (tmp_path / "out.txt").write_text("secret")
    (page / "out.txt").symlink_to(tmp_path / "out.txt")
    (page / "circle").symlink_to(page / "circle")
    (page / "page.txt").write_text("page")
    app = app_with(echo)
    app.static("/files", page)
    app.static("/open", page, hidden_files=True, follow_links=True)
    async with serve(app) as server:
        for path in ("/.env", "/%2eenv", "/.git/config", "/out.txt", "/circle", "/" + "x" * 300):
            assert (await server.get(f"/files{path}"))[0] == 404, path
        for path in ("/.env", "/.git/config", "/out.txt"):
            assert (await server.get(f"/open{path}"))[::2] == (200, b"secret")
        assert (await server.get("/files/page.txt"))[::2] == (200, b"page")
        status, headers, _ = await server.get("/files/sub")
        assert (status, headers["location"]) == (307, "/files/sub/")


def test_the_patience_can_be_endless():
    NexiosApp(http_stall_timeout=None, http_bytes_per_second_min=0)
    with pytest.raises(ValueError, match="http_stall_timeout"):
        NexiosApp(http_stall_timeout=-1)
