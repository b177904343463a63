"""Test clients in memory: messages, control frames, handshakes and closing, sync and async."""

import asyncio
import json

import pytest
from apps import app_with, echo, stay
from nexios import WebSocketDisconnect, WebSocketTypeError
from nexios.testing import Accepted, AsyncTestClient, HandshakeRefused, Refused, TestClient, TestTimeout

# --- messages


def test_messages_of_all_kinds_come_back(connect):
    ws = connect(echo)
    ws.send_text("text")
    ws.send_bytes(b"\x00\x01")
    ws.send_json({"number": 1})
    ws.send("any text")
    ws.send(bytearray(b"any bytes"))
    ws.send([1, 2])
    assert ws.receive_text() == "text"
    assert ws.receive_bytes() == b"\x00\x01"
    assert ws.receive_json() == {"number": 1}
    assert [ws.receive() for _ in range(3)] == ["any text", b"any bytes", "[1,2]"]


async def test_a_coroutine_awaits_the_same():
    async with AsyncTestClient(app_with(echo)) as client, client.websocket_connect("/ws") as ws:
        await ws.send_text("text")
        await ws.send_bytes(memoryview(b"\x00\x01"))
        await ws.send_json({"number": 1})
        assert await ws.receive_text() == "text"
        assert await ws.receive_bytes() == b"\x00\x01"
        assert await ws.receive_json() == {"number": 1}


def test_a_message_in_fragments_is_one(connect):
    ws = connect(echo)
    ws.send_fragments(["one ", "mes", "sage"])
    assert ws.receive_text() == "one message"


def test_a_message_of_the_other_kind_is_a_type_error_and_keeps_the_connection(connect):
    ws = connect(echo)
    ws.send_bytes(b"binary")
    with pytest.raises(WebSocketTypeError) as raised:
        ws.receive_text()
    assert raised.value.message == b"binary"
    ws.send_text("text")
    with pytest.raises(WebSocketTypeError):
        ws.receive_bytes()
    ws.send_text("on")
    assert ws.receive_text() == "on"


def test_sending_what_is_no_text_raises_at_the_call(connect):
    ws = connect(echo)
    with pytest.raises(TypeError):
        ws.send_text(b"bytes")
    with pytest.raises(TypeError):
        ws.send_bytes("text")
    with pytest.raises(TypeError):
        ws.send_json(object())


def test_large_messages_pass_a_small_receive_buffer(connect):
    ws = connect(echo, receive_buffer=1000)
    ws.send_text("x" * 100_000)
    assert len(ws.receive_text()) == 100_000


def test_the_server_has_seen_what_was_sent_when_the_call_returns(connect):
    seen = []

    async def handler(ws):
        await ws.accept()
        async for message in ws:
            seen.append(message)

    ws = connect(handler)
    ws.send_text("hello")
    assert seen == ["hello"]


def test_iteration_ends_at_the_close(connect):
    async def handler(ws):
        await ws.accept()
        for number in range(3):
            await ws.send_json(number)

    assert list(connect(handler)) == ["0", "1", "2"]
    assert list(connect(handler).iter_text()) == ["0", "1", "2"]
    assert list(connect(handler).iter_json()) == [0, 1, 2]
    with pytest.raises(WebSocketTypeError):
        list(connect(handler).iter_bytes())


async def test_async_iteration_ends_at_the_close():
    async def handler(ws):
        await ws.accept()
        for number in range(3):
            await ws.send_bytes(bytes([number]))

    async with AsyncTestClient(app_with(handler)) as client:
        async with client.websocket_connect("/ws") as ws:
            assert [message async for message in ws] == [b"\x00", b"\x01", b"\x02"]
        async with client.websocket_connect("/ws") as ws:
            assert [message async for message in ws.iter_bytes()] == [b"\x00", b"\x01", b"\x02"]


# --- control frames


def test_a_ping_is_answered_by_the_server(connect):
    ws = connect(echo)
    ws.send_ping(b"are you there?")
    assert ws.receive_pong() == b"are you there?"


def test_pings_and_pongs_of_the_server_are_seen_and_data_stays_queued(connect):
    async def handler(ws):
        await ws.accept()
        await ws.send_text("data")
        await ws.send_ping(b"ping")
        await ws.send_pong(b"pong")
        await ws.send_text(repr(await ws.receive_pong()))
        await ws.send_text(repr(await ws.receive_ping()))

    ws = connect(handler)
    assert ws.receive_pong() == b"pong"
    assert ws.receive_ping() == b"ping"
    assert ws.receive_text() == "data"
    # It was answered without a hand of the test.
    assert ws.receive_text() == "b'ping'"
    with pytest.raises(ValueError, match="125"):
        ws.send_ping(b"x" * 126)
    ws.send_ping(b"own")
    assert ws.receive_text() == "b'own'"


