"""Test clients in memory: the app's life, its loop, and plain HTTP."""

import asyncio
import contextvars
import doctest
import importlib
import pkgutil
import subprocess
import sys
import threading
import time
from contextlib import asynccontextmanager
from pathlib import Path

import fastapi
import nexios.testing
import pytest
from apps import app_with, echo, stay
from nexios import NexiosApp, WSRouter
from nexios.testing import AsyncTestClient, TestClient, TestTimeout

# --- startup and shutdown


def listed(log, **settings):
    """An app that logs its life."""

    @asynccontextmanager
    async def lifespan(app):
        log.append("lifespan starts")
        yield
        log.append("lifespan ends")

    app = NexiosApp(lifespan=lifespan, **settings)

    @app.on_startup
    async def startup():
        log.append("startup")

    @app.on_shutdown
    async def shutdown():
        log.append("shutdown")

    app.ws("/ws")(echo)
    return app


LIFE = ["lifespan starts", "startup", "test", "shutdown", "lifespan ends"]


def test_the_block_runs_startup_and_shutdown(loop):
    log = []
    with TestClient(listed(log), loop=loop):
        log.append("test")
    assert log == LIFE


async def test_the_async_block_runs_startup_and_shutdown():
    log = []
    async with AsyncTestClient(listed(log)):
        log.append("test")
    assert log == LIFE


def test_without_the_block_websockets_and_requests_work_but_no_startup_runs(loop):
    log = []
    client = TestClient(listed(log, health="/health"), loop=loop)
    assert client.get("/health").status == 200
    with client.websocket_connect("/ws") as one, client.websocket_connect("/ws") as two:
        one.send_text("one")
        two.send_text("two")
        assert (one.receive_text(), two.receive_text()) == ("one", "two")
        assert client.get("/health").status == 200
    assert log == []
    with pytest.raises(RuntimeError, match="with TestClient"):
        client.settle()


def test_an_app_can_be_tested_again_and_a_client_used_again(loop):
    app = app_with(echo)
    client = TestClient(app, loop=loop)
    for _ in range(3):
        with client, client.websocket_connect("/ws") as ws:
            ws.send_text("again")
            assert ws.receive_text() == "again"


def test_a_router_alone_can_be_tested(loop):
    router = WSRouter("/api")
    router.ws("/ws")(echo)
    with TestClient(router, loop=loop) as client, client.websocket_connect("/api/ws") as ws:
        ws.send_text("hello")
        assert ws.receive_text() == "hello"


def test_a_startup_that_fails_raises_and_leaves_nothing_running(loop):
    app = NexiosApp()

    @app.on_startup
    async def startup():
        raise OSError("no database")

    for _ in range(2):
        with pytest.raises(OSError, match="no database"), TestClient(app, loop=loop):
            pass


def test_a_shutdown_that_fails_raises(loop):
    app = NexiosApp()

    @app.on_shutdown
    async def shutdown():
        raise OSError("cannot flush")

    with pytest.raises(OSError, match="cannot flush"), TestClient(app, loop=loop):
        pass


def test_startup_and_shutdown_have_the_timeout_of_the_client(loop):
    async def forever():
        await asyncio.sleep(60)

    slow_start, slow_end = NexiosApp(), NexiosApp()
    slow_start.on_startup(forever)
    slow_end.on_shutdown(forever)
    with pytest.raises(TestTimeout, match="the app's startup"), TestClient(slow_start, loop=loop, timeout=0.05):
        pass
    with pytest.raises(TestTimeout, match="the app's shutdown"), TestClient(slow_end, loop=loop, timeout=0.05):
        pass


def test_a_handler_that_does_not_end_is_cancelled(loop, caplog):
    cancelled = []

    async def handler(ws):
        await ws.accept()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    app = app_with(handler, settings={"shutdown_grace": 0.05})
    with TestClient(app, loop=loop) as client, client.websocket_connect("/ws"):
        pass
    assert cancelled == [True]
    assert "handlers were still running 0.05 s after the test" in caplog.text


def test_a_socket_that_outlives_its_client_is_over(loop):
    with TestClient(app_with(stay), loop=loop) as client:
        ws = client.websocket_connect("/ws").__enter__()
        assert ws.receive_text() == "ready"
        client._users = 1
    assert ws.close_code == 1012


