"""The Python package `websockets` against the servers."""

import os
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from raw_client import BINARY, CLOSE, PING, PONG, TEXT, RawClient, frame, request
from sync_client import connect

MIB = 1 << 20


@contextmanager
def client(server, path="/", trusting=None, **options):
    options = {"max_size": None, "compression": None} | options
    if server.scheme == "wss":
        options["ssl"] = trusting
    with connect(server.url(path), server.uds, **options) as ws:
        yield ws


def echoed(ws, message):
    ws.send(message)
    return ws.recv(timeout=10)


def closed(ws):
    """Reads to the end; who closed with what."""
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            ws.recv(timeout=10)
    return caught.value.rcvd


def words(count):
    return " ".join(random.Random(7).choices(["lorem", "ipsum", "dolor", "sit", "amet", "grüße", "日本"], k=count))


MESSAGES = {
    "empty text": "",
    "text": "hello",
    "text of several bytes for each character": "grüße 日本 🦀",
    "empty binary": b"",
    "binary": bytes(range(256)),
    "125 bytes": b"x" * 125,
    "126 bytes": b"x" * 126,
    "65535 bytes": b"x" * 65535,
    "65536 bytes": b"x" * 65536,
    "many words": words(5_000),
    "1 MiB of text": "m" * MIB,
    # Deflate makes noise a little longer, and the limit counts what travels too.
    "almost 1 MiB of noise": random.Random(3).randbytes(MIB - 8192),
}


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_messages_come_back_as_they_were(echo_anywhere, trusting, compression):
    with client(echo_anywhere, trusting=trusting, compression=compression) as ws:
        for what, message in MESSAGES.items():
            assert echoed(ws, message) == message, what


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_a_fragmented_message_comes_back_whole(echo_anywhere, trusting, compression):
    with client(echo_anywhere, trusting=trusting, compression=compression) as ws:
        assert echoed(ws, ["frag", "", "men", "ted"]) == "fragmented"
        assert echoed(ws, [b"a" * 1000] * 1000) == b"a" * 1_000_000


def test_messages_sent_at_once_come_back_in_order(echo_anywhere, trusting):
    with client(echo_anywhere, trusting=trusting) as ws:
        sent = [f"message {i}" for i in range(2_000)]
        for message in sent:
            ws.send(message)
        assert [ws.recv(timeout=10) for _ in sent] == sent


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_many_clients_at_once_get_their_own_messages(echo, compression):
    def talk(number):
        with client(echo, compression=compression) as ws:
            return all(echoed(ws, message) == message for message in (f"client {number}: {words(i)}" for i in range(20)))

    with ThreadPoolExecutor(40) as pool:
        assert all(pool.map(talk, range(40)))


def test_a_ping_is_answered_with_its_payload(echo_anywhere, trusting):
    with client(echo_anywhere, trusting=trusting) as ws:
        for payload in [b"", b"are you there", os.urandom(125)]:
            assert ws.ping(payload).wait(5), payload


def test_a_ping_between_fragments_is_answered_at_once(echo):
    with RawClient(echo.connect(), "/") as raw:
        raw.send(frame(TEXT, b"a", first=0) + frame(PING, b"now"))
        assert raw.read_frame() == (0x80 | PONG, b"now")
        raw.send(frame(0, b"b"))
        assert raw.read_frame() == (0x80 | TEXT, b"ab")


def test_an_unasked_pong_is_ignored(echo):
    with client(echo) as ws:
        ws.pong(b"nobody asked")
        assert echoed(ws, "still here") == "still here"


@pytest.mark.parametrize("code, reason", [(1000, ""), (1001, "going"), (1011, "grüße"), (3000, "x" * 123), (4999, "")])
def test_a_close_code_of_the_client_is_answered_with_the_same(echo_anywhere, trusting, code, reason):
    with client(echo_anywhere, trusting=trusting) as ws:
        ws.close(code, reason)
        assert (ws.protocol.close_rcvd.code, ws.protocol.close_rcvd_then_sent) == (code, False)


