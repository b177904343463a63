"""Processes that end, whatever hinders them: signals, parents that are gone, workers that hang."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from websockets.sync.client import connect, unix_connect

pytestmark = pytest.mark.timeout(120)

#: Generous: what is waited for is an end, not a time.
PATIENCE = 40

APP = """
import asyncio, contextlib, os, re, time
from nexios import NexiosApp

app = NexiosApp(shutdown_grace=60)

@app.ws("/pid")
async def pid(ws):
    await ws.accept()
    await ws.send_text(str(os.getpid()))
    await ws.wait_closed()

@app.ws("/sleeps")
async def sleeps(ws):
    await ws.accept()
    await ws.send_text("begun")
    await asyncio.sleep(0.1)
    while True:
        time.sleep(0.1)

@app.ws("/holds")
async def holds_the_interpreter(ws):
    await ws.accept()
    await ws.send_text("begun")
    await asyncio.sleep(0.1)
    re.match("(a+)+$", "a" * 60 + "b")

@app.ws("/swallows")
async def swallows(ws):
    await ws.accept()
    await ws.send_text("begun")
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)

@app.ws("/environment")
async def environment(ws):
    await ws.accept()
    await ws.send_text(",".join(name for name in os.environ if name.startswith("NEXIOS_")))

@app.ws("/ends-slowly")
async def ends_slowly(ws):
    await ws.accept()
    await ws.send_text("begun")
    await ws.wait_closed()
    await asyncio.sleep(2)
    open("ended.txt", "w").close()

waiting = NexiosApp()

@contextlib.asynccontextmanager
async def waits_for_its_task(app):
    async def stubborn():
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)
    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()
        await task

waiting.lifespan = waits_for_its_task

@waiting.on_startup
async def fails_too():
    raise RuntimeError("the database is away")

@waiting.ws("/ws")
async def unused_too(ws):
    await ws.accept()

unreachable = NexiosApp()

@unreachable.on_startup
async def connects():
    import socket
    socket.create_connection(("127.0.0.1", 1))

@unreachable.ws("/ws")
async def unused_once_more(ws):
    await ws.accept()

failing = NexiosApp()

@contextlib.asynccontextmanager
async def lifespan(app):
    async def stubborn():
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)
    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    yield
    await task

failing.lifespan = lifespan

@failing.on_startup
async def fails():
    raise RuntimeError("the database is away")

@failing.ws("/ws")
async def unused(ws):
    await ws.accept()
"""


@pytest.fixture
def here(tmp_path):
    (tmp_path / "main.py").write_text(APP)
    return tmp_path


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def heed_signals():
    """Where the tests run in the background these are ignored, and by all that they start."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def started(here, *arguments, target="main:app", script=None, **settings):
    """A server in a process of its own, or a script; its output is in ``process.log``."""
    package = Path(find_spec("nexios").origin).parents[1]
    environment = os.environ | {"PYTHONPATH": str(package), "PYTHONUNBUFFERED": "1"}
    log = here / "log.txt"
    command = [sys.executable, *(["-c", script] if script else ["-m", "nexios", "run", target]), *arguments]
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=here,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=heed_signals,
            **settings,
        )
    process.log = log
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(holds, what):
    end = time.monotonic() + PATIENCE
    while not (value := holds()):
        assert time.monotonic() < end, f"never: {what() if callable(what) else what}"
        time.sleep(0.05)
    return value


def asked(port, path="/pid"):
    """What a handler says first; nothing as long as nobody serves."""
    try:
        with connect(f"ws://127.0.0.1:{port}{path}", open_timeout=5) as ws:
            return ws.recv(timeout=5)
    except (OSError, TimeoutError, EOFError):
        return None
    except Exception as error:
        # The server went away in the middle of it.
        assert "Connection" in type(error).__name__ or "Invalid" in type(error).__name__, error
        return None


