"""A room, as a client sees it."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from nexios.client.calls import Call
from nexios.client.errors import Malformed, NexiosError
from nexios.client.events import Gap, Joined, Left, Member, Message, PresenceChange, Published
from nexios.client.frames import Payload, Position
from nexios.client.inbox import Handlers, Inbox, Item, on

if TYPE_CHECKING:
    from nexios.client.client import Client

__all__ = ["Room"]

_EVENTS = ("joined", "left", "message", "reset", "gap", "presence")
# Errors that may be gone in a while.
_PASSING = ("busy", "failed", "unavailable")

_OnJoined = TypeVar("_OnJoined", bound=Callable[[Joined], object])
_OnLeft = TypeVar("_OnLeft", bound=Callable[[Left], object])
_OnMessage = TypeVar("_OnMessage", bound=Callable[[Message], object])
_OnReset = TypeVar("_OnReset", bound=Callable[[], object])
_OnGap = TypeVar("_OnGap", bound=Callable[[Gap], object])
_OnPresence = TypeVar("_OnPresence", bound=Callable[[PresenceChange], object])


class Room:
    """What ``client.room(name)`` gives, the same each time.

    >>> client.room("general") is room
    True
    >>> room
    <Room 'general' joined>
    """

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name
        self._joined = False
        self._handlers = Handlers(client._failed)
        self._inbox = Inbox(client._failed, self._emptied)
        self._at: Position | None = None  # how far it has received, in rooms that remember
        self._since: str | None = None  # where to begin, as the application says, until it is in
        self._is_behind = False
        self._is_known = False  # the application has heard `joined`, and no `left` since
        self._is_wanted = False
        self._is_leaving = False
        self._is_watched = False

    @property
    def name(self) -> str:
        """The room's name.

        >>> room.name
        'general'
        """
        return self._name

    @property
    def joined(self) -> bool:
        """Whether the connection is in it now.

        >>> room.joined
        True
        """
        return self._joined

    @overload
    def on(self, event: Literal["joined"]) -> Callable[[_OnJoined], _OnJoined]: ...
    @overload
    def on(self, event: Literal["left"]) -> Callable[[_OnLeft], _OnLeft]: ...
    @overload
    def on(self, event: Literal["message"]) -> Callable[[_OnMessage], _OnMessage]: ...
    @overload
    def on(self, event: Literal["reset"]) -> Callable[[_OnReset], _OnReset]: ...
    @overload
    def on(self, event: Literal["gap"]) -> Callable[[_OnGap], _OnGap]: ...
    @overload
    def on(self, event: Literal["presence"]) -> Callable[[_OnPresence], _OnPresence]: ...
    def on(self, event: str) -> Callable[[Any], Any]:
        """Adds a handler, a function or a coroutine function; what happens is handled one after another.

        ``joined`` (:class:`Joined`), ``left`` (:class:`Left`), ``message`` (:class:`Message`), ``reset`` (nothing: what
        is known of the room is stale, load it anew), ``gap`` (:class:`Gap`), ``presence`` (:class:`PresenceChange`).
        The position is kept when the handler has returned: what was not handled comes again.

        >>> @room.on("message")
        ... async def received(message):
        ...     print(message.data, message.offset)
        """
        return on(self._handlers, event, _EVENTS)

    def off(self, event: str, handler: Callable[..., object]) -> None:
        """Removes a handler.

        >>> @room.on("reset")
        ... def load(): ...
        >>> room.off("reset", load)
        """
        self._handlers.remove(event, handler)

    async def join(self, *, since: str | None = None) -> None:
        """Asks to be let in, now and after each reconnect, until :meth:`leave`.

        In a room that remembers ``since`` says where to begin: a position that the server has given, or ``"start"``,
        where the application permits it. ``NexiosError`` where the server refuses. Not needed where the server lets the
        connection in by itself.

        >>> await room.join()
        """
        if since is not None:
            self._since = _checked(since)
        self._is_wanted = True
        if not self._joined:
            await self._let_in(self._ask_in())

    async def leave(self) -> None:
        """Leaves the room, and forgets where it was.

        >>> await room.leave()
        >>> room.joined
        False
        """
        self._is_wanted = self._joined = False
        self._since = None
        self._client._calls.withdraw(self._name)
        self._is_leaving = True
        try:
            if self._client.state == "open":
                await self._client._calls.ask("leave", lambda: {"room": self._name})
        except NexiosError as error:
            if error.code != "disconnected":
                raise
        finally:
            self._is_leaving = False
        self._leave()

    async def publish(self, data: Any, *, key: str | None = None) -> Published:
        """Sends a message to the room, and returns when the server has it; ``NexiosError`` where it refuses.

        What has no answer when the connection ends is sent again. Rooms that remember store a ``key`` once.

        >>> await room.publish({"text": "hello"}, key="k1")
        Published(key='k1', position='a1-6-...', duplicate=False)
        """
        key = secrets.token_urlsafe(16) if key is None else key
        members = {"room": self._name, "key": key}
        payload = self._client._encode(data)
        header, _ = await self._client._calls.ask("publish", lambda: members, payload, resend=True)
        return Published(key, header.get("position"), header.get("duplicate") is True)

    async def presence(self, *, timeout: float = 10) -> list[Member]:
        """Who is in the room. From then on ``presence`` tells of changes.

        >>> await room.presence()
        [Member(user='ann', data={'typing': True})]
        """
        _, payload = await self._client._within(timeout, "presence", {"room": self._name})
        self._is_watched = True
        return [_member(entry) for entry in json.loads(payload)]

    def __repr__(self) -> str:
        return f"<Room {self._name!r}{' joined' if self._joined else ''}>"

    # --- what the server says

    def _enter(self, position: object, joined: Joined, told: Callable[[], Awaitable[bool]]) -> None:
        if self._is_leaving:
            return
        at = Position.parse(position) if joined.remembers else None
        self._joined = self._is_known = True
        self._at, self._since = at, None

        async def handle() -> bool:
            return all([await told(), await self._handlers.call("joined", joined)])

        if self._push(Item("joined", handle, handled=self._keeping(at))) and self._is_watched:
            self._client._spawn(self._look_again())

    def _leave(self, left: Left | None = None) -> None:
        self._joined = self._is_watched = False
        self._at = None
        if self._is_known:
            self._push(self._item("left", left or Left(), handled=self._keeping(None)))
        else:
            self._client._positions.keep(self._name, None)
        self._is_known = False

    def _receive(self, header: dict[str, Any], payload: Payload) -> None:
        if not self._joined:
            return
        offset = header.get("offset")
        at = None if self._at is None or offset is None else self._at.moved(offset, header.get("nonce"))
        if at is not None and self._at is not None and at.offset <= self._at.offset:
            return

        async def handle() -> bool:
            return await self._handlers.call("message", Message(self._client._decode(payload), offset))

        handled = None if at is None else self._keeping(at)
        if self._push(Item("message", handle, len(payload), handled)):
            self._at = at or self._at

    def _reset(self, position: object) -> None:
        at = Position.parse(position)
        if self._joined and self._push(self._item("reset", handled=self._keeping(at))):
            self._at = at

    def _miss(self, missed: int | None, offset: int | None = None) -> None:
        """In rooms that remember the next connection brings what is missing, unless later ones are here already."""
        if not self._joined:
            return
        if self._at is None:
            item = self._item("gap", Gap(missed))
            item.missed = missed
            self._push(item)
        elif offset is not None and offset <= self._at.offset:
            self._push(self._item("reset"))
        else:
            self._fall_behind()

    def _change(self, change: PresenceChange) -> None:
        if self._joined:
            self._push(self._item("presence", change))

    def _disconnected(self) -> None:
        self._joined = False

    def _rejoin(self) -> None:
        """After the connection has come back."""
        if self._is_wanted and not self._joined and not self._client._calls.is_joining(self._name):
            self._client._spawn(self._join_again(self._ask_in()))

    def _ask_in(self) -> Call:
        return self._client._calls.start("join", self._join_members, resend=True)

    async def _let_in(self, call: Call) -> None:
        try:
            await self._client._calls.result(call)
        except BaseException:
            self._is_wanted = False
            raise

    async def _join_again(self, call: Call) -> None:
        try:
            await self._let_in(call)
        except NexiosError as error:
            if error.code in _PASSING:
                self._is_wanted = True
                await asyncio.sleep(1 + 4 * random.random())
                self._rejoin()
            elif error.code != "closed":
                self._leave(Left(error.code, error.message))

    async def _look_again(self) -> None:
        try:
            users = await self.presence()
        except NexiosError as error:
            if error.code not in ("disconnected", "closed"):
                self._client._failed(error)
        else:
            self._change(PresenceChange("state", users=users))

    # --- one after another

    def _push(self, item: Item) -> bool:
        """Whether there was room for it."""
        if not self._inbox.is_full:
            self._inbox.push(item)
            return True
        if self._at is None and item.event in ("message", "gap"):
            # In rooms that do not remember what does not fit is lost, and said to be.
            missed = 1 if item.event == "message" else item.missed
            self._inbox.miss(missed, lambda missed: self._handlers.call("gap", Gap(missed)))
        else:
            # The server sends later what there is no room for now.
            self._fall_behind()
        return False

    def _fall_behind(self) -> None:
        self._joined = False
        self._is_behind = not self._inbox.is_idle
        self._client._fall_behind()

    def _item(self, event: str, *values: object, handled: Callable[[], None] | None = None) -> Item:
        return Item(event, lambda: self._handlers.call(event, *values), handled=handled)

    def _keeping(self, at: Position | None) -> Callable[[], None]:
        return lambda: self._client._positions.keep(self._name, at)

    def _emptied(self) -> None:
        self._is_behind = False
        self._client._caught_up.set()

    def _join_members(self) -> dict[str, Any]:
        since = None if self._at else self._since
        return {"room": self._name, "position": since or self._client._position_of(self)}

    def _is_idle(self) -> bool:
        return not (self._is_wanted or self._is_known or self._handlers.has()) and self._inbox.is_idle


def _checked(since: str) -> str:
    try:
        return since if since == "start" else str(Position.parse(since))
    except Malformed:
        raise ValueError(f'invalid since {since!r}: must be "start" or a position, EPOCH-OFFSET-NONCE') from None


def _member(entry: object) -> Member:
    if not isinstance(entry, dict):
        raise Malformed("a member is no JSON object")
    return Member(str(entry.get("user")), entry.get("data"))