def test_a_graceful_shutdown_can_be_watched(loop):
    with TestClient(app_with(stay), loop=loop) as client, client.websocket_connect("/ws") as ws:
        assert ws.receive_text() == "ready"
        client.shutdown()
        assert ws.wait_closed() == (1012, "server restarting")
        with pytest.raises(ConnectionRefusedError):
            client.handshake("/ws")
        with pytest.raises(ConnectionRefusedError):
            client.get("/")


# --- loops and threads


def test_a_sync_client_inside_a_running_loop_says_what_to_use_instead(loop):
    client = TestClient(app_with(echo), loop=loop)

    async def test():
        with pytest.raises(RuntimeError, match="async with AsyncTestClient"):
            client.__enter__()
        with pytest.raises(RuntimeError, match="async with AsyncTestClient"):
            client.get("/")
        with pytest.raises(RuntimeError, match="async with AsyncTestClient"):
            client.websocket_connect("/ws").__enter__()

    asyncio.run(test())
    with client, client.websocket_connect("/ws") as ws:

        async def inside():
            with pytest.raises(RuntimeError, match="async with AsyncTestClient"):
                ws.send_text("hello")

        client.run(inside())


def test_two_apps_at_once_do_not_mix(loop):
    apps = [app_with(echo), app_with(echo)]
    with TestClient(apps[0], loop=loop) as one, TestClient(apps[1], loop="asyncio") as two:
        with one.websocket_connect("/ws") as first, two.websocket_connect("/ws") as second:
            first.send_text("first")
            second.send_text("second")
            assert second.receive_text() == "second"
            assert first.receive_text() == "first"
            assert [len(app.connections) for app in apps] == [1, 1]
            assert one.run(apps[0].broadcast("to one")) == 1
            assert first.receive_text() == "to one"
    with pytest.raises(RuntimeError, match="is being served already"):
        with TestClient(apps[0], loop=loop), TestClient(apps[0], loop=loop):
            pass


async def test_two_apps_on_one_loop_do_not_mix():
    def failing(text):
        async def handler(ws):
            await ws.accept()
            raise RuntimeError(text)

        return app_with(handler)

    async with AsyncTestClient(failing("one")) as one, AsyncTestClient(failing("two")) as two:
        async with one.websocket_connect("/ws") as first, two.websocket_connect("/ws") as second:
            with pytest.raises(RuntimeError, match="two"):
                await second.receive()
            with pytest.raises(RuntimeError, match="one"):
                await first.receive()


def test_everything_happens_in_the_tests_own_thread_and_context(loop):
    variable = contextvars.ContextVar("variable", default="unset")
    seen = []

    async def handler(ws):
        seen.append((threading.current_thread(), variable.get()))
        await ws.accept()

    before = threading.active_count()
    with TestClient(app_with(handler), loop=loop) as client:
        variable.set("of the test")
        with client.websocket_connect("/ws"):
            pass
        assert threading.active_count() == before
    assert seen[0][0] is threading.current_thread()


def test_messages_from_other_threads_are_heard(loop):
    handles = []

    async def handler(ws):
        await ws.accept()
        handles.append(ws.handle())
        await ws.wait_closed()

    with TestClient(app_with(handler), loop=loop) as client, client.websocket_connect("/ws") as ws:
        client.settle()
        thread = threading.Thread(target=lambda: (time.sleep(0.05), handles[0].send_text("from a thread")))
        thread.start()
        assert ws.receive_text() == "from a thread"
        thread.join()


def test_the_loop_runs_for_as_long_as_asked(loop):
    ticks = []

    async def handler(ws):
        await ws.accept()
        while ws.close_code is None:
            ticks.append(1)
            await asyncio.sleep(0.01)

    with TestClient(app_with(handler), loop=loop) as client, client.websocket_connect("/ws"):
        client.run_for(0.1)
        assert len(ticks) > 3
        count = len(ticks)
        time.sleep(0.05)
        # Nothing happens behind the test's back.
        assert len(ticks) == count


