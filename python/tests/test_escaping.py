"""What clients say in the log: no text of theirs begins a line of its own or steers a terminal."""

import builtins
import io
import logging
import re
import sys
import unicodedata
from urllib.parse import quote

import pytest
from nexios import NexiosApp, WebSocketDisconnect
from nexios._escaped import escaped, escaped_traceback
from raw_client import CLOSE, TEXT, frame, request
from serving import until

FORGED = "\r\n2026 INFO forged \x1b[31m\x85\u2028\u202e\x7f"
#: What is left of it in every line.
SAFE = "2026 INFO forged \\x1b[31m"


class Shown:
    """What a handler with the formatter of the standard library shows of the log."""

    def __init__(self):
        self.stream = io.StringIO()
        self.handler = logging.StreamHandler(self.stream)
        self.handler.setFormatter(logging.Formatter("LOG %(name)s %(levelname)s %(message)s"))

    @property
    def text(self):
        return self.stream.getvalue()

    def assert_safe(self):
        raw = [character for character in self.text if unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp")]
        assert set(raw) <= {"\n"}, self.text
        assert not re.search(r"^\W*2026", self.text, re.MULTILINE), self.text

    async def has(self, text):
        await until(lambda: text in self.text, text)


@pytest.fixture
def shown():
    shown, logger = Shown(), logging.getLogger("nexios")
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(shown.handler)
    yield shown
    logger.removeHandler(shown.handler)
    logger.setLevel(level)
    shown.assert_safe()


# --- the function


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 例 😀", "plain é 例 😀"),
        ("a\r\n\tb", r"a\r\n\tb"),
        ("\0\x1b[0m\x7f\x85", r"\x00\x1b[0m\x7f\x85"),
        ("\u2028\u2029\u202e\ufeff\U000e0041", r"\u2028\u2029\u202e\ufeff\U000e0041"),
        ("\ud800", r"\ud800"),
        (r"\n is \\n", r"\\n is \\\\n"),
        ('"', r"\""),
        ("x" * 256, "x" * 256),
        ("x" * 257, "x" * 256 + r"\..."),
        ("x" * 253 + "\x1b", "x" * 253 + r"\..."),
    ],
)
def test_a_text_is_escaped_and_cut(text, shown):
    assert escaped(text) == shown


def test_no_character_stays_that_is_not_seen():
    for code in range(sys.maxunicode + 1):
        text = escaped(chr(code))
        assert len(text.splitlines()) == 1 and text.encode(), hex(code)
        assert all(unicodedata.category(character) not in ("Cc", "Zl", "Zp", "Cs") for character in text), hex(code)


