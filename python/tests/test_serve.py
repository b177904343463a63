"""run() and serve(): what they take, what they refuse, what they count."""

import asyncio
import contextlib
import inspect
import logging
import os
import socket
import ssl
import subprocess
import sys
import textwrap
import threading

import pytest
from apps import app_with, echo, stay
from nexios import MetricsSnapshot, NexiosApp, WebSocketDisconnect, WSRouter
from serving import close_of, until

# --- arguments


def test_serve_takes_the_arguments_of_run():
    run, serve = (inspect.signature(function).parameters for function in (WSRouter.run, WSRouter.serve))
    assert run.keys() - serve.keys() == {"loop"}
    assert serve.keys() - run.keys() == {"stop", "on_listen"}
    assert (run["log_level"].default, serve["log_level"].default) == ("info", None)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("workers", "nexios run module:name --workers"),
        ("reload", "nexios run module:name --reload"),
        ("bogus", "'bogus'"),
    ],
)
def test_an_argument_that_is_not_there_is_named(name, text):
    for use in (lambda: NexiosApp().run(**{name: 2}), lambda: asyncio.run(NexiosApp().serve(**{name: 2}))):
        with pytest.raises(TypeError, match=text):
            use()


def test_serve_has_no_loop_argument_and_says_why():
    with pytest.raises(TypeError, match="the event loop that is running"):
        asyncio.run(NexiosApp().serve(loop="uvloop"))


@pytest.mark.parametrize(
    "options",
    [
        {"uds": "/tmp/x", "fd": 3},
        {"ssl_keyfile": "key.pem"},
        {"uds": "/tmp/x", "ssl_certfile": "cert.pem"},
        {"log_level": "loud"},
    ],
)
def test_arguments_that_contradict_each_other_are_refused(options):
    for use in (lambda: NexiosApp().run(**options), lambda: asyncio.run(NexiosApp().serve(**options))):
        with pytest.raises(ValueError):
            use()


def test_an_unknown_loop_is_refused():
    with pytest.raises(ValueError, match="asyncio"):
        NexiosApp().run(loop="gevent")


async def test_run_inside_a_running_loop_names_serve():
    with pytest.raises(RuntimeError, match=r"await serve\(\)"):
        NexiosApp().run()


def test_run_in_another_thread_names_serve():
    errors = []

    def run():
        try:
            NexiosApp().run(port=0)
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    assert errors and "await serve()" in errors[0]


async def test_a_port_that_is_taken_is_named(serve):
    async with serve(app_with(echo)) as server:
        with pytest.raises(OSError, match=str(server.port)):
            await app_with(echo).serve(port=server.port)


async def test_on_listen_gets_the_free_port_and_stop_ends_it(serve):
    app, stop, addresses = app_with(echo), asyncio.Event(), []
    serving = asyncio.ensure_future(app.serve(port=0, stop=stop, on_listen=addresses.extend))
    await until(lambda: addresses, "the address")
    (host, port) = addresses[0]
    assert host == "127.0.0.1" and port > 0
    _, writer = await asyncio.open_connection(host, port)
    writer.close()
    stop.set()
    assert await asyncio.wait_for(serving, 5) is None


async def test_a_router_alone_can_be_served(serve):
    router = WSRouter("/group")
    router.ws("/ws")(echo)
    async with serve(router) as server, server.connect("/group/ws") as ws:
        await ws.send("x")
        assert await ws.recv() == "x"


# --- logging


async def test_access_log_tells_of_each_connection_and_its_end(serve, caplog):
    caplog.set_level(logging.INFO, "nexios")
    app = app_with(stay)
    async with serve(app, access_log=True) as server:
        async with server.connect() as ws:
            await ws.recv()
            await ws.close(4001, "bye")
        await until(lambda: 'closed 4001 "bye"' in caplog.text, "the end")
    connected, closed = (record.getMessage() for record in caplog.records if record.name == "nexios.access")
    assert '"GET /ws" 101 in ' in connected and '"GET /ws" closed 4001 "bye" after ' in closed
    # It is over with the serving.
    caplog.clear()
    async with serve(app) as server, server.connect() as ws:
        await ws.recv()
    assert "GET /ws" not in caplog.text


