"""Groups of exceptions: what a task group raises is treated as what its tasks have raised."""

import asyncio
import builtins
import logging
import sys

import pytest
from nexios import NexiosApp, WebSocketDisconnect, WebSocketException
from nexios._exception_groups import essence
from nexios.testing import TestClient

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="groups of exceptions are new in Python 3.11")
logger = logging.getLogger("nexios")


def served(handler, loop, **handlers):
    app = NexiosApp()
    app.ws("/ws")(handler)
    for kind, function in handlers.items():
        app.exception_handler({"lookup": LookupError, "closing": WebSocketException}[kind])(function)
    return TestClient(app, loop=loop, raise_server_exceptions=False)


async def forever(ws):
    await asyncio.sleep(60)


async def receive(ws):
    while True:
        await ws.receive_text()


def in_group(*tasks):
    async def handler(ws):
        await ws.accept()
        async with asyncio.TaskGroup() as group:
            for task in tasks:
                group.create_task(task(ws))

    return handler


def test_a_client_that_leaves_ends_a_task_group_without_an_error_in_the_log(loop, caplog):
    with served(in_group(receive, forever), loop) as test, test.websocket_connect("/ws") as client:
        client.close()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_an_exception_of_websocket_in_a_group_closes_with_its_own_code(loop, caplog):
    async def closing(ws):
        raise WebSocketException(4001, "too old")

    with served(in_group(closing, receive), loop) as test, test.websocket_connect("/ws") as client:
        assert client.wait_closed() == (4001, "too old")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_fault_in_a_group_is_1011_and_logged(loop, caplog):
    async def failing(ws):
        raise LookupError("a fault")

    with served(in_group(failing, receive), loop) as test, test.websocket_connect("/ws") as client:
        assert client.wait_closed()[0] == 1011
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_exception_handlers_find_the_exception_in_the_group(loop):
    async def failing(ws):
        raise LookupError("a fault")

    async def handle(ws, error):
        assert type(error) is LookupError
        await ws.close(4002, str(error))

    with served(in_group(failing, forever), loop, lookup=handle) as test, test.websocket_connect("/ws") as client:
        assert client.wait_closed() == (4002, "a fault")


def test_groups_within_groups_are_looked_through_and_several_faults_stay_a_group():
    gone, closing, fault, other = WebSocketDisconnect(1001), WebSocketException(4000), LookupError(), OSError()

    def group(*errors):
        return builtins.ExceptionGroup("of a test", errors)

    assert essence(fault) is fault
    assert essence(group(gone)) is gone
    assert essence(group(group(gone), closing)) is closing
    assert essence(group(gone, group(group(fault)))) is fault
    assert essence(group(closing, fault)) is fault
    several = group(fault, other)
    assert essence(several) is several
