"""The command `nexios`, run as people run it."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import websockets.asyncio.client
from nexios import History, Publisher
from raw_client import AsyncRawClient, request
from serving import close_of
from websockets.exceptions import WebSocketException

APP = """
import os
from nexios import NexiosApp, WSRouter

app = NexiosApp()
chat = WSRouter(prefix="/chat")
number = 3

@app.ws("/ws", name="version")
async def version(ws):
    await ws.accept()
    await ws.send_text("version 1")
    await ws.send_text(str(os.getpid()))
    async for message in ws:
        await ws.send(message)

@chat.ws("/{room}")
async def room(ws):
    await ws.accept()

app.mount_ws_router(chat)
"""


@pytest.fixture
def here(tmp_path):
    (tmp_path / "main.py").write_text(APP)
    (tmp_path / "broken.py").write_text("import no_such_library\n")
    (tmp_path / "empty.py").write_text("x = 1\n")
    return tmp_path


def environment():
    """The commands import the package that the tests do, wherever that is."""
    package = Path(find_spec("nexios").origin).parents[1]
    return os.environ | {"PYTHONPATH": str(package), "PYTHONUNBUFFERED": "1"}


def nexios(here, *arguments):
    command = [sys.executable, "-m", "nexios", *arguments]
    return subprocess.run(command, cwd=here, env=environment(), capture_output=True, text=True, timeout=20)


# --- module:name


@pytest.mark.parametrize(
    "target, said",
    [
        ("main", "'main' is no module:name, such as main:app"),
        ("main.py", "'main.py' is no module:name, such as main:app"),
        (":app", "':app' is no module:name"),
        ("main:ap", "the module 'main' has no 'ap': it has app (NexiosApp), chat (WSRouter)"),
        ("main:number", "main:number is neither a NexiosApp nor a WSRouter, but of type int: it has app (NexiosApp)"),
        ("empty:app", "the module 'empty' has no 'app': it has no NexiosApp and no WSRouter"),
        ("mian:app", "there is no module 'mian': did you mean 'main'?"),
        ("other:app", "there are broken, empty, main"),
    ],
)
@pytest.mark.parametrize("command", ["run", "routes"])
def test_a_wrong_target_says_what_is_wrong_and_what_there_is(here, command, target, said):
    done = nexios(here, command, target)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_an_error_in_the_module_itself_keeps_its_traceback(here):
    done = nexios(here, "routes", "broken:app")
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "No module named 'no_such_library'" in done.stderr


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--port", "99999"], "99999 is no port"),
        (["--workers", "0"], "0 is not at least 1"),
        (["--reload", "--workers", "2"], "exclude each other"),
        (["--uds", "x", "--fd", "3"], "exclude each other"),
        (["--ssl-keyfile", "x"], "needs --ssl-certfile"),
        (["--loop", "tokio"], "invalid choice"),
        (["--log-level", "loud"], "invalid choice"),
        (["--allowed-host", "https://x.org"], "invalid allowed host"),
    ],
)
def test_contradictions_are_refused(here, arguments, said):
    done = nexios(here, "run", "main:app", *arguments)
    assert done.returncode == 2 and said in done.stderr


def test_a_port_in_use_is_said_in_words(here, listening):
    port = str(listening.getsockname()[1])
    for more in [], ["--workers", "2"], ["--reload"]:
        done = nexios(here, "run", "main:app", "--port", port, *more)
        assert done.returncode == 1, done.stderr
        assert f"cannot listen on 127.0.0.1:{port}" in done.stderr and "Traceback" not in done.stderr


def test_routes_are_listed_with_their_names_and_handlers(here):
    done = nexios(here, "routes", "main:app")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["/chat/{room}", "-", "main.room"],
        ["/ws", "version", "main.version"],
    ]


def test_the_routes_of_a_router_alone(here):
    done = nexios(here, "routes", "main:chat")
    assert done.returncode == 0 and done.stdout.split()[0].endswith("/{room}")


def test_help_names_the_commands(here):
    done = nexios(here, "--help")
    assert done.returncode == 0 and "run" in done.stdout and "routes" in done.stdout


# --- serving


@contextlib.asynccontextmanager
async def running(here, *arguments, fds=()):
    """A process that is killed if the test does not end it."""
    command = [sys.executable, "-m", "nexios", "run", "main:app", *arguments]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=here, env=environment(), pass_fds=fds, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(process.communicate(), 10)
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def said(process, pattern):
    """Reads what it says until there is this."""
    lines = []
    while line := (await process.stderr.readline()).decode():
        lines.append(line)
        if found := re.search(pattern, line):
            return found
    raise AssertionError(f"no {pattern!r} in {''.join(lines)}")


def connect(port):
    return websockets.asyncio.client.connect(f"ws://127.0.0.1:{port}/ws", proxy=None)


async def ended(process, number=signal.SIGTERM):
    """Sends the signal; the exit code and what was said."""
    process.send_signal(number)
    _, output = await process.communicate()
    return process.returncode, output.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_run_serves_until_a_signal_and_ends_with_0(here, number):
    async with running(here, "--port", "0") as process:
        port = (await said(process, r"listening on .*:(\d+)"))[1]
        async with connect(port) as ws:
            assert await ws.recv() == "version 1"
            assert await ws.recv() == str(process.pid)
            code, _ = await asyncio.gather(ended(process, number), close_of(ws))
            assert code[0] == 0
            assert ws.close_code == 1012


@pytest.mark.parametrize("mode", [[], ["--workers", "2"], ["--reload"]])
async def test_run_answers_requests_to_allowed_hosts_only(here, mode):
    async with running(here, "--port", "0", "--allowed-host", "x.org", "--allowed-host", "*.y.org", *mode) as process:
        port = (await said(process, r"(?:listening|workers) on .*:(\d+)"))[1]
        statuses = []
        for host in ("evil.example", "x.org", "a.y.org:80"):
            client = await dial(int(port))
            client.send(request().replace(b"Host: localhost", f"Host: {host}".encode()))
            statuses.append(await client.read_head())
            client.cut()
        assert statuses == [400, 101, 101]


async def dial(port):
    """Waits until the workers have come up."""
    end = asyncio.get_running_loop().time() + 10
    while True:
        try:
            return await AsyncRawClient.open(port)
        except ConnectionRefusedError:
            assert asyncio.get_running_loop().time() < end
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
async def test_run_takes_a_loop(here, kind):
    source = "\n@app.ws('/loop')\nasync def loop(ws):\n    import asyncio\n    await ws.accept()\n"
    source += "    await ws.send_text(type(asyncio.get_running_loop()).__module__)\n"
    (here / "main.py").write_text(APP + source)
    async with running(here, "--port", "0", "--loop", kind) as process:
        port = (await said(process, r"listening on .*:(\d+)"))[1]
        async with websockets.asyncio.client.connect(f"ws://127.0.0.1:{port}/loop", proxy=None) as ws:
            assert (await ws.recv()).split(".")[0] == kind


async def test_run_takes_a_descriptor(here, listening):
    fd = listening.fileno()
    async with running(here, "--fd", str(fd), fds=[fd]), connect(listening.getsockname()[1]) as ws:
        assert await ws.recv() == "version 1"


async def test_run_takes_a_unix_socket(here):
    path = here / "ws.sock"
    async with running(here, "--uds", str(path)):
        for _ in range(400):
            with contextlib.suppress(OSError):
                async with websockets.asyncio.client.unix_connect(str(path), "ws://localhost/ws") as ws:
                    assert await ws.recv() == "version 1"
                    break
            await asyncio.sleep(0.02)
        else:
            raise AssertionError("nobody listens")


async def test_the_access_log_has_each_connection_and_its_end(here):
    async with running(here, "--port", "0", "--access-log") as process:
        port = (await said(process, r"listening on .*:(\d+)"))[1]
        async with connect(port) as ws:
            client = ws.local_address[1]
            await said(process, rf'127.0.0.1:{client} "GET /ws" 101 in ')
            await ws.close(4001, "bye")
        await said(process, rf'127.0.0.1:{client} "GET /ws" closed 4001 "bye" after ')


async def test_the_log_level_hides_what_is_below(here, listening):
    fd = listening.fileno()
    async with running(here, "--fd", str(fd), "--log-level", "error", fds=[fd]) as process:
        async with connect(listening.getsockname()[1]) as ws:
            assert await ws.recv() == "version 1"
        assert await ended(process) == (0, "")


# --- workers


async def worker_of(port):
    async with connect(port) as ws:
        await ws.recv()
        return int(await ws.recv())


async def workers_of(port, count):
    """Asks until so many different workers have answered."""
    found = set()
    while len(found) < count:
        try:
            found.add(await worker_of(port))
        except (OSError, EOFError, WebSocketException):
            await asyncio.sleep(0.02)
    return found


async def test_workers_share_a_port_and_end_with_0(here):
    async with running(here, "--port", "0", "--workers", "3") as process:
        port = (await said(process, r"3 workers on .*:(\d+)"))[1]
        pids = await workers_of(port, 3)
        assert process.pid not in pids
        code, output = await ended(process)
        assert code == 0, output
        assert not any(is_alive(pid) for pid in pids)


ROOMS = """
import os
from nexios import NexiosApp