APP = """
import nexios, os, signal
app = nexios.NexiosApp()

@app.ws("/ws")
async def handler(ws):
    await ws.accept()

@app.on_startup
async def stop():
    import asyncio
    asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGTERM)

app.run(port=0{})
"""


@pytest.mark.parametrize(
    ("options", "shown"),
    [("", True), (', log_level="warning"', False), (", log_level=None", False), (', log_level="debug"', True)],
)
def test_run_shows_the_log_from_a_level_on(options, shown):
    done = subprocess.run([sys.executable, "-c", APP.format(options)], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    assert ("listening on 127.0.0.1:" in done.stderr) == shown


def test_run_leaves_the_applications_own_logging_alone():
    own = "import logging; logging.basicConfig(level='ERROR', format='own %(message)s')\n"
    done = subprocess.run([sys.executable, "-c", own + APP.format("")], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")


async def test_serve_leaves_logging_alone(serve):
    handlers, level = list(logging.root.handlers), logging.root.level
    async with serve(app_with(echo)):
        assert (logging.root.handlers, logging.root.level) == (handlers, level)


# --- TLS, sockets


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Files of a certificate for localhost, and of its key."""
    directory = tmp_path_factory.mktemp("tls")
    files = directory / "cert.pem", directory / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        + ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        + ["-out", str(files[0]), "-keyout", str(files[1])],
        check=True,
        capture_output=True,
    )
    return files


# The client's transport: asyncio of Python 3.10 does not close it behind a TLS connection.
@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
async def test_tls_with_a_certificate_and_its_key(serve, certificate):
    import websockets.asyncio.client

    context = ssl.create_default_context(cafile=str(certificate[0]))
    app = app_with(echo)
    async with serve(app, ssl_certfile=certificate[0], ssl_keyfile=str(certificate[1])) as server:
        url = f"wss://localhost:{server.port}/ws"
        async with websockets.asyncio.client.connect(url, ssl=context, proxy=None, host="127.0.0.1") as ws:
            await ws.send("x" * 100_000)
            assert await ws.recv() == "x" * 100_000
            (socket_,) = app.connections
            assert socket_.url.startswith("wss://")
            del socket_


async def test_a_certificate_that_is_none_is_named(tmp_path):
    bad = tmp_path / "bad.pem"
    bad.write_text("nothing")
    for path in bad, tmp_path / "missing.pem":
        with pytest.raises((ValueError, OSError), match=path.name):
            await app_with(echo).serve(port=0, ssl_certfile=path)


async def test_a_unix_socket(serve, tmp_path):
    import websockets.asyncio.client

    path, app = str(tmp_path / "socket"), app_with(echo)
    serving = asyncio.ensure_future(app.serve(uds=path))
    await until(lambda: os.path.exists(path), "the socket")
    async with websockets.asyncio.client.unix_connect(path, "ws://localhost/ws") as ws:
        await ws.send("x")
        assert await ws.recv() == "x"
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving


async def test_a_socket_file_that_nobody_listens_on_is_replaced(tmp_path):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))
    stop, listens = asyncio.Event(), []
    serving = asyncio.ensure_future(app_with(echo).serve(uds=path, stop=stop, on_listen=lambda _: listens.append(1)))
    await until(lambda: listens, "the socket")
    _, writer = await asyncio.open_unix_connection(str(path))
    writer.close()
    # And one that somebody listens on is not.
    with pytest.raises(OSError, match="socket"):
        await app_with(echo).serve(uds=path)
    stop.set()
    await serving


async def test_reuse_port_shares_a_port():
    stop, addresses = asyncio.Event(), []
    one, two = app_with(echo), app_with(echo)
    first = asyncio.ensure_future(one.serve(port=0, reuse_port=True, stop=stop, on_listen=addresses.extend))
    await until(lambda: addresses, "the port")
    second = asyncio.ensure_future(
        two.serve(port=addresses[0][1], reuse_port=True, stop=stop, on_listen=addresses.extend)
    )
    await until(lambda: len(addresses) == 2, "the second")
    assert addresses[0] == addresses[1]
    stop.set()
    await asyncio.gather(first, second)


# --- counters


async def test_metrics_count_connections_refusals_and_causes(serve):
    app = app_with(stay, settings={"message_bytes_max": 10})

    @app.ws("/refused")
    async def refused(ws):
        await ws.reject(403)

    assert app.metrics() == MetricsSnapshot() == MetricsSnapshot(0, 0, 0, {})
    async with serve(app) as server:
        before = app.metrics()
        assert (before.connections, before.connected_total, before.dropped_total) == (0, 0, 0)
        assert before.causes and not any(before.causes.values())
        async with server.connect() as ws:
            await ws.recv()
            counted = app.metrics()
            assert (counted.connections, counted.connected_total) == (1, 1)
            await ws.send("x" * 11)
            assert (await close_of(ws))[0] == 1009
        await server.refusal("/refused")
        await server.get("/")
        server.forget()
        await until(lambda: app.metrics().connections == 0, "the last to go")
        counted = app.metrics()
        assert counted.connected_total == 1
        assert {cause: n for cause, n in counted.causes.items() if n} == {"protocol": 1, "handler": 1}
        # From any thread, as exporters ask for it; and it cannot be changed.
        assert await asyncio.to_thread(app.metrics) == counted
        with pytest.raises(TypeError):
            counted.causes["protocol"] = 0
        with pytest.raises(AttributeError):
            counted.connections = 7
    assert app.metrics() == MetricsSnapshot()


async def test_metrics_count_what_slow_clients_did_not_get(serve):
    app = app_with(stay, settings={"slow_client": "drop_newest", "drain_timeout": 60})
    told = []

    @app.on("drop")
    async def dropped(ws, messages):
        told.extend(messages)

    async with serve(app) as server:
        await server.raw(receive_buffer=4096)
        for _ in range(200):
            await app.broadcast("x" * (32 << 10))
        await until(lambda: len(told) > 100 and app.metrics().dropped_total == len(told), "what was told")


# --- where it does not run


def test_what_is_not_supported_says_why():
    from nexios._platform import refusal

    here = {"platform": "linux", "free_threaded": False, "subinterpreter": False}
    assert refusal(**here) is None
    assert "Windows" in refusal(**here | {"platform": "win32"})
    assert "free-threaded" in refusal(**here | {"free_threaded": True})
    assert "sub-interpreters" in refusal(**here | {"subinterpreter": True})


def test_a_sub_interpreter_is_refused_with_the_reason():
    code = textwrap.dedent(
        """
        import importlib, sys
        name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
        interpreters = importlib.import_module(name)
        inner = '''
        try:
            import nexios
        except ImportError as error:
            print(error, flush=True)
        '''
        import textwrap
        interpreters.run_string(interpreters.create(), textwrap.dedent(inner))
        """
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert "nexios does not run in sub-interpreters" in done.stdout, (done.stdout, done.stderr)
    assert "--workers" in done.stdout


def test_a_socket_of_the_applications_own_stays_open():
    """A descriptor is duplicated: the caller's is still the caller's."""
    app = app_with(echo)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        async def briefly():
            serving = asyncio.ensure_future(app.serve(fd=listening.fileno()))
            await asyncio.sleep(0.01)
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving

        asyncio.run(briefly())
        assert listening.getsockname()[1] > 0


async def test_who_has_connected_is_seen_to_leave_when_serve_is_cancelled(serve):
    app, events = NexiosApp(), []

    @app.on("connect")
    async def connected(ws):
        events.append("connect")

    @app.on("disconnect")
    async def disconnected(ws):
        events.append(f"disconnect {ws.close_code}")

    @app.ws("/ws")
    async def handler(ws):
        await ws.accept()
        try:
            await ws.receive()
        except WebSocketDisconnect as gone:
            events.append(f"handler {gone.code}")

    async with serve(app) as server, server.connect() as ws:
        await server.stop()
        assert (await close_of(ws))[0] == 1012
    assert sorted(events) == ["connect", "disconnect 1012", "handler 1012"]


async def test_a_handler_that_does_not_end_is_cancelled_a_second_after_serve(serve):
    async def stubborn(ws):
        await ws.accept()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.set()
            raise

    ended = asyncio.Event()
    async with serve(app_with(stubborn)) as server, server.connect():
        await asyncio.wait_for(server.stop(), 5)
    assert ended.is_set()
