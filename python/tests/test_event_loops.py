"""Connections on event loops and threads, and what a server leaves behind."""

import asyncio
import gc
import logging
import threading
import weakref

import pytest
from apps import Log, app_with, echo, stay
from handled import handled
from nexios import NexiosApp, WebSocket, WebSocketDisconnect
from raw_client import CLOSE, TEXT, frame
from serving import close_of, until

# --- threads


async def test_run_in_executor(serve):
    async def handler(ws):
        def work():
            return threading.current_thread() is not threading.main_thread()

        assert await asyncio.get_running_loop().run_in_executor(None, work)
        await ws.send_text(await asyncio.to_thread(lambda: "from a thread"))

    assert await handled(serve, handler) == ["from a thread"]


async def test_sends_from_other_threads_through_a_handle(serve):
    count, threads = 200, 4

    async def handler(ws):
        handle = ws.handle()

        def talk(name):
            for i in range(count):
                handle.send_text(f"{name}{i}")
            return handle

        await asyncio.gather(*(asyncio.to_thread(talk, name) for name in "abcd"))
        await ws.wait_closed()

    async with serve(app_with_accept(handler)) as server, server.connect() as ws:
        messages = [await ws.recv() for _ in range(count * threads)]
    for name in "abcd":
        assert [text for text in messages if text[0] == name] == [f"{name}{i}" for i in range(count)]


def app_with_accept(handler):
    async def accepted(ws):
        await ws.accept()
        await handler(ws)

    return app_with(accepted)


async def test_a_handle_has_all_sends_and_close(serve):
    async def handler(ws):
        handle = ws.handle()

        def talk():
            assert handle.is_connected()
            assert handle.send_text("text") is None
            handle.send_bytes(b"bytes")
            handle.send_json({"a": 1})
            handle.send([1])
            handle.send_ping(b"x")
            handle.send_pong(b"x")
            handle.close(4000, "from a thread")

        await asyncio.to_thread(talk)
        await ws.wait_closed()
        assert not handle.is_connected()
        with pytest.raises(WebSocketDisconnect):
            handle.send_text("x")
        handle.close()

    failed = []

    async def guarded(ws):
        await ws.accept()
        try:
            await handler(ws)
        except BaseException as error:
            failed.append(error)
            raise

    async with serve(app_with(guarded)) as server:
        async with server.connect() as ws:
            assert [await ws.recv() for _ in range(4)] == ["text", b"bytes", '{"a":1}', "[1]"]
            assert await close_of(ws) == (4000, "from a thread")
        await server.stop()
    assert failed == []