def test_a_traceback_has_each_message_on_one_line():
    def fail():
        try:
            raise KeyError(FORGED)
        except KeyError as cause:
            raise ValueError(f"a C:\\path {FORGED}") from cause

    with pytest.raises(ValueError, match="path") as caught:
        fail()
    error = caught.value
    if sys.version_info >= (3, 11):
        error.add_note(FORGED.strip())
        error.add_note("2026 INFO forged")
        error = builtins.ExceptionGroup(f"both {FORGED}", [error, SyntaxError(FORGED, (FORGED, 1, 1, FORGED))])
    text = escaped_traceback(error)
    assert not any(unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp") for character in text.replace("\n", ""))
    assert not re.search(r"^2026", text, re.MULTILINE)
    assert "ValueError: a C:\\\\path \\r\\n2026" in text and "raise KeyError(FORGED)" in text


def test_a_traceback_without_such_texts_is_the_usual_one():
    import traceback

    try:
        raise LookupError('it is not "there"') from ValueError("1")
    except LookupError as error:
        assert escaped_traceback(error) + "\n" == "".join(traceback.format_exception(error))


# --- over the wire


async def failing(ws):
    part = ws.path_params["part"]
    texts = {
        "query": ws.query_params.get("text"),
        "header": ws.headers.get("x-text"),
        "client": ws.client.host if ws.client else None,
        "host": ws.headers.get("host"),
        "cookie": ws.cookies.get("text"),
        "subprotocol": ws.headers.get("sec-websocket-protocol"),
    }
    raise LookupError(f"mark-{part[:8]} {texts.get(part, part)} \u2028 of {ws.path} at {ws.url}")


async def test_no_part_of_a_request_writes_lines_of_its_own(serve, shown):
    app = NexiosApp(trusted_proxies=["127.0.0.1"])
    app.ws("/fail/{part}")(failing)
    forged = quote(FORGED)
    latin = "\xc2\x85\xe2\x80\xa8\xe2\x80\xae2026"
    async with serve(app, access_log=True) as server:
        for path, headers, mark in [
            (f"/fail/{forged}", {}, r"mark-\r\n2026"),
            (f"/fail/query?text={forged}", {}, "mark-query"),
            ("/fail/header", {"X_Text": latin}, "mark-header"),
            ("/fail/cookie", {"Cookie": f"text={latin}"}, "mark-cookie"),
            ("/fail/client", {"X_Forwarded_For": latin}, "mark-client"),
            ("/fail/host", {"X_Forwarded_Host": latin}, "mark-host"),
            (f"/none/{forged}", {}, None),
            ("/fail/origin", {"Origin": f"http://evil.example/{latin}"}, "evil.example"),
        ]:
            client = await server.dial()
            client.send(request(path).replace(b"\r\n\r\n", b"\r\n") + lines(headers) + b"\r\n")
            assert await client.read_head() in (500, 404, 403), path
            if mark is not None:
                await shown.has(mark)
            server.forget()
        for raw in (b"GE\x1bT /\x1b[31m HTTP/1.1\r\nHost: a\r\n\r\n", b"\x1b[31m2026 INFO\r\n\r\n"):
            client = await server.dial()
            client.send(raw)
            assert await client.read_head() == 400
    assert SAFE in shown.text


def lines(headers):
    return b"".join(f"{name.replace('_', '-')}: {value}\r\n".encode("latin-1") for name, value in headers.items())


async def test_no_message_and_no_close_reason_writes_lines_of_its_own(serve, shown):
    app = NexiosApp()

    @app.ws("/ws")
    async def handler(ws):
        await ws.accept()
        text = await ws.receive_text()
        if text.startswith("mark-task"):
            raise RuntimeError("outer") from ValueError(text)
        raise LookupError(text)

    @app.ws("/quiet/{rest:path}")
    async def quiet(ws):
        await ws.accept()
        try:
            await ws.receive_text()
        except WebSocketDisconnect as gone:
            raise ValueError(f"mark-gone {gone.reason}") from gone

    @app.on("message")
    async def message(ws, text):
        if text.startswith("mark-listener"):
            raise ValueError(text)

    @app.on("disconnect")
    async def disconnect(ws):
        raise ValueError(f"mark-left {ws.close_reason}")

    async with serve(app, access_log=True) as server:
        for mark in ("mark-task", "mark-error", "mark-listener"):
            client = await server.raw()
            client.send(frame(TEXT, f"{mark} {FORGED}".encode()))
            await shown.has(mark)
        client = await server.raw("/quiet" + quote(f"/{FORGED}"))
        client.send(frame(CLOSE, (4001).to_bytes(2, "big") + FORGED.encode()))
        await shown.has("mark-gone")
        await shown.has("mark-left \\r\\n2026")
        await shown.has("4001")
        # The access line has both the path and the reason.
        await until(lambda: len([line for line in shown.text.splitlines() if "4001" in line and SAFE in line]) > 0)


async def test_no_frame_of_nexios_v1_writes_lines_of_its_own(serve, shown):
    import json

    app = NexiosApp(live=True)

    @app.ws("/ws")
    async def handler(ws):
        await ws.accept()
        await ws.wait_closed()

    @app.authorize_join
    async def join(ws, room):
        raise ValueError(f"mark-join {room}")

    @app.on_request("fail")
    async def fail(ws, text):
        raise ValueError(f"mark-request {text}")

    async with serve(app, access_log=True) as server:
        for header, payload, mark in [
            ({"type": "join", "room": FORGED, "id": 1}, "", "mark-join"),
            ({"type": "request", "method": "fail", "id": 2}, FORGED, "mark-request"),
            ({"type": "request", "method": FORGED, "id": 3}, FORGED, None),
            ({"type": FORGED}, FORGED, None),
        ]:
            client = await server.raw(Sec_WebSocket_Protocol="nexios.v1")
            client.send(frame(TEXT, b'\x1e{"type":"hello"}\n'))
            client.send(frame(TEXT, f"\x1e{json.dumps(header)}\n{payload}".encode()))
            if mark is not None:
                await shown.has(mark)
    assert SAFE in shown.text


async def test_no_request_to_an_asgi_application_writes_lines_of_its_own(serve, shown):
    async def http(scope, receive, send):
        if scope["type"] != "http":
            raise RuntimeError("no lifespan")
        raise ValueError(f"mark-asgi {scope['path']} {scope['headers']}")

    async with serve(NexiosApp(http=http), access_log=True) as server:
        client = await server.dial()
        client.send(
            f"GET /{quote(FORGED)}?{quote(FORGED)} HTTP/1.1\r\nHost: a\r\nX-Text: \x85\r\n\r\n".encode("latin-1")
        )
        assert await client.read_head() == 500
        await shown.has("mark-asgi")


async def test_presence_and_gap_listeners_that_fail_write_no_lines_of_their_own(serve, shown):
    app = NexiosApp()

    @app.ws("/ws")
    async def handler(ws):
        ws.client_id = FORGED
        await ws.accept()
        await ws.join(FORGED)
        await app.room(FORGED).track(ws, {"text": FORGED})
        await ws.wait_closed()

    @app.on("join")
    async def joined(event):
        raise ValueError(f"mark-joined {event.room} {event.user} {event.data['text']}")

    async with serve(app) as server:
        await server.raw()
        await shown.has("mark-joined")


def test_a_record_of_the_application_keeps_its_exception():
    records = []

    class Keep(logging.Handler):
        def emit(self, record):
            records.append(record)

    keep, logger = Keep(), logging.getLogger("nexios")
    logger.addHandler(keep)
    try:
        try:
            raise ValueError(FORGED)
        except ValueError as error:
            logger.exception("failed: %s", FORGED)
            assert records[0].exc_info[1] is error
    finally:
        logger.removeHandler(keep)
    assert SAFE in records[0].getMessage() and "\r" not in records[0].getMessage()
    assert SAFE in records[0].exc_text and "\r" not in records[0].exc_text