def test_the_last_sixteen_control_frames_are_kept(connect):
    ws = connect(stay)
    for number in range(20):
        ws.send_ping(b"%d" % number)
    assert [ws.receive_pong() for _ in range(16)] == [b"%d" % number for number in range(4, 20)]
    with pytest.raises(TestTimeout):
        ws.receive_pong(timeout=0.01)


def test_an_unasked_pong_reaches_the_handler(connect):
    async def handler(ws):
        await ws.accept()
        await ws.send_bytes(await ws.receive_pong())

    ws = connect(handler)
    ws.send_pong(b"unasked")
    assert ws.receive_bytes() == b"unasked"


# --- the handshake


def test_a_handshake_says_what_the_test_wants(loop):
    seen = {}

    async def handler(ws):
        await ws.accept(subprotocol="v2", headers={"X-Answer": "yes"})
        seen.update(client=ws.client, cookies=dict(ws.cookies), query=dict(ws.query_params), path=ws.path_params)
        seen.update(agent=ws.headers["user-agent"], host=ws.headers["host"], origin=ws.headers["origin"], id=ws.id)

    app = app_with(handler, path="/ws/{name}", settings={"allowed_origins": ["https://shop.example"]})
    with TestClient(app, loop=loop, headers={"User-Agent": "pytest"}, cookies={"a": "1"}, host="nexios.test") as client:
        with client.websocket_connect(
            "/ws/jürgen?x=1",
            subprotocols=["v1", "v2"],
            cookies={"b": "2"},
            params={"y": "ä"},
            origin="https://shop.example",
            client=("1.2.3.4", 5),
        ) as ws:
            assert ws.subprotocol == "v2"
            assert ws.response_headers["x-answer"] == "yes"
            client.settle()
            assert seen == {
                "client": ("1.2.3.4", 5),
                "cookies": {"a": "1", "b": "2"},
                "query": {"x": "1", "y": "ä"},
                "path": {"name": "jürgen"},
                "agent": "pytest",
                "host": "nexios.test",
                "origin": "https://shop.example",
                "id": ws.id,
            }


def test_a_whole_url_and_headers_in_pairs_are_taken(loop):
    async def handler(ws):
        await ws.accept()
        await ws.send_json([ws.path, ws.headers.get_all("x-tag"), ws.headers["host"]])

    with TestClient(app_with(handler), loop=loop) as client:
        headers = [("X-Tag", "1"), ("X-Tag", "2"), ("Host", "other")]
        with client.websocket_connect("ws://testserver/ws", headers=headers) as ws:
            assert ws.receive_json() == ["/ws", ["1", "2"], "other"]


def test_each_connection_has_a_port_of_its_own(loop):
    async def handler(ws):
        await ws.accept()
        await ws.send_json(ws.client)

    with TestClient(app_with(handler), loop=loop) as client:
        with client.websocket_connect("/ws") as one, client.websocket_connect("/ws") as two:
            assert [one.receive_json(), two.receive_json()] == [["127.0.0.1", 50000], ["127.0.0.1", 50001]]
        with client.websocket_connect("/ws", client=None) as ws:
            assert ws.receive_json() is None
        with pytest.raises(ValueError), client.websocket_connect("/ws", client=("nobody", 1)):
            pass


def test_a_refused_handshake_raises_with_the_answer(loop):
    async def handler(ws):
        await ws.reject(status=403, headers={"X-Why": "members"}, body='{"error": "members only"}')

    with TestClient(app_with(handler), loop=loop) as client:
        with pytest.raises(HandshakeRefused, match=r"403.*members only") as raised, client.websocket_connect("/ws"):
            pass
    refused = raised.value
    assert (refused.status, refused.headers["x-why"]) == (403, "members")
    assert json.loads(refused.body) == refused.json() == {"error": "members only"}
    assert "members" in refused.text


def test_handshakes_are_typed_results(loop):
    app = app_with(echo, subprotocols=["v1"])
    with TestClient(app, loop=loop) as client:
        accepted = client.handshake("/ws", subprotocols=["v2", "v1"])
        assert isinstance(accepted, Accepted)
        assert (accepted.status, accepted.subprotocol) == (101, "v1")
        assert accepted.headers["upgrade"] == "websocket"
        missing = client.handshake("/nowhere")
        assert isinstance(missing, Refused)
        assert missing.status == 404
        assert client.handshake("/ws", origin="https://evil.example").status == 403
        assert len(app.connections) == 0


def test_a_close_before_accept_shows_its_code(connect):
    async def handler(ws):
        await ws.close(4401, "bad token")

    ws = connect(handler)
    with pytest.raises(WebSocketDisconnect) as raised:
        ws.receive_text()
    assert (raised.value.code, raised.value.reason) == (4401, "bad token")