app = NexiosApp()

@app.ws("/ws")
async def member(ws):
    await ws.accept()
    await ws.join("all")
    await ws.send_text(str(os.getpid()))
    async for message in ws:
        outcome = await app.room("all").broadcast(message)
        assert outcome.accepted
"""


@contextlib.asynccontextmanager
async def members_of(port, workers):
    """A client of each worker; none of a worker that has one already."""
    async with contextlib.AsyncExitStack() as stack:
        members = {}
        while len(members) < workers:
            try:
                ws = await stack.enter_async_context(connect(port))
            except (OSError, EOFError, WebSocketException):
                await asyncio.sleep(0.02)
                continue
            pid = int(await ws.recv())
            if members.setdefault(pid, ws) is not ws:
                await ws.close()
        yield members


async def test_a_broadcast_reaches_the_clients_of_all_workers(here):
    (here / "main.py").write_text(ROOMS)
    async with running(here, "--port", "0", "--workers", "3") as process:
        port = (await said(process, r"3 workers on .*:(\d+)"))[1]
        async with members_of(port, 3) as members:
            for sender in members.values():
                await sender.send("hello")
                assert [await ws.recv() for ws in members.values()] == ["hello"] * 3
            # A worker's end leaves the others connected, and its successor joins them.
            victim, ws = members.popitem()
            os.kill(victim, signal.SIGKILL)
            await ws.wait_closed()
            await said(process, rf"process {victim}\) was killed by SIGKILL")
            async with members_of(port, 3) as again:
                await again[max(again.keys() - members.keys())].send("back")
                assert [await ws.recv() for ws in (*members.values(), *again.values())] == ["back"] * 5
        code, output = await ended(process)
        assert code == 0 and "Traceback" not in output, output


async def test_messages_are_published_from_the_shell(here, tmp_path):
    from nexios._nexios import Hub

    (here / "main.py").write_text(ROOMS.replace("NexiosApp()", f'NexiosApp(broker="unix:{tmp_path}/hub.sock")'))
    hub = Hub(tmp_path / "hub.sock")
    try:
        async with running(here, "--port", "0") as process:
            port = (await said(process, r"listening on .*:(\d+)"))[1]
            async with connect(port) as ws:
                await ws.recv()
                for whom in ["--room", "all"], ["--router", "/"], ["--all"], ["--client", "nobody"]:
                    arguments = ["publish", "--broker", f"unix:{tmp_path}/hub.sock", *whom, whom[0].strip("-")]
                    done = await asyncio.to_thread(nexios, here, *arguments)
                    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
                assert [await ws.recv() for _ in range(2)] == ["room", "all"]
    finally:
        hub.close()


async def test_messages_are_stored_from_the_shell(here, tmp_path):
    from nexios._nexios import Hub

    hub = Hub(tmp_path / "hub.sock")
    try:
        broker = f"unix:{tmp_path}/hub.sock"
        room = ["publish", "--broker", broker, "--room", "x", "--history-size", "10", "--history-ttl", "60"]
        stored = []
        for arguments in ["one"], ["--idempotency-key", "k", "two"], ["--idempotency-key", "k", "two"]:
            done = await asyncio.to_thread(nexios, here, *room, *arguments)
            assert done.returncode == 0, done.stderr
            stored.append(done.stdout)
        with Publisher(broker) as publisher:
            last = publisher.room("x", history=History(size=10, ttl=60)).broadcast("three").stored
        assert last is not None and int(last.split("-")[1]) == 3
        assert [int(line.split("-")[1]) for line in stored] == [1, 2, 2]
    finally:
        hub.close()


@pytest.mark.parametrize(
    "arguments, code, said",
    [
        (["--broker", "unix:/nowhere/hub.sock", "--all", "x"], 1, "cannot reach the broker unix:/nowhere/hub.sock: "),
        (["--broker", "http://host", "--all", "x"], 2, "is no broker: write unix:/path"),
        (["--all", "x"], 2, "--broker is missing, and $NEXIOS_BROKER is not set"),
        (["--broker", "unix:x", "--all", "--history-size", "1", "x"], 2, "only a room has a history: "),
        (["--broker", "unix:x", "--room", "r", "--history-size", "0", "x"], 2, "a history has a size of at least 1"),
        (["--broker", "unix:x", "--room", "r", "--idempotency-key", "k", "x"], 2, "needs --history-size"),
        (["--broker", "unix:x", "x"], 2, "one of the arguments --room --router --client --all is required"),
    ],
)
def test_what_cannot_be_published_is_said(here, arguments, code, said):
    done = nexios(here, "publish", *arguments)
    assert done.returncode == code and said in done.stderr and "Traceback" not in done.stderr, done.stderr


async def test_a_worker_that_died_is_replaced(here):
    async with running(here, "--port", "0", "--workers", "2") as process:
        port = (await said(process, r"2 workers on .*:(\d+)"))[1]
        before = await workers_of(port, 2)
        victim = before.pop()
        os.kill(victim, signal.SIGKILL)
        await said(process, rf"worker \d \(process {victim}\) was killed by SIGKILL: starting another in 0.1 s")
        after = set()
        while not after - before - {victim}:
            after |= await workers_of(port, 1)
        assert (await ended(process, signal.SIGINT))[0] == 0


async def test_workers_share_a_descriptor(here, listening):
    fd = listening.fileno()
    async with running(here, "--fd", str(fd), "--workers", "2", fds=[fd]) as process:
        assert process.pid not in await workers_of(listening.getsockname()[1], 1)
        assert (await ended(process))[0] == 0


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# --- reload


async def version_of(port):
    while True:
        try:
            async with connect(port) as ws:
                return await ws.recv()
        except (OSError, EOFError, WebSocketException):
            await asyncio.sleep(0.02)


async def test_reload_serves_what_the_files_say_now(here):
    async with running(here, "--port", "0", "--reload") as process:
        port = (await said(process, r"listening on .*:(\d+)"))[1]
        assert await version_of(port) == "version 1"
        (here / "main.py").write_text(APP.replace("version 1", "version 2"))
        await said(process, r"main.py has changed: starting again")
        while await version_of(port) != "version 2":
            await asyncio.sleep(0.02)
        assert (await ended(process))[0] == 0


async def test_reload_survives_a_broken_file(here):
    async with running(here, "--port", "0", "--reload") as process:
        port = (await said(process, r"listening on .*:(\d+)"))[1]
        assert await version_of(port) == "version 1"
        (here / "main.py").write_text("this is no Python\n")
        await said(process, r"SyntaxError")
        await said(process, r"waiting for a change")
        (here / "main.py").write_text(APP.replace("version 1", "version 3"))
        await said(process, r"has changed: starting again")
        assert await version_of(port) == "version 3"
        assert (await ended(process, signal.SIGINT))[0] == 0


# --- the hub


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_script_reaches_the_workers_by_the_path_of_their_hub(here, workers):
    (here / "main.py").write_text(
        APP.replace("app.mount_ws_router(chat)", "")
        + """