def is_open(port):
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        return True
    return False


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A process whose parent has not asked for its end is no process any more.
    return (
        Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    )


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("path", ["/sleeps", "/holds", "/swallows"])
def test_a_second_signal_ends_a_process_whatever_its_handlers_do(here, loop, path):
    port = free_port()
    with started(here, "--port", str(port), "--loop", loop) as process:
        until(lambda: asked(port), process.log.read_text)
        with connect(f"ws://127.0.0.1:{port}{path}") as ws:
            assert ws.recv(timeout=PATIENCE) == "begun"
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            code = process.wait(PATIENCE)
    log = process.log.read_text()
    if path == "/swallows":
        assert code == 0 or "ended by force" in log, (code, log)
    else:
        assert code == -signal.SIGABRT
        assert "told to end twice" in log and "main.py" in log, log


def is_ended_by_force(process, port):
    until(lambda: asked(port), process.log.read_text)
    with connect(f"ws://127.0.0.1:{port}/sleeps") as ws:
        assert ws.recv(timeout=PATIENCE) == "begun"
        until(lambda: process.poll() is not None or process.send_signal(signal.SIGTERM), process.log.read_text)
    assert process.wait(PATIENCE) == -signal.SIGABRT
    assert "told to end twice" in process.log.read_text()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_second_signal_ends_a_second_run_of_one_process_too(here, loop):
    ports = free_port(), free_port()
    script = f"""
import main
main.NexiosApp().run(port={ports[0]}, loop="{loop}")
main.app.run(port={ports[1]}, loop="{loop}")
"""
    with started(here, script=script) as process:
        until(lambda: is_open(ports[0]), process.log.read_text)
        process.send_signal(signal.SIGTERM)
        is_ended_by_force(process, ports[1])


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_second_signal_ends_an_app_that_has_signal_handlers_of_its_own_too(here, loop):
    port = free_port()
    script = f"""
import main, signal

@main.app.on_startup
async def handles_signals():
    signal.signal(signal.SIGTERM, lambda *_: print("the app saw a signal", flush=True))

main.app.run(port={port}, loop="{loop}")
"""
    with started(here, script=script) as process:
        is_ended_by_force(process, port)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_startup_that_fails_is_logged_and_ends_the_process_though_a_task_does_not_end(here, loop):
    with started(here, "--port", "0", "--loop", loop, target="main:failing") as process:
        assert process.wait(PATIENCE) not in (0, None)
        log = process.log.read_text()
    assert "the app has failed: RuntimeError: the database is away" in log, log
    assert "given up" in log, log


def test_a_startup_that_fails_by_the_operating_system_has_its_traceback(here):
    with started(here, "--port", "0", target="main:unreachable") as process:
        assert process.wait(PATIENCE) == 1
        log = process.log.read_text()
    assert "Traceback" in log and "main.py" in log and "nexios: Connection refused" in log, log


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_startup_that_fails_ends_the_process_though_the_lifespan_waits_for_a_task_that_does_not(here, loop):
    with started(here, "--port", "0", "--loop", loop, target="main:waiting") as process:
        assert process.wait(PATIENCE) == -signal.SIGABRT
        log = process.log.read_text()
    assert "the app has failed: RuntimeError: the database is away" in log, log
    assert "it has failed, and it does not end" in log, log


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_thread_that_does_not_end_does_not_keep_run_from_returning(here, loop):
    port = free_port()
    script = f"""
import asyncio, main, threading
release = threading.Event()

@main.app.on_startup
async def begins_a_thread():
    asyncio.get_running_loop().run_in_executor(None, release.wait)

main.app.run(port={port}, loop="{loop}")
print("run() has returned", flush=True)
release.set()
"""
    with started(here, script=script) as process:
        until(lambda: is_open(port), process.log.read_text)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, process.log.read_text()
        log = process.log.read_text()
    assert "a thread of asyncio.to_thread() still runs" in log and "run() has returned" in log, log


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_thread_that_needs_the_event_loop_to_end_is_waited_for(here, loop):
    port = free_port()
    script = f"""
import asyncio, main, threading
ending = threading.Event()

async def is_closed_last():
    try:
        yield
    finally:
        ending.set()

generator = is_closed_last()

@main.app.on_startup
async def begins_a_thread():
    loop = asyncio.get_running_loop()

    def finish():
        ending.wait()
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.1), loop).result()
        print("the thread has finished", flush=True)

    await anext(generator)
    loop.run_in_executor(None, finish)

main.app.run(port={port}, loop="{loop}")
"""
    with started(here, script=script) as process:
        until(lambda: is_open(port), process.log.read_text)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, process.log.read_text()
        log = process.log.read_text()
    assert "the thread has finished" in log and "still runs" not in log, log


