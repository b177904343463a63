"""Lines of the log: what the access log tells, in whose context variables, and who shows them."""

import asyncio
import contextvars
import json
import logging
import os
import re
import socket
import subprocess
import sys
import textwrap
import time

import pytest
import websockets.asyncio.client
from apps import app_with, stay
from nexios import NexiosApp, RateLimit, WebSocketDisconnect, WebSocketException
from nexios.testing import TestClient
from raw_client import CLOSE, TEXT, frame, request
from serving import until
from test_cli import environment

USER = contextvars.ContextVar("user", default=None)


class Records(logging.Handler):
    """Keeps records, and whose variable each has seen."""

    def __init__(self):
        super().__init__()
        self.all = []

    def emit(self, record):
        record.user = USER.get()
        self.all.append(record)

    def access(self, path):
        return [record for record in self.all if record.name == "nexios.access" and record.path == path]

    async def has(self, path, count=1):
        await until(lambda: len(self.access(path)) == count, f"{count} lines of {path}")
        return self.access(path)

    async def saying(self, text):
        await until(lambda: any(text in record.getMessage() for record in self.all), text)
        return next(record for record in self.all if text in record.getMessage())


@pytest.fixture
def records():
    records, logger = Records(), logging.getLogger("nexios")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(records)
    yield records
    logger.removeHandler(records)
    logger.setLevel(level)


# --- the access log


async def test_a_handshake_and_the_end_of_its_connection_have_a_line_each(serve, records):
    async with serve(app_with(stay), access_log=True) as server:
        async with server.connect("/ws?token=secret") as ws:
            (accepted,) = await records.has("/ws")
            client = "{}:{}".format(*ws.local_address[:2])
            await ws.recv()
            await ws.close(4001, "bye")
        _, closed = await records.has("/ws", 2)
    for record in accepted, closed:
        assert (record.client, record.method, record.route, record.pid) == (client, "GET", "/ws", os.getpid())
        assert record.levelno == logging.INFO and record.duration >= 0
    assert accepted.status == 101 and not hasattr(accepted, "code")
    assert (closed.code, closed.reason, closed.connection) == (4001, "bye", accepted.connection)
    message = accepted.getMessage()
    assert message.startswith(f'{client} "GET /ws" 101 in ') and accepted.connection in message
    assert f'{client} "GET /ws" closed 4001 "bye" after ' in closed.getMessage()
    assert not [record for record in records.all if "secret" in record.getMessage()]


