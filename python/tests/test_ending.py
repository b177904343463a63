"""Processes that end, whatever hinders them: signals, handlers, threads, failures."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from processes import APP, PATIENCE, asked, free_port, started, until
from websockets.sync.client import connect

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def here(tmp_path):
    (tmp_path / "main.py").write_text(APP)
    return tmp_path


def is_open(port):
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        return True
    return False


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
def test_threads_that_fill_the_pool_do_not_keep_an_app_with_a_broker_from_ending(here, loop):
    port = free_port()
    script = f"""
import asyncio, main, nexios, threading
release = threading.Event()
app = nexios.NexiosApp(broker=nexios.MemoryBroker())

@app.on_startup
async def fills_the_pool():
    for _ in range(64):
        asyncio.get_running_loop().run_in_executor(None, release.wait)

app.run(port={port}, loop="{loop}")
print("run() has returned", flush=True)
release.set()
"""
    with started(here, script=script) as process:
        until(lambda: is_open(port), process.log.read_text)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, process.log.read_text()
        assert "run() has returned" in process.log.read_text()


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
