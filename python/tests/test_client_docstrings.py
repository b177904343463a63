"""Every public name of `nexios.client` says what it does and shows it, and what it shows is so."""

import asyncio
import contextlib
import inspect
import re
from pathlib import Path

import nexios.client
import pytest
from live_server import Connection, LiveServer, position
from test_docstrings import examples_of_text, members, run
from websockets.exceptions import ConnectionClosed

SHOWN = {
    f"{name}.{member}": value
    for name in ("Client", "Room", "Subscription")
    for member, value in [("", getattr(nexios.client, name)), *members(getattr(nexios.client, name))]
} | {"connect": nexios.client.connect, "NexiosError": nexios.client.NexiosError}

PAGE = Path(__file__).resolve().parents[2] / "docs/clients.md"


class Answering(LiveServer):
    """A server that answers what the examples ask, with one room."""

    async def _handle(self, socket):
        connection = Connection(socket)
        with contextlib.suppress(ConnectionClosed):
            await connection.welcome()
            await connection.joined("general", 5)
            while True:
                await self._answer(connection, await connection.take())

    async def _answer(self, connection, frame):
        match frame:
            case {"type": "request", "method": "sum", "id": number}:
                await connection.say({"type": "reply", "id": number}, "3")
            case {"type": "request", "id": number}:
                await connection.say({"type": "error", "id": number, "code": "closed", "message": "say the word"})
            case {"type": "presence", "id": number}:
                await connection.say({"type": "reply", "id": number}, '[{"user":"ann","data":{"typing":true}}]')
            case {"type": "publish" | "join" | "leave", "id": number}:
                await connection.say({"type": "ack", "id": number, "position": position(6)})


@pytest.mark.parametrize("name", nexios.client.__all__)
def test_it_says_what_it_does(name):
    assert inspect.getdoc(getattr(nexios.client, name)) or name == "CloseKind"


@pytest.mark.parametrize("name", SHOWN)
async def test_what_it_shows_is_so(name):
    examples, closing = examples_of_text(inspect.getdoc(SHOWN[name])), []
    assert examples
    async with Answering() as server:
        async with nexios.client.connect(server.url, json=True, proxy=None) as client:
            room, entered = client.room("general"), asyncio.Event()
            room.on("joined")(lambda joined: entered.set())
            await entered.wait()
            if name == "Client.wait_closed":
                closing.append(asyncio.create_task(client.close()))
            names = {"client": client, "room": room, "__name__": "example"}
            await run(examples, names | {name: getattr(nexios.client, name) for name in nexios.client.__all__})


async def test_what_the_page_shows_runs(capsys):
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    start, end = "ws://localhost:8000/live", "asyncio.run(main())"
    assert start in program and end in program
    async with Answering() as server:
        names = {}
        exec(program.replace(start, server.url).replace(end, ""), names)
        await names["main"]()
    assert capsys.readouterr().out == "load what is older\n3\n"