def test_workers_do_not_hand_down_what_their_supervisor_has_left_for_them(here):
    port = free_port()
    with started(here, "--port", str(port), "--workers", "2") as process:
        until(lambda: asked(port), process.log.read_text)
        assert asked(port, "/environment") == "NEXIOS_BROKER"


def test_sigterm_for_supervisor_and_workers_at_once_is_one_signal(here):
    port = free_port()
    with started(here, "--port", str(port), "--workers", "2") as process:
        until(lambda: asked(port), process.log.read_text)
        with connect(f"ws://127.0.0.1:{port}/ends-slowly") as ws:
            assert ws.recv(timeout=PATIENCE) == "begun"
            workers = {int(asked(port)) for _ in range(30)}
            process.send_signal(signal.SIGTERM)
            for worker in workers:
                os.kill(worker, signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
    assert (here / "ended.txt").exists(), process.log.read_text()


def test_of_two_groups_of_workers_that_start_on_a_port_together_one_serves(here):
    port = free_port()
    (here / "second").mkdir()
    (here / "second/main.py").write_text(APP)
    arguments = ["--port", str(port), "--workers", "2"]
    with started(here, *arguments) as first, started(here / "second", *arguments) as second:
        until(lambda: (first.poll(), second.poll()) in ((1, None), (None, 1)), lambda: (first.poll(), second.poll()))
        loser = first if first.poll() == 1 else second
        assert f"cannot listen on 127.0.0.1:{port}" in loser.log.read_text()
        until(lambda: asked(port), "the other serves")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGQUIT], ids=lambda number: number.name)
@pytest.mark.parametrize("mode", [["--workers", "2"], ["--reload"]], ids=["workers", "reload"])
def test_children_end_with_their_parent_whatever_ends_it(here, mode, number):
    port = free_port()
    with started(here, "--port", str(port), *mode) as process:
        child = int(until(lambda: asked(port), process.log.read_text))
        assert child != process.pid
        process.send_signal(number)
        assert process.wait(PATIENCE) == -number
        until(lambda: not is_alive(child), process.log.read_text)
        until(lambda: asked(port) is None, "the port is free")
    with started(here, "--port", str(port), *mode) as process:
        until(lambda: asked(port), process.log.read_text)


def test_children_whose_interpreter_is_held_end_with_their_parent_too(here):
    port = free_port()
    with started(here, "--port", str(port), "--workers", "2") as process:
        child = int(until(lambda: asked(port), process.log.read_text))
        with connect(f"ws://127.0.0.1:{port}/holds") as ws:
            assert ws.recv(timeout=PATIENCE) == "begun"
            time.sleep(0.3)
            process.kill()
            process.wait()
            until(lambda: not is_alive(child), process.log.read_text)
        until(lambda: asked(port) is None, "the port is free")


def test_a_port_that_other_workers_serve_is_an_error(here):
    port = free_port()
    with started(here, "--port", str(port), "--workers", "2") as first:
        until(lambda: asked(port), first.log.read_text)
        (here / "second").mkdir()
        (here / "second/main.py").write_text(APP)
        with started(here / "second", "--port", str(port), "--workers", "2") as second:
            assert second.wait(PATIENCE) == 1
            assert f"cannot listen on 127.0.0.1:{port}" in second.log.read_text()
        assert asked(port)


def test_a_worker_that_a_real_time_signal_kills_is_replaced(here):
    port = free_port()
    with started(here, "--port", str(port), "--workers", "2") as process:
        worker = int(until(lambda: asked(port), process.log.read_text))
        os.kill(worker, signal.SIGRTMIN + 5)
        until(lambda: "was killed by signal" in process.log.read_text(), process.log.read_text)
        assert "Traceback" not in process.log.read_text() and process.poll() is None
        until(lambda: asked(port), process.log.read_text)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_workers_of_which_none_can_start_are_given_up(here):
    with started(here, "--port", str(free_port()), "--workers", "2", target="main:failing") as process:
        assert process.wait(100) == 1
        log = process.log.read_text()
    assert "RuntimeError: the database is away" in log and "none has served: giving up" in log, log
    assert log.count("the app has failed") <= 10


