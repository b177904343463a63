"""Test clients in memory: slow, silent and cut ones, limits of time, and exceptions of the server."""

import asyncio
import time

import nexios
import pytest
from apps import app_with, echo, stay
from nexios import NexiosApp, WebSocketDisconnect
from nexios.testing import AsyncTestClient, TestClient, TestTimeout

# --- slow, silent and cut clients


def test_a_cut_cable_is_seen_as_1006_once_a_ping_stays_unanswered(loop):
    codes = []

    async def handler(ws):
        await ws.accept()
        await ws.wait_closed()
        codes.append(ws.close_code)

    with TestClient(app_with(handler), loop=loop) as client:
        with client.websocket_connect("/ws") as cut, client.websocket_connect("/ws") as whole:
            cut.cut()
            cut.send_text("lost")
            assert codes == []
            started = time.monotonic()
            client.advance(60)
            assert codes == [1006]
            assert time.monotonic() - started < 5
            with pytest.raises(TestTimeout):
                cut.receive(timeout=0.01)
            # The other one has answered its pings without a hand of the test.
            assert whole.close_code is None
            assert whole.receive_ping()


def test_a_client_that_stops_answering_is_cut(connect):
    ws = connect(stay, client={})
    ws.stop_answering()
    assert ws.receive_text() == "ready"
    ws._client.advance(60)
    with pytest.raises(WebSocketDisconnect) as raised:
        ws.receive()
    assert raised.value.code == 1006


def test_a_cut_cable_does_not_hold_up_the_end_of_a_test(loop):
    codes = []

    async def handler(ws):
        await ws.accept()
        await ws.wait_closed()
        codes.append(ws.close_code)

    started = time.monotonic()
    with TestClient(app_with(handler), loop=loop) as client:
        with client.websocket_connect("/ws") as ws:
            ws.cut()
        with client.websocket_connect("/ws") as ws:
            ws.stop_answering()
        with client.websocket_connect("/ws") as ws:
            ws.stop_reading()
    assert codes == [1006, 1006, 1000]
    assert time.monotonic() - started < 2


def test_a_client_that_does_not_read_is_slow(loop):
    dropped = []

    async def handler(ws):
        await ws.accept()
        await ws.wait_closed()

    app = app_with(handler, settings={"slow_client": "drop_newest", "outbox_mark_bytes": 1000})

    @app.on("drop")
    async def drop(ws, messages):
        dropped.extend(messages)

    with TestClient(app, loop=loop) as client:
        with client.websocket_connect("/ws", receive_buffer=1000) as slow, client.websocket_connect("/ws") as quick:
            slow.stop_reading()
            for number in range(20):
                client.run(app.broadcast(f"{number:02}" + "x" * 500))
            client.settle()
            assert [quick.receive_text()[:2] for _ in range(20)] == [f"{number:02}" for number in range(20)]
            assert dropped
            with pytest.raises(TestTimeout):
                slow.receive_text(timeout=0.01)
            slow.resume_reading()
            got = [slow.receive_text() for _ in range(20 - len(dropped))]
            assert got + dropped == [f"{number:02}" + "x" * 500 for number in range(20)]


def test_a_small_receive_buffer_holds_up_a_sender(loop):
    sent = []

    async def handler(ws):
        await ws.accept()
        for number in range(100):
            await ws.send_bytes(bytes(1000))
            sent.append(number)

    app = app_with(handler, settings={"outbox_mark_bytes": 2000})
    with TestClient(app, loop=loop) as client:
        with client.websocket_connect("/ws", receive_buffer=2000) as ws:
            client.settle()
            assert 2 < len(sent) < 20
            assert len([ws.receive_bytes() for _ in range(100)]) == 100
            assert len(sent) == 100


def test_the_clock_of_the_engine_moves_at_once(loop):
    app = app_with(echo, settings={"ping_interval": 10, "accept_timeout": 5})

    @app.ws("/slow")
    async def never_accepts(ws):
        await asyncio.sleep(60)

    @app.ws("/limited", middleware=[nexios.RateLimit(messages=1, per=60, burst=1)])
    async def limited(ws):
        await echo(ws)

    with TestClient(app, loop=loop) as client:
        with client.websocket_connect("/ws") as ws:
            client.advance(13)
            assert len(ws.receive_ping(timeout=0.1)) > 0
        with client.websocket_connect("/limited") as ws:
            ws.send_text("one")
            client.advance(61)
            ws.send_text("two")
            assert [ws.receive_text(), ws.receive_text()] == ["one", "two"]
            ws.send_text("too many")
            assert ws.wait_closed() == (1008, "Rate limit exceeded")


async def test_the_clock_can_be_moved_while_somebody_waits():
    async def never_accepts(ws):
        await asyncio.sleep(60)

    app = app_with(never_accepts, settings={"accept_timeout": 20}, cancel_on_disconnect=True)
    async with AsyncTestClient(app) as client:
        handshake = asyncio.ensure_future(client.handshake("/ws"))
        await client.settle()
        # The test's own limit of five seconds is in real time.
        await client.advance(10)
        assert not handshake.done()
        await client.advance(11)
        assert (await handshake).status == 504


# --- limits of time


def test_a_timeout_says_what_was_waited_for(connect):
    ws = connect(stay, timeout=0.02)
    assert ws.receive_text() == "ready"
    for receive, what in [
        (ws.receive, "a message"),
        (ws.receive_text, "a text message"),
        (ws.receive_bytes, "a binary message"),
        (ws.receive_json, "a message with JSON"),
        (ws.receive_ping, "a ping"),
        (ws.receive_pong, "a pong"),
    ]:
        with pytest.raises(TestTimeout, match=f"waited 0.02 s in vain for {what} on /ws") as raised:
            receive()
        assert raised.value.waited_for == f"{what} on /ws"
        assert isinstance(raised.value, TimeoutError)
    # Nothing is lost by a wait that was in vain.
    ws.send_ping(b"still here")
    assert ws.receive_pong() == b"still here"