from nexios import History
news = app.room("news", history=History(size=10, ttl=60))

@app.ws("/news")
async def reader(ws):
    await ws.accept()
    await ws.join("news")
    await ws.send_text("in")
    await ws.wait_closed()
"""
    )
    async with running(here, "--port", "0", "--workers", workers, "--hub", "hub.sock") as process:
        port = (await said(process, r" on .*:(\d+)"))[1]
        await workers_of(port, int(workers))
        async with websockets.asyncio.client.connect(f"ws://127.0.0.1:{port}/news", proxy=None) as client:
            assert await client.recv() == "in"
            url = f"unix:{here / 'hub.sock'}"
            more = ["--room", "news", "--history-size", "10", "--history-ttl", "60", "hello"]
            published = await asyncio.to_thread(nexios, here, "publish", "--broker", url, *more)
            assert (published.returncode, published.stderr) == (0, "")
            assert await asyncio.wait_for(client.recv(), 10) == "hello"
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 30) == 0
    assert not (here / "hub.sock").exists()


def test_a_hub_runs_by_itself_until_it_is_told_to_end(tmp_path):
    path = tmp_path / "hub.sock"
    command = [sys.executable, "-m", "nexios", "hub", str(path)]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == f"nexios: the hub is at unix:{path}\n"
        with Publisher(f"unix:{path}") as publisher:
            room = publisher.room("x", history=History(size=10, ttl=60))
            assert room.broadcast("hello", timeout=30).stored is not None
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert not path.exists()


def test_a_hub_and_another_broker_exclude_each_other(here):
    (here / "other.py").write_text("from nexios import NexiosApp\napp = NexiosApp(broker='unix:/nowhere/hub.sock')\n")
    refused = nexios(here, "run", "other:app", "--hub", "hub.sock")
    assert refused.returncode == 2 and "--hub is a broker" in refused.stderr
    refused = nexios(here, "run", "main:app", "--hub", "hub.sock", "--reload")
    assert refused.returncode == 2 and "exclude each other" in refused.stderr
