"""Connections together with asyncio: timeouts, tasks, cancellation, context variables."""

import asyncio
import contextlib
import contextvars
import sys

import pytest
from apps import Log, app_with
from handled import handled
from nexios import WebSocketDisconnect
from serving import close_of

since_3_11 = pytest.mark.skipif(sys.version_info < (3, 11), reason="new in Python 3.11")


# --- timeouts


@since_3_11
async def test_asyncio_timeout_ends_a_receive_and_loses_nothing(serve):
    async def handler(ws):
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await ws.receive_text()
        await ws.send_text("late")
        async with asyncio.timeout(5):
            await ws.send_text(await ws.receive_text())

    async def talk(ws):
        assert await ws.recv() == "late"
        await ws.send("x")

    assert await handled(serve, handler, talk) == ["x"]


async def test_wait_for_ends_a_receive_and_loses_nothing(serve):
    async def handler(ws):
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(ws.receive_text(), 0.01)
        await ws.send_text("late")
        await ws.send_text(await asyncio.wait_for(ws.receive_text(), 5))

    async def talk(ws):
        assert await ws.recv() == "late"
        await ws.send("x")

    assert await handled(serve, handler, talk) == ["x"]


async def test_wait_for_around_everything_that_can_be_awaited(serve):
    async def handler(ws):
        await asyncio.wait_for(ws.send_text("text"), 5)
        await asyncio.wait_for(ws.send_json([1]), 5)
        await asyncio.wait_for(ws.send_ping(b"x"), 5)
        assert await asyncio.wait_for(ws.join("room"), 5) is True
        assert await asyncio.wait_for(ws.app.broadcast("all"), 5) == 1
        assert await asyncio.wait_for(ws.ping(), 5) > 0
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(ws.wait_closed(), 0.01)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(ws.receive_ping(), 0.01)
        await asyncio.wait_for(ws.close(), 5)

    async def talk(ws):
        assert [await ws.recv() for _ in range(3)] == ["text", "[1]", "all"]

    assert await handled(serve, handler, talk) == []


# --- tasks


async def test_a_receive_may_be_a_task(serve):
    async def handler(ws):
        task = asyncio.create_task(ws.receive_text())
        await asyncio.sleep(0)
        assert not task.done()
        await ws.send_text("go")
        await ws.send_text(await task)

    async def talk(ws):
        assert await ws.recv() == "go"
        await ws.send("x")

    assert await handled(serve, handler, talk) == ["x"]


async def test_a_send_may_be_a_task(serve):
    async def handler(ws):
        tasks = [asyncio.create_task(ws.send_text(str(i))) for i in range(5)]
        await asyncio.wait(tasks)
        assert [task.result() for task in tasks] == [None] * 5
        await asyncio.ensure_future(ws.send_text("5"))

    assert await handled(serve, handler) == [str(i) for i in range(6)]


async def test_gather_of_sends_keeps_their_order(serve):
    async def handler(ws):
        await asyncio.gather(*(ws.send_text(str(i)) for i in range(50)))

    assert await handled(serve, handler) == [str(i) for i in range(50)]


async def test_gather_of_a_receive_and_other_work(serve):
    async def handler(ws):
        text, slept, _ = await asyncio.gather(ws.receive_text(), asyncio.sleep(0.01, "slept"), ws.send_text("go"))
        await ws.send_json([text, slept])

    async def talk(ws):
        assert await ws.recv() == "go"
        await ws.send("x")

    assert await handled(serve, handler, talk) == ['["x","slept"]']


async def test_gather_of_a_message_and_control_frames(serve):
    async def handler(ws):
        await ws.send_json(
            [
                value if isinstance(value, str) else value.decode()
                for value in await asyncio.gather(ws.receive_text(), ws.receive_ping(), ws.receive_pong())
            ]
        )

    async def talk(ws):
        await ws.pong(b"pong")
        await ws.ping(b"ping")
        await ws.send("text")

    assert await handled(serve, handler, talk) == ['["text","ping","pong"]']


@since_3_11
async def test_a_task_group_ends_with_the_connection(serve):
    log = Log()

    async def handler(ws):
        async def read():
            async for message in ws:
                log(message)
            raise ConnectionError

        async def write():
            try:
                while True:
                    await ws.send_text("tick")
                    await asyncio.sleep(0.005)
            except asyncio.CancelledError:
                log("cancelled")
                raise

        await ws.accept()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(read())
                tasks.create_task(write())
        # An ExceptionGroup; older versions know neither that nor `except*`.
        except Exception as group:
            (error,) = group.exceptions
            assert isinstance(error, (ConnectionError, WebSocketDisconnect))
            log(type(error).__name__)

    async with serve(app_with(handler)) as server:
        async with server.connect() as ws:
            assert await ws.recv() == "tick"
            await ws.send("x")
            await log.has(1)
        entries = await log.has(2)
    assert entries[0] == "x" and entries[-1] in ("ConnectionError", "WebSocketDisconnect")


async def test_sends_from_sub_tasks(serve):
    async def handler(ws):
        async def worker(name):
            for i in range(10):
                await ws.send_text(f"{name}{i}")
                await asyncio.sleep(0)

        await asyncio.gather(*(worker(name) for name in "abc"))

    messages = await handled(serve, handler)
    for name in "abc":
        assert [text for text in messages if text[0] == name] == [f"{name}{i}" for i in range(10)]