def test_an_interrupt_ends_the_wait_and_the_client_still_ends_well(loop):
    import signal

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt), TestClient(app_with(stay), loop=loop) as client:
            with client.websocket_connect("/ws") as ws:
                assert ws.receive_text() == "ready"
                signal.setitimer(signal.ITIMER_REAL, 0.1)
                ws.receive_text()
    finally:
        signal.signal(signal.SIGALRM, before)


def test_clients_leave_nothing_behind(loop):
    import gc
    import os

    app = app_with(echo)

    def once():
        with TestClient(app, loop=loop) as client, client.websocket_connect("/ws") as ws:
            ws.send_text("hello")
            assert ws.receive_text() == "hello"

    def counts():
        gc.collect()
        kinds = ("TestConnection", "WebSocket", "Engine", "Task")
        objects = [type(thing).__name__ for thing in gc.get_objects()]
        return len(os.listdir("/proc/self/fd")), [objects.count(kind) for kind in kinds]

    once()
    before = counts()
    for _ in range(20):
        once()
    assert counts() == before


# --- plain HTTP


def http_app():
    api = fastapi.FastAPI()

    @api.get("/hello/{name}")
    async def hello(name: str, request: fastapi.Request, greeting: str = "hello"):
        return {"text": f"{greeting}, {name}", "client": request.client.host, "cookies": request.cookies}

    @api.post("/echo")
    async def echo_body(request: fastapi.Request):
        return fastapi.Response(await request.body(), media_type=request.headers.get("content-type"))

    @api.get("/stream")
    async def stream():
        async def parts():
            for number in range(3):
                yield f"part {number}\n"
                await asyncio.sleep(0)

        return fastapi.responses.StreamingResponse(parts(), media_type="text/plain")

    @api.get("/login")
    async def login(response: fastapi.Response):
        response.set_cookie("session", "s3cret")

    @api.get("/logout")
    async def logout(response: fastapi.Response):
        response.delete_cookie("session")

    @api.get("/broken")
    async def broken():
        raise ZeroDivisionError("in a route")

    @api.get("/forever")
    async def forever():
        await asyncio.sleep(60)

    app = NexiosApp(http=api, health="/health")

    @app.ws("/ws")
    async def cookie(ws):
        await ws.accept()
        await ws.send_text(ws.cookies.get("session", "nobody"))

    return app


@pytest.fixture
def http(loop):
    with TestClient(http_app(), loop=loop) as client:
        yield client


def test_a_request_is_answered_by_whoever_has_the_path(http, tmp_path, loop):
    assert http.get("/health").status == 200
    response = http.get("/hello/you?greeting=hi", cookies={"a": "1"}, client=("1.2.3.4", 5))
    assert (response.status, response.status_code) == (200, 200)
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"text": "hi, you", "client": "1.2.3.4", "cookies": {"a": "1"}}
    assert http.get("/hello/you", params={"greeting": "good day"}).json()["text"] == "good day, you"
    assert http.get("/nowhere").status == 404
    assert http.get("/ws").status == 404
    (tmp_path / "page.html").write_text("<p>hello</p>")
    app = NexiosApp()
    app.static("/files", directory=tmp_path)
    with TestClient(app, loop=loop) as client:
        page = client.get("/files/page.html")
        assert (page.status, page.text) == (200, "<p>hello</p>")
        assert client.get("/files/none.html").status == 404


def test_bodies_go_both_ways(http):
    assert http.post("/echo", content=b"\x00\x01").body == b"\x00\x01"
    assert http.post("/echo", content="text").text == "text"
    assert http.post("/echo", json={"a": [1]}).json() == {"a": [1]}
    assert http.post("/echo", data={"a": "b c"}).text == "a=b+c"
    large = bytes(range(256)) * 8192
    assert http.post("/echo", content=large).body == large
    assert http.get("/stream").text == "part 0\npart 1\npart 2\n"


def test_all_methods_are_there(http):
    assert http.head("/health").body == b""
    for call in (http.put, http.patch, http.delete, http.options):
        assert call("/echo").status == 405
    assert http.request("post", "/echo", content="x").text == "x"


def test_cookies_that_the_server_sets_are_kept(http):
    def session():
        with http.websocket_connect("/ws") as ws:
            return ws.receive_text()

    assert session() == "nobody"
    http.get("/login")
    assert http.cookies == {"session": "s3cret"}
    assert session() == "s3cret"
    http.get("/logout")
    assert session() == "nobody"


