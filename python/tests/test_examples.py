"""Every example in Python runs, and does what it says."""

import asyncio
import importlib.util
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from nexios import NexiosApp
from nexios.client import NexiosError, connect
from raw_client import TEXT, frame
from serving import close_of, until

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "python"


def example(name):
    """The module, loaded again for each test."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_all_examples_are_tested():
    source = Path(__file__).read_text()
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names
    assert [name for name in names if f'"{name}"' not in source] == []


@pytest.mark.parametrize("name", ["echo", "chat"])
def test_a_program_runs_and_ends_with_0(name):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with subprocess.Popen([sys.executable, EXAMPLES / f"{name}.py", "--listen", f"127.0.0.1:{port}"]) as process:
        end = time.monotonic() + 15
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.02)
        process.terminate()
        assert process.wait(15) == 0


# --- one for each section of the reference


async def test_basic(serve):
    async with serve(example("basic").app) as server, server.connect() as ws:
        assert await ws.recv() == "Connected!"
        await ws.send("hi")
        assert await ws.recv() == "Echo: hi"
        await ws.send("bye")
        assert await close_of(ws) == (1000, "Normal closure")


async def test_messages_of_all_kinds(serve, capsys):
    async with serve(example("messages").app) as server, server.connect("/all-kinds") as ws:
        assert [await ws.recv() for _ in range(2)] == ["Hello, World!", b"Hello, World!"]
        assert json.loads(await ws.recv()) == {"message": "Hello", "type": "greeting"}
        await ws.send("text")
        await ws.send(b"four")
        await ws.send('{"message": "Hi"}')
        assert await close_of(ws) == (1000, "")
    assert capsys.readouterr().out == "text, 4 bytes, Hi, pong b'are you there?'\n"


@pytest.mark.parametrize("first, answer", [("text", "text: text"), (b"four", "binary: 4 bytes")])
async def test_messages_of_either_kind(serve, first, answer):
    async with serve(example("messages").app) as server, server.connect("/more") as ws:
        await ws.send(first)
        assert await ws.recv() == answer
        for message in ("a", b"b"):
            await ws.send(message)
            assert await ws.recv() == message


async def test_messages_about_pings(serve):
    async with serve(example("messages").app) as server, server.connect("/pings") as ws:
        await (await ws.ping("hello"))
        assert await ws.recv() == "you pinged with hello"


async def test_events(serve, capsys):
    async with serve(example("events").app) as server, server.connect() as ws:
        host, port = ws.local_address[:2]
        assert await ws.recv() == "Welcome"
        await ws.send("hi")
        await ws.send(b"four")
        await ws.close()
        printed = []
        await until(lambda: len(printed.append(capsys.readouterr().out) or "".join(printed).splitlines()) == 4)
    assert "".join(printed).splitlines() == [
        f"Client connected: {host}:{port}",
        f"Received message from {host}:{port}: hi",
        f"Received 4 bytes from {host}:{port}",
        f"Client disconnected: {host}:{port}, code 1000",
    ]


async def test_middleware(serve, capsys):
    async with serve(example("middleware").app) as server:
        assert await server.closed("/chat") == (1008, "Authentication required")
        async with server.connect("/chat", headers={"Authorization": "x"}) as ws:
            await ws.send("hi")
            assert await ws.recv() == "hi"
    assert capsys.readouterr().out.count("was here for") == 2


async def test_groups(serve):
    async with serve(example("groups").app) as server:
        for path, text in [
            ("/chat/general", "general"),
            ("/chat/private", "private"),
            ("/chat/support/17", "ticket 17 of /chat/support/{number:int}"),
        ]:
            async with server.connect(path) as ws:
                assert await ws.recv() == text
        assert (await server.refusal("/chat/support/x")).status_code == 404


async def test_broadcast(serve, capsys):
    broadcast = example("broadcast")
    broadcast.ANNOUNCE_SECONDS = 0.2
    async with serve(broadcast.app) as server:
        async with server.connect("/chat/general?name=client1") as one, server.connect("/chat/general") as two:
            assert [await one.recv() for _ in range(3)] == [
                "Hello, everyone!",
                "Hello, chat!",
                "Hello, specific clients!",
            ]
            broadcast.ANNOUNCE_SECONDS = 60
            await two.send("hi")
            assert await one.recv() == "hi"
            heard = [await two.recv() for _ in range(3)]
            assert heard[2] == "1 of 1 heard you" and "Hello, specific clients!" not in heard
    assert capsys.readouterr().out == "1 got it, 0 were too slow, not here: ['client2']\n"


async def test_state(serve):
    async with serve(example("state").app) as server:
        for visit in (1, 2):
            async with server.connect() as ws:
                assert await ws.recv() == f"visit {visit}: user 42 in general"
                for number in (1, 2):
                    await ws.send("x")
                    assert await ws.recv() == f"message {number}"


@pytest.mark.parametrize(
    "number, end",
    [
        ("x", (1007, "not a number: invalid literal for int() with base 10: 'x'")),
        ("65536", (1011, "that number is too large")),
    ],
)
async def test_errors(serve, number, end):
    async with serve(example("errors").app) as server, server.connect("/square") as ws:
        await ws.send("12")
        assert await ws.recv() == "144"
        await ws.send(number)
        assert await close_of(ws) == end


async def test_errors_that_are_caught_on_the_spot(serve):
    async with serve(example("errors").app) as server:
        async with server.connect("/chat") as ws:
            await ws.send('["ann", "hi"]')
            assert await ws.recv() == "ann says hi"
        async with server.connect("/chat") as ws:
            await ws.send("3")
            assert await close_of(ws) == (1011, "cannot unpack non-iterable int object")


@pytest.mark.parametrize(
    "path, options",
    [
        ("/secure", {"headers": {"Authorization": "secret"}}),
        ("/bearer", {"headers": {"Authorization": "Bearer secret"}}),
        ("/bearer", {"subprotocols": ["bearer", "secret"]}),
        ("/cookie", {"headers": {"Cookie": "session=secret"}}),
        ("/query?token=secret", {}),
    ],
)
async def test_auth(serve, path, options):
    async with serve(example("auth").app) as server:
        async with server.connect(path, **options) as ws:
            assert await ws.recv() == "You are in"
        assert await server.closed(path.partition("?")[0]) == (1008, "Invalid token")


async def test_a_rate_limit_for_messages(serve):
    async with serve(example("rate_limit").app) as server:
        client = await server.raw("/ready-made/close")
        client.send(frame(TEXT, b"x") * 60)
        assert await client.read_close() == (1008, "Rate limit exceeded")


async def test_a_rate_limit_for_handshakes(serve):
    async with serve(example("rate_limit").app) as server:
        ends = []
        for _ in range(6):
            async with server.connect("/ready-made/wait") as ws:
                try:
                    await ws.send("x")
                    ends.append(await ws.recv())
                except Exception:
                    ends.append(await close_of(ws))
    assert ends == ["x"] * 5 + [(1008, "Rate limit exceeded")]


async def test_a_rate_limit_by_hand(serve):
    async with serve(example("rate_limit").app) as server:
        for _ in range(10):
            async with server.connect("/by-hand/echo") as ws:
                await ws.send("x")
                assert await ws.recv() == "x"
        assert await server.closed("/by-hand/echo") == (1008, "Rate limit exceeded")


@pytest.mark.parametrize("path, compressed", [("/compressed", True), ("/takeover", True), ("/off", False)])
async def test_compression(serve, path, compressed):
    async with serve(example("compression").app) as server:
        client = await server.raw(path, Sec_WebSocket_Extensions="permessage-deflate")
        assert await client.read_frame() == (0x81, f"compression: {compressed}".encode())
        first, payload = await client.read_frame()
        assert (first == 0xC1, len(payload) < 1000) == (compressed, compressed)
        assert (await client.read_frame())[0] == 0x81


async def test_asgi_pages_beside_the_websockets(serve):
    async with serve(example("asgi").app) as server, server.connect() as ws:
        assert (await server.get("/"))[2].startswith(b"<!doctype html>")
        await ws.send("hi")
        assert await ws.recv() == "hi"
        assert (await server.get("/say/hello"))[2] == b"1 heard it\n"
        assert await ws.recv() == "hello"


async def test_echo(serve):
    echo = example("echo")
    app = NexiosApp()
    app.ws("/ws")(echo.echo)
    async with serve(app) as server, server.connect() as ws:
        for message in ("text", b"binary"):
            await ws.send(message)
            assert await ws.recv() == message


# --- the chat; its page is tested in a browser, by `make test-interop`


async def sign_in(server, name, token="letmein", room="general"):
    return await server.connect(f"/chat/{room}?name={name}", subprotocols=["bearer", token]).__aenter__()


async def heard(ws):
    return json.loads(await ws.recv())


async def test_chat_of_two_people_who_see_each_other_and_talk(serve):
    async with serve(example("chat").build()) as server:
        ann = await sign_in(server, "ann")
        assert ann.subprotocol == "bearer"
        welcome = {"type": "welcome", "you": "ann", "room": "general", "people": ["ann"], "history": []}
        assert await heard(ann) == welcome
        bob = await sign_in(server, "bob")
        assert (await heard(bob))["people"] == ["ann", "bob"]
        assert await heard(ann) == {"type": "joined", "name": "bob"}
        await bob.send(json.dumps({"type": "typing"}))
        assert await heard(ann) == {"type": "typing", "from": "bob"}
        await bob.send(json.dumps({"type": "say", "text": " hi "}))
        for person in (ann, bob):
            said = await heard(person)
            assert (said["type"], said["from"], said["text"], said["at"] > 1e12) == ("said", "bob", "hi", True)
        await bob.send(json.dumps({"type": "direct", "to": "ann", "text": "psst"}))
        for person in (ann, bob):
            assert (await heard(person))["text"] == "psst"
        await bob.close()
        assert await heard(ann) == {"type": "left", "name": "bob"}
        await ann.close()


async def test_chat_remembers_what_was_said(serve):
    async with serve(example("chat").build()) as server:
        ann = await sign_in(server, "ann")
        await heard(ann)
        await ann.send(json.dumps({"type": "say", "text": "one"}))
        await heard(ann)
        bob = await sign_in(server, "bob")
        assert [said["text"] for said in (await heard(bob))["history"]] == ["one"]
        await bob.close()
        await ann.close()


async def test_chat_goes_on_for_a_client_that_comes_back(serve):
    async with serve(example("chat").build()) as server:
        url, bearer = server.url("/chat/general?name=ann"), ["bearer", "letmein"]
        async with connect(url, json=True, proxy=None, protocols=bearer) as ann:
            told = asyncio.Queue()
            talk = ann.room("talk/general")
            talk.on("joined")(told.put_nowait)
            talk.on("message")(lambda message: told.put_nowait(message.data["text"]))
            assert not (await told.get()).recovered
            ann.drop(away=True)
            bob = await sign_in(server, "bob")
            for text in ("one", "two", "three"):
                await bob.send(json.dumps({"type": "say", "text": text}))
            while (await heard(bob)).get("text") != "three":
                pass
            ann.reconnect()
            assert (await told.get()).recovered
            await ann.request("say", {"text": "four", "key": "k"})
            await ann.request("say", {"text": "four", "key": "k"})
            await ann.request("say", {"text": "five", "key": "l"})
            assert [await told.get() for _ in range(5)] == ["one", "two", "three", "four", "five"]
            assert [said["text"] for said in await ann.request("history")][-2:] == ["four", "five"]
            assert [member.user for member in await ann.room("news/general").presence()] == ["ann", "bob"]
            await bob.close()


async def test_chat_to_everybody_and_to_nobody(serve):
    async with serve(example("chat").build()) as server:
        ann, bob = await sign_in(server, "ann"), await sign_in(server, "bob", room="random")
        for person in (ann, bob):
            await heard(person)
        await ann.send(json.dumps({"type": "say", "text": "/all hello"}))
        for person in (ann, bob):
            assert await heard(person) == {"type": "notice", "text": "ann to everybody: hello"}
        await ann.send(json.dumps({"type": "direct", "to": "eve", "text": "psst"}))
        assert (await heard(ann))["type"] == "direct"
        assert await heard(ann) == {"type": "notice", "text": "eve is not here any more"}
        await ann.send(json.dumps({"type": "say", "text": "/ping"}))
        assert "ms there and back" in (await heard(ann))["text"]
        await ann.close()
        await bob.close()


@pytest.mark.parametrize(
    "message, end",
    [
        ('{"type": "shout"}', (1007, "There is no such message")),
        ('{"type": "say"}', (1007, "There is no such message")),
        ('{"type": "say", "text": ""}', (1008, "A message has 1 to 2000 characters")),
    ],
)
async def test_chat_tells_what_is_wrong_with_a_message(serve, message, end):
    async with serve(example("chat").build()) as server:
        ann = await sign_in(server, "ann")
        await ann.send(message)
        assert await close_of(ann) == end


async def test_chat_refuses_before_accept(serve):
    async with serve(example("chat").build()) as server:
        assert await close_of(await sign_in(server, "ann", "wrong")) == (1008, "Invalid token")
        for name in ("", "%20", "x" * 25, "a%0Ab"):
            assert await close_of(await sign_in(server, name)) == (1008, "A name has 1 to 24 characters")


async def test_chat_tells_a_flood(serve):
    async with serve(example("chat").build()) as server:
        ann = await sign_in(server, "ann")
        for _ in range(30):
            await ann.send('{"type": "typing"}')
        assert await close_of(ann) == (1008, "Rate limit exceeded")


async def test_chat_serves_the_page(serve):
    async with serve(example("chat").build()) as server:
        status, _, body = await server.get("/")
        assert status == 200 and b"sign-in-form" in body
        assert (await server.get("/health"))[0] == 200


# --- clients that come back


async def test_live_remembers_its_room_answers_requests_and_lets_into_chats(serve):
    async with serve(example("live").app) as server:
        await publish_news(server)
        async with connect(server.url("/?name=ann"), json=True, proxy=None) as ann:
            assert await ann.request("divide", [6, 3]) == 2
            chat = ann.room("chat-1")
            await chat.join()
            assert chat.joined
            with pytest.raises(NexiosError):
                await ann.room("elsewhere").join()


async def publish_news(server):
    async with connect(server.url("/?name=bob"), json=True, proxy=None) as bob:
        news, joined = bob.room("news"), asyncio.Event()
        news.on("joined")(lambda *_: joined.set())
        await asyncio.wait_for(joined.wait(), 10)
        assert (await news.publish("hello")).position
        assert [member.user for member in await news.presence()] == ["bob"]