FAILS_LATER = """
import os
from main import NexiosApp, app

@app.on_startup
async def fails_while_the_database_is_away():
    if os.path.exists("away"):
        raise RuntimeError("the database is away")
"""

#: `nexios run`, but workers are started sooner and given up earlier.
IMPATIENT = """
import sys
from nexios import _workers, cli

_workers.DELAY_MIN = _workers.DELAY_MAX = 0.3
_workers.RESTARTS_MAX = 5
sys.exit(cli.main(["run", "later:app", *sys.argv[1:]]))
"""


@contextlib.contextmanager
def two_workers(here):
    """Two workers that serve, by their ids; those started from now on find that the database is away."""
    (here / "later.py").write_text(FAILS_LATER)
    port = free_port()
    with started(here, "--port", str(port), "--workers", "2", script=IMPATIENT) as process:
        process.port = port
        both = set()
        until(lambda: both.add(asked(port)) or len(both - {None}) == 2, process.log.read_text)
        (here / "away").touch()
        yield process, [int(pid) for pid in both - {None}]


def test_a_worker_that_does_not_start_any_more_is_given_up_and_the_others_serve_on(here):
    with two_workers(here) as (process, (killed, left)):
        os.kill(killed, signal.SIGKILL)
        until(lambda: "given up after 5 starts in a row that failed" in process.log.read_text(), process.log.read_text)
        until(lambda: asked(process.port) == str(left), process.log.read_text)
        assert process.log.read_text().count("the app has failed") == 5
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 1


def test_workers_of_which_none_starts_any_more_end_the_whole(here):
    with two_workers(here) as (process, both):
        for worker in both:
            os.kill(worker, signal.SIGKILL)
        assert process.wait(PATIENCE) == 1
        log = process.log.read_text()
    assert "Workers that are left: 0" in log and log.count("the app has failed") == 10, log


def test_only_starts_in_a_row_count_for_giving_a_worker_up(here):
    with two_workers(here) as (process, (killed, other)):
        for _ in range(3):
            process.log.write_text("")
            os.kill(killed, signal.SIGKILL)
            until(lambda: process.log.read_text().count("the app has failed") > 1, process.log.read_text)
            (here / "away").unlink()
            found = until(lambda: {asked(process.port)} - {None, str(other)}, process.log.read_text)
            killed = int(found.pop())
            (here / "away").touch()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_a_worker_that_hangs_is_replaced_and_its_stack_is_logged(here):
    port = free_port()
    with started(here, "--port", str(port), "--workers", "2", "--worker-timeout", "3") as process:
        until(lambda: asked(port), process.log.read_text)
        with connect(f"ws://127.0.0.1:{port}/holds") as ws:
            assert ws.recv(timeout=PATIENCE) == "begun"
            until(lambda: "starting another" in process.log.read_text(), process.log.read_text)
        log = process.log.read_text()
        assert "has not turned its event loop for 3 s" in log and "holds_the_interpreter" in log, log
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_workers_share_a_unix_socket(here):
    path = here / "socket"
    with started(here, "--uds", str(path), "--workers", "2") as process:

        def served():
            try:
                with unix_connect(str(path), uri="ws://localhost/pid") as ws:
                    return ws.recv(timeout=5)
            except (OSError, TimeoutError, EOFError):
                return None

        workers = {until(served, process.log.read_text)}
        until(lambda: workers.add(served()) or len(workers - {None}) == 2, process.log.read_text)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert f"2 workers on unix:{path}" in process.log.read_text()
    assert not path.exists()


def test_a_file_is_no_socket_to_be_replaced(here):
    (here / "notes.txt").write_text("mine")
    for mode in ([], ["--workers", "2"], ["--reload"]):
        with started(here, "--uds", "notes.txt", *mode) as process:
            if mode == ["--reload"]:
                until(lambda: "cannot listen on" in process.log.read_text(), process.log.read_text)
            else:
                assert process.wait(PATIENCE) == 1
            assert "cannot listen on notes.txt" in process.log.read_text()
    assert (here / "notes.txt").read_text() == "mine"


