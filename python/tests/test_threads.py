"""A connection belongs to the thread of its loop, and nothing breaks where others hold it."""

import asyncio
import gc
import sys
import threading
import weakref
from functools import partial

import nexios
import pytest
from apps import Log, app_with, echo
from conftest import LOOPS
from nexios import WebSocket
from raw_client import CLOSE, TEXT, frame
from serving import Server, close_of, until

ARGUMENTS = {
    "join": ("room",),
    "leave": ("room",),
    "send": ("x",),
    "send_bytes": (b"x",),
    "send_json": ([1],),
    "send_text": ("x",),
    "track": ("room",),
    "untrack": ("room",),
}


def refused(use):
    """Whether it raises what tells people how to do it."""
    try:
        use()
    except RuntimeError as error:
        return "belongs to the thread of its event loop" in str(error) and "ws.handle()" in str(error)
    return False


def use_all(ws):
    """The names that can be used on this thread."""
    usable = []
    for name in dir(WebSocket):
        if name.startswith("_"):
            continue

        def use(name=name):
            value = getattr(ws, name)
            return value(*ARGUMENTS.get(name, ())) if callable(value) else value

        if not refused(use):
            usable.append(name)
    if not refused(lambda: setattr(ws, "client_id", "x")):
        usable.append("client_id = …")
    if not refused(lambda: aiter_of(ws)):
        usable.append("async for")
    return usable


def aiter_of(ws):
    return type(ws).__aiter__(ws)


async def test_all_names_of_a_connection_raise_on_another_thread(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        log(await asyncio.to_thread(use_all, ws))
        log(await asyncio.to_thread(repr, ws))
        await ws.send_text("alive")
        await ws.wait_closed()

    async with serve(app_with(handler)) as server, server.connect() as ws:
        assert await ws.recv() == "alive"
    assert log.entries == [[], "<WebSocket of another thread>"]


async def test_what_a_connection_gives_to_await_raises_on_another_thread(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        awaitables = ws.receive_text(), ws.receive_ping(), ws.wait_closed()
        for awaitable in awaitables:
            for use in (partial(awaitable.send, None), partial(awaitable.throw, ValueError), awaitable.close):
                log(await asyncio.to_thread(refused, use))
        await ws.send_text("alive")
        await ws.send_text(await awaitables[0])

    async with serve(app_with(handler)) as server, server.connect() as ws:
        assert await ws.recv() == "alive"
        await ws.send("x")
        assert await ws.recv() == "x"
    assert log.entries == [True] * 9


async def test_what_needs_the_loop_raises_on_another_thread(serve):
    """A broadcast, a list of connections; what only counts may be asked for anywhere."""
    app = app_with(echo)
    async with serve(app) as server, server.connect() as ws:
        await ws.send("x")
        await ws.recv()
        (connection,) = app.connections
        for use in (
            lambda: app.broadcast("x"),
            lambda: app.broadcast_to([connection], "x"),
            lambda: app.room("x").broadcast("x"),
            lambda: list(app.connections),
        ):
            assert await asyncio.to_thread(refused, use)
        assert await asyncio.to_thread(len, app.connections) == 1
        assert await asyncio.to_thread(app.room("x").count) == 0


async def test_a_broadcast_from_another_thread_goes_through_the_loop(serve):
    app = app_with(echo)
    loop = asyncio.get_running_loop()

    async def tell(text):
        return await app.broadcast(text)

    async with serve(app) as server, server.connect() as ws:
        await until(lambda: len(app.connections) == 1, "the client")
        future = asyncio.run_coroutine_threadsafe(tell("from a thread"), loop)
        assert await asyncio.to_thread(future.result, 5) == 1
        assert await ws.recv() == "from a thread"


async def test_garbage_that_another_thread_collects_goes_home(serve):
    """Cycles through connections and receives: freed wherever the collector happens to run."""
    log = Log()
    gc.disable()
    try:

        async def handler(ws):
            await ws.accept()
            ws.state["self"] = ws
            ws.state["pending"] = [ws.receive_text(), ws.wait_closed(), ws.receive_ping()]
            log(weakref.ref(ws))

        async with serve(app_with(handler)) as server:
            assert await server.closed() == (1000, "")
            (reference,) = log.entries
            await asyncio.sleep(0.05)
            assert reference() is not None
            await asyncio.to_thread(gc.collect)
            assert reference() is None
            # Its loop frees what is its own.
            async with server.connect() as ws:
                assert await close_of(ws) == (1000, "")
    finally:
        gc.enable()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", list(LOOPS))
def test_two_loops_in_two_threads_serve_and_collect_each_others_garbage(kind):
    references, failures, unraisable = [], [], []
    done, rounds = threading.Barrier(2, timeout=120), 4

    async def handler(ws):
        await ws.accept()
        ws.state["self"] = ws
        ws.state["task"] = asyncio.current_task()
        references.append(weakref.ref(ws))
        task = asyncio.ensure_future(ws.receive_text())
        await ws.send_text(await task)
        await ws.receive_text()

    async def visits():
        async with Server(app_with(handler)) as server:
            for _ in range(rounds):
                clients = [await server.raw() for _ in range(20)]
                for i, client in enumerate(clients):
                    client.send(frame(TEXT, b"x"))
                    assert await client.read_frame() == (0x80 | TEXT, b"x")
                    client.send(frame(CLOSE, b"\x03\xe8")) if i % 2 else client.cut()
                gc.collect()
                server.forget()
            # Both still turn while the other one collects.
            await asyncio.to_thread(done.wait)
            for _ in range(5):
                gc.collect()
                await asyncio.sleep(0.01)
            await asyncio.to_thread(done.wait)

    def run():
        loop = LOOPS[kind]()
        try:
            loop.run_until_complete(visits())
            loop.run_until_complete(loop.shutdown_default_executor())
        except BaseException as error:
            failures.append(error)
            done.abort()
        finally:
            loop.close()

    hook, sys.unraisablehook = sys.unraisablehook, unraisable.append
    try:
        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            gc.collect()
            threads[0].join(0.01)
        gc.collect()
    finally:
        sys.unraisablehook = hook
    assert not failures, failures
    assert not unraisable, unraisable
    assert len(references) == 2 * rounds * 20
    assert sum(reference() is not None for reference in references) == 0


def test_an_app_may_be_made_in_one_thread_and_served_in_another():
    app = app_with(echo)
    heard = []

    async def talk():
        async with Server(app) as server, server.connect() as ws:
            await ws.send("x")
            heard.append(await ws.recv())

    thread = threading.Thread(target=lambda: asyncio.run(talk()))
    thread.start()
    thread.join(10)
    assert heard == ["x"]
    assert isinstance(app, nexios.NexiosApp) and len(app.connections) == 0