def test_what_cannot_stand_in_a_request_raises_at_the_call(loop):
    with TestClient(app_with(echo), loop=loop) as client:
        with pytest.raises(ValueError), client.websocket_connect("/ws", headers={"X": "a\r\nb"}):
            pass
        with pytest.raises(TypeError), client.websocket_connect("/ws", subprotocols="v1"):
            pass
        with pytest.raises(TypeError), client.websocket_connect("/ws", no_such_option=1):
            pass


async def test_an_async_socket_can_be_awaited():
    async with AsyncTestClient(app_with(echo)) as client:
        ws = await client.websocket_connect("/ws")
        await ws.send_text("hello")
        assert await ws.receive_text() == "hello"
        await ws.close()
        with pytest.raises(HandshakeRefused):
            await client.websocket_connect("/nowhere")


@pytest.mark.parametrize("compression", [True, {"context_takeover": True, "window_bits": 10}])
def test_compression_is_offered_if_asked_for(connect, compression):
    took = []

    async def handler(ws):
        await ws.accept()
        took.append(ws.enable_compression())
        await ws.send_text("a" * 10_000)

    settings = {"compression": {"context_takeover": True}}
    ws = connect(handler, settings, compression=compression)
    assert ws.is_compressed
    assert "permessage-deflate" in ws.response_headers["sec-websocket-extensions"]
    assert ws.receive_text() == "a" * 10_000
    plain = connect(handler, settings)
    assert not plain.is_compressed
    assert plain.receive_text() == "a" * 10_000
    assert took == [True, False]


# --- closing


def test_the_servers_close_is_seen(connect):
    async def handler(ws):
        await ws.accept()
        await ws.send_text("last words")
        await ws.close(4000, "that is all")

    ws = connect(handler)
    assert ws.receive_text() == "last words"
    for receive in (ws.receive, ws.receive_text, ws.receive_bytes, ws.receive_json, ws.receive_ping, ws.receive_pong):
        with pytest.raises(WebSocketDisconnect) as raised:
            receive()
        assert (raised.value.code, raised.value.reason) == (4000, "that is all")
    with pytest.raises(WebSocketDisconnect):
        ws.send_text("anybody?")
    assert (ws.close_code, ws.close_reason) == (4000, "that is all")
    ws.close()


def test_the_clients_close_is_seen_by_the_server(loop):
    closes = []

    async def handler(ws):
        await ws.accept()
        await ws.wait_closed()
        closes.append((ws.close_code, ws.close_reason))

    with TestClient(app_with(handler), loop=loop) as client:
        with client.websocket_connect("/ws") as ws:
            assert (ws.close_code, ws.close_reason) == (None, None)
            ws.close(4001, "changed my mind")
            assert (ws.close_code, ws.close_reason) == (4001, "changed my mind")
        with client.websocket_connect("/ws") as ws:
            ws.close(None)
            assert ws.close_code == 1005
        # The end of a block is a normal closure.
        with client.websocket_connect("/ws"):
            pass
        with client.websocket_connect("/ws") as ws:
            with pytest.raises(ValueError):
                ws.close(1006)
    assert closes == [(4001, "changed my mind"), (1005, ""), (1000, ""), (1000, "")]


def test_a_handler_has_ended_when_its_block_is_left(loop):
    ended = []

    async def handler(ws):
        await ws.accept()
        try:
            await ws.receive()
        finally:
            await asyncio.sleep(0.02)
            ended.append(True)

    with TestClient(app_with(handler), loop=loop) as client:
        with client.websocket_connect("/ws"):
            pass
        assert ended == [True]


def test_waiting_for_the_close_gives_its_code(connect):
    async def handler(ws):
        await ws.accept()
        await ws.receive()
        await ws.close(4002, "enough")

    ws = connect(handler)
    with pytest.raises(TestTimeout, match="Close frame on /ws"):
        ws.wait_closed(timeout=0.01)
    ws.send_text("go")
    assert ws.wait_closed() == (4002, "enough")


@pytest.mark.parametrize("end", ["hang_up", "reset"])
def test_without_a_close_frame_the_server_sees_1006(connect, end):
    codes = []

    async def handler(ws):
        await ws.accept()
        await ws.wait_closed()
        codes.append(ws.close_code)

    ws = connect(handler)
    getattr(ws, end)()
    assert codes == [1006]
    with pytest.raises(WebSocketDisconnect) as raised:
        ws.receive()
    assert raised.value.code == 1006


def test_a_protocol_error_of_the_client_is_closed_1002(connect):
    ws = connect(echo)
    ws.send_raw(b"\xf1\x80\x00\x00\x00\x00")
    assert ws.wait_closed() == (1002, "")