async def test_a_task_may_receive_while_the_handler_does_something_else(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()

        async def read():
            async for message in ws:
                log(message)

        reader = asyncio.create_task(read())
        await ws.send_text("ready")
        await reader

    async with serve(app_with(handler)) as server, server.connect() as ws:
        assert await ws.recv() == "ready"
        for i in range(5):
            await ws.send(str(i))
        assert await log.has(5) == [str(i) for i in range(5)]


async def test_a_task_that_outlives_its_handler_sees_the_end(serve):
    log = Log()
    tasks = []

    async def handler(ws):
        await ws.accept()

        async def read():
            try:
                await ws.receive_text()
            except WebSocketDisconnect as gone:
                log(gone.code)

        tasks.append(asyncio.create_task(read()))
        await asyncio.sleep(0)

    async with serve(app_with(handler)) as server:
        assert await server.closed() == (1000, "")
        assert await log.has(1) == [1000]
        await asyncio.gather(*tasks)


# --- cancelling


async def test_cancelling_receives_loses_no_message(serve):
    """Cancelled before, while and after a message arrives, all come once and in order."""
    count = 300

    async def handler(ws):
        got = []
        while len(got) < count:
            task = asyncio.create_task(ws.receive_text())
            for _ in range(len(got) % 4):
                await asyncio.sleep(0)
            task.cancel()
            try:
                got.append(await task)
            except asyncio.CancelledError:
                await asyncio.sleep(0)
                if len(got) % 2:
                    got.append(await ws.receive_text())
                else:
                    with contextlib.suppress(asyncio.TimeoutError):
                        got.append(await asyncio.wait_for(ws.receive_text(), 0.001))
        assert got == [str(i) for i in range(count)]
        await ws.send_text("all there")

    async def talk(ws):
        for i in range(count):
            await ws.send(str(i))
            if i % 7 == 0:
                await asyncio.sleep(0)

    assert await handled(serve, handler, talk) == ["all there"]


async def test_a_receive_that_is_cancelled_in_the_turn_that_has_its_message(serve):
    """Both in one turn of the loop: the message goes to the next receive, which is not cancelled."""

    async def handler(ws):
        for i in range(50):
            task = asyncio.create_task(ws.receive_text())
            await ws.send_text("go")
            await asyncio.sleep(0)
            asyncio.get_running_loop().call_soon(task.cancel)
            try:
                text = await task
            except asyncio.CancelledError:
                text = await ws.receive_text()
            assert text == str(i)
        await ws.send_text("done")

    async def talk(ws):
        for i in range(50):
            assert await ws.recv() == "go"
            await ws.send(str(i))

    assert await handled(serve, handler, talk) == ["done"]


async def test_a_handler_that_is_cancelled_from_outside(serve, caplog):
    log = Log()

    async def handler(ws):
        await ws.accept()
        log(asyncio.current_task())
        try:
            await ws.receive_text()
        except asyncio.CancelledError:
            log("cancelled")
            raise

    async with serve(app_with(handler)) as server, server.connect() as ws:
        (task,) = await log.has(1)
        task.cancel()
        code, _ = await close_of(ws)
        assert log.entries[1:] == ["cancelled"] and code in (1011, 1012)


async def test_a_second_concurrent_receive_raises(serve):
    async def handler(ws):
        first = asyncio.create_task(ws.receive_text())
        await asyncio.sleep(0)
        for receive in ws.receive, ws.receive_text, ws.receive_bytes, ws.receive_json:
            with pytest.raises(RuntimeError):
                await receive()
        with pytest.raises(RuntimeError):
            async for _ in ws:
                pass
        await ws.send_text("go")
        assert await first == "x"
        await ws.send_text(await ws.receive_text())

    async def talk(ws):
        assert await ws.recv() == "go"
        await ws.send("x")
        await ws.send("y")

    assert await handled(serve, handler, talk) == ["y"]


async def test_two_receives_in_one_gather_raise_and_do_not_share_a_message(serve):
    async def handler(ws):
        with pytest.raises(RuntimeError):
            await asyncio.gather(ws.receive_text(), ws.receive_text())
        await asyncio.sleep(0)

    await handled(serve, handler)


async def test_a_receive_that_is_never_awaited_takes_nothing(serve):
    async def handler(ws):
        for _ in range(10):
            ws.receive_text()
        await ws.send_text(await ws.receive_text())

    async def talk(ws):
        await ws.send("x")

    assert await handled(serve, handler, talk) == ["x"]


# --- context


async def test_contextvars_are_the_handlers_own(serve):
    name = contextvars.ContextVar("name", default="nobody")

    async def handler(ws):
        assert name.get() == "nobody"
        name.set(ws.query_params["name"])
        await ws.accept()
        async for _ in ws:
            await asyncio.sleep(0)
            await ws.send_text(name.get())

    async with serve(app_with(handler)) as server:
        async with server.connect("/ws?name=a") as one, server.connect("/ws?name=b") as two:
            for _ in range(5):
                await one.send("?")
                await two.send("?")
                assert (await one.recv(), await two.recv()) == ("a", "b")
    assert name.get() == "nobody"


async def test_contextvars_of_middleware_reach_the_handler_and_its_tasks(serve):
    name = contextvars.ContextVar("name")

    async def handler(ws):
        await ws.accept()

        async def sub():
            return name.get()

        await ws.send_text(await asyncio.create_task(sub()))
        await ws.receive_text()
        await ws.send_text(name.get())

    app = app_with(handler)

    @app.middleware
    async def set_name(ws, next):
        token = name.set("set")
        await next(ws)
        name.reset(token)

    async with serve(app) as server, server.connect() as ws:
        assert await ws.recv() == "set"
        await ws.send("x")
        assert await ws.recv() == "set"
        assert await close_of(ws) == (1000, "")
