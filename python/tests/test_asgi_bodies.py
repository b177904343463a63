"""Bodies and responses of ASGI applications, and clients that leave."""

import asyncio
import contextlib
import io

import pytest
from apps import Log
from asgi_apps import TEN_MEGABYTES, answering, app_with, ask, body, client_of, plain, start
from serving import until


async def read_all(receive):
    """The request's body, and in how many parts it came."""
    content, parts, more = bytearray(), 0, True
    while more:
        message = await receive()
        assert message["type"] == "http.request"
        content += message["body"]
        parts, more = parts + 1, message["more_body"]
    return bytes(content), parts


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
