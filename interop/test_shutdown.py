"""How a server ends, comes back, and bears clients that do not speak WebSocket."""

import http.client
import random
import signal
import socket
import ssl
import subprocess
from contextlib import ExitStack, closing

import pytest
from websockets.exceptions import ConnectionClosed

from raw_client import CLOSE, PING, TEXT, RawClient, frame, request
from servers import command_of
from sync_client import connect

RESTARTING = (1012, "server restarting")
# Over the 5 s that a server waits for a client to answer its Close and to hang up.
SILENT_CLIENT_SECONDS = 8
TOKEN = {"additional_headers": {"Authorization": "Bearer letmein"}}


def close_of(ws):
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            ws.recv(timeout=10)
    return caught.value.rcvd.code, caught.value.rcvd.reason


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("example, path", [("echo", "/"), ("chat", "/chat/general?name=ann")])
def test_clients_see_1012_and_the_server_exits_with_0(start, number, example, path):
    server = start(example)
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(server.url(path), **TOKEN)) for _ in range(20)]
        server.signal(number)
        assert {close_of(ws) for ws in clients} == {RESTARTING}
        assert server.exit_code(5) == 0


def test_under_tls_clients_see_1012_too(start, certificate, trusting):
    server = start("echo", "--tls", *certificate, scheme="wss")
    with connect(server.url(), ssl=trusting) as ws:
        server.signal(signal.SIGTERM)
        assert close_of(ws) == RESTARTING
        assert server.exit_code(5) == 0


def test_a_server_without_clients_ends_at_once(start):
    server = start("echo")
    server.signal(signal.SIGTERM)
    assert server.exit_code(2) == 0


def test_a_signal_during_an_idle_kept_alive_connection_ends_it(start):
    server = start("chat")
    with closing(http.client.HTTPConnection(server.netloc, timeout=5)) as page:
        page.request("GET", "/")
        assert page.getresponse().read().startswith(b"<!doctype html>")
        server.signal(signal.SIGTERM)
        assert page.sock.recv(1) == b""
        page.close()
        assert server.exit_code(2) == 0


def test_a_client_that_does_not_answer_the_close_does_not_hold_the_server(start):
    server = start("echo")
    with RawClient(server.connect(), "/") as raw:
        server.signal(signal.SIGTERM)
        assert raw.read_close() == RESTARTING
        assert server.exit_code(SILENT_CLIENT_SECONDS) == 0


@pytest.mark.parametrize("sent", [b"", request("/")[:30]], ids=["nothing", "half a handshake"])
def test_a_connection_without_a_request_does_not_hold_the_server(start, sent):
    server = start("echo")
    with closing(server.connect()) as bare:
        bare.sendall(sent)
        server.signal(signal.SIGTERM)
        assert server.exit_code(2) == 0


def test_a_second_signal_ends_the_server_at_once(start):
    server = start("echo")
    with RawClient(server.connect(), "/") as raw:
        server.signal(signal.SIGTERM)
        assert raw.read_close() == RESTARTING
        server.signal(signal.SIGTERM)
        assert server.exit_code(2) == 0


def test_while_it_ends_nobody_is_let_in(start):
    server = start("echo")
    with RawClient(server.connect(), "/") as raw:
        server.signal(signal.SIGTERM)
        assert raw.read_close() == RESTARTING
        with pytest.raises(ConnectionRefusedError):
            server.connect()


def test_while_it_ends_another_can_take_its_place(start):
    before = start("echo")
    with RawClient(before.connect(), "/") as raw:
        before.signal(signal.SIGTERM)
        assert raw.read_close() == RESTARTING
        with RawClient(start("echo", port=before.port).connect(), "/") as newcomer:
            assert newcomer.status == 101
            assert before.is_running()


def test_a_client_that_answers_the_close_sees_the_connection_end(start):
    server = start("echo")
    with RawClient(server.connect(), "/") as raw:
        server.signal(signal.SIGTERM)
        assert raw.read_close() == RESTARTING
        raw.send(frame(CLOSE, b"\x03\xf4"))
        assert raw.is_at_end()
    assert server.exit_code(2) == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_can_come_back_on_the_same_port_at_once(start, number):
    before = start("echo")
    with RawClient(before.connect(), "/") as one, RawClient(before.connect(), "/") as other:
        before.signal(number)
        assert one.socket.recv(1) is not None
        other.socket.shutdown(socket.SHUT_WR)
    before.exit_code(5)
    with RawClient(start("echo", port=before.port).connect(), "/") as raw:
        raw.send(frame(PING, b"back"))
        assert raw.read_frame()[1] == b"back"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_can_come_back_on_the_same_unix_socket(start, tmp_path, number):
    path = tmp_path / "again.sock"
    before = start("echo", uds=path)
    before.signal(number)
    before.exit_code(5)
    with RawClient(start("echo", uds=path).connect(), "/") as raw:
        assert raw.status == 101


def test_a_port_that_is_taken_is_an_error_at_start(echo):
    command = [*command_of("echo", echo.language), "--listen", echo.netloc]
    second = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    assert second.returncode == 1
    assert "in use" in second.stderr
    assert "panicked" not in second.stderr


# Clients that do not speak WebSocket.


