"""Accepting and refusing: subprotocols, headers, state, listeners of the handshake."""

import asyncio
import logging

import pytest
from apps import Log, app_with, echo
from listening_apps import listened
from nexios import WebSocketState
from raw_client import CLOSE, TEXT, frame, request
from serving import close_of

# --- close before accept


async def test_close_before_accept_shows_the_client_that_code_and_reason(serve):
    log = Log()

    async def handler(ws):
        await ws.close(code=4401, reason="bad token")
        log(await ws.app.broadcast("to nobody"))

    app = listened(app_with(handler), log)
    async with serve(app) as server:
        client = await server.raw()
        assert client.status == 101
        assert await client.read_frame() == (0x80 | CLOSE, b"\x11\x31bad token")
        client.send(frame(CLOSE, b"\x11\x31"))
        assert await client.read_to_end() == b""
        client.cut()
        await log.has(1)
    # Neither a connect nor a disconnect listener has run, and no broadcast has reached it.
    assert log.entries == [0]


@pytest.mark.parametrize("own, expected", [(["chat"], "chat"), ([], "other")])
async def test_close_before_accept_answers_offered_subprotocols(serve, own, expected):
    async def handler(ws):
        await ws.close(code=4401, reason="bad token")

    async with serve(app_with(handler, subprotocols=own)) as server:
        client = await server.raw(Sec_WebSocket_Protocol="other, chat")
        assert client.headers["sec-websocket-protocol"] == expected
        assert await client.read_close() == (4401, "bad token")
        client.cut()


async def test_close_before_accept_never_answers_a_token(serve):
    async def handler(ws):
        await ws.close(code=4401)

    async with serve(app_with(handler)) as server:
        client = await server.raw(Sec_WebSocket_Protocol="bearer, c2VjcmV0")
        assert client.headers["sec-websocket-protocol"] == "bearer"
        client.cut()


async def test_a_bearer_token_comes_from_either_place_and_is_never_sent_back(serve):
    log = Log()

    async def handler(ws):
        log(ws.bearer_token)
        await ws.accept()
        log(ws.subprotocol)

    async with serve(app_with(handler)) as server:
        client = await server.raw(Sec_WebSocket_Protocol="bearer, c2VjcmV0")
        assert client.headers["sec-websocket-protocol"] == "bearer"
        await client.read_close()
        assert await server.closed(headers={"Authorization": "Bearer abc"}) == (1000, "")
        assert await server.closed() == (1000, "")
    assert log.entries == ["c2VjcmV0", "bearer", "abc", None, None, None]


async def test_close_before_accept_is_an_http_refusal_where_set(serve):
    async def handler(ws):
        await ws.close(code=4401, reason="bad token")

    async with serve(app_with(handler, settings={"refuse_before_accept": True})) as server:
        refused = await server.refusal()
    assert (refused.status_code, refused.body) == (403, b"bad token")


# --- subprotocols


async def test_accept_names_the_subprotocol(serve):
    async def handler(ws):
        assert list(ws.subprotocols) == ["a", "b"]
        await ws.accept(subprotocol="b")
        assert ws.subprotocol == "b"

    async with serve(app_with(handler)) as server, server.connect(subprotocols=["a", "b"]) as ws:
        assert ws.subprotocol == "b"
        assert await close_of(ws) == (1000, "")


async def test_a_subprotocol_that_was_not_offered_raises(serve):
    async def handler(ws):
        with pytest.raises(ValueError):
            await ws.accept(subprotocol="c")
        await ws.accept(subprotocol="a")

    async with serve(app_with(handler)) as server:
        assert await server.closed(subprotocols=["a"]) == (1000, "")


async def test_the_routes_subprotocols_pick(serve):
    async def handler(ws):
        await ws.accept()

    async with serve(app_with(handler, subprotocols=["b", "a"])) as server:
        async with server.connect(subprotocols=["x", "a", "b"]) as ws:
            assert ws.subprotocol == "a"


async def test_no_common_subprotocol_is_logged_as_a_warning(serve, caplog):
    async def handler(ws):
        await ws.accept()

    async with serve(app_with(handler, subprotocols=["b"])) as server, server.connect(subprotocols=["x"]) as ws:
        assert ws.subprotocol is None
    assert any(record.levelno == logging.WARNING and "subprotocol" in record.message for record in caplog.records)


# --- refusing


async def test_reject_answers_with_status_headers_and_body(serve):
    async def handler(ws):
        await ws.reject(status=429, headers={"Retry-After": "7"}, body="later")

    async with serve(app_with(handler)) as server:
        refused = await server.refusal()
    assert (refused.status_code, refused.headers["Retry-After"], refused.body) == (429, "7", b"later")


async def test_reject_is_403_without_arguments(serve):
    async def handler(ws):
        await ws.reject()
        with pytest.raises(RuntimeError):
            await ws.accept()

    async with serve(app_with(handler)) as server:
        assert (await server.refusal()).status_code == 403


async def test_reject_after_accept_raises(serve):
    async def handler(ws):
        await ws.accept()
        with pytest.raises(RuntimeError):
            await ws.reject()

    async with serve(app_with(handler)) as server:
        assert await server.closed() == (1000, "")


# --- state


