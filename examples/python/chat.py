"""A chat: sign in with a name and a token, rooms, direct messages, typing, who is here.

`python examples/python/chat.py`, then open http://127.0.0.1:8000 in two windows. With
`NEXIOS_BROKER=redis://…` several of them are one chat.

Read from the top: `build` puts the parts together, each part stands below it. The page is that of
the same chat in Rust, `examples/chat`; what travels between the two is in `wire.rs` there. The page
comes back to where it was, by `clients/js`; nothing here knows of that but `come_in`.
"""

from __future__ import annotations

import argparse
import hmac
import json
import logging
import sys
import time
import unicodedata
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from nexios import (
    History,
    HistoryPage,
    NexiosApp,
    PresenceEvent,
    RateLimit,
    RequestError,
    Room,
    WebSocket,
    WebSocketException,
    WSRouter,
)

NAME_CHARS_MAX = 24
TEXT_CHARS_MAX = 2000
KEY_CHARS_MAX = 30
#: What was said remains for an hour, the last thousand messages.
HISTORY = History(size=1000, ttl=3600)
#: Messages that a newcomer sees.
PAGE_MESSAGES = 50
#: Found from wherever the demo is started.
PAGE = Path(__file__).resolve().parent.parent / "chat" / "page"

logger = logging.getLogger("chat")


def build(token: str = "letmein", page: Path = PAGE, origins: Sequence[str] = ()) -> NexiosApp:
    app = NexiosApp(health="/health", allowed_origins=list(origins))
    chat = Chat(app, token)
    router = WSRouter(prefix="/chat", live=True)
    router.middleware(chat.sign_in)
    router.on("connect")(chat.come_in)
    router.on("message")(log_message)
    router.on("disconnect")(log_end)
    router.exception_handler(WebSocketException)(tell_and_close)
    router.authorize_presence(chat.may_see)
    router.on_request("history")(chat.history)
    router.on_request("say", json=True)(chat.say_once)
    talking = RateLimit(messages=5, per=1.0, burst=20)
    router.ws("/{room}", middleware=[talking])(chat.converse)
    app.mount_ws_router(router)
    app.on("join")(chat.tell_joined)
    app.on("leave")(chat.tell_left)
    # The client in JavaScript is a link to where it is kept.
    app.static("/", directory=page, follow_links=True)
    return app


class Chat:
    """Who may come in, and what is said where."""

    def __init__(self, app: NexiosApp, token: str) -> None:
        self.app = app
        self.token = token.encode()

    def talk(self, room: str) -> Room:
        """What people say."""
        return self.app.room(f"talk/{room}", history=HISTORY)

    def news(self, room: str) -> Room:
        """Who is here and who is typing; for those who do not ask for presence, who comes and goes."""
        return self.app.room(f"news/{room}")

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
        """Runs inside `accept()`. Who speaks `nexios.v1` comes to where they were, and asks for the rest;
        who does not gets the picture, and what is said from there on."""
        name, room = ws.state.name, ws.state.room
        talk, news = self.talk(room), self.news(room)
        await ws.join(news.name)
        await news.track(ws, None)
        if ws.subprotocol == "nexios.v1":
            await ws.join(talk.name)
        else:
            past = await talk.history(limit=PAGE_MESSAGES)
            people = [present.user for present in await news.presence()]
            history = entries_of(past)
            await ws.send_json({"type": "welcome", "you": name, "room": room, "people": people, "history": history})
            await ws.join(talk.name, since=past.position)

    async def tell_joined(self, event: PresenceEvent) -> None:
        await self.tell_news(event, "joined")

    async def tell_left(self, event: PresenceEvent) -> None:
        await self.tell_news(event, "left")

    async def tell_news(self, event: PresenceEvent, what: str) -> None:
        """Told once, by the node that the person is on."""
        if event.here and event.room.startswith("news/"):
            await self.app.room(event.room).broadcast({"type": what, "name": event.user}, exclude=[event.user])

    async def converse(self, ws: WebSocket) -> None:
        """The conversation: one message after the other, until the client is gone."""
        await ws.accept()
        ws.enable_compression()
        async for message in ws.iter_json():
            match message:
                case {"type": "say", "text": str(text)}:
                    await self.say(ws, text.strip(), None)
                case {"type": "direct", "to": str(to), "text": str(text)}:
                    await self.direct(ws, to, text.strip())
                case {"type": "typing"}:
                    typing = {"type": "typing", "from": ws.state.name}
                    await self.news(ws.state.room).broadcast(typing, exclude=[ws])
                case _:
                    raise WebSocketException(1007, "There is no such message")

    async def say(self, ws: WebSocket, text: str, key: str | None) -> bool:
        """Whether it is where it cannot get lost."""
        check(text)
        name = ws.state.name
        if text == "/ping":
            await notice(ws, f"{await ws.ping() * 1000:.1f} ms there and back")
            return True
        if text.startswith("/all "):
            text = f"{name} to everybody: {text.removeprefix('/all ')}"
            await ws.route.router.broadcast({"type": "notice", "text": text})
            return True
        said = {"type": "said", "from": name, "text": text, "at": now()}
        once = f"{name}:{key}" if key and len(key) <= KEY_CHARS_MAX else None
        outcome = await self.talk(ws.state.room).broadcast(said, idempotency_key=once)
        return outcome.stored is not None

    async def say_once(self, ws: WebSocket, what: Any) -> None:
        """A page that gets no answer asks again, with the same key."""
        match what:
            case {"text": str(text), "key": str(key)}:
                if not await self.say(ws, text.strip(), key):
                    raise RequestError("unavailable", "It could not be stored")
            case _:
                raise WebSocketException(1007, "There is no such message")

    async def may_see(self, ws: WebSocket, room: str) -> bool:
        return room.startswith("news/")

    async def history(self, ws: WebSocket, _: object) -> str:
        return json.dumps(entries_of(await self.talk(ws.state.room).history(limit=PAGE_MESSAGES)))

    async def direct(self, ws: WebSocket, to: str, text: str) -> None:
        """To every tab of the other, and to every tab of the sender."""
        check(text)
        message = {"type": "direct", "from": ws.state.name, "to": to, "text": text, "at": now()}
        outcome = await ws.app.broadcast_to([to, ws.state.name], message)
        if to in outcome.unknown:
            await notice(ws, f"{to} is not here any more")


def entries_of(past: HistoryPage) -> list[dict[str, Any]]:
    """Returns the messages of a page, each with its position."""
    return [{"offset": offset_of(stored.position), **json.loads(stored.message)} for stored in past.messages]


def offset_of(position: str) -> int:
    return int(position.split("-")[1])


async def log_end(ws: WebSocket) -> None:
    logger.debug("%s is gone with %s", ws.client, ws.close_code)


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
    parser.add_argument("--origin", action="append", default=[], help="a page of another node that may connect")
    args = parser.parse_args()
    logging.basicConfig()

    host, _, port = args.listen.rpartition(":")
    print(f"The chat is at http://{args.listen} (any name; the token is {args.token})", flush=True)
    try:
        build(args.token, args.page, args.origin).run(host, int(port))
    except OSError as error:
        sys.exit(f"Error: {error.strerror}")


if __name__ == "__main__":
    main()