def test_a_handshake_without_an_answer_times_out(loop):
    async def handler(ws):
        await asyncio.sleep(0.2)

    with TestClient(app_with(handler), loop=loop, raise_server_exceptions=False) as client:
        with pytest.raises(TestTimeout, match="the answer to the handshake on /ws"):
            client.handshake("/ws", timeout=0.02)


def hold_the_thread(seconds):
    """As a debugger does."""
    time.sleep(seconds)


def test_time_at_a_breakpoint_does_not_count(connect):
    async def handler(ws):
        await ws.accept()
        await ws.receive()
        hold_the_thread(0.3)
        await asyncio.sleep(0.01)
        await ws.send_text("stepped over")

    ws = connect(handler, timeout=0.1)
    ws._socket._connection.send_text("go")
    assert ws.receive_text() == "stepped over"


def test_a_loop_that_is_always_blocked_still_times_out(connect):
    async def handler(ws):
        await ws.accept()
        while ws.close_code is None:
            hold_the_thread(0.15)
            await asyncio.sleep(0)

    ws = connect(handler, timeout=0.05, client={"timeout": 2})
    with pytest.raises(TestTimeout):
        ws.receive()


async def test_a_wait_that_is_cancelled_loses_nothing():
    async with AsyncTestClient(app_with(echo)) as client, client.websocket_connect("/ws") as ws:
        for number in range(20):
            waiting = asyncio.ensure_future(ws.receive_text())
            await asyncio.sleep(0)
            ws._connection.send_text(str(number))
            for _ in range(number % 5):
                await asyncio.sleep(0)
            waiting.cancel()
            [got] = await asyncio.gather(waiting, return_exceptions=True)
            if isinstance(got, asyncio.CancelledError):
                got = await ws.receive_text()
            assert got == str(number)


# --- exceptions of the server


class Oops(Exception):
    pass


def test_an_exception_of_the_handler_is_raised_where_the_test_waits(loop, caplog):
    async def handler(ws):
        await ws.accept()
        await ws.receive()
        raise Oops("in the handler")

    with TestClient(app_with(handler), loop=loop) as client, client.websocket_connect("/ws") as ws:
        ws.send_text("go")
        with pytest.raises(Oops, match="in the handler") as raised:
            ws.receive()
        assert raised.traceback[-1].name == "handler"
        # Once; after that it is an end like others.
        with pytest.raises(WebSocketDisconnect) as closed:
            ws.receive()
        assert closed.value.code == 1011
        assert [type(error) for error in client.errors] == [Oops]
    assert "the handler failed" in caplog.text


def test_an_exception_before_accept_is_raised_by_the_handshake(loop):
    async def handler(ws):
        raise Oops

    with TestClient(app_with(handler), loop=loop) as client:
        with pytest.raises(Oops), client.websocket_connect("/ws"):
            pass
        with pytest.raises(Oops):
            client.handshake("/ws")


def test_an_exception_that_nobody_waited_for_is_raised_at_the_end_of_the_block(loop):
    async def handler(ws):
        await ws.accept()
        try:
            await ws.wait_closed()
        finally:
            raise Oops

    with TestClient(app_with(handler), loop=loop) as client:
        with pytest.raises(Oops), client.websocket_connect("/ws"):
            pass


def test_an_exception_of_a_listener_is_raised_at_the_end(loop):
    app = app_with(stay)

    @app.on("disconnect")
    async def disconnected(ws):
        await asyncio.sleep(0.2)
        raise Oops

    with pytest.raises(Oops), TestClient(app, loop=loop) as client, client.websocket_connect("/ws"):
        pass


def test_the_tests_own_exception_is_not_hidden(loop):
    async def handler(ws):
        await ws.accept()
        raise Oops

    with pytest.raises(AssertionError, match="own"), TestClient(app_with(handler), loop=loop) as client:
        with client.websocket_connect("/ws"):
            raise AssertionError("own")


def test_exceptions_stay_with_the_server_where_set(loop):
    async def handler(ws):
        if ws.query_params.get("early"):
            raise Oops("early")
        await ws.accept()
        raise Oops("late")

    with TestClient(app_with(handler), loop=loop, raise_server_exceptions=False) as client:
        assert client.handshake("/ws?early=1").status == 500
        with client.websocket_connect("/ws") as ws:
            assert ws.wait_closed() == (1011, "")
        assert [str(error) for error in client.errors] == ["early", "late"]


def test_what_the_app_takes_care_of_is_not_raised(loop):
    app = NexiosApp()

    @app.exception_handler(Oops)
    async def taken(ws, error):
        await ws.close(4000, "taken care of")

    @app.ws("/taken")
    async def handler(ws):
        await ws.accept()
        raise Oops

    @app.ws("/closes")
    async def closes(ws):
        await ws.accept()
        raise nexios.WebSocketException(4001, "refused")

    with TestClient(app, loop=loop) as client:
        with client.websocket_connect("/taken") as ws:
            assert ws.wait_closed() == (4000, "taken care of")
        with client.websocket_connect("/closes") as ws:
            assert ws.wait_closed() == (4001, "refused")
        assert client.errors == []


async def test_exceptions_are_raised_in_coroutines_too():
    async def handler(ws):
        await ws.accept()
        await ws.receive()
        raise Oops

    async with AsyncTestClient(app_with(handler)) as client, client.websocket_connect("/ws") as ws:
        await ws.send_text("go")
        with pytest.raises(Oops):
            await ws.receive_text()
        assert len(client.errors) == 1
