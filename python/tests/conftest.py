"""Tests that are coroutines run on asyncio and on uvloop, in debug mode, and leave nothing behind."""

import asyncio
import contextlib
import gc
import inspect

import pytest
import uvloop
from apps import app_with
from nexios.testing import TestClient
from serving import Server, bound_socket

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def pytest_generate_tests(metafunc):
    if inspect.iscoroutinefunction(metafunc.function):
        metafunc.parametrize("loop_name", list(LOOPS), indirect=True)


@pytest.fixture(autouse=True)
def loop_name(request):
    """The kind of loop that a coroutine runs on; other tests have none."""
    return getattr(request, "param", None)


@pytest.fixture
def serve():
    """`async with serve(app) as server:` - see `serving.Server`."""
    return Server


@pytest.fixture
def listening():
    """A socket for a server in another process."""
    with bound_socket() as listening:
        yield listening


@pytest.fixture(params=list(LOOPS))
def loop(request):
    """The kind of loop that a `TestClient` makes."""
    return request.param


@pytest.fixture
def connect(loop):
    """`connect(handler)`: a WebSocket in memory to an app of one route; it is closed after the test."""
    with contextlib.ExitStack() as stack:

        def connect(handler, settings=None, client=None, **options):
            app = app_with(handler, settings=settings)
            started = stack.enter_context(TestClient(app, loop=loop, **(client or {})))
            return stack.enter_context(started.websocket_connect("/ws", **options))

        yield connect


def pytest_collection_finish():
    """Leaves what was imported out of every collection behind this, of which the tests have many."""
    gc.collect()
    gc.freeze()


def seconds_for(item):
    marker = item.get_closest_marker("timeout")
    return marker.args[0] if marker else float(item.config.getini("timeout"))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    loop = LOOPS[pyfuncitem.funcargs["loop_name"]]()
    failures = []
    loop.set_exception_handler(lambda _, context: failures.append(context))
    loop.set_debug(True)
    # A machine that is busy is no fault: its warnings would be among those that a test counts.
    loop.slow_callback_duration = float("inf")
    try:
        asyncio.set_event_loop(loop)
        # The alarm of pytest-timeout does not end what waits in uvloop.
        loop.run_until_complete(asyncio.wait_for(pyfuncitem.obj(**arguments), seconds_for(pyfuncitem) - 1))
        loop.run_until_complete(asyncio.sleep(0))
        left = asyncio.all_tasks(loop)
        assert not left, f"tasks are left over: {left}"
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        gc.collect()
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        asyncio.set_event_loop(None)
        loop.close()
    assert not failures, failures
    return True