def unusable():
    unbound = socket.socket()
    datagrams = socket.socket(type=socket.SOCK_DGRAM)
    datagrams.bind(("127.0.0.1", 0))
    connected, other = socket.socketpair()
    shut_down = socket.create_server(("127.0.0.1", 0))
    shut_down.shutdown(socket.SHUT_RDWR)
    return [unbound, datagrams, connected, shut_down], [other]


def test_a_descriptor_that_nobody_can_be_accepted_from_is_an_error_at_the_start(here):
    sockets, others = unusable()
    for one in sockets:
        with started(here, "--fd", str(one.fileno()), pass_fds=[one.fileno()]) as process:
            assert process.wait(PATIENCE) == 1
            log = process.log.read_text()
            assert "cannot listen on the descriptor: the socket" in log and "Traceback" not in log, log
    for one in [*sockets, *others]:
        one.close()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_socket_that_stops_listening_costs_no_processor_and_is_logged_once(here, loop):
    listening = socket.create_server(("127.0.0.1", 0))
    with started(here, "--fd", str(listening.fileno()), "--loop", loop, pass_fds=[listening.fileno()]) as process:
        until(lambda: asked(listening.getsockname()[1]), process.log.read_text)
        listening.shutdown(socket.SHUT_RDWR)
        until(lambda: "accept" in process.log.read_text(), process.log.read_text)
        before = cpu_seconds(process.pid)
        time.sleep(2)
        assert cpu_seconds(process.pid) - before < 0.5
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert process.log.read_text().count("accept") == 1, process.log.read_text()
    listening.close()


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_certificate_that_is_missing_and_a_host_that_is_empty_are_said_in_a_line(here):
    with started(here, "--port", "0", "--ssl-certfile", "missing.pem") as process:
        assert process.wait(PATIENCE) == 1
        log = process.log.read_text()
    assert "missing.pem" in log and "Traceback" not in log, log
    with started(here, "--host", "") as process:
        assert process.wait(PATIENCE) == 2
        assert "--host is empty: 0.0.0.0 is all interfaces" in process.log.read_text()


def test_an_encrypted_key_says_so(here):
    certificate, key = here / "certificate.pem", here / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-passout", "pass:secret", "-subj", "/CN=x"]
        + ["-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    files = ["--ssl-certfile", str(certificate), "--ssl-keyfile", str(key)]
    with started(here, "--port", "0", *files) as process:
        assert process.wait(PATIENCE) not in (0, None)
        assert "key.pem is encrypted" in process.log.read_text()


def test_a_reloader_serves_all_addresses_of_its_host_and_looks_into_no_packages(here):
    addresses = {address[4][0] for address in socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)}
    (here / "env").mkdir()
    (here / "env/pyvenv.cfg").write_text("")
    (here / "node_modules").mkdir()
    port = free_port()
    with started(here, "--reload", "--host", "localhost", "--port", str(port)) as process:
        until(lambda: "listening on descriptor" in process.log.read_text(), process.log.read_text)
        for address in addresses:
            with socket.create_connection((address, port), timeout=5):
                pass
        for folder in ("env", "node_modules"):
            (here / folder / "library.py").write_text("x = 1")
        time.sleep(1)
        assert "has changed" not in process.log.read_text()
        (here / "other.py").write_text("x = 1")
        until(lambda: re.search(r"other\.py has changed", process.log.read_text()), process.log.read_text)


def test_directories_of_hubs_that_were_killed_are_removed(here, monkeypatch):
    places = here / "tmp"
    places.mkdir()
    monkeypatch.setenv("TMPDIR", str(places))
    port = free_port()
    with started(here, "--port", str(port), "--workers", "2") as process:
        until(lambda: asked(port), process.log.read_text)
        [stale] = places.glob("nexios-hub-*")
        process.kill()
        process.wait()
    assert stale.exists()
    until(lambda: asked(port) is None, "the port is free")
    with started(here, "--port", str(port), "--workers", "2") as process:
        until(lambda: asked(port), process.log.read_text)
        assert not stale.exists()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert not list(places.glob("nexios-hub-*"))
