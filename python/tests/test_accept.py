"""The life of a connection: a test for each row of docs/semantics.md, seen by a client from outside."""

import asyncio
import functools
import logging
import signal
import sys

import nexios
import pytest
from apps import Log, app_with, echo, stay
from nexios import NexiosApp, WebSocketDisconnect, WebSocketException, WebSocketState, WSRouter
from raw_client import CLOSE, TEXT, frame, request
from serving import close_of


def listened(app, log):
    """Logs what the listeners of connections see."""

    @app.on("connect")
    async def connected(ws):
        log("connect")

    @app.on("disconnect")
    async def disconnected(ws):
        log(("disconnect", ws.close_code, ws.close_reason))

    return app


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


# --- the handler ends


async def test_a_handler_that_returns_after_accept_closes_1000(serve):
    async def handler(ws):
        await ws.accept()

    async with serve(app_with(handler)) as server:
        assert await server.closed() == (1000, "")


async def test_a_handler_that_returns_before_accept_is_500_and_logged(serve, caplog):
    async def handler(ws):
        pass

    async with serve(app_with(handler)) as server:
        assert (await server.refusal()).status_code == 500
    assert "/ws" in caplog.text


async def test_wait_closed_returns_at_the_end_and_never_raises(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        assert await ws.wait_closed() is None
        assert await ws.wait_closed() is None
        log(ws.close_code)

    app = app_with(handler)

    @app.on("message")
    async def listen(ws, message):
        log(message)

    async with serve(app) as server:
        async with server.connect() as ws:
            # More than the inbox holds: what the listeners have seen is discarded.
            for i in range(200):
                await ws.send(str(i))
            await ws.close(4001)
        entries = await log.has(201)
    assert [entry for entry in entries if entry != 4001] == [str(i) for i in range(200)]


@pytest.mark.parametrize("how", ["task", "gather"])
async def test_a_task_that_receives_beside_wait_closed_gets_every_message(serve, how):
    log, count = Log(), 100

    async def read(ws):
        async for message in ws:
            log(message)
            # Busy, and with more than the inbox holds behind it.
            await asyncio.sleep(0.01 if message == "0" else 0)

    async def handler(ws):
        await ws.accept()
        if how == "gather":
            await asyncio.gather(ws.wait_closed(), read(ws))
        else:
            reader = asyncio.create_task(read(ws))
            await ws.wait_closed()
            await reader

    async with serve(app_with(handler)) as server, server.connect() as ws:
        for i in range(count):
            await ws.send(str(i))
        assert await log.has(count) == [str(i) for i in range(count)]


async def test_a_task_that_is_busy_when_wait_closed_begins_loses_nothing(serve):
    log, go_on = Log(), asyncio.Event()

    async def read(ws):
        async for message in ws:
            log(message)
            await go_on.wait()

    async def handler(ws):
        await ws.accept()
        reader = asyncio.create_task(read(ws))
        assert await ws.receive_ping() == b"wait now"
        await ws.wait_closed()
        await reader

    async with serve(app_with(handler)) as server, server.connect() as ws:
        await ws.send("a")
        await log.has(1)
        await (await ws.ping("wait now"))
        await ws.send("b")
        await (await ws.ping())
        go_on.set()
        assert await log.has(2) == ["a", "b"]


async def test_wait_closed_after_a_receive_sees_the_end_behind_many_messages(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        log(await ws.receive_text())
        await ws.wait_closed()
        log(ws.close_code)

    async with serve(app_with(handler)) as server:
        client = await server.raw()
        client.send(b"".join(frame(TEXT, b"x") for _ in range(300)) + frame(CLOSE, b"\x0f\xa1"))
        assert await log.has(2) == ["x", 4001]


# --- close


async def test_close_returns_at_once_and_receives_raise_after_it(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        await ws.receive_text()
        await ws.close(code=4002, reason="enough")
        log((ws.close_code, ws.close_reason))
        for receive in ws.receive, ws.receive_text, ws.receive_bytes, ws.receive_json, ws.receive_ping:
            with pytest.raises(WebSocketDisconnect) as caught:
                await receive()
            log((caught.value.code, caught.value.reason))

    async with serve(app_with(handler)) as server:
        client = await server.raw()
        client.send(frame(TEXT, b"x"))
        # The client has not answered the Close frame, and need not for the server to go on.
        assert await log.has(6) == [(4002, "enough")] * 6
        assert await client.read_close() == (4002, "enough")
        client.cut()


async def test_close_is_idempotent_and_never_raises(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        await ws.close(code=4002)
        await ws.close(code=4003)
        await ws.wait_closed()
        await ws.close()
        log(ws.close_code)

    async with serve(app_with(handler)) as server:
        assert await server.closed() == (4002, "")
        assert await log.has(1) == [4002]


@pytest.mark.parametrize(
    "payload, code, reason",
    [(b"\x0f\xa1bye", 4001, "bye"), (b"", 1005, ""), (None, 1006, "")],
    ids=["a code", "no code", "cut"],
)
async def test_close_code_is_that_of_whoever_closed_first(serve, payload, code, reason):
    log = Log()

    async def handler(ws):
        await ws.accept()
        assert ws.close_code is None
        await ws.wait_closed()
        log((ws.close_code, ws.close_reason or ""))

    app = listened(app_with(handler), log)
    async with serve(app) as server:
        client = await server.raw()
        await log.has(1)
        if payload is None:
            client.cut()
        else:
            client.send(frame(CLOSE, payload))
            answered = await client.read_close()
            assert answered[0] == code
        entries = await log.has(3)
    assert (code, reason) in entries
    assert [(entry[0], entry[1], entry[2] or "") for entry in entries if len(entry) == 3] == [
        ("disconnect", code, reason)
    ]


@pytest.mark.parametrize("reason", ["x" * 200, "é" * 100, "🦀" * 40])
async def test_a_long_close_reason_is_cut_at_a_character(serve, reason):
    async def handler(ws):
        await ws.accept()
        await ws.close(code=1011, reason=reason)

    async with serve(app_with(handler)) as server:
        code, cut = await server.closed()
    size = len(reason[0].encode())
    assert (code, cut) == (1011, reason[0] * (123 // size))


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000])
async def test_a_code_that_may_not_be_sent_raises_at_the_call(serve, code):
    async def handler(ws):
        await ws.accept()
        with pytest.raises(ValueError):
            ws.close(code=code)
        assert ws.state == WebSocketState.CONNECTED
        await ws.send_text("alive")

    async with serve(app_with(handler)) as server, server.connect() as ws:
        assert await ws.recv() == "alive"


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1014, 3000, 4999])
async def test_a_code_that_may_be_sent_arrives(serve, code):
    async def handler(ws):
        await ws.accept()
        await ws.close(code)

    async with serve(app_with(handler)) as server:
        assert await server.closed() == (code, "")


# --- errors


class Odd(Exception):
    pass


class Odder(Odd):
    pass


def raising(error):
    async def handler(ws):
        if "early" not in ws.query_params:
            await ws.accept()
        raise error

    return handler


async def test_an_error_closes_1011_without_a_reason_and_is_logged_whole(serve, caplog):
    log = Log()

    async def handler(ws):
        log(ws.id)
        await ws.accept()
        raise Odd("secret")

    async with serve(app_with(handler, path="/rooms/{name}")) as server:
        assert await server.closed("/rooms/x") == (1011, "")
    assert "Odd: secret" in caplog.text and "Traceback" in caplog.text and "in handler" in caplog.text
    assert "/rooms/{name}" in caplog.text and log.entries[0] in caplog.text


async def test_an_error_before_accept_is_500(serve):
    async with serve(app_with(raising(Odd("secret")))) as server:
        refused = await server.refusal("/ws?early=1")
    assert refused.status_code == 500 and b"secret" not in refused.body


async def test_a_websocket_exception_closes_with_its_own_code(serve, caplog):
    async with serve(app_with(raising(WebSocketException(code=4009, reason="no such room")))) as server:
        assert await server.closed() == (4009, "no such room")
    assert "Traceback" not in caplog.text


async def test_a_websocket_exception_before_accept_shows_its_code(serve):
    async with serve(app_with(raising(WebSocketException(code=4009, reason="no such room")))) as server:
        assert await server.closed("/ws?early=1") == (4009, "no such room")


def test_a_websocket_exception_is_1008_and_its_text_is_the_reason():
    error = WebSocketException()
    assert (error.code, error.reason, str(error)) == (1008, "", "")
    error = WebSocketException(code=4000, reason="why")
    assert (error.code, error.reason, str(error)) == (4000, "why", "why")
    assert not issubclass(WebSocketDisconnect, WebSocketException)
    assert issubclass(nexios.WebSocketTypeError, WebSocketException)


async def test_an_escaping_disconnect_is_a_normal_end(serve, caplog):
    caplog.set_level(logging.DEBUG)
    log = Log()

    async def handler(ws):
        await ws.accept()
        log("in")
        try:
            await ws.receive_text()
        finally:
            log("out")

    async with serve(app_with(handler)) as server:
        client = await server.raw()
        await log.has(1)
        client.cut()
        await log.has(2)
        await server.stop()
    assert "Traceback" not in caplog.text
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def handlers_on(log, where, level, *kinds):
    def handler_of(kind):
        async def handler(ws, error):
            log((level, kind.__name__, str(error)))
            await ws.close(code=4000, reason=level)

        return handler

    for kind in kinds:
        where.exception_handler(kind)(handler_of(kind))


async def test_the_nearest_exception_handler_takes_it(serve):
    log = Log()
    app, parent, child = NexiosApp(), WSRouter(prefix="/parent"), WSRouter(prefix="/child")
    for router, level in (app, "app"), (parent, "parent"), (child, "child"):
        router.ws("/odd")(raising(Odd(level)))
    app.ws("/type")(raising(TypeError("app")))
    parent.ws("/type")(raising(TypeError("parent")))
    child.ws("/type")(raising(TypeError("child")))
    handlers_on(log, app, "app", Exception)
    handlers_on(log, parent, "parent", TypeError)
    handlers_on(log, child, "child", Odd)
    parent.mount_ws_router(child)
    app.mount_ws_router(parent)
    async with serve(app) as server:
        assert await server.closed("/parent/child/odd") == (4000, "child")
        assert await server.closed("/parent/odd") == (4000, "app")
        assert await server.closed("/odd") == (4000, "app")
        assert await server.closed("/parent/child/type") == (4000, "parent")
        assert await server.closed("/parent/type") == (4000, "parent")
        assert await server.closed("/type") == (4000, "app")


@pytest.mark.parametrize("error, kind", [(Odder("x"), "Odder"), (Odd("x"), "Odd"), (LookupError("x"), "Exception")])
async def test_the_most_specific_class_wins(serve, error, kind):
    log = Log()
    app = app_with(raising(error))
    handlers_on(log, app, "app", Exception, Odder, Odd)
    async with serve(app) as server:
        assert await server.closed() == (4000, "app")
    assert log.entries == [("app", kind, "x")]


async def test_of_two_exception_handlers_for_one_class_the_later_wins(serve):
    app, log = app_with(raising(Odd("x"))), Log()

    @app.exception_handler(Odd)
    async def first(ws, exc):
        log("first")

    @app.exception_handler(Odd)
    async def second(ws, exc):
        log("second")

    async with serve(app) as server:
        assert await server.closed() == (1000, "")
    assert log.entries == ["second"]


async def test_a_handler_for_all_exceptions_sees_the_disconnect(serve):
    app, log = app_with(raising(WebSocketDisconnect(1001, "away"))), Log()

    @app.exception_handler(Exception)
    async def all_of_them(ws, exc):
        log((type(exc), exc.code, exc.reason))

    async with serve(app) as server:
        assert await server.closed() == (1000, "")
    assert log.entries == [(WebSocketDisconnect, 1001, "away")]


async def test_an_exception_handler_covers_middleware_too(serve):
    log = Log()
    app = app_with(echo)
    handlers_on(log, app, "app", Odd)

    @app.middleware
    async def fail(ws, next):
        raise Odd("in the middleware")

    async with serve(app) as server:
        assert await server.closed() == (4000, "app")
    assert log.entries == [("app", "Odd", "in the middleware")]


async def test_an_exception_handler_that_does_not_close_ends_like_the_handler(serve):
    app = app_with(raising(Odd("x")))

    @app.exception_handler(Odd)
    async def swallow(ws, error):
        pass

    async with serve(app) as server:
        assert await server.closed() == (1000, "")
        assert (await server.refusal("/ws?early=1")).status_code == 500


async def test_an_exception_handler_that_raises_gets_the_default(serve, caplog):
    app = app_with(raising(Odd("first")))

    @app.exception_handler(Odd)
    async def worse(ws, error):
        raise LookupError("second")

    async with serve(app) as server:
        assert await server.closed() == (1011, "")
    assert "second" in caplog.text


# --- the client is gone


async def test_a_client_that_goes_is_noticed_while_nobody_receives(serve):
    log = Log()
    go_on = asyncio.Event()

    async def handler(ws):
        await ws.accept()
        log("in")
        await go_on.wait()
        log(ws.state == WebSocketState.DISCONNECTED)

    app = app_with(handler)

    @app.on("disconnect")
    async def gone(ws):
        log(ws.close_code)

    async with serve(app) as server:
        client = await server.raw()
        await log.has(1)
        client.cut()
        assert await log.has(2) == ["in", 1006]
        go_on.set()
        assert await log.has(3) == ["in", 1006, True]


async def test_receives_hand_out_what_had_arrived_then_raise_every_time(serve):
    log = Log()
    go_on = asyncio.Event()

    async def handler(ws):
        await ws.accept()
        log("in")
        await go_on.wait()
        for _ in range(4):
            try:
                log(await ws.receive_text())
            except WebSocketDisconnect as gone:
                log((gone.code, gone.reason))

    app = app_with(handler)

    @app.on("disconnect")
    async def left(ws):
        go_on.set()

    async with serve(app) as server:
        async with server.connect() as ws:
            await log.has(1)
            await ws.send("one")
            await ws.send("two")
            await ws.close(4001, "bye")
        assert await log.has(5) == ["in", "one", "two", (4001, "bye"), (4001, "bye")]


async def test_sends_raise_the_disconnect_when_the_client_is_gone(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        await ws.wait_closed()
        sends = [(ws.send, "x"), (ws.send_text, "x"), (ws.send_bytes, b"x"), (ws.send_json, 1), (ws.send_ping, b"")]
        for send, value in sends:
            try:
                await send(value)
            except WebSocketDisconnect as gone:
                log((gone.code, gone.reason))
        await ws.close()

    async with serve(app_with(handler)) as server:
        async with server.connect() as ws:
            await ws.close(4001, "bye")
        assert await log.has(5) == [(4001, "bye")] * 5


async def test_answers_to_what_came_right_before_a_close_frame_still_go_out(serve):
    async with serve(app_with(echo)) as server:
        client = await server.raw()
        client.send(frame(TEXT, b"a") + frame(TEXT, b"b") + frame(CLOSE, b"\x03\xe8"))
        assert [await client.read_frame() for _ in range(2)] == [(0x80 | TEXT, b"a"), (0x80 | TEXT, b"b")]
        assert await client.read_close() == (1000, "")


async def test_no_handler_is_cancelled_when_its_client_goes(serve):
    log = Log()
    go_on = asyncio.Event()

    async def handler(ws):
        await ws.accept()
        log("in")
        await ws.wait_closed()
        await go_on.wait()
        log("done")

    async with serve(app_with(handler)) as server:
        async with server.connect():
            await log.has(1)
        go_on.set()
        assert await log.has(2) == ["in", "done"]


async def test_cancel_on_disconnect_cancels_the_handler(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        log("in")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            log("cancelled")
            raise

    async with serve(app_with(handler, cancel_on_disconnect=True)) as server:
        client = await server.raw()
        await log.has(1)
        client.cut()
        assert await log.has(2) == ["in", "cancelled"]


# --- shutdown

SHUTDOWN = """
import asyncio, sys
from nexios import NexiosApp

app = NexiosApp(shutdown_grace={grace})

@app.ws("/ws")
async def handler(ws):
    await ws.accept()
    await ws.send_text("ready")
    await ws.wait_closed()
    try:
        await asyncio.sleep({work})
        print("done", ws.close_code, flush=True)
    except asyncio.CancelledError:
        print("cancelled", flush=True)
        raise

app.run(fd=int(sys.argv[1]), loop=sys.argv[2])
print("returned", flush=True)
"""


@pytest.mark.parametrize("grace, work, said", [(5, 0.2, "done 1012"), (0.2, 60, "cancelled")])
async def test_shutdown_closes_1012_waits_for_handlers_then_cancels(listening, loop_name, grace, work, said):
    source = SHUTDOWN.format(grace=grace, work=work)
    fd = listening.fileno()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", source, str(fd), loop_name, pass_fds=[fd], stdout=asyncio.subprocess.PIPE
    )
    try:
        async with nexios_client(listening.getsockname()[1]) as ws:
            assert await ws.recv() == "ready"
            process.send_signal(signal.SIGTERM)
            assert (await close_of(ws))[0] == 1012
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert output.decode().splitlines() == [said, "returned"]
    assert process.returncode == 0


async def test_a_second_signal_ends_it_at_once(listening, loop_name):
    source, fd = SHUTDOWN.format(grace=60, work=60), listening.fileno()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", source, str(fd), loop_name, pass_fds=[fd], stdout=asyncio.subprocess.PIPE
    )
    try:
        async with nexios_client(listening.getsockname()[1]) as ws:
            assert await ws.recv() == "ready"
            process.send_signal(signal.SIGINT)
            assert (await close_of(ws))[0] == 1012
            process.send_signal(signal.SIGINT)
            output, _ = await asyncio.wait_for(process.communicate(), 10)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert output.decode().splitlines() == ["cancelled", "returned"]
    assert process.returncode == 0


async def test_a_handshake_without_an_answer_is_503_at_shutdown(serve):
    stop, begun = asyncio.Event(), asyncio.Event()

    async def handler(ws):
        begun.set()
        await asyncio.sleep(0.2)

    async with serve(app_with(handler), stop=stop) as server:
        refusal = asyncio.ensure_future(server.refusal())
        await begun.wait()
        stop.set()
        assert (await refusal).status_code == 503


def nexios_client(port):
    from websockets.asyncio.client import connect

    return connect(f"ws://127.0.0.1:{port}/ws", proxy=None, compression=None)


async def test_the_end_of_serve_cancels_what_is_left(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()
        await ws.send_text("ready")
        try:
            await asyncio.Event().wait()
        finally:
            log("out")

    async with serve(app_with(handler)) as server:
        ws = await server.connect()
        assert await ws.recv() == "ready"
        await server.stop()
        await log.has(1)
        await close_of(ws)


# --- registration


def test_a_plain_def_is_refused_at_registration():
    app = NexiosApp()

    def plain(ws, *rest):
        pass

    registrations = [
        app.ws("/ws"),
        app.middleware,
        *(app.on(event) for event in ("connect", "disconnect", "message", "drop")),
        app.exception_handler(ValueError),
        app.on_startup,
        app.on_shutdown,
        WSRouter().ws("/ws"),
        lambda function: app.ws("/ws", middleware=[function]),
        lambda function: WSRouter(middleware=[function]),
    ]
    for register in registrations:
        with pytest.raises(TypeError, match="async def"):
            register(plain)


async def test_whatever_calls_a_coroutine_function_is_taken(serve):
    """An object with `async def __call__`, a bound method, a partial."""

    class Handler:
        async def __call__(self, ws):
            await ws.accept()
            await ws.send_text("object")

        async def method(self, ws, text="method"):
            await ws.accept()
            await ws.send_text(text)

    app = NexiosApp()
    app.ws("/object")(Handler())
    app.ws("/method")(Handler().method)
    app.ws("/partial")(functools.partial(Handler().method, text="partial"))
    async with serve(app) as server:
        for kind in "object", "method", "partial":
            async with server.connect(f"/{kind}") as ws:
                assert await ws.recv() == kind


def test_an_unknown_event_or_setting_is_refused():
    with pytest.raises(ValueError, match="conect"):
        NexiosApp().on("conect")
    with pytest.raises(TypeError, match="ping_intervall"):
        NexiosApp(ping_intervall=3)
    with pytest.raises(TypeError, match="no_such_setting"):
        WSRouter().ws("/ws", no_such_setting=3)(echo)
    for name, value in ("subprotocols", ["a"]), ("cancel_on_disconnect", True):
        with pytest.raises(TypeError, match=f"{name} is a setting of routes"):
            NexiosApp(**{name: value})


async def test_startup_and_shutdown_run_around_serving(serve):
    log = Log()
    app = app_with(stay)

    @app.on_startup
    async def start():
        log("startup")

    @app.on_shutdown
    async def stop():
        log("shutdown")

    async with serve(app) as server:
        async with server.connect() as ws:
            assert await ws.recv() == "ready"
            assert log.entries == ["startup"]
    assert log.entries == ["startup", "shutdown"]


async def test_a_lifespan_runs_around_serving(serve):
    from contextlib import asynccontextmanager

    log = Log()

    @asynccontextmanager
    async def lifespan(app):
        log("startup")
        yield
        log("shutdown")

    app = NexiosApp(lifespan=lifespan)
    app.ws("/ws")(stay)
    async with serve(app) as server, server.connect() as ws:
        assert await ws.recv() == "ready"
        assert log.entries == ["startup"]
    assert log.entries == ["startup", "shutdown"]