def answer(server, method, path, headers=()):
    """What a plain HTTP client hears."""
    with closing(http.client.HTTPConnection(server.netloc, timeout=5)) as page:
        page.request(method, path, headers=dict(headers))
        heard = page.getresponse()
        heard.read()
        return heard


def test_plain_http_on_a_websocket_route_is_426(echo, chat):
    for server, path in [(echo, "/"), (echo, "/echo"), (chat, "/chat/general")]:
        heard = answer(server, "GET", path)
        assert (heard.status, heard.getheader("Upgrade")) == (426, "websocket")
        assert "upgrade" in heard.getheader("Connection").lower()


def test_an_unknown_path_is_404(echo, chat):
    assert answer(echo, "GET", "/nowhere").status == 404
    assert answer(chat, "GET", "/nowhere.html").status == 404
    for server in [echo, chat]:
        with RawClient(server.connect(), "/nowhere") as raw:
            assert raw.status == 404


@pytest.mark.parametrize("path", ["/../main.rs", "/%2e%2e/main.rs", "/..%2fmain.rs", "//etc/passwd", "/page/../../main.rs"])
def test_no_path_leads_out_of_the_page(chat, path):
    with closing(chat.connect()) as bare:
        bare.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        with bare.makefile("rb") as heard:
            head, body = heard.read().split(b"\r\n\r\n", 1)
    assert head.split()[1] in {b"400", b"404"}
    assert b"fn main" not in body and b"root:" not in body


@pytest.mark.parametrize("version", ["8", "12", "14", "13, 8", "abc"])
def test_a_wrong_websocket_version_is_426_and_the_right_one_is_named(echo, version):
    with closing(echo.connect()) as bare, bare.makefile("rb") as heard:
        bare.sendall(request("/", version=version))
        lines = heard.read().decode().split("\r\n\r\n")[0].split("\r\n")
    assert lines[0].startswith("HTTP/1.1 426 ")
    assert "Sec-WebSocket-Version: 13" in lines


@pytest.mark.parametrize(
    "wrong, status",
    [
        (request("/").replace(b"GET ", b"POST "), 405),
        (request("/").replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"c2hvcnQ="), 400),
        (request("/").replace(b"Connection: Upgrade\r\n", b""), 400),
        (request("/").replace(b"Host: localhost\r\n", b""), 400),
        (request("/").replace(b"\r\n\r\n", b"\r\nX: " + b"x" * 9_000 + b"\r\n\r\n"), 431),
        (request("/").replace(b"\r\n\r\n", b"\r\n" + b"X: y\r\n" * 65 + b"\r\n"), 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(506), 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
    ],
    ids=["POST", "short key", "no Connection", "no Host", "9 KB header", "65 headers", "TLS hello", "no colon"],
)
def test_a_bad_handshake_is_refused_with_its_status(echo, wrong, status):
    with closing(echo.connect()) as bare, bare.makefile("rb") as heard:
        bare.sendall(wrong)
        assert heard.readline().split()[1] == str(status).encode()


def test_an_upgrade_may_follow_plain_requests_on_one_connection(chat):
    with closing(chat.connect()) as bare, bare.makefile("rb") as heard:
        for path in ["/health", "/health"]:
            bare.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            head = b"".join(iter(heard.readline, b"\r\n")).decode().lower()
            assert head.startswith("http/1.1 200 ")
            heard.read(int(head.split("content-length: ")[1].split()[0]))
        bare.sendall(request("/chat/general?name=kim", Authorization="Bearer letmein"))
        assert heard.readline().startswith(b"HTTP/1.1 101 ")


def garbage():
    dice = random.Random(1)
    yield b""
    yield b"\0" * 100
    yield b"\r\n" * 100
    yield b"A" * 100_000
    yield request("/")[:-4]
    yield request("/") + dice.randbytes(1_000)
    yield request("/") + b"\x81\xff" + b"\x7f" + b"\xff" * 7 + b"1234"
    for _ in range(50):
        yield dice.randbytes(dice.randrange(1, 5_000))


def test_garbage_disturbs_nobody_else(echo, echo_tls, trusting):
    for server, context in [(echo, None), (echo_tls, trusting)]:
        with connect(server.url(), ssl=context) as ws, ExitStack() as open_sockets:
            for bytes_ in garbage():
                bare = open_sockets.enter_context(closing(server.connect()))
                bare.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                try:
                    bare.sendall(bytes_)
                except ConnectionError:
                    pass  # hung up on already
                ws.send("still here")
                assert ws.recv(timeout=5) == "still here"
        with connect(server.url(), ssl=context) as ws:
            ws.send("a newcomer too")
            assert ws.recv(timeout=5) == "a newcomer too"


def test_a_client_without_trust_does_not_disturb_the_others(echo_tls, trusting):
    with connect(echo_tls.url(), ssl=trusting) as ws:
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(echo_tls.url(), ssl=ssl.create_default_context())
        ws.send("still here")
        assert ws.recv(timeout=5) == "still here"


def test_a_client_that_reads_nothing_does_not_hold_up_the_others(echo):
    with RawClient(echo.connect(), "/") as deaf, connect(echo.url()) as ws:
        deaf.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            while True:
                deaf.send(frame(TEXT, b"x" * 60_000))
        for i in range(50):
            ws.send(f"{i}")
            assert ws.recv(timeout=5) == f"{i}"