async def test_what_is_not_accepted_has_one_line_with_its_status(serve, records):
    async def http(scope, receive, send):
        if scope["type"] != "http":
            raise RuntimeError("no lifespan")
        await send({"type": "http.response.start", "status": 418, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    app = NexiosApp(http=http, health="/health")

    @app.ws("/rejected")
    async def rejected(ws):
        await ws.reject(401)

    @app.ws("/failed")
    async def failed(ws):
        raise LookupError("a fault of the app")

    @app.ws("/foreign")
    async def foreign(ws):
        await ws.accept()

    @app.ws("/told")
    async def told(ws):
        raise WebSocketException(4003, "go away")

    plain = "GET {} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    async with serve(app, access_log=True) as server:
        for path, sent, status, route in [
            ("/rejected", request("/rejected"), 401, "/rejected"),
            ("/failed", request("/failed"), 500, "/failed"),
            ("/foreign", request("/foreign", Origin="http://evil.example"), 403, "/foreign"),
            ("/none", request("/none"), 418, None),
            ("/tea", plain.format("/tea?x=y").encode(), 418, None),
            ("/health", plain.format("/health").encode(), 200, None),
            ("-", b"nonsense\r\n\r\n", 400, None),
        ]:
            client = await server.dial()
            client.send(sent)
            assert await client.read_head() == status, path
            (record,) = await records.has(path)
            assert (record.status, getattr(record, "route", None)) == (status, route)
            assert (
                record.client.startswith("127.0.0.1:")
                and f'"{record.method} {path}" {status} in' in record.getMessage()
            )
        client = await server.raw("/told")
        assert (await client.read_frame())[1][:2] == (4003).to_bytes(2, "big")
        client.send(frame(CLOSE, (4003).to_bytes(2, "big")))
        (record,) = await records.has("/told")
        assert (record.code, record.reason) == (4003, "go away")
    assert len(records.access("/rejected")) == 1


async def test_paths_that_nobody_serves_have_lines_without_an_application_for_http(serve, records):
    async with serve(app_with(stay), access_log=True) as server:
        for path, sent, status in [
            ("/nothing", request("/nothing"), 404),
            ("/nowhere", b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 404),
            ("/ws", b"GET /ws HTTP/1.1\r\nHost: a\r\n\r\n", 426),
        ]:
            client = await server.dial()
            client.send(sent)
            assert await client.read_head() == status
            (record,) = await records.has(path)
            assert record.status == status


async def test_a_client_that_leaves_and_one_that_the_server_ends_have_their_codes(serve, records):
    app = app_with(stay)
    async with serve(app, access_log=True) as server:
        (await server.raw()).cut()
        *_, gone = await records.has("/ws", 2)
        assert gone.code == 1006
        async with server.connect():
            await records.has("/ws", 3)
            await server.stop()
            *_, ended = await records.has("/ws", 4)
            assert ended.code == 1012


async def test_clients_of_each_kind_of_socket_have_their_addresses(records, tmp_path):
    app = app_with(stay)
    path, stop, addresses = str(tmp_path / "ws.sock"), asyncio.Event(), []
    serving = asyncio.ensure_future(app.serve(uds=path, stop=stop, on_listen=addresses.append, access_log=True))
    await until(lambda: addresses, "the socket")
    async with websockets.asyncio.client.unix_connect(path, "ws://localhost/ws"):
        (line,) = await records.has("/ws")
        assert not hasattr(line, "client") and line.getMessage().startswith('- "GET /ws" 101 in ')
    stop.set()
    await serving
    with socket.socket(socket.AF_INET6) as listening:
        listening.bind(("::1", 0))
        listening.listen()
        stop.clear()
        serving = asyncio.ensure_future(app.serve(fd=listening.fileno(), stop=stop, access_log=True))
        port = listening.getsockname()[1]
        async with websockets.asyncio.client.connect(f"ws://[::1]:{port}/ws", proxy=None) as ws:
            *_, line = await records.has("/ws", 3)
            assert line.client == f"[::1]:{ws.local_address[1]}"
        stop.set()
        await serving


async def test_without_being_asked_for_there_are_no_lines(serve, records):
    async with serve(app_with(stay)) as server, server.connect() as ws:
        await ws.recv()
    assert not records.access("/ws")


async def test_a_server_tells_of_its_end(serve, records):
    async with serve(app_with(stay)):
        pass
    assert [record.getMessage() for record in records.all][-1] == "stopped"
    assert await records.saying("shutting down")


# --- context variables


def app_with_users(**options):
    """Each path ``/{user}/…`` sets the variable to its user, in middleware."""
    app = NexiosApp(**options)

    @app.middleware
    async def login(ws, next):
        USER.set(ws.path_params["user"])
        if ws.path.endswith("/refused"):
            await ws.reject(401)
            return
        if ws.path.endswith("/raising"):
            raise LookupError("a fault of the middleware")
        await next(ws)

    return app


async def test_all_lines_of_a_connection_see_what_middleware_has_set(serve, records):
    app = app_with_users()

    @app.ws("/{user}/returns")
    async def returns(ws):
        await ws.accept()

    @app.ws("/{user}/stays")
    async def stays(ws):
        await ws.accept()
        USER.set("set after accept()")
        await ws.wait_closed()

    @app.ws("/{user}/fails")
    async def fails(ws):
        await ws.accept()
        raise LookupError("a fault of the app")

    @app.ws("/{user}/early")
    async def early(ws):
        raise LookupError("a fault of the app")

    @app.ws("/{user}/refused")
    @app.ws("/{user}/raising")
    async def unreached(ws):
        raise AssertionError

    async with serve(app, access_log=True) as server:
        for user in ("ann", "bob"):
            for name in ("returns", "fails", "stays"):
                async with server.connect(f"/{user}/{name}") as ws:
                    if name == "stays":
                        await ws.close()
                    await ws.wait_closed()
                lines = await records.has(f"/{user}/{name}", 2)
                assert [line.user for line in lines] == [user, user], name
            for name in ("early", "refused", "raising"):
                await server.raw(f"/{user}/{name}")
                (line,) = await records.has(f"/{user}/{name}")
                assert line.user == user, name
        faults = [record for record in records.all if record.levelno == logging.ERROR]
        assert len(faults) == 6
        for fault in faults:
            assert fault.user == fault.path.split("/")[1] and fault.connection and fault.route.startswith("/{user}/")


async def test_what_the_engine_says_of_a_connection_sees_them_too(serve, records):
    app = app_with_users()

    @app.ws("/{user}/offered")
    async def offered(ws):
        await ws.accept()
        await ws.wait_closed()

    @app.ws("/{user}/limited", middleware=[RateLimit(messages=1, per=3600)])
    async def limited(ws):
        await ws.accept()
        await ws.wait_closed()

    @app.ws("/{user}/blocks")
    async def blocks(ws):
        await ws.accept()
        await ws.send_text("ready")
        await ws.receive_text()
        time.sleep(0.25)  # noqa: ASYNC251
        await ws.receive_text()

    async with serve(app, access_log=True) as server:
        await server.raw("/ann/offered", Sec_WebSocket_Protocol="unknown")
        record = await records.saying("offered subprotocols and got none")
        assert (record.user, record.route) == ("ann", "/{user}/offered") and len(record.connection) == 32
        client = await server.raw("/bob/limited")
        client.send(frame(TEXT, b"one") + frame(TEXT, b"two") + frame(TEXT, b"three"))
        assert (await records.saying("rate limit exceeded")).user == "bob"
        client = await server.raw("/eve/blocks")
        assert (await client.read_frame())[1] == b"ready"
        client.send(frame(TEXT, b"one"))
        record = await records.saying("blocked the event loop")
        assert (record.user, record.route) == ("eve", "/{user}/blocks")


async def test_the_line_of_an_answer_sees_what_the_application_for_http_has_set(serve, records):
    async def http(scope, receive, send):
        if scope["type"] != "http":
            raise RuntimeError("no lifespan")
        user = scope["path"].split("/")[1]
        if user != "nobody":
            USER.set(user)
        if scope["path"].endswith("/waits"):
            await asyncio.sleep(0.01)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        USER.set("set after the start")
        await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"ok"})
        if scope["path"].endswith("/lingers"):
            await asyncio.sleep(0.01)

    async with serve(NexiosApp(http=http), access_log=True) as server:
        client = await server.dial()
        for user, seen in ("ann", "ann"), ("nobody", None), ("bob", "bob"):
            for kind in ("quick", "waits", "lingers"):
                client.send(f"GET /{user}/{kind} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                assert await client.read_head() == 200
                await client.read_body()
                (line,) = await records.has(f"/{user}/{kind}")
                assert (line.status, line.user) == (200, seen), line.path


def test_lines_of_the_test_client_see_them_too(loop, records):
    app = app_with_users()

    @app.ws("/{user}/fails")
    async def fails(ws):
        await ws.accept()
        raise LookupError("a fault of the app")

    with TestClient(app, loop=loop, raise_server_exceptions=False) as test:
        with test.websocket_connect("/ann/fails") as ws:
            with pytest.raises(WebSocketDisconnect):
                ws.receive_text()
    assert [record.user for record in records.all if record.levelno == logging.ERROR] == ["ann"]


# --- who shows them

APP = """
import json, logging, logging.config, sys
{before}
import nexios
app = nexios.NexiosApp()

class Json(logging.Formatter):
    def format(self, record):
        return json.dumps({{"logger": record.name, "text": record.getMessage()}})

@app.ws("/ws")
async def handler(ws):
    await ws.accept()
    raise LookupError("a fault of the app")

@app.on_startup
async def end():
    import asyncio, contextlib, os, signal, urllib.request
    {startup}
    logging.getLogger("app").warning("from the app")
    asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGTERM)
{after}
"""
JSON_HANDLER = "handler = logging.StreamHandler(); handler.setFormatter(Json())\n"


def run(here, *arguments, before="", startup="", after=""):
    """What ``nexios run`` of an app writes until it ends by itself."""
    (here / "main.py").write_text(APP.format(before=before, startup=startup, after=after))
    command = [sys.executable, "-m", "nexios", "run", "main:app", "--port", "0", *arguments]
    done = subprocess.run(command, cwd=here, env=environment(), capture_output=True, text=True, timeout=30)
    return done.returncode, done.stderr


def told(output):
    """The lines, each of which the application's handler wrote."""
    return [json.loads(line) for line in output.splitlines()]


def texts(lines, logger="nexios"):
    return [line["text"] for line in lines if line["logger"] == logger]


def test_the_server_shows_its_own_lines_where_the_application_sets_nothing_up(tmp_path):
    code, output = run(tmp_path, after="roots = logging.root.handlers[:]; assert not roots, roots")
    assert code == 0
    lines = [line for line in output.splitlines() if " nexios: " in line]
    assert [line.split(" nexios: ")[1].split(":")[0] for line in lines] == [
        "listening on 127.0.0.1",
        "shutting down",
        "stopped",
    ]
    assert all(" INFO " in line and "[" in line.split("INFO")[1] for line in lines)
    # Of a logger of the application's, what `logging` itself shows.
    assert "from the app" in output.splitlines()


@pytest.mark.parametrize(
    "set_up",
    [
        "logging.basicConfig(handlers=[handler])",
        "logging.basicConfig(level='INFO', handlers=[handler])",
        "logging.root.addHandler(handler)",
        "logging.root.addHandler(logging.NullHandler()); logging.root.addHandler(handler)",
        "logging.config.dictConfig({'version': 1, 'root': {'handlers': ['json'], 'level': 'INFO'},"
        " 'formatters': {'json': {'()': Json}},"
        " 'handlers': {'json': {'class': 'logging.StreamHandler', 'formatter': 'json'}}})",
    ],
)
@pytest.mark.parametrize("when", ["after", "startup"])
def test_lines_go_once_through_what_the_application_sets_up(tmp_path, set_up, when):
    set_up = JSON_HANDLER + set_up
    set_up = textwrap.indent(set_up, "    ").strip() if when == "startup" else set_up
    code, output = run(tmp_path, **{when: set_up})
    assert code == 0, output
    lines = told(output)
    assert texts(lines)[0].startswith("listening on 127.0.0.1:")
    assert texts(lines)[-1] == "stopped" and len(texts(lines)) == 3
    assert texts(lines, "app") == ["from the app"]


def test_a_handler_of_the_servers_own_logger_is_enough(tmp_path):
    code, output = run(tmp_path, after=JSON_HANDLER + "logging.getLogger('nexios').addHandler(handler)")
    lines = [line for line in output.splitlines() if line != "from the app"]
    assert code == 0 and len(texts(told("\n".join(lines)))) == 3


def test_the_applications_level_counts_unless_the_command_names_one(tmp_path):
    quiet = JSON_HANDLER + "logging.basicConfig(level='ERROR', handlers=[handler])"
    assert run(tmp_path, after=quiet) == (0, "")
    code, output = run(tmp_path, "--log-level", "info", after=quiet)
    assert code == 0 and len(texts(told(output))) == 3
    own = JSON_HANDLER + "logging.basicConfig(handlers=[handler]); logging.getLogger('nexios').setLevel('ERROR')"
    code, output = run(tmp_path, after=own)
    assert (code, texts(told(output))) == (0, [])


CONFIG = {
    "version": 1,
    "formatters": {"plain": {"format": "configured %(name)s %(message)s"}},
    "handlers": {"plain": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "loggers": {"nexios": {"handlers": ["plain"], "level": "INFO"}},
}
INI = """
[loggers]
keys=root
[handlers]
keys=plain
[formatters]
keys=plain
[logger_root]
level=INFO
handlers=plain
[handler_plain]
class=StreamHandler
formatter=plain
args=(sys.stderr,)
[formatter_plain]
format=configured %(name)s %(message)s
"""


@pytest.mark.parametrize(("name", "text"), [("log.json", json.dumps(CONFIG)), ("log.ini", INI), ("log.conf", INI)])
def test_a_file_sets_up_logging(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    code, output = run(tmp_path, "--log-config", name)
    lines = [line for line in output.splitlines() if "from the app" not in line]
    assert code == 0 and len(lines) == 3, output
    assert lines[0].startswith("configured nexios listening on 127.0.0.1:") and lines[-1] == "configured nexios stopped"
    assert run(tmp_path, "--log-config", name, "--log-level", "critical", startup="logging.disable()") == (0, "")


def test_a_file_in_yaml_needs_the_package_for_it(tmp_path):
    # JSON is YAML.
    (tmp_path / "log.yaml").write_text(json.dumps(CONFIG))
    (tmp_path / "yaml.py").write_text("raise ImportError('yaml')")
    code, output = run(tmp_path, "--log-config", "log.yaml")
    assert code == 2 and "YAML needs the package PyYAML: pip install pyyaml" in output
    (tmp_path / "yaml.py").write_text("from json import loads as safe_load")
    code, output = run(tmp_path, "--log-config", "log.yaml")
    assert code == 0 and "configured nexios listening on" in output


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("missing.json", None, "--log-config: cannot read missing.json: No such file or directory"),
        ("missing.ini", None, "--log-config: cannot read missing.ini: No such file or directory"),
        ("bad.json", "{", "--log-config: bad.json is not a configuration for logging: "),
        ("list.json", "[]", "expected an object with the key version, not list"),
        ("empty.json", "{}", "bad: empty.json is not a configuration for logging: "),
        ("wrong.json", json.dumps(CONFIG | {"handlers": {"plain": {"class": "nowhere.Handler"}}}), "nowhere"),
        ("bad.ini", "nothing", "--log-config: bad.ini is not a configuration for logging: "),
    ],
)
def test_a_file_that_sets_nothing_up_is_named(tmp_path, name, text, said):
    if text is not None:
        (tmp_path / name).write_text(text)
    code, output = run(tmp_path, "--log-config", name)
    assert code == 2 and said.removeprefix("bad: ") in output and "Traceback" not in output


WORKER = """
import asyncio, os, signal
import nexios
app = nexios.NexiosApp()

@app.on_startup
async def end():
    # The second of them ends all.
    try:
        os.mkdir("first")
    except FileExistsError:
        asyncio.get_running_loop().call_later(1, os.kill, os.getppid(), signal.SIGTERM)
"""


@pytest.mark.parametrize("arguments", [[], ["--log-config", "log.json"]])
def test_each_line_of_workers_says_which_process_it_is_of(tmp_path, arguments):
    text = json.dumps(CONFIG).replace("configured", "configured [%(process)d] ")
    (tmp_path / "log.json").write_text(text)
    (tmp_path / "main.py").write_text(WORKER)
    command = [sys.executable, "-m", "nexios", "run", "main:app", "--port", "0", "--workers", "2", *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    processes = [re.search(r"\[(\d+)\]", line) for line in lines]
    assert all(processes), done.stderr
    assert len({process[1] for process in processes}) == 3, done.stderr
    assert len({process[1] for process, line in zip(processes, lines, strict=True) if "stopped" in line}) == 2, (
        done.stderr
    )
    assert all(line.startswith("configured") for line in lines) == bool(arguments)
