"""Every snippet of the reference runs letter for letter; an outside client checks what it does."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from pathlib import Path
from typing import Any

import nexios
import pytest
import websockets
from nexios import NexiosApp, WebSocketException, WebSocketState, WSRouter
from serving import close_of, until

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference.md"
TOP_LEVEL_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


def snippets() -> dict[str, str]:
    """The Python blocks by the heading that they stand under."""
    found: dict[str, str] = {}
    parts = re.split(r"^#{2,3} (.+)$", REFERENCE.read_text(), flags=re.MULTILINE)
    for heading, text in zip(parts[1::2], parts[2::2], strict=True):
        for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
            assert heading not in found, f"two blocks under {heading}"
            found[heading] = block
    return found


SNIPPETS = snippets()


async def run(heading: str, **taken_for_granted: Any) -> dict[str, Any]:
    """Runs a snippet, unedited, where only this is there already."""
    names = dict(taken_for_granted)
    code = compile(SNIPPETS[heading], f"<{heading}>", "exec", flags=TOP_LEVEL_AWAIT)
    result = eval(code, names)
    if inspect.isawaitable(result):
        await result
    return names


class InHandler:
    """Serves a snippet that stands in a handler."""

    def __init__(self, heading: str, accept: bool = True) -> None:
        self.app = NexiosApp()
        self.names: dict[str, Any] = {}
        self.error: BaseException | None = None

        @self.app.ws("/")
        async def handler(ws: nexios.WebSocket) -> None:
            if accept:
                await ws.accept()
            try:
                self.names = await run(heading, ws=ws, WebSocketState=WebSocketState)
            except BaseException as error:
                self.error = error
                raise


def test_all_snippets_are_tested() -> None:
    source = Path(__file__).read_text()
    assert len(SNIPPETS) == 13
    for heading in SNIPPETS:
        assert f'"{heading}"' in source, heading


async def test_basic_setup_is_served_as_it_is(serve: Any) -> None:
    names = await run("Basic WebSocket Setup")
    async with serve(names["ws_router"]) as server, server.connect("/ws") as client:
        assert await client.recv() == "Connected!"
        for text in ("a", "ü", ""):
            await client.send(text)
            assert await client.recv() == f"Echo: {text}"


async def test_connection_is_accepted_and_closed(serve: Any) -> None:
    case = InHandler("WebSocket Connection", accept=False)
    async with serve(case.app) as server, server.connect("/") as client:
        assert await close_of(client) == (1000, "Normal closure")
    assert case.error is None


async def test_the_state_check_sees_an_open_connection(serve: Any) -> None:
    seen: list[bool] = []
    source = SNIPPETS["WebSocket Connection"]
    check = source[source.index("if ws.state") :].replace("pass", "seen.append(True)")
    app = NexiosApp()

    @app.ws("/")
    async def handler(ws: nexios.WebSocket) -> None:
        await ws.accept()
        exec(check, {"ws": ws, "WebSocketState": WebSocketState, "seen": seen})

    async with serve(app) as server, server.connect("/") as client:
        assert await close_of(client) == (1000, "")
    assert seen == [True]


async def test_messages_are_sent(serve: Any) -> None:
    case = InHandler("Sending Messages")
    async with serve(case.app) as server, server.connect("/") as client:
        assert await client.recv() == "Hello, World!"
        assert await client.recv() == b"Hello, World!"
        assert await client.recv() == '{"message":"Hello","type":"greeting"}'
        assert await close_of(client) == (1000, "")
    assert case.error is None


async def test_pings_and_pongs_are_sent_behind_the_messages(serve: Any) -> None:
    case = InHandler("Sending Messages")
    async with serve(case.app) as server:
        client = await server.raw("/")
        frames = [(await client.read_frame())[0] for _ in range(6)]
    assert frames == [0x81, 0x82, 0x81, 0x89, 0x8A, 0x88]


async def test_messages_are_received(serve: Any) -> None:
    case = InHandler("Receiving Messages")
    async with serve(case.app) as server, server.connect("/") as client:
        await client.send("text")
        await client.send(b"binary")
        await client.send('{"a": [1, null]}')
        await client.ping(b"pi")
        await client.pong(b"po")
        assert await close_of(client) == (1000, "")
    received = {name: case.names[name] for name in ("text", "binary", "data", "ping", "pong")}
    assert received == {"text": "text", "binary": b"binary", "data": {"a": [1, None]}, "ping": b"pi", "pong": b"po"}


async def test_events_print_who_comes_says_and_goes(serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    ws_router = WSRouter()
    await run("WebSocket Events", ws_router=ws_router)

    @ws_router.ws("/")
    async def handler(ws: nexios.WebSocket) -> None:
        await ws.accept()
        await ws.wait_closed()

    async with serve(ws_router) as server:
        async with server.connect("/") as client:
            host, port = client.local_address[:2]
            await client.send("hi")
    address = repr(nexios.Address(host, port))
    assert capsys.readouterr().out.splitlines() == [
        f"Client connected: {address}",
        "Received message: hi",
        f"Client disconnected: {address}",
    ]


async def test_middleware_asks_for_authorization(serve: Any) -> None:
    ws_router = WSRouter()
    names = await run("WebSocket Middleware", ws_router=ws_router)
    assert inspect.iscoroutinefunction(names["auth_middleware"])
    async with serve(ws_router) as server:
        async with server.connect("/chat") as client:
            assert await close_of(client) == (1008, "Authentication required")
        async with server.connect("/chat", headers={"Authorization": "x"}) as client:
            assert await close_of(client) == (1000, "")


async def test_groups_stand_below_their_prefix(serve: Any) -> None:
    app = NexiosApp()
    await run("WebSocket Groups", app=app, WSRouter=WSRouter)
    async with serve(app) as server:
        for path in ("/chat/general", "/chat/private"):
            async with server.connect(path) as client:
                assert await close_of(client) == (1000, "")
        with pytest.raises(websockets.InvalidStatus, match="404"):
            await server.connect("/general")


async def test_broadcasts_reach_all_a_group_and_some(serve: Any) -> None:
    app = NexiosApp()
    ws_router, chat_group = WSRouter(prefix="/main"), WSRouter(prefix="/chat")
    ws_router.mount_ws_router(chat_group)
    app.mount_ws_router(ws_router)

    async def handler(ws: nexios.WebSocket) -> None:
        ws.client_id = ws.query_params["id"]
        await ws.accept()
        await ws.wait_closed()

    ws_router.ws("/")(handler)
    chat_group.ws("/")(handler)
    async with serve(app) as server:
        async with (
            server.connect("/main?id=client1") as one,
            server.connect("/main/chat?id=client2") as two,
            server.connect("/main/chat?id=client3") as three,
        ):
            await until(lambda: len(app.connections) == 3)
            await run("WebSocket Broadcasting", ws_router=ws_router, chat_group=chat_group)
            everyone, chat, specific = "Hello, everyone!", "Hello, chat!", "Hello, specific clients!"
            assert [await one.recv() for _ in range(2)] == [everyone, specific]
            assert [await two.recv() for _ in range(3)] == [everyone, chat, specific]
            assert [await three.recv() for _ in range(2)] == [everyone, chat]


async def test_state_keeps_the_clients_values(serve: Any) -> None:
    case = InHandler("WebSocket State Management")
    async with serve(case.app) as server, server.connect("/") as client:
        assert await close_of(client) == (1000, "")
    assert (case.names["user_id"], case.names["room"]) == (42, "general")


async def test_errors_close_with_their_text(serve: Any) -> None:
    ws_router = WSRouter()
    names = await run("WebSocket Error Handling", ws_router=ws_router, WebSocketException=WebSocketException)
    assert inspect.iscoroutinefunction(names["chat"])

    @ws_router.ws("/raises")
    async def raises(ws: nexios.WebSocket) -> None:
        await ws.accept()
        raise WebSocketException(reason="no such room")

    async with serve(ws_router) as server:
        async with server.connect("/raises") as client:
            assert await close_of(client) == (1011, "no such room")
        async with server.connect("/chat") as client:
            assert await close_of(client) == (1000, "")


async def test_a_long_error_in_accept_is_cut_at_a_character(serve: Any) -> None:
    ws_router = WSRouter()
    await run("WebSocket Error Handling", ws_router=ws_router, WebSocketException=WebSocketException)

    @ws_router.on("connect")
    async def refuse(ws: nexios.WebSocket) -> None:
        raise ValueError("é" * 100)

    async with serve(ws_router) as server, server.connect("/chat") as client:
        assert await close_of(client) == (1011, "é" * 61)


async def test_authentication_closes_with_1008(serve: Any) -> None:
    async def validate_token(token: str | None) -> bool:
        await asyncio.sleep(0)
        return token == "good"

    ws_router = WSRouter()
    await run("WebSocket Authentication", ws_router=ws_router, validate_token=validate_token)
    async with serve(ws_router) as server:
        for headers, end in [({}, (1008, "Invalid token")), ({"Authorization": "good"}, (1000, ""))]:
            async with server.connect("/secure", headers=headers) as client:
                assert await close_of(client) == end


async def test_rate_limiting_closes_with_1008(serve: Any) -> None:
    seen: list[Any] = []

    async def check_rate_limit(client: Any) -> bool:
        seen.append(client)
        return len(seen) < 2

    ws_router = WSRouter()
    await run("WebSocket Rate Limiting", ws_router=ws_router, check_rate_limit=check_rate_limit)

    @ws_router.ws("/")
    async def handler(ws: nexios.WebSocket) -> None:
        await ws.accept()

    async with serve(ws_router) as server:
        for end in [(1000, ""), (1008, "Rate limit exceeded")]:
            async with server.connect("/") as client:
                assert await close_of(client) == end
    assert [host for host, _ in seen] == ["127.0.0.1"] * 2


async def test_compression_is_agreed_on(serve: Any) -> None:
    ws_router = WSRouter()
    names = await run("WebSocket Compression", ws_router=ws_router)
    assert inspect.iscoroutinefunction(names["compressed_endpoint"])
    async with serve(ws_router) as server:
        async with server.connect("/compressed", compression="deflate") as client:
            assert "permessage-deflate" in client.response.headers["Sec-WebSocket-Extensions"]
            assert await close_of(client) == (1000, "")


async def test_compression_makes_long_messages_small(serve: Any) -> None:
    ws_router = WSRouter()
    # What stands for the comment "Compressed WebSocket logic".
    source = SNIPPETS["WebSocket Compression"] + '    await ws.send_text("x" * 10_000)\n'
    exec(source, {"ws_router": ws_router})
    async with serve(ws_router) as server:
        client = await server.raw("/compressed", Sec_WebSocket_Extensions="permessage-deflate")
        first, payload = await client.read_frame()
        assert first == 0xC1 and len(payload) < 100
        async with server.connect("/compressed", compression="deflate") as opened:
            assert await opened.recv() == "x" * 10_000