async def test_state_is_a_mapping_and_comparable(serve):
    async def handler(ws):
        state = ws.state
        assert state == WebSocketState.CONNECTING and WebSocketState.CONNECTING == state
        assert state != WebSocketState.CONNECTED and WebSocketState.CONNECTED != state
        await ws.accept()
        assert ws.state == WebSocketState.CONNECTED and WebSocketState.CONNECTED == ws.state
        assert ws.connection_state is WebSocketState.CONNECTED
        ws.state["user_id"] = 42
        ws.state.room = "general"
        assert (ws.state.user_id, ws.state["room"], ws.state.get("none"), ws.state.get("none", 1)) == (
            42,
            "general",
            None,
            1,
        )
        assert "room" in ws.state and "none" not in ws.state
        assert sorted(ws.state) == ["room", "user_id"] and len(ws.state) == 2
        assert dict(ws.state.items()) == {"user_id": 42, "room": "general"}
        del ws.state["room"]
        with pytest.raises(KeyError):
            ws.state["room"]
        with pytest.raises(AttributeError):
            _ = ws.state.room
        assert ws.state.pop("user_id") == 42 and not list(ws.state)
        await ws.close()
        assert ws.state == WebSocketState.CLOSING
        await ws.wait_closed()
        assert ws.state == WebSocketState.DISCONNECTED and ws.connection_state is WebSocketState.DISCONNECTED

    failed = Log()
    app = app_with(handler)

    @app.exception_handler(Exception)
    async def fail(ws, error):
        failed(error)

    async with serve(app) as server:
        assert await server.closed() == (1000, "")
        await server.stop()
    assert failed.entries == []


async def test_states_of_two_clients_are_their_own(serve):
    async def handler(ws):
        ws.state["name"] = ws.query_params["name"]
        await ws.accept()
        async for _ in ws:
            await ws.send_text(ws.state["name"])

    async with serve(app_with(handler)) as server:
        async with server.connect("/ws?name=a") as one, server.connect("/ws?name=b") as two:
            await one.send("?")
            await two.send("?")
            assert (await one.recv(), await two.recv()) == ("a", "b")


# --- accept


async def test_accept_in_time_or_504(serve):
    never = asyncio.Event()

    async def handler(ws):
        await never.wait()

    async with serve(app_with(handler, settings={"accept_timeout": 0.05})) as server:
        assert (await server.refusal()).status_code == 504


async def test_accept_sends_headers(serve):
    async def handler(ws):
        await ws.accept(headers=[("X-One", "1"), ("X-One", "2")])

    async with serve(app_with(handler)) as server, server.connect() as ws:
        assert ws.response.headers.get_all("X-One") == ["1", "2"]


async def test_accept_takes_a_mapping_of_headers_too(serve):
    async def handler(ws):
        with pytest.raises(ValueError):
            await ws.accept(headers={"X-One": "1\r\nX-Two: 2"})
        await ws.accept(headers={"X-One": "1"})

    async with serve(app_with(handler)) as server, server.connect() as ws:
        assert ws.response.headers["X-One"] == "1"
        assert await close_of(ws) == (1000, "")


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Split": "a\r\nX-Other: b"},
        {"Connection": "close"},
        {"Content-Length": "3"},
        {"Transfer-Encoding": "chunked"},
        {"Sec-WebSocket-Accept": "x"},
        {"": "x"},
    ],
)
async def test_headers_that_break_the_handshake_raise_at_the_call(serve, headers):
    log = Log()

    async def handler(ws):
        with pytest.raises(ValueError):
            await ws.accept(headers=headers)
        log("refused")
        await ws.accept()

    async with serve(app_with(handler)) as server:
        assert await server.closed() == (1000, "")
    assert log.entries == ["refused"]


async def test_frames_that_come_before_accept_are_read_afterwards(serve):
    async def handler(ws):
        await asyncio.sleep(0.02)
        await ws.accept()
        await ws.send_text(await ws.receive_text())

    async with serve(app_with(handler)) as server:
        client = await server.dial()
        client.send(request() + frame(TEXT, b"early"))
        await client.read_head()
        assert await client.read_frame() == (0x80 | TEXT, b"early")


async def test_accept_works_once(serve):
    async def handler(ws):
        await ws.accept()
        with pytest.raises(RuntimeError):
            await ws.accept()

    async with serve(app_with(handler)) as server:
        assert await server.closed() == (1000, "")


async def test_an_error_in_a_connect_listener_is_raised_from_accept(serve):
    log = Log()

    async def handler(ws):
        try:
            await ws.accept()
        except LookupError as error:
            log(error)
            await ws.close(code=4000, reason="not you")

    app = app_with(handler)

    @app.on("connect")
    async def refuse(ws):
        raise LookupError("who?")

    async with serve(app) as server:
        assert await server.closed() == (4000, "not you")
    assert [str(error) for error in log.entries] == ["who?"]


async def test_an_error_in_a_disconnect_listener_is_logged(serve, caplog):
    log = Log()
    app = app_with(echo)

    @app.on("disconnect")
    async def bad(ws):
        log("bad")
        raise LookupError("in the listener")

    @app.on("disconnect")
    async def good(ws):
        log("good")

    async with serve(app) as server:
        async with server.connect():
            pass
        await log.has(1)
        async with server.connect() as ws:
            await ws.send("alive")
            assert await ws.recv() == "alive"
    assert "in the listener" in caplog.text and "Traceback" in caplog.text


async def test_disconnect_listeners_run_while_the_handler_is_still_busy(serve):
    log, go_on = Log(), asyncio.Event()

    async def handler(ws):
        await ws.accept()
        await ws.send_text("ready")
        await go_on.wait()
        log("handler")

    async with serve(listened(app_with(handler), log)) as server, server.connect() as ws:
        await ws.recv()
        await ws.close(4001, "bye")
        assert await log.has(2) == ["connect", ("disconnect", 4001, "bye")]
        go_on.set()
        assert (await log.has(3))[2] == "handler"
