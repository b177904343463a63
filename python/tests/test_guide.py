"""What `docs/python.md` shows is so: each snippet runs, and its tables have what there is."""

import asyncio
import inspect
import json
import re
import sys
from pathlib import Path

import guides
import pytest
from nexios import NexiosApp, WSRouter, cli
from nexios._json import encode
from nexios.settings import CompressionSettings, RouterSettings, RouteSettings, ServerSettings
from serving import close_of, until
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from websockets.asyncio.client import connect


@pytest.fixture
def snippet(tmp_path):
    """Imports a snippet of the page as a module."""
    return lambda name: guides.imported("python", tmp_path, name)


def test_all_snippets_are_tested():
    source = Path(__file__).read_text()
    for name in guides.snippets("python"):
        assert re.search(rf'"{name.removesuffix(".py")}(\.py)?"', source), name


async def echoes(server):
    async with server.connect("/ws") as client:
        await client.send("hello")
        assert await client.recv() == "hello"


# --- snippets


async def test_quick_start(serve, snippet):
    with snippet("hello") as hello:
        async with serve(hello.app) as server:
            await echoes(server)


async def test_a_group_with_middleware_rooms_and_an_exception_handler(serve, snippet):
    with snippet("rooms") as rooms:
        async with serve(rooms.app) as server:
            assert await server.closed("/chat/general") == (1008, "who are you?")
            async with server.connect("/chat/general?name=ann") as ann, server.connect("/chat/general?name=bob") as bob:
                await until(lambda: rooms.app.room("general").count() == 2)
                await ann.send('{"text": "hello"}')
                assert json.loads(await bob.recv()) == {"from": "ann", "text": "hello"}
                await ann.send("{}")
                assert await close_of(ann) == (1007, "there is no 'text' in the message")
                assert json.loads(await bob.recv()) == {"left": "ann"}


async def test_serving_inside_a_loop(tmp_path):
    guides.write_snippets("python", tmp_path)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "embedded", cwd=tmp_path, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert (process.returncode, out) == (0, b"clients can connect\n")


async def test_startup_and_shutdown(serve, snippet):
    with snippet("living") as living:
        async with serve(living.app) as server:
            for language, greeting in {"en": "hello", "de": "hallo"}.items():
                async with server.connect(f"/{language}") as client:
                    assert await client.recv() == greeting
        assert living.greetings == {}


async def test_fastapi_reaches_the_websocket_clients(serve, snippet):
    with snippet("with_fastapi") as module:
        async with serve(module.app) as server, server.connect("/ws") as client:
            await until(lambda: len(module.app.connections) == 1)
            http = await server.dial()
            http.send(b"POST /news/rain HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\n\r\n")
            assert await http.read_head() == 200
            assert json.loads(await http.read_body()) == {"reached": 1}
            assert json.loads(await client.recv()) == {"news": "rain"}


async def test_starlette(serve, snippet):
    with snippet("with_starlette") as module:
        async with serve(module.app) as server, server.connect("/ws"):
            await until(lambda: len(module.app.connections) == 1)
            assert (await server.get("/"))[2] == b"1 connected"


# What they set up is the process's: logging, settings.
@pytest.mark.parametrize(
    "name, page", [("with_django", b"a page of Django's"), ("with_litestar", b"a page of Litestar's")]
)
async def test_frameworks_that_have_a_process_for_themselves(tmp_path, listening, name, page):
    guides.write_snippets("python", tmp_path)
    fd, port = listening.fileno(), listening.getsockname()[1]
    command = [sys.executable, "-m", "nexios", "run", f"{name}:app", "--fd", str(fd)]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, pass_fds=[fd], stderr=asyncio.subprocess.PIPE
    )
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(page)
        async with connect(f"ws://127.0.0.1:{port}/ws", proxy=None) as client:
            await client.send("hello")
            assert await client.recv() == "hello"
    finally:
        process.terminate()
        await process.communicate()
    assert process.returncode == 0


async def test_a_receive_that_times_out_loses_nothing(serve, snippet):
    with snippet("patient") as module:
        async with serve(module.app) as server, server.connect("/ws") as client:
            assert await client.recv() == "are you still there?"
            await client.send("yes")
            while (answer := await client.recv()) == "are you still there?":
                pass
            assert answer == "you said yes"


async def test_a_thread_sends_through_a_handle(serve, snippet):
    with snippet("threads") as module:
        async with serve(module.app) as server, server.connect("/ws") as client:
            await client.send("2")
            assert [json.loads(await client.recv()) for _ in range(2)] == [{"counted": 1}, {"counted": 2}]
            assert await client.recv() == "2 counted"


def test_a_class_of_others_is_sent_as_json(snippet):
    with snippet("encoders") as module:
        assert encode([module.PurePath("a/b")]) == '["a/b"]'


async def test_only_the_newest_price_is_kept_for_who_is_behind(serve, snippet):
    with snippet("prices") as module:
        async with serve(module.app) as server:
            client = await server.raw("/prices", receive_buffer=4096)
            await until(lambda: len(module.app.connections) == 1)
            price = 0
            while not module.dropped:
                price += 1
                await module.publish("x" * 4096, price)
            assert price > 1
            client.cut()


async def test_the_tests_that_are_shown_pass(tmp_path):
    guides.write_snippets("python", tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_hello.py"]
    process = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert b"3 passed" in out, out.decode()
    code = "import asyncio, test_hello; asyncio.run(test_hello.talk())"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=tmp_path)
    assert await process.wait() == 0


# --- tables


def cells(page, first):
    """The names in the first column of a table; a cell may have several."""
    return {name for row in guides.table(page, first) for name in re.findall(r"`(--[\w-]+|\w+)=?[^`]*`", row[0])}


def test_the_settings_are_those_that_there_are():
    there_are = RouteSettings.__annotations__ | ServerSettings.__annotations__
    assert cells("python", "setting") == there_are.keys()
    assert RouterSettings.__annotations__.keys() <= there_are.keys()


def test_the_details_of_compression_are_those_that_there_are():
    text = (guides.DOCS / "python.md").read_text()
    paragraph = text[text.index("Details of `compression`") :].partition("\n\n")[0]
    assert (
        set(re.findall(r"`(\w+)`", paragraph)) - {"compression", "False"} == CompressionSettings.__annotations__.keys()
    )


def test_the_options_of_run_are_those_that_there_are():
    parameters = set(inspect.signature(NexiosApp.run).parameters) - {"self", "host", "port", "unknown"}
    assert cells("python", "option") == parameters | options_of_the_command()


def options_of_the_command():
    parser = cli.parser()
    (commands,) = parser._subparsers._group_actions
    actions = commands.choices["run"]._actions
    hidden = {"-h", "--help", "--reuse-port"}
    return {option for action in actions for option in action.option_strings if option not in hidden}


# --- claims


async def test_an_upgrade_that_nobody_routes_is_a_plain_request_to_the_application(serve):
    async def page(request):
        return PlainTextResponse("no such page", 404)

    async with serve(NexiosApp(http=Starlette(routes=[Route("/nothing", page)]))) as server:
        refusal = await server.refusal("/nothing")
        assert (refusal.status_code, refusal.body) == (404, b"no such page")


async def test_an_app_is_served_by_one_loop_at_a_time(serve):
    router = WSRouter()
    async with serve(router):
        with pytest.raises(RuntimeError, match="is being served already"):
            await router.serve(port=0)


async def test_health_says_ok(serve):
    async with serve(NexiosApp(health="/health")) as server:
        status, _, body = await server.get("/health")
        assert (status, body) == (200, b"ok\n")
