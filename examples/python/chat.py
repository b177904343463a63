"""A chat: sign in with a name and a token, rooms, direct messages, typing, who is here.

`python examples/python/chat.py`, then open http://127.0.0.1:8000 in two windows.

Read from the top: `build` puts the parts together, each part stands below it. The page is that of
the same chat in Rust, `examples/chat`; what travels between the two is in `wire.rs` there.
"""

from __future__ import annotations

import argparse
import hmac
import logging
import sys
import time
import unicodedata
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from nexios import NexiosApp, RateLimit, WebSocket, WebSocketException, WSRouter

NAME_CHARS_MAX = 24
TEXT_CHARS_MAX = 2000
#: Messages that a newcomer sees.
HISTORY_MAX = 50
#: Found from wherever the demo is started.
PAGE = Path(__file__).resolve().parent.parent / "chat" / "page"

logger = logging.getLogger("chat")


def build(token: str = "letmein", page: Path = PAGE) -> NexiosApp:
    app = NexiosApp(health="/health")
    chat = Chat(token)
    router = WSRouter(prefix="/chat")
    router.middleware(chat.sign_in)
    router.on("connect")(chat.come_in)
    router.on("message")(log_message)
    router.on("disconnect")(chat.go_out)
    router.exception_handler(WebSocketException)(tell_and_close)
    talking = RateLimit(messages=5, per=1.0, burst=20)
    router.ws("/{room}", middleware=[talking])(chat.talk)
    app.mount_ws_router(router)
    app.static("/", directory=page)
    return app


class Chat:
    """Who may come in, and who is where."""

    def __init__(self, token: str) -> None:
        self.token = token.encode()
        self.rooms: dict[str, Room] = {}

    async def sign_in(self, ws: WebSocket, next: Callable[[WebSocket], Awaitable[Any]]) -> Any:
        """A wrong token or name is refused before `accept()`: the browser sees 1008 and the reason."""
        if not hmac.compare_digest((ws.bearer_token or "").encode(), self.token):
            return await ws.close(1008, "Invalid token")
        name = ws.query_params.get("name", "").strip()
        if not 1 <= len(name) <= NAME_CHARS_MAX or any(unicodedata.category(char) == "Cc" for char in name):
            return await ws.close(1008, f"A name has 1 to {NAME_CHARS_MAX} characters")
        ws.client_id = ws.state.name = name
        ws.state.room = ws.path_params["room"]
        return await next(ws)

    async def come_in(self, ws: WebSocket) -> None:
        """Runs inside `accept()`: the newcomer gets the picture, the others get the news."""
        name, room = ws.state.name, ws.state.room
        here = self.rooms.setdefault(room, Room())
        first_tab = here.enter(name)
        await ws.join(room)
        people, history = sorted(here.tabs), list(here.said)
        await ws.send_json({"type": "welcome", "you": name, "room": room, "people": people, "history": history})
        if first_tab:
            await ws.app.room(room).broadcast({"type": "joined", "name": name}, exclude=[ws])

    async def talk(self, ws: WebSocket) -> None:
        """The conversation: one message after the other, until the client is gone."""
        await ws.accept()
        ws.enable_compression()
        async for message in ws.iter_json():
            match message:
                case {"type": "say", "text": str(text)}:
                    await self.say(ws, text.strip())
                case {"type": "direct", "to": str(to), "text": str(text)}:
                    await self.direct(ws, to, text.strip())
                case {"type": "typing"}:
                    typing = {"type": "typing", "from": ws.state.name}
                    await ws.app.room(ws.state.room).broadcast(typing, exclude=[ws])
                case _:
                    raise WebSocketException(1007, "There is no such message")

    async def say(self, ws: WebSocket, text: str) -> None:
        check(text)
        name, room = ws.state.name, ws.state.room
        if text == "/ping":
            return await notice(ws, f"{await ws.ping() * 1000:.1f} ms there and back")
        if text.startswith("/all "):
            text = f"{name} to everybody: {text.removeprefix('/all ')}"
            await ws.route.router.broadcast({"type": "notice", "text": text})
            return None
        said = {"from": name, "text": text, "at": now()}
        await ws.app.room(room).broadcast({"type": "said", **said})
        # Whoever is gone meanwhile may have been the last in the room.
        if room in self.rooms:
            self.rooms[room].said.append(said)
        return None

    async def direct(self, ws: WebSocket, to: str, text: str) -> None:
        """To every tab of the other, and to every tab of the sender."""
        check(text)
        message = {"type": "direct", "from": ws.state.name, "to": to, "text": text, "at": now()}
        outcome = await ws.app.broadcast_to([to, ws.state.name], message)
        if to in outcome.unknown:
            await notice(ws, f"{to} is not here any more")

    async def go_out(self, ws: WebSocket) -> None:
        name, room = ws.state.name, ws.state.room
        logger.debug("%s is gone with %s", name, ws.close_code)
        here = self.rooms[room]
        last_tab = here.leave(name)
        if not here.tabs:
            # An empty room is forgotten.
            del self.rooms[room]
        if last_tab:
            await ws.app.room(room).broadcast({"type": "left", "name": name})


class Room:
    """The names in a room, each with the number of its tabs, and what was said there last."""

    def __init__(self) -> None:
        self.tabs: Counter[str] = Counter()
        self.said: deque[dict[str, Any]] = deque(maxlen=HISTORY_MAX)

    def enter(self, name: str) -> bool:
        """Counts a tab; whether it is the first of its name."""
        self.tabs[name] += 1
        return self.tabs[name] == 1

    def leave(self, name: str) -> bool:
        """Counts a tab less; whether it was the last of its name."""
        self.tabs[name] -= 1
        if self.tabs[name] > 0:
            return False
        del self.tabs[name]
        return True


async def log_message(ws: WebSocket, message: str | bytes) -> None:
    logger.debug("%s sends %d", ws.client, len(message))


async def tell_and_close(ws: WebSocket, error: WebSocketException) -> None:
    """What is wrong with a client's message is told to that client."""
    await ws.close(error.code, error.reason)


async def notice(ws: WebSocket, text: str) -> None:
    await ws.send_json({"type": "notice", "text": text})


def check(text: str) -> None:
    if not 1 <= len(text) <= TEXT_CHARS_MAX:
        raise WebSocketException(1008, f"A message has 1 to {TEXT_CHARS_MAX} characters")


def now() -> int:
    """Milliseconds since 1970, as the browser counts them."""
    return time.time_ns() // 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description="A chat in the browser")
    parser.add_argument("--listen", default="127.0.0.1:8000", help="where to listen (%(default)s)")
    parser.add_argument("--token", default="letmein", help="the token that signs people in (%(default)s)")
    parser.add_argument("--page", type=Path, default=PAGE, help="the directory of the page")
    args = parser.parse_args()
    logging.basicConfig()

    host, _, port = args.listen.rpartition(":")
    print(f"The chat is at http://{args.listen} (any name; the token is {args.token})", flush=True)
    try:
        build(args.token, args.page).run(host, int(port))
    except OSError as error:
        sys.exit(f"Error: {error.strerror}")


if __name__ == "__main__":
    main()
