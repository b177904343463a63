"""Rate limits of messages and handshakes."""

import asyncio

import pytest
from apps import app_with, echo
from nexios import RateLimit
from serving import close_of


async def test_over_the_rate_limit_it_is_closed_1008(serve):
    async with serve(app_with(echo, middleware=[RateLimit(messages=3, per=60)])) as server:
        async with server.connect() as ws, server.connect() as other:
            for i in range(3):
                await ws.send(str(i))
                assert await ws.recv() == str(i)
            await ws.send("one too many")
            assert await close_of(ws) == (1008, "Rate limit exceeded")
            # Each connection has its own.
            await other.send("x")
            assert await other.recv() == "x"


async def test_a_burst_may_exceed_the_rate(serve):
    async with serve(app_with(echo, middleware=[RateLimit(messages=1, per=60, burst=5)])) as server:
        async with server.connect() as ws:
            for _ in range(5):
                await ws.send("x")
                assert await ws.recv() == "x"
            await ws.send("x")
            assert await close_of(ws) == (1008, "Rate limit exceeded")


async def test_a_rate_limit_may_drop(serve):
    limit = RateLimit(messages=2, per=60, on_excess="drop")
    async with serve(app_with(echo, middleware=[limit])) as server, server.connect() as ws:
        for i in range(5):
            await ws.send(str(i))
        pong = await ws.ping()
        assert [await ws.recv(), await ws.recv()] == ["0", "1"]
        await pong
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(ws.recv(), 0.1)
        assert limit.dropped == 3


async def test_a_rate_limit_may_wait(serve):
    limit = RateLimit(messages=1, per=0.1, on_excess="wait")
    async with serve(app_with(echo, middleware=[limit])) as server, server.connect() as ws:
        started = asyncio.get_running_loop().time()
        for i in range(4):
            await ws.send(str(i))
        assert [await ws.recv() for _ in range(4)] == ["0", "1", "2", "3"]
        assert asyncio.get_running_loop().time() - started > 0.25


async def test_handshakes_are_limited_by_host(serve):
    app = app_with(echo)
    app.middleware(RateLimit(handshakes=2, per=60))
    async with serve(app) as server:
        for _ in range(2):
            async with server.connect():
                pass
        assert await server.closed() == (1008, "Rate limit exceeded")


async def test_a_rate_limit_may_be_keyed_by_a_function(serve):
    limit = RateLimit(messages=2, per=60, key=lambda ws: ws.query_params["user"])
    async with serve(app_with(echo, middleware=[limit])) as server:
        async with server.connect("/ws?user=a") as one, server.connect("/ws?user=a") as two:
            for ws in one, two:
                await ws.send("x")
                assert await ws.recv() == "x"
            async with server.connect("/ws?user=b") as other:
                await other.send("x")
                assert await other.recv() == "x"
            await two.send("x")
            assert await close_of(two) == (1008, "Rate limit exceeded")
