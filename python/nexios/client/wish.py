"""The wish to be in a room, or out of it, and the calls that wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from nexios.client.calls import Answer, Call
from nexios.client.errors import NexiosError
from nexios.client.events import Left

if TYPE_CHECKING:
    from nexios.client.room import Room

__all__ = ["Wish"]

# Errors after which a join is tried again.
_PASSING = ("busy", "failed", "unavailable")


@dataclass(eq=False)
class _Waiting:
    """A call of `join` or `leave` that has not ended."""

    type: Literal["join", "leave"]
    future: asyncio.Future[None]
    since: str | None = None  # the position to begin at
    is_replaced: bool = False  # a later `leave` took its wish back


class Wish:
    """The frames of one room: the next is sent when the last has its answer, if the wish has changed by then.

    In is wished by `join` until `leave`, and by each subscription while it lives.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self._is_joined = False  # by an explicit `join`
        self._has_returned = False  # such a `join` has ended well
        self._subscriptions: set[object] = set()
        self._waiting: list[_Waiting] = []
        self._asked: Call | None = None
        self._is_inside = False  # by the last frame of the server
        self._was_inside = False  # by this wish
        self._is_leaving = False  # the wish is out now, and a `leave` has to be sent
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_in(self) -> bool:
        return self._is_joined or bool(self._subscriptions)

    @property
    def is_idle(self) -> bool:
        return not (self.is_in or self._waiting or self._asked or self._is_leaving)

    @property
    def is_counted(self) -> bool:
        """True if the server counts the room among those of the client, or will."""
        return self._asked.type == "join" if self._asked is not None else self._is_inside

    @property
    def is_leaving(self) -> bool:
        """True from the `leave` frame on until its answer."""
        return self._asked is not None and self._asked.type == "leave"

    @property
    def since(self) -> str | None:
        """The position of the last `join` that waits, if it has one."""
        joins = [each for each in self._waiting if not each.is_replaced and not each.future.done()]
        return next((each.since for each in reversed(joins) if each.since is not None), None)

    async def join(self, timeout: float | None, since: str | None) -> None:
        self._is_joined, self._is_leaving = True, False
        await self._settled("join", timeout, since)

    async def leave(self) -> None:
        if self._room._session.state == "closed":
            return
        self._is_joined = self._has_returned = False
        for waiting in self._waiting:
            waiting.is_replaced = True
        if self._subscriptions:
            return
        self._room._forget()
        self._turn_out()
        await self._settled("leave")

    def subscribe(self, subscription: object) -> None:
        self._subscriptions.add(subscription)
        self._is_leaving = False
        self._pursue()

    def unsubscribe(self, subscription: object) -> None:
        if subscription not in self._subscriptions:
            return
        self._subscriptions.remove(subscription)
        if not self.is_in:
            self._turn_out()
            self._is_leaving = True  # also while the connection is away: the room reports `left`
            self._pursue()

    # --- what happens to the connection

    def opened(self) -> None:
        self._pursue()

    def entered(self) -> None:
        self._is_inside = True
        self._was_inside |= self.is_in
        if self._asked is None:
            self._pursue()

    def left(self) -> None:
        """Handles a `left` of the server. The wish stays, for the next connection."""
        self._is_inside = False

    def disconnected(self) -> None:
        self._asked, self._is_inside = None, False
        self._stop_timer()
        if not self.is_in:
            self._pursue()

    def closed(self) -> None:
        self._stop_timer()
        for waiting in self._waiting:
            self._end(waiting, NexiosError("closed", "the client is closed"))

    # --- one frame at a time

    async def _settled(
        self, type: Literal["join", "leave"], timeout: float | None = None, since: str | None = None
    ) -> None:
        if type == "join" and self._room._session.state == "closed":
            raise NexiosError("closed", "the client is closed")
        waiting = _Waiting(type, asyncio.get_running_loop().create_future(), since)
        self._waiting.append(waiting)
        try:
            self._pursue()
            await asyncio.wait_for(waiting.future, timeout)
            self._has_returned |= type == "join" and not waiting.is_replaced
        except asyncio.CancelledError:
            self._give_up(waiting)
            raise
        except asyncio.TimeoutError:
            self._give_up(waiting)
            raise NexiosError("timeout", "the client was not let in in time") from None
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    def _give_up(self, waiting: _Waiting) -> None:
        """Takes the wish of an abandoned call back, unless another call has the wish too."""
        self._waiting.remove(waiting)
        others = any(each.type == "join" and not each.is_replaced for each in self._waiting)
        if waiting.type == "leave" or waiting.is_replaced or self._has_returned or others:
            return
        self._is_joined = False
        if self.is_in:
            return
        if self._asked is not None and self._asked.type == "join" and not self._asked.sent:
            self._room._session.calls.withdraw(self._asked)
            self._asked = None
        self._turn_out()
        self._pursue()

    def _turn_out(self) -> None:
        # A client that is out already sends no `leave`.
        self._is_leaving = self._is_inside or self._asked is not None
        self._was_inside = False
        self._stop_timer()

    def _pursue(self) -> None:
        """Sends the next frame, or ends the calls whose wish is fulfilled."""
        if self._asked is not None:
            return
        is_open = self._room._session.state == "open"
        if self.is_in:
            if self._is_inside:
                self._fulfilled()
            elif is_open:
                self._ask("join")
        elif self._is_leaving and is_open:
            self._ask("leave")
        else:
            self._out()

    def _ask(self, type: Literal["join", "leave"]) -> None:
        self._stop_timer()
        members: Callable[[], dict[str, object]] = self._room._join_members
        if type == "leave":
            members = lambda: {"room": self._room.name}  # noqa: E731
        settle = self._joined if type == "join" else self._left
        if type == "join" and (refusal := self._room._session.over_rooms()) is not None:
            settle(refusal)
            return
        try:
            self._asked = self._room._session.calls.start(type, members, settle)
        except NexiosError as error:
            settle(error)
        except ValueError as error:
            settle(NexiosError("invalid", str(error)))

    def _joined(self, answer: Answer | NexiosError) -> None:
        self._asked = None
        if not isinstance(answer, NexiosError):
            self._is_inside = True
            self._was_inside = self.is_in
            self._is_leaving &= not self.is_in
            self._pursue()
        elif answer.code == "disconnected":
            self._is_inside = False
        elif answer.code == "closed":
            self.closed()
        elif not self.is_in:
            self._is_leaving = self._is_inside
            self._pursue()
        else:
            self._refused(answer)

    def _refused(self, error: NexiosError) -> None:
        is_passing = error.code in _PASSING
        for waiting in self._waiting:
            self._end(waiting, error if waiting.type == "join" else None)
        is_reported = self._was_inside or bool(self._subscriptions)
        self._is_joined = self._has_returned = self._has_returned and is_passing
        if self.is_in and is_passing:
            self._try_later()
            return
        self._subscriptions.clear()
        self._was_inside = False
        if is_reported and not self._is_inside:
            self._room._leave(Left(error.code, error.message))
        elif not self._is_inside and not is_passing:
            self._room._forget()

    def _left(self, answer: Answer | NexiosError) -> None:
        self._asked = None
        if not isinstance(answer, NexiosError) or answer.code == "disconnected":
            self._is_inside = self._is_leaving = False
            self._room._leave()
            for waiting in self._waiting:
                if waiting.type == "leave":
                    self._end(waiting)
            self._pursue()
        elif answer.code == "closed":
            self.closed()
        else:
            self._stays(answer)

    def _stays(self, error: NexiosError) -> None:
        """Handles the refusal of a `leave`."""
        waited_for = [each for each in self._waiting if each.type == "leave"]
        for waiting in waited_for:
            self._end(waiting, None if self.is_in else error)
        self._room._dropped_while_leaving()
        if self.is_in:
            self._pursue()
        elif not waited_for and error.code in _PASSING:
            self._try_later()
        else:
            self._is_leaving = False

    def _try_later(self) -> None:
        delay = 1 + 4 * self._room._session.chance()
        self._timer = asyncio.get_running_loop().call_later(delay, self._pursue)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fulfilled(self) -> None:
        self._was_inside = True
        for waiting in self._waiting:
            self._end(waiting)

    def _out(self) -> None:
        if self._room._session.state == "closed":
            self.closed()
            return
        if self._is_leaving or any(waiting.type == "leave" for waiting in self._waiting):
            self._room._leave()
        self._is_leaving = False
        for waiting in self._waiting:
            self._end(waiting, NexiosError("closed", "the room was left") if waiting.type == "join" else None)

    @staticmethod
    def _end(waiting: _Waiting, error: NexiosError | None = None) -> None:
        if waiting.future.done():
            return
        if error is None:
            waiting.future.set_result(None)
        else:
            waiting.future.set_exception(error)
