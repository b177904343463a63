"""Rooms of a client."""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from nexios.client.errors import Malformed, NexiosError
from nexios.client.events import Gap, Joined, Left, Member, Message, PresenceChange, Published
from nexios.client.frames import Payload, Position
from nexios.client.inbox import Handlers, Inbox, Item, on
from nexios.client.values import check_key
from nexios.client.wish import Wish

if TYPE_CHECKING:
    from nexios.client.session import Session

__all__ = ["Room"]

_EVENTS = ("joined", "left", "message", "reset", "gap", "presence")
_OnJoined = TypeVar("_OnJoined", bound=Callable[[Joined], object])
_OnLeft = TypeVar("_OnLeft", bound=Callable[[Left], object])
_OnMessage = TypeVar("_OnMessage", bound=Callable[[Message], object])
_OnReset = TypeVar("_OnReset", bound=Callable[[], object])
_OnGap = TypeVar("_OnGap", bound=Callable[[Gap], object])
_OnPresence = TypeVar("_OnPresence", bound=Callable[[PresenceChange], object])


class Room:
    """A room of a client. ``client.room(name)`` returns one object for each name.

    >>> client.room("general") is room
    True
    >>> room
    <Room 'general' joined>
    """

    def __init__(self, session: Session, name: str) -> None:
        self._session = session
        self._name = name
        self._joined = False
        self._handlers = Handlers(session.failed)
        self._inbox = Inbox(session.failed, self._emptied)
        self._at: Position | None = None  # the received position, in rooms with history
        self._is_behind = False
        self._is_known = False  # the application has received `joined`, and no `left` since
        self._is_watched = False
        self._dropped = 0  # messages that came after `leave`
        self._wish = Wish(self)

    @property
    def name(self) -> str:
        """The room's name.

        >>> room.name
        'general'
        """
        return self._name

    @property
    def joined(self) -> bool:
        """True if the client is in the room.

        >>> room.joined
        True
        """
        return self._joined and not self._wish.is_leaving

    @property
    def position(self) -> str | None:
        """The position behind the last received message, in rooms with history: a value for ``since``.

        >>> room.position
        'a1-5-...'
        """
        return self._session.position_of(self)

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
        """Adds a handler, a function or a coroutine function. Events are handled one after another.

        ``joined`` (:class:`Joined`), ``left`` (:class:`Left`), ``message`` (:class:`Message`), ``reset`` (nothing:
        the history started over, load the state of the room again), ``gap`` (:class:`Gap`), ``presence``
        (:class:`PresenceChange`).
        The position is stored when the handler has returned.

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

    async def join(self, *, since: str | None = None, timeout: float | None = None) -> None:
        """Joins the room, now and after each reconnect, until :meth:`leave`; returns when the client is in.

        In a room with history ``since`` is the position to begin at: one that the server has returned, or ``"start"``,
        if the application permits it. Raises ``NexiosError`` if the server refuses, with the code ``closed`` if a later
        :meth:`leave` took the wish back. A call that is cancelled, or has waited for ``timeout`` seconds, takes its
        wish back. Rooms that the server joins need no call.

        >>> await room.join()
        """
        await self._wish.join(timeout, None if since is None else _checked(since))

    async def leave(self) -> None:
        """Takes the wish of :meth:`join` back, and forgets the position; returns when the client is out.

        The client stays in while a subscription of this room is active.

        >>> await room.leave()
        >>> room.joined
        False
        """
        await self._wish.leave()

    async def publish(self, data: Any, *, key: str | None = None) -> Published:
        """Publishes a message to the room, and returns when the server has it; raises ``NexiosError`` if it refuses.

        Without an answer the message is sent again after a reconnect, for five minutes after the call. Rooms with
        history store a ``key`` once. Raises ``TypeError`` or ``ValueError`` if the data or the key cannot be sent.

        >>> await room.publish({"text": "hello"}, key="k1")
        Published(key='k1', position='a1-6-...', duplicate=False)
        """
        key = secrets.token_urlsafe(16) if key is None else check_key(key)
        members = {"room": self._name, "key": key}
        header, _ = await self._session.calls.ask("publish", members, self._session.encode(data), key=key)
        return Published(key, header.get("position"), header.get("duplicate") is True)

    async def presence(self, *, timeout: float | None = None) -> list[Member]:
        """Returns the users of the room. From then on the event ``presence`` reports changes.

        ``timeout`` is as that of ``request``.

        >>> await room.presence()
        [Member(user='ann', data={'typing': True})]
        """
        timeout = self._session.request_timeout if timeout is None else timeout
        _, payload = await self._session.calls.ask("presence", {"room": self._name}, timeout=timeout)
        self._is_watched = True
        return _members(payload)

    def __repr__(self) -> str:
        return f"<Room {self._name!r}{' joined' if self.joined else ''}>"

    # --- frames of the server

    def _enter(self, position: object, joined: Joined, told: Callable[[], Awaitable[bool]]) -> None:
        if self._wish.is_leaving:
            return
        at = Position.parse(position) if joined.has_history else None
        self._joined = self._is_known = True
        self._at = at

        async def handle() -> bool:
            return all([await told(), await self._handlers.call("joined", joined)])

        if self._push(Item("joined", handle, handled=self._keeping(at))) and self._is_watched:
            self._session.spawn(self._look_again())
        self._wish.entered()

    def _taken_out(self) -> None:
        """Handles the frame `left`."""
        self._wish.left()
        self._leave()

    def _leave(self, left: Left | None = None) -> None:
        self._joined = self._is_watched = False
        self._at, self._dropped = None, 0
        if self._is_known or left is not None:
            self._push(self._item("left", left or Left(), handled=self._keeping(None)))
        else:
            self._forget()
        self._is_known = False

    def _forget(self) -> None:
        try:
            self._session.positions.keep(self._name, None)
        except Exception as error:
            self._session.failed(error)  # a storage that refuses

    def _receive(self, header: dict[str, Any], payload: Payload) -> None:
        if not self.joined:
            self._dropped += self._joined
            return
        offset = header.get("offset")
        at = None if self._at is None or offset is None else self._at.moved(offset, header.get("nonce"))
        if at is not None and self._at is not None and at.offset <= self._at.offset:
            return

        async def handle() -> bool:
            return await self._handlers.call("message", Message(self._session.decode(payload), offset))

        handled = None if at is None else self._keeping(at)
        if self._push(Item("message", handle, len(payload), handled)):
            self._at = at or self._at

    def _reset(self, position: object) -> None:
        at = Position.parse(position)
        if self.joined and self._push(self._item("reset", handled=self._keeping(at))):
            self._at = at

    def _miss(self, missed: int | None, offset: int | None = None) -> None:
        """Handles a gap. In rooms with history the next connection brings the messages, unless later ones are here."""
        if not self.joined:
            self._dropped += self._joined
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
        if self.joined:
            self._push(self._item("presence", change))

    def _dropped_while_leaving(self) -> None:
        """Reports the messages that were dropped during a leave which the server refused."""
        missed, self._dropped = self._dropped, 0
        if missed:
            self._miss(missed)

    def _disconnected(self) -> None:
        self._joined = False
        self._dropped = 0
        self._wish.disconnected()

    async def _look_again(self) -> None:
        try:
            users = await self.presence()
        except NexiosError as error:
            if error.code not in ("disconnected", "closed"):
                self._session.failed(error)
        else:
            self._change(PresenceChange("state", users=users))

    # --- one after another

    def _push(self, item: Item) -> bool:
        """Queues an event; returns false if there is no space."""
        if not self._inbox.is_full:
            self._inbox.push(item)
            return True
        if self._at is None and item.event in ("message", "gap"):
            # In rooms without history a message that does not fit is reported as lost.
            missed = 1 if item.event == "message" else item.missed
            self._inbox.miss(missed, lambda missed: self._handlers.call("gap", Gap(missed)))
        else:
            # The server sends the message again when there is space.
            self._fall_behind()
        return False

    def _fall_behind(self) -> None:
        self._joined = False
        self._is_behind = not self._inbox.is_idle
        self._session.driver.fall_behind()

    def _item(self, event: str, *values: object, handled: Callable[[], None] | None = None) -> Item:
        return Item(event, lambda: self._handlers.call(event, *values), handled=handled)

    def _keeping(self, at: Position | None) -> Callable[[], None]:
        return lambda: self._session.positions.keep(self._name, at)

    def _emptied(self) -> None:
        self._is_behind = False
        self._session.is_caught_up.set()

    def _join_members(self) -> dict[str, Any]:
        since = None if self._at else self._wish.since
        return {"room": self._name, "position": since or self._session.position_of(self)}

    def _is_idle(self) -> bool:
        return not (self._is_known or self._handlers.has()) and self._wish.is_idle and self._inbox.is_idle


def _checked(since: str) -> str:
    try:
        return since if since == "start" else str(Position.parse(since))
    except Malformed:
        raise ValueError(f'invalid since {since!r}: must be "start" or a position, EPOCH-OFFSET-NONCE') from None


def _members(payload: Payload) -> list[Member]:
    try:
        return [Member(str(entry.get("user")), entry.get("data")) for entry in json.loads(payload)]
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise NexiosError("failed", "the server's answer is not a JSON array of members") from None