def test_an_exception_of_the_http_application_is_raised(http, loop):
    with pytest.raises(ZeroDivisionError, match="in a route"):
        http.get("/broken")
    with TestClient(http_app(), loop=loop, raise_server_exceptions=False) as client:
        assert client.get("/broken").status == 500
        assert [type(error) for error in client.errors] == [ZeroDivisionError]


def test_an_answer_that_does_not_come_times_out(http):
    with pytest.raises(TestTimeout, match="the answer to GET /forever"):
        http.get("/forever", timeout=0.05)


def test_a_handshake_that_the_http_application_answers_is_a_refusal(http):
    refused = http.handshake("/hello/you")
    assert (refused.status, refused.json()["text"]) == (200, "hello, you")


async def test_coroutines_send_requests_too():
    async with AsyncTestClient(http_app()) as client:
        responses = await asyncio.gather(*(client.get(f"/hello/{number}") for number in range(10)))
        assert [response.json()["text"] for response in responses] == [f"hello, {number}" for number in range(10)]
        assert (await client.post("/echo", content=b"x")).body == b"x"


# --- pytest, imports, documentation


def test_the_fixture_starts_apps_and_ends_them(nexios_client):
    log = []
    client = nexios_client(listed(log), timeout=1)
    assert client.timeout == 1
    with client.websocket_connect("/ws") as ws:
        ws.send_text("hello")
        assert ws.receive_text() == "hello"
    other = nexios_client(app_with(echo))
    with other.websocket_connect("/ws") as ws:
        ws.send_text("other")
        assert ws.receive_text() == "other"
    assert log == ["lifespan starts", "startup"]


def run_pytest(path, *arguments):
    """pytest in a project of its own."""
    command = [sys.executable, "-m", "pytest", "-q", *arguments, path]
    return subprocess.run(command, capture_output=True, text=True, cwd=path)


def test_projects_that_do_not_use_the_fixture_do_not_import_nexios(tmp_path):
    (tmp_path / "test_other.py").write_text(
        "import sys\n\ndef test_other():\n"
        "    assert 'nexios_pytest' in sys.modules\n    assert 'nexios' not in sys.modules\n"
    )
    done = run_pytest(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_fixture_ends_its_apps_after_the_test(tmp_path):
    (tmp_path / "test_app.py").write_text(
        "from nexios import NexiosApp\n\nlog = []\n\n"
        "def test_first(nexios_client):\n    app = NexiosApp()\n"
        "    async def shutdown():\n        log.append('shutdown')\n"
        "    app.on_shutdown(shutdown)\n    nexios_client(app)\n    assert log == []\n\n"
        "def test_second():\n    assert log == ['shutdown']\n"
    )
    done = run_pytest(tmp_path)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_nexios_alone_does_not_import_its_testing():
    code = "import sys, nexios; assert not [m for m in sys.modules if 'testing' in m and 'nexios' in m]"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pytest_collects_none_of_the_classes(tmp_path):
    (tmp_path / "test_import.py").write_text("from nexios.testing import *\n\ndef test_it():\n    pass\n")
    done = run_pytest(tmp_path, "-W", "error")
    assert "1 passed" in done.stdout, done.stdout + done.stderr


PARTS = pkgutil.iter_modules(nexios.testing.__path__, "nexios.testing.")
MODULES = ["nexios.testing", *(part.name for part in PARTS)]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_the_documentation_run(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def test_the_example_of_the_readme_runs():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    section = readme.split("### Testing\n")[1].split("\n## ")[0]
    code = section.split("```python\n")[1].split("```")[0]
    names = {}
    exec(code, names)
    names["test_echo"]()


@pytest.mark.parametrize("name", nexios.testing.__all__)
def test_every_public_name_has_an_example(name):
    assert ">>>" in getattr(nexios.testing, name).__doc__


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_process_comes_out_of_a_handler_as_itself(loop, error):
    app = NexiosApp()

    @app.ws("/")
    async def handler(ws):
        await ws.accept()
        raise error

    with pytest.raises(error):
        with TestClient(app, loop=loop) as client, client.websocket_connect("/") as ws:
            ws.receive_text()
