"""Workers: they end with their parent, they are replaced, they are given up."""

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest
from processes import APP, PATIENCE, asked, free_port, started, until
from websockets.sync.client import connect, unix_connect

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def here(tmp_path):
    (tmp_path / "main.py").write_text(APP)
    return tmp_path


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A process whose parent has not asked for its end is no process any more.
    return (
        Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    )


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