async def test_a_thread_wakes_a_loop_that_is_idle(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        log(ws.handle())
        await ws.wait_closed()

    async with serve(app_with(handler)) as server, server.connect() as ws:
        (handle,) = await log.has(1)
        timer = threading.Timer(0.05, handle.send_text, ["late"])
        timer.start()
        assert await asyncio.wait_for(ws.recv(), 5) == "late"
        timer.join()


# --- the loop


async def test_all_tasks_shows_the_handlers(serve):
    async with serve(app_with(stay, "/ws")) as server, server.connect() as one, server.connect() as two:
        assert (await one.recv(), await two.recv()) == ("ready", "ready")
        coroutines = [task.get_coro() for task in asyncio.all_tasks()]
        assert sum(getattr(coroutine, "__qualname__", "") == "stay" for coroutine in coroutines) == 2


async def test_current_task_is_the_same_throughout_a_handler(serve):
    async def handler(ws):
        task = asyncio.current_task()
        await ws.send_text("x")
        await ws.receive_text()
        assert asyncio.current_task() is task
        await asyncio.sleep(0)
        assert asyncio.current_task() is task
        await ws.send_text("same")

    async def talk(ws):
        await ws.recv()
        await ws.send("x")

    assert await handled(serve, handler, talk) == ["same"]


async def test_debug_mode(serve, caplog):
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    caplog.set_level(logging.WARNING, "asyncio")
    async with serve(app_with(echo)) as server, server.connect() as ws:
        for i in range(50):
            await ws.send(str(i))
            assert await ws.recv() == str(i)
    assert "never awaited" not in caplog.text


async def test_a_receive_that_is_always_ready_does_not_starve_the_loop(serve):
    """Others get their turn while one client sends as fast as it can."""
    log = Log()

    async def handler(ws):
        await ws.accept()
        async for _ in ws:
            pass

    async with serve(app_with(handler)) as server:
        flood = await server.raw()
        flood.send(frame(TEXT, b"x") * 200_000)

        async def tick():
            for _ in range(20):
                await asyncio.sleep(0)
                log("tick")

        await asyncio.wait_for(tick(), 5)
        flood.send(frame(CLOSE, b"\x03\xe8"))
        assert (await flood.read_close())[0] == 1000


async def test_two_apps_on_one_loop(serve):
    async with serve(app_with(echo)) as one, serve(app_with(stay)) as two:
        async with one.connect() as a, two.connect() as b:
            assert await b.recv() == "ready"
            await a.send("x")
            assert await a.recv() == "x"


# --- nothing is left


async def visits(server, count, at_once=50):
    """So many clients come, say something, and go: some politely, some not."""

    async def visit(i):
        client = await server.raw()
        client.send(frame(TEXT, b"x"))
        await client.read_frame()
        if i % 3 == 0:
            client.cut()
        else:
            client.send(frame(CLOSE, b"\x03\xe8"))
            await client.read_to_end()
            client.cut()

    for start in range(0, count, at_once):
        await asyncio.gather(*(visit(i) for i in range(start, start + at_once)))
    server.forget()


async def visitor(ws):
    ws.state["self"] = ws
    await ws.accept()
    await ws.join("room")
    task = asyncio.ensure_future(asyncio.sleep(0))
    async for message in ws:
        await ws.send(message)
    await task


@pytest.mark.timeout(120)
async def test_three_thousand_visits_leave_no_object_behind(serve):
    app = NexiosApp()
    app.ws("/ws")(visitor)

    @app.on("disconnect")
    async def gone(ws):
        pass

    asyncio.get_running_loop().set_debug(False)
    async with serve(app) as server:
        await visits(server, 200)
        await settled(app)
        before = len(gc.get_objects())
        await visits(server, 3_000)
        await settled(app)
        after = len(gc.get_objects())
        assert app.room("room").count() == 0
        assert after - before < 300


async def settled(app):
    await until(lambda: len(app.connections) == 0, "the last to go")
    for _ in range(5):
        await asyncio.sleep(0.01)
        gc.collect()


async def test_a_connection_is_freed_when_it_is_over(serve):
    references = Log()

    async def handler(ws):
        assert type(ws) is WebSocket
        references(weakref.ref(ws))
        await visitor(ws)

    app = app_with(handler)
    async with serve(app) as server:
        async with server.connect() as ws:
            await ws.send("x")
            await ws.recv()
        await settled(app)
        (reference,) = references.entries
        await until(lambda: gc.collect() is not None and reference() is None, "the connection to be freed")


async def test_a_connection_may_be_let_go_of_in_another_thread(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        log(weakref.ref(ws))
        last = [ws]
        del ws
        await asyncio.to_thread(last.clear)

    async with serve(app_with(handler)) as server:
        assert await server.closed() == (1000, "")
        (reference,) = log.entries
        await until(lambda: gc.collect() is not None and reference() is None, "the connection to be freed")


async def test_a_served_app_is_freed_when_it_is_over(serve):
    app = app_with(echo)
    reference = weakref.ref(app)
    async with serve(app) as server, server.connect() as ws:
        await ws.send("x")
        await ws.recv()
    del app, server, ws
    await until(lambda: gc.collect() is not None and reference() is None, "the app to be freed")