def test_messages_before_a_close_are_all_echoed(echo):
    with RawClient(echo.connect(), "/") as raw:
        sent = [b"%d" % i for i in range(50)]
        raw.send(b"".join(frame(TEXT, payload) for payload in sent) + frame(CLOSE, b"\x03\xe8"))
        received = [raw.read_frame() for _ in sent]
        assert received == [(0x80 | TEXT, payload) for payload in sent]
        assert raw.read_close() == (1000, "")
        assert raw.is_at_end()


def test_a_message_over_the_limit_closes_1009(echo_anywhere, trusting):
    with client(echo_anywhere, trusting=trusting) as ws:
        with pytest.raises(ConnectionClosed):
            ws.send(b"x" * (MIB + 1))
            ws.recv(timeout=10)
        assert ws.protocol.close_rcvd.code == 1009


def test_a_message_that_inflates_over_the_limit_closes_1009(echo):
    with client(echo, compression="deflate") as ws:
        ws.send(b"\0" * (MIB + 1))
        assert closed(ws).code == 1009


def test_fragments_over_the_limit_close_1009(echo):
    with client(echo) as ws:
        with pytest.raises(ConnectionClosed):
            ws.send([b"x" * 4096] * 257)
            ws.recv(timeout=10)
        assert ws.protocol.close_rcvd.code == 1009


def test_too_many_fragments_close_1008(echo):
    with client(echo) as ws:
        with pytest.raises(ConnectionClosed):
            ws.send(["x"] * 1025)
            ws.recv(timeout=10)
        assert ws.protocol.close_rcvd.code == 1008


@pytest.mark.parametrize(
    "what, wrong, code",
    [
        ("text that is no UTF-8", frame(TEXT, b"\xff\xfe"), 1007),
        ("an unmasked frame", frame(TEXT, b"hi", masked=False), 1002),
        ("a reserved bit", frame(TEXT, b"hi", first=0xC0), 1002),
        ("an unknown opcode", frame(3), 1002),
        ("a fragmented ping", frame(PING, first=0), 1002),
        ("a ping of 126 bytes", frame(PING, b"x" * 126), 1002),
        ("a continuation of nothing", frame(0, b"x"), 1002),
        ("a message inside a message", frame(TEXT, b"x", first=0) + frame(BINARY, b"y"), 1002),
        ("a close code that may not be sent", frame(CLOSE, b"\x03\xed"), 1002),
        ("a close frame of one byte", frame(CLOSE, b"\x03"), 1002),
        ("a close reason that is no UTF-8", frame(CLOSE, b"\x03\xe8\xff"), 1007),
    ],
)
def test_a_frame_against_the_protocol_is_answered_with_its_code(echo, what, wrong, code):
    with RawClient(echo.connect(), "/") as raw:
        raw.send(wrong)
        assert raw.read_close()[0] == code, what
        assert raw.is_at_end()


def test_frames_that_come_byte_by_byte_are_understood(echo):
    with RawClient(echo.connect(), "/") as raw:
        for byte in frame(TEXT, b"slow") + frame(PING, b"ping"):
            raw.send(bytes([byte]))
        # The pong may overtake: the engine answers pings, the handler messages.
        expected = [(0x80 | TEXT, b"slow"), (0x80 | PONG, b"ping")]
        first = raw.read_frame()
        assert first in expected
        expected.remove(first)
        assert [raw.read_frame()] == expected


def test_frames_right_behind_the_handshake_are_not_lost(echo):
    bare = echo.connect()
    bare.sendall(request("/") + frame(TEXT, b"early"))
    bare.settimeout(5)
    received = b""
    while not received.endswith(b"early"):
        received += bare.recv(1000)
    assert received.startswith(b"HTTP/1.1 101 ")
    bare.close()


# Compression (RFC 7692).


def extensions(ws):
    return ws.response.headers.get("Sec-WebSocket-Extensions")


