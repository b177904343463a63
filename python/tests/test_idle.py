"""An idle connection holds what it needs and nothing else: counted, so that nothing comes back unseen."""

import asyncio
import collections
import ctypes
import gc
import socket
import sys

import pytest
from apps import app_with
from raw_client import request
from serving import until

CONNECTIONS = 200


async def receive(ws):
    await ws.accept()
    while True:
        await ws.send_text(await ws.receive_text())


class MallInfo(ctypes.Structure):
    """`struct mallinfo2` of the C library."""

    _names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in _names.split()]


def native_bytes():
    """What Rust has allocated, with the allocator's own 8 bytes each; Python's small objects are elsewhere."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = MallInfo
    return mallinfo().uordblks


def objects():
    """The collector's objects by kind: how many, and their bytes."""
    gc.collect()
    counts, sizes = collections.Counter(), collections.Counter()
    for thing in gc.get_objects():
        kind = type(thing).__name__
        counts[kind] += 1
        sizes[kind] += sys.getsizeof(thing)
    return counts, sizes


class Crowd:
    """Clients without an object of asyncio."""

    def __init__(self, server):
        self._port = server.port
        self._sockets = []

    async def grow(self, app, count):
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", self._port))
            client.sendall(request())
            self._sockets.append(client)
        await until(lambda: len(app.connections) == len(self._sockets), "all to be connected")

    def leave(self):
        for client in self._sockets:
            client.close()


async def test_an_idle_connection_holds_one_object_of_each_kind_and_no_more(serve):
    # In debug mode each task keeps where it was made.
    asyncio.get_running_loop().set_debug(False)
    app = app_with(receive)
    async with serve(app) as server:
        crowd = Crowd(server)
        await crowd.grow(app, 10)
        counts, sizes = objects()
        await crowd.grow(app, CONNECTIONS)
        more_counts, more_sizes = objects()
        crowd.leave()
    more_counts.subtract(counts)
    more_sizes.subtract(sizes)
    held = {kind: count / CONNECTIONS for kind, count in more_counts.items() if count > CONNECTIONS / 10}
    names = ["WebSocket", "Waiting", "Waiter", "Done", "Task", "coroutine", "Context"]
    assert {kind: round(count, 1) for kind, count in held.items() if kind in names} == dict.fromkeys(names, 1)
    # The socket is the client's; the task's weak reference is for `all_tasks()`, the wakeup for who resumes it.
    wakeup = {"builtin_function_or_method", "TaskWakeupMethWrapper"}
    # A frame is an object of its own where somebody has looked at the stack, as the watchdog of a test run does.
    assert set(held) <= {*names, *wakeup, "socket", "ReferenceType", "weakref", "frame"}
    assert sum(more_sizes[kind] for kind in names) / CONNECTIONS <= 1000


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="only glibc counts")
async def test_an_idle_connection_takes_little_of_the_native_heap(serve):
    app = app_with(receive)
    async with serve(app) as server:
        crowd = Crowd(server)
        # The first ones fill the shard's pools.
        await crowd.grow(app, CONNECTIONS)
        gc.collect()
        before = native_bytes()
        await crowd.grow(app, CONNECTIONS)
        gc.collect()
        grown = native_bytes() - before
        crowd.leave()
    # It was 1,600 with what the engine keeps for other tasks than the connection's own.
    assert grown / CONNECTIONS <= 1100


async def test_all_tasks_of_a_route_share_their_name(serve):
    names = []

    async def named(ws):
        await ws.accept()
        names.append(asyncio.current_task().get_name())

    app = app_with(named, "/rooms/{room}")
    async with serve(app) as server:
        await server.closed("/rooms/a")
        await server.closed("/rooms/b")
    assert names == ["WebSocket /rooms/{room}"] * 2
    assert names[0] is names[1]
