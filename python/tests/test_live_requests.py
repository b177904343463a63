"""Requests of `nexios.v1` clients."""

import asyncio

import guides
import pytest
from apps import Log, echo
from live_client import app_with, frame, read, served
from nexios import RequestError, WSRouter


def with_requests():
    app = app_with(echo)

    @app.on_request("text")
    async def text(ws, argument):
        return argument + "!"

    @app.on_request("bytes")
    async def binary(ws, argument):
        return argument.encode()

    @app.on_request("nothing")
    async def nothing(ws, argument):
        pass

    @app.on_request("value")
    async def value(ws, argument):
        return {"length": len(argument)}

    @app.on_request("sum", json=True)
    async def total(ws, numbers):
        return sum(numbers)

    @app.on_request("long")
    async def long(ws, argument):
        raise RequestError("c" * 300, "€" * 200_000)

    @app.on_request("own")
    async def own(ws, argument):
        raise RequestError("sold_out", "come back tomorrow")

    return app


def test_requests_are_answered(loop):
    with served(with_requests(), loop) as (_, client):
        for method, argument, reply in [
            ("text", "hi", "hi!"),
            ("nothing", "", ""),
            ("value", "four", '{"length":4}'),
            ("sum", "[1, 2]", "3"),
        ]:
            client.send(argument, type="request", id=1, method=method)
            assert client.receive() == ({"type": "reply", "id": 1}, reply)
        client.send("hi", type="request", id=2, method="bytes")
        assert client.socket.receive_bytes() == b'\x1e{"type":"reply","id":2}\nhi'
        client.send("x", type="request", id=2, method="long")
        told = client.header()
        assert told["code"] == "c" * 256 and 43_000 < len(told["message"]) and set(told["message"]) == {"€"}
        for method, code in [("own", "sold_out"), ("sum", "invalid"), ("none", "not_found")]:
            client.send("[1,", type="request", id=3, method=method)
            assert client.header()["code"] == code


async def test_a_fault_is_logged_and_told_as_failed_and_the_connection_lives(serve, caplog):
    app = app_with(echo)

    @app.on_request("fault")
    async def fault(ws, argument):
        raise KeyError("a secret")

    @app.authorize_join
    async def forgets(ws, room):
        pass

    async with serve(app) as server, server.connect(subprotocols=["nexios.v1"]) as client:
        await client.send(frame(type="hello"))
        await client.recv()
        for number, asked in enumerate([{"type": "request", "method": "fault"}, {"type": "join", "room": "x"}]):
            await client.send(frame(id=number, **asked))
            told = {"type": "error", "id": number, "code": "failed", "message": "the server failed"}
            assert read(await client.recv()) == (told, "")
        await client.send("still here")
        assert await client.recv() == "still here"
    logged = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert logged[0] == "'a secret'" and len(logged) == 2
    caplog.clear()


async def test_a_request_is_cancelled_with_its_connection(serve):
    log, app = Log(), app_with(echo)

    @app.on_request("slow")
    async def slow(ws, argument):
        log("begun")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            log("cancelled")
            raise

    async with serve(app) as server:
        async with server.connect(subprotocols=["nexios.v1"]) as client:
            await client.send(frame(type="hello"))
            await client.send(frame(type="request", id=1, method="slow"))
            await log.has(1)
        assert await log.has(2) == ["begun", "cancelled"]


def test_the_nearest_router_answers(loop):
    app, near = with_requests(), WSRouter("/near")
    near.ws("/ws")(echo)

    @near.on_request("text")
    async def text(ws, argument):
        return "near"

    app.mount_ws_router(near)
    with served(app, loop, "/near/ws") as (_, client):
        for method, reply in [("text", "near"), ("sum", "0")]:
            client.send("[]", type="request", id=1, method=method)
            assert client.receive()[1] == reply


def test_a_plain_function_is_refused_at_once():
    router = WSRouter()
    for register in [
        router.authorize_join,
        router.authorize_publish,
        router.authorize_presence,
        router.authorize_leave,
        router.on_request("x"),
    ]:
        with pytest.raises(TypeError, match="async def"):
            register(lambda ws, what: True)


def test_the_guide_shows_what_works(loop, tmp_path):
    with guides.imported("live", tmp_path, "live") as guide, served(guide.app, loop, "/live?name=ann") as (_, client):
        assert client.header() == {"type": "joined", "room": "news"}
        client.socket.send_text("hello")
        assert client.receive() == (None, "you said hello")
        client.send("mine", type="publish", id=1, room="news")
        assert client.header()["code"] == "forbidden"
        client.send(type="join", id=2, room="chat-1")
        assert [client.header()["type"] for _ in range(2)] == ["joined", "ack"]
        client.send('"hello"', type="publish", id=3, room="chat-1")
        assert client.receive()[1] == '"hello"'
        assert client.header() == {"type": "ack", "id": 3}
        for numbers, answer in [("[1, 2]", ("reply", "0.5")), ("[1, 0]", ("error", ""))]:
            client.send(numbers, type="request", id=4, method="divide")
            header, payload = client.receive()
            assert (header["type"], payload) == answer
