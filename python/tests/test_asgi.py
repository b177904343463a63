"""An ASGI application beside the WebSockets: what it is told, what its clients get."""

import asyncio
import contextlib
import io
import logging

import aiohttp
import pytest
from apps import Log, echo
from fastapi import FastAPI
from nexios import NexiosApp
from serving import until
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

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


async def read_all(receive):
    """The request's body, and in how many parts it came."""
    content, parts, more = bytearray(), 0, True
    while more:
        message = await receive()
        assert message["type"] == "http.request"
        content += message["body"]
        parts, more = parts + 1, message["more_body"]
    return bytes(content), parts


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


# --- bodies


async def test_big_bodies_arrive_whole(serve):
    content = bytes(range(256)) * (TEN_MEGABYTES // 256)

    @plain
    async def http(scope, receive, send):
        received, _ = await read_all(receive)
        await send(start())
        await send(body(received))

    async with serve(app_with(http)) as server, client_of(server) as client:
        async with client.post("/", data=io.BytesIO(content)) as response:
            assert int(response.headers["content-length"]) == TEN_MEGABYTES
            assert await response.read() == content


async def test_chunked_upload_is_seen_part_by_part(serve):
    log = Log()

    @plain
    async def http(scope, receive, send):
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            log(message["body"])
        await answering(start(), body(b"done"))(scope, receive, send)

    async with serve(app_with(http)) as server:
        client = await server.dial()
        client.send(b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        assert await log.has(1) == [b"one"]
        client.send(b"3\r\ntwo\r\n")
        assert await log.has(2) == [b"one", b"two"]
        client.send(b"0\r\n\r\n")
        await client.read_head()
        assert (await client.read_body(), b"".join(log.entries)) == (b"done", b"onetwo")


async def test_cancelled_receive_takes_nothing(serve):
    log = Log()

    @plain
    async def http(scope, receive, send):
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(receive(), 0.01)
        log("given up")
        await send(start())
        await send(body((await read_all(receive))[0]))

    async with serve(app_with(http)) as server:
        client = await server.dial()
        client.send(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\n")
        await log.has(1)
        client.send(b"hello")
        await client.read_head()
        assert await client.read_body() == b"hello"


async def test_an_upload_that_nobody_reads_does_not_pile_up(serve):
    log, go_on = Log(), asyncio.Event()

    @plain
    async def http(scope, receive, send):
        log(len((await receive())["body"]))
        await go_on.wait()
        await answering(start(), body(b"enough"))(scope, receive, send)

    async with serve(app_with(http)) as server:
        client = await server.dial()
        client.send(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 50000000\r\n\r\n")
        client.send(b"x" * 50_000_000)
        await log.has(1)
        # Most of it stays with the client, which cannot send it.
        pending = await settled(client.writer.transport.get_write_buffer_size)
        assert pending > 40_000_000
        assert log.entries[0] < 1 << 20
        client.cut()
        go_on.set()


async def test_a_client_that_does_not_read_stops_the_application(serve):
    sent = []

    @plain
    async def http(scope, receive, send):
        await send(start())
        for _ in range(1000):
            await send(body(b"x" * (100 << 10), more=True))
            sent.append(None)
        await send(body())

    async with serve(app_with(http)) as server:
        client = await server.dial(receive_buffer=16 << 10)
        client.send(b"GET / HTTP/1.0\r\nHost: here\r\n\r\n")
        await client.read_head()
        stopped = await settled(lambda: len(sent))
        assert stopped < 900
        assert len(await client.read_to_end()) == 1000 * (100 << 10)
        assert len(sent) == 1000


async def settled(value):
    """A value that has stopped changing."""
    last, same = value(), 0
    while same < 10:
        await asyncio.sleep(0.02)
        same = same + 1 if value() == last else 0
        last = value()
    return last


# --- responses


async def test_connection_is_kept_alive(serve):
    async with serve(app_with(answering(start(), body(b"hello")))) as server:
        client = await server.dial()
        for _ in range(3):
            client.send(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            assert await client.read_head() == 200
            assert await client.read_body() == b"hello"


async def test_headers_keep_their_repeats(serve):
    http = answering(start(201, (b"Set-Cookie", b"a=1"), [b"set-cookie", b"b=2"], (b"X-Latin", b"\xe9")), body())
    async with serve(app_with(http)) as server, client_of(server) as client:
        async with client.get("/") as response:
            assert response.status == 201
            assert response.headers.getall("set-cookie") == ["a=1", "b=2"]
            assert (b"x-latin", b"\xe9") in response.raw_headers


async def test_head_has_the_length_but_no_body(serve):
    async with serve(app_with(answering(start(), body(b"hello")))) as server:
        client = await ask(server, b"HEAD / HTTP/1.1\r\nHost: here\r\n\r\n")
        assert client.headers["content-length"] == "5"
        client.send(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        assert await client.read_head() == 200
        assert await client.read_to_end() == b"hello"


async def test_head_keeps_the_length_that_the_application_names(serve):
    async with serve(app_with(answering(start(200, (b"content-length", b"7")), body()))) as server:
        client = await ask(server, b"HEAD / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        assert client.headers["content-length"] == "7"
        assert await client.read_to_end() == b""


async def test_head_ends_a_stream(serve):
    messages = []

    @plain
    async def http(scope, receive, send):
        await receive()
        await send(start())
        await send(body(b"x", more=True))
        messages.append(await receive())
        await send(body(b"x"))

    async with serve(app_with(http)) as server:
        client = await ask(server, b"HEAD / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        assert await client.read_to_end() == b""
        await until(lambda: messages == [{"type": "http.disconnect"}])


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body_have_none(serve, status):
    async with serve(app_with(answering(start(status), body(b"never sent")))) as server:
        client = await ask(server, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        assert client.status == status
        assert not {"content-length", "transfer-encoding"} & client.headers.keys()
        client.send(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        assert await client.read_head() == status
        assert await client.read_to_end() == b""


async def test_streams_to_http_1_0_end_with_the_connection(serve):
    async with serve(app_with(answering(start(), body(b"one", more=True), body(b"two")))) as server:
        client = await ask(server, b"GET / HTTP/1.0\r\nHost: here\r\n\r\n")
        assert "transfer-encoding" not in client.headers
        assert await client.read_to_end() == b"onetwo"


async def test_server_frames_the_body_itself(serve):
    http = answering(start(200, (b"transfer-encoding", b"chunked")), body(b"hello"))
    async with serve(app_with(http)) as server:
        _, headers, content = await server.get("/")
        assert (headers["content-length"], content) == ("5", b"hello")
        assert "transfer-encoding" not in headers


# --- disconnects


async def test_receive_tells_that_the_client_has_gone(serve):
    log = Log()

    @plain
    async def http(scope, receive, send):
        log((await receive())["type"])
        log(await receive())
        log(await receive())
        # Nothing goes anywhere, and nothing fails.
        await answering(body(b"no start"), start(), start(), body(b"x"), body(b"x"))(scope, receive, send)
        log("ended")

    async with serve(app_with(http)) as server:
        client = await server.dial()
        client.send(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        await log.has(1)
        client.cut()
        gone = {"type": "http.disconnect"}
        assert await log.has(4) == ["http.request", gone, gone, "ended"]


async def test_a_body_that_breaks_off_is_a_disconnect(serve):
    log = Log()

    @plain
    async def http(scope, receive, send):
        log(await receive())
        log(await receive())

    async with serve(app_with(http)) as server:
        client = await server.dial()
        client.send(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\nabc")
        first = {"type": "http.request", "body": b"abc", "more_body": True}
        assert await log.has(1) == [first]
        client.cut()
        assert await log.has(2) == [first, {"type": "http.disconnect"}]


async def test_two_receives_wait_at_once(serve):
    log = Log()

    @plain
    async def http(scope, receive, send):
        await receive()
        waiting = [asyncio.ensure_future(receive()) for _ in range(2)]
        log("waiting")
        log(await asyncio.gather(*waiting))

    async with serve(app_with(http)) as server:
        client = await server.dial()
        client.send(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        await log.has(1)
        client.cut()
        assert (await log.has(2))[1] == [{"type": "http.disconnect"}] * 2


async def test_receive_after_the_response_is_a_disconnect(serve):
    log = Log()

    @plain
    async def http(scope, receive, send):
        await answering(start(), body())(scope, receive, send)
        log(await receive())

    async with serve(app_with(http)) as server:
        assert (await server.get("/"))[0] == 200
        assert await log.has(1) == [{"type": "http.disconnect"}]


# --- faults of the application


async def test_exception_before_the_response_is_a_500_with_a_traceback(serve, caplog):
    @plain
    async def http(scope, receive, send):
        await send(start())
        raise LookupError("a bug")

    async with serve(app_with(http)) as server:
        client = await server.dial()
        for _ in range(2):
            client.send(b"GET /x HTTP/1.1\r\nHost: here\r\n\r\n")
            assert await client.read_head() == 500
            assert await client.read_body() == b"internal error\n"
    records = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.message for record in records] == ["the HTTP application failed (GET /x)"] * 2
    assert records[0].exc_info[0] is LookupError


async def test_exception_in_the_middle_cuts_the_connection(serve, caplog):
    assert await broken_off(serve, LookupError("a bug")) == b"5\r\nbegun\r\n"
    assert "LookupError: a bug" in caplog.text


async def test_application_that_answers_nothing_is_a_500(serve, caplog):
    async with serve(app_with(answering())) as server:
        assert (await server.get("/"))[0] == 500
    assert "the HTTP application returned without a response (GET /)" in caplog.text


async def test_application_that_stops_in_the_middle_cuts_the_connection(serve, caplog):
    assert await broken_off(serve) == b"5\r\nbegun\r\n"
    assert "returned in the middle of its response" in caplog.text


async def broken_off(serve, error=None):
    """All that a client gets of a stream whose application raises or returns."""
    go_on = asyncio.Event()

    @plain
    async def http(scope, receive, send):
        await send(start())
        await send(body(b"begun", more=True))
        await go_on.wait()
        if error:
            raise error

    async with serve(app_with(http)) as server:
        client = await ask(server, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        begun = await client.reader.readexactly(10)
        go_on.set()
        return begun + await client.read_to_end()


@pytest.mark.parametrize(
    "messages, text",
    [
        ([body()], "before http.response.start"),
        ([start(), start()], "sent twice"),
        ([start(), body(), body()], "complete"),
        ([start(), body(), start()], "complete"),
        ([{"type": "http.request"}], 'no ASGI message "http.request"'),
        ([{}], "type"),
        ([start(101)], "101 is not the status"),
        ([start(200, (b"a b", b""))], "cannot be the name"),
        ([start(200, (b"a", b"x\r\ny: z"))], "cannot be the value"),
        ([start(200, (b"content-length", b"x"))], "not a number"),
        ([start(200, (b"content-length", b"1")), body(b"xx")], "longer"),
        ([start(200, (b"content-length", b"2")), body(b"x")], "shorter"),
        ([start(200, (b"content-length", b"2")), body(b"xx", more=True), body(b"x")], "longer"),
    ],
)
async def test_messages_that_make_no_sense_raise(serve, messages, text):
    log = Log()

    @plain
    async def http(scope, receive, send):
        try:
            await answering(*messages)(scope, receive, send)
        except RuntimeError as error:
            log(str(error))

    async with serve(app_with(http)) as server:
        client = await server.dial()
        client.send(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        assert text in (await log.has(1))[0]


async def test_send_takes_bytes_and_nothing_else(serve):
    log = Log()

    @plain
    async def http(scope, receive, send):
        await send(start())
        try:
            await send(body("text"))
        except TypeError as error:
            log(str(error))
        await send(body(bytearray(b"bytes"), more=True))
        await send(body(memoryview(b" too")))

    async with serve(app_with(http)) as server:
        assert (await server.get("/"))[0] == 200
    assert "expected bytes, not str" in log.entries[0]


# --- lifespan


def living(log, **failing):
    """An application with a lifespan, that logs what happens."""

    async def http(scope, receive, send):
        if scope["type"] == "http":
            log(scope["state"]["name"])
            scope["state"]["name"] = "changed"
            await answering(start(), body())(scope, receive, send)
            return
        scope["state"]["name"] = "shared"
        for event in ("startup", "shutdown"):
            assert await receive() == {"type": f"lifespan.{event}"}
            log(event)
            if event in failing:
                await send({"type": f"lifespan.{event}.failed", "message": failing[event]})
                return
            await send({"type": f"lifespan.{event}.complete"})

    return http


async def test_lifespan_surrounds_the_requests_and_shares_state(serve):
    log = Log()
    async with serve(app_with(living(log))) as server:
        await server.get("/")
        await server.get("/")
    assert log.entries == ["startup", "shared", "shared", "shutdown"]


async def test_startup_that_fails_stops_the_start(serve):
    log = Log()
    with pytest.raises(RuntimeError, match="no database"):
        await app_with(living(log, startup="no database")).serve(port=0)
    assert log.entries == ["startup"]


async def test_shutdown_that_fails_is_logged(serve, caplog):
    async with serve(app_with(living(Log(), shutdown="too late"))) as server:
        await server.get("/")
    assert "failed to shut down: too late" in caplog.text


async def test_starlette_lifespan_runs_and_gives_state(serve):
    log = Log()

    @contextlib.asynccontextmanager
    async def lifespan(app):
        log("startup")
        yield {"name": "shared"}
        log("shutdown")

    async def name(request):
        return PlainTextResponse(request.state.name)

    async with serve(app_with(Starlette(routes=[Route("/", name)], lifespan=lifespan))) as server:
        assert (await server.get("/"))[2] == b"shared"
        assert log.entries == ["startup"]
    assert log.entries == ["startup", "shutdown"]


async def test_starlette_lifespan_that_fails_stops_the_start(serve):
    @contextlib.asynccontextmanager
    async def lifespan(app):
        raise LookupError("no database")
        yield

    with pytest.raises(RuntimeError, match="LookupError: no database"):
        await app_with(Starlette(lifespan=lifespan)).serve(port=0)


async def test_draining_waits_for_requests_before_the_shutdown(serve):
    log, stop = Log(), asyncio.Event()

    async def http(scope, receive, send):
        if scope["type"] == "lifespan":
            await living(log)(scope, receive, send)
            return
        log("request")
        await go_on.wait()
        await answering(start(), body(b"late"))(scope, receive, send)
        log("answered")

    go_on = asyncio.Event()
    async with serve(app_with(http), stop=stop) as server:
        client = await server.dial()
        client.send(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        await log.has(2)
        stop.set()
        await asyncio.sleep(0.05)
        assert log.entries == ["startup", "request"]
        go_on.set()
        await client.read_head()
        assert await client.read_to_end() == b"late"
        client.cut()
        await log.has(4)
    assert log.entries == ["startup", "request", "answered", "shutdown"]


async def test_a_request_that_outlasts_the_grace_period_is_cancelled(serve, caplog):
    log, stop = Log(), asyncio.Event()

    @plain
    async def http(scope, receive, send):
        log("request")
        try:
            await asyncio.sleep(60)
        finally:
            log("cancelled")

    async with serve(app_with(http, shutdown_grace=0.05), stop=stop) as server:
        client = await server.dial()
        client.send(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        await log.has(1)
        stop.set()
        await asyncio.wait_for(asyncio.shield(server.task), 5)
    assert log.entries == ["request", "cancelled"]


def test_http_has_to_be_an_application():
    with pytest.raises(TypeError, match="http has to be an ASGI application"):
        NexiosApp(http="module:app")