@pytest.mark.parametrize(
    "mode, answer",
    [
        ("no-takeover", "permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
        ("takeover", "permessage-deflate"),
        ("off", None),
    ],
)
def test_compression_is_negotiated_as_the_server_was_told(start, mode, answer):
    server = start("echo", "--compression", mode)
    with client(server, compression="deflate") as ws:
        agreed = extensions(ws)
        for message in [words(3_000), "short", words(3_000), words(10).encode()]:
            assert echoed(ws, message) == message
    assert (agreed and sorted(agreed.split("; "))) == (answer and sorted(answer.split("; ")))


@pytest.mark.parametrize("mode", ["no-takeover", "takeover"])
@pytest.mark.parametrize(
    "offer",
    [
        {"server_max_window_bits": 9},
        {"client_max_window_bits": 9},
        {"server_max_window_bits": 12, "client_max_window_bits": 10},
        {"server_no_context_takeover": True},
        {"client_no_context_takeover": True, "client_max_window_bits": True},
    ],
    ids=lambda offer: ",".join(f"{name}={value}" for name, value in offer.items()),
)
def test_every_offer_of_compression_leads_to_messages_that_both_understand(start, mode, offer):
    server = start("echo", "--compression", mode)
    with client(server, compression=None, extensions=[ClientPerMessageDeflateFactory(**offer)]) as ws:
        for message in [words(8_000), "short", words(8_000), ["frag", words(2_000), "mented"]]:
            assert echoed(ws, message) == (message if isinstance(message, str) else "".join(message))


def test_only_long_messages_come_back_compressed(echo):
    with RawClient(echo.connect(), "/", Sec_WebSocket_Extensions="permessage-deflate") as raw:
        raw.send(frame(TEXT, b"short"))
        assert raw.read_frame() == (0x80 | TEXT, b"short")
        raw.send(frame(TEXT, b"long" * 1_000))
        first, payload = raw.read_frame()
        assert first == 0xC1, "the bit RSV1 says compressed"
        assert len(payload) < 100


def test_nothing_is_compressed_for_a_client_that_did_not_ask(echo):
    with RawClient(echo.connect(), "/") as raw:
        assert "sec-websocket-extensions" not in raw.headers
        raw.send(frame(TEXT, b"long" * 1_000))
        assert raw.read_frame() == (0x80 | TEXT, b"long" * 1_000)


def test_an_unknown_extension_is_declined(echo):
    with RawClient(echo.connect(), "/", Sec_WebSocket_Extensions="permessage-brotli; level=3, x-other") as raw:
        assert raw.status == 101
        assert "sec-websocket-extensions" not in raw.headers


# Subprotocols, and a token that travels as one.


def test_a_subprotocol_that_the_route_does_not_have_is_not_agreed_on(echo_anywhere, trusting):
    with client(echo_anywhere, trusting=trusting, subprotocols=["soap", "wamp"]) as ws:
        assert ws.subprotocol is None
        assert echoed(ws, "all the same") == "all the same"


def test_a_good_token_is_answered_with_bearer_only(chat):
    with client(chat, "/chat/tokens?name=ann", subprotocols=["bearer", "letmein"]) as ws:
        assert ws.subprotocol == "bearer"
        assert '"welcome"' in ws.recv(timeout=5)


@pytest.mark.parametrize("offer", [["bearer", "wrong"], ["soap"], ["bearer"], None])
def test_a_refusal_before_accept_arrives_with_code_and_reason(chat, offer):
    with client(chat, "/chat/tokens?name=bob", subprotocols=offer) as ws:
        assert ws.subprotocol == (offer and offer[0])
        close = closed(ws)
        assert (close.code, close.reason) == (1008, "Invalid token")


def test_a_token_in_the_authorization_header_is_as_good(chat):
    authorization = {"Authorization": "Bearer letmein"}
    with client(chat, "/chat/tokens?name=cyd", additional_headers=authorization) as ws:
        assert '"welcome"' in ws.recv(timeout=5)


def test_a_page_of_another_origin_is_refused(chat):
    with RawClient(chat.connect(), "/chat/general?name=eve", Origin="https://evil.example") as raw:
        assert raw.status == 403
    with RawClient(chat.connect(), "/chat/general?name=eve", Origin="http://localhost") as raw:
        assert raw.status == 101
