"""Servers in processes of their own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from websockets.sync.client import connect

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
