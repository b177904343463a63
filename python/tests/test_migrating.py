"""What `docs/migrating.md` shows is so: the old code runs where it comes from, and the new code here."""

import asyncio
import json
import re
import sys
from pathlib import Path

import guides
import pytest
from apps import app_with
from nexios import WebSocketDisconnect, WebSocketState
from serving import close_of, until
from websockets.asyncio.client import connect


@pytest.fixture
def snippet(tmp_path):
    """Imports a snippet of the page as a module."""
    return lambda name: guides.imported("migrating", tmp_path, name)


def test_all_snippets_are_tested():
    source = Path(__file__).read_text()
    for name in guides.snippets("migrating"):
        assert re.search(rf'"{name.removesuffix(".py")}(\.py)?"', source), name


# --- a chat, before and after


@pytest.mark.parametrize(
    "server, module", [("uvicorn", "chat_before"), ("nexios", "chat_before"), ("nexios", "chat_after")]
)
async def test_the_chat_is_the_same_before_and_after(tmp_path, listening, server, module):
    guides.write_snippets("migrating", tmp_path)
    if (server, module) == ("nexios", "chat_before"):
        # The first step: nothing but the server changes, and only plain HTTP works.
        (tmp_path / "adopted.py").write_text(
            "from chat_before import app as api\nfrom nexios import NexiosApp\napp = NexiosApp(http=api)\n"
        )
        module = "adopted"
    fd, port = listening.fileno(), listening.getsockname()[1]
    command = [sys.executable, "-m", server, *(["run"] if server == "nexios" else []), f"{module}:app", "--fd", str(fd)]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, pass_fds=[fd], stderr=asyncio.subprocess.PIPE
    )
    try:
        assert await clients(port) == 0
        if module != "adopted":
            await chat(f"ws://127.0.0.1:{port}/ws", lambda: clients(port))
    finally:
        process.terminate()
        await process.communicate()


async def clients(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200")
    return json.loads(answer.rpartition(b"\r\n\r\n")[2])["clients"]


async def chat(url, count):
    async with connect(f"{url}/1", proxy=None) as one:
        async with connect(f"{url}/2", proxy=None) as two:
            while await count() < 2:
                pass
            await one.send("hello")
            assert [await one.recv(), await two.recv()] == ["Client #1 says: hello"] * 2
        assert await one.recv() == "Client #2 left the chat"


# --- what comes from elsewhere


async def test_events_have_names_and_acknowledgements(serve, snippet):
    with snippet("events_after") as module:
        async with serve(module.app) as server:
            assert await server.closed("/events") == (1008, "authentication failed")
            async with server.connect("/events?token=letmein") as one, server.connect("/events?token=letmein") as two:
                for client in one, two:
                    await client.send(json.dumps({"event": "join", "data": "a room"}))
                await until(lambda: module.app.room("a room").count() == 2)
                data = {"room": "a room", "text": "hello"}
                await one.send(json.dumps({"event": "say", "data": data, "ack": 7}))
                assert json.loads(await one.recv()) == {"ack": 7, "data": "ok"}
                assert json.loads(await two.recv())["data"]["text"] == "hello"
                await one.send(json.dumps({"event": "shout", "data": data}))
                assert await close_of(one) == (1008, "there is no event 'shout'")


async def test_a_consumer_with_a_group(serve, snippet):
    with snippet("consumer_after") as module:
        async with serve(module.app) as server, server.connect("/lobby") as one:
            async with server.connect("/lobby") as two:
                await until(lambda: module.app.room("lobby").count() == 2)
                await two.send("hello")
                assert [await one.recv(), await two.recv()] == ["hello", "hello"]
            assert json.loads(await one.recv())["code"] == 1000


# --- what behaves differently


@pytest.mark.parametrize(
    "step, message, closed",
    [
        (lambda ws: asyncio.sleep(0), None, (1000, "")),
        (lambda ws: ws.receive_text(), b"data", (1003, None)),
        (lambda ws: ws.receive_json(), "{", (1007, None)),
        (lambda ws: ws.nothing, None, (1011, "")),
    ],
    ids=["returns", "other kind", "no JSON", "raises"],
)
async def test_how_a_handler_ends(serve, step, message, closed):
    async def handler(ws):
        await ws.accept()
        await step(ws)

    async with serve(app_with(handler)) as server, server.connect() as client:
        if message is not None:
            await client.send(message)
        code, reason = await close_of(client)
        assert code == closed[0] and closed[1] in (None, reason)


async def test_calls_after_the_end_say_so_each_time(serve):
    said = []

    async def handler(ws):
        await ws.accept()
        await ws.wait_closed()
        for call in ws.send_text, ws.send_text, lambda _: ws.receive_text(), lambda _: ws.receive_text():
            with pytest.raises(WebSocketDisconnect):
                await call("x")
        await ws.close()
        said.append(ws.state == WebSocketState.DISCONNECTED)

    async with serve(app_with(handler)) as server:
        async with server.connect():
            pass
        await until(lambda: said)
    assert said == [True]
