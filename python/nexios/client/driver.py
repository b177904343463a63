"""Attempts to connect: their times, and the ends after which there are no more."""

from __future__ import annotations

import asyncio
from typing import Any, Literal, Protocol, TypeAlias

from nexios.client.addresses import Addresses
from nexios.client.dialogue import Dialogue, Speaker
from nexios.client.ending import Ending
from nexios.client.events import Closed, Parked, Reconnecting, Unauthorized, kind_of
from nexios.client.inbox import logger
from nexios.client.retry import Backoff, Window

__all__ = ["Driver", "Owner", "State"]

State: TypeAlias = Literal["connecting", "open", "reconnecting", "parked", "closed"]

# A server that breaks the protocol so often in a row will do so again.
_MALFORMED_MAX = 3


class Owner(Speaker, Protocol):
    """The session that a driver drives."""

    def disconnected(self, ending: Ending) -> None: ...

    def ended(self) -> Any:
        """Ends the tasks and calls of the client."""

    async def caught_up(self) -> None:
        """Waits until there is space for messages."""

    def tell(self, event: str, *values: object) -> None: ...

    def failed(self, error: Exception) -> None: ...

    def is_heard(self, event: str) -> bool: ...


class Driver:
    """Connects, and connects again, until the application closes the client."""

    def __init__(
        self,
        owner: Owner,
        addresses: Addresses,
        open_timeout: float,
        stable_after: float,
        retry_first: bool,
        options: dict[str, Any],
    ) -> None:
        self.state: State = "connecting"
        self.backoff = Backoff()
        self.closed: Closed | None = None
        self.task: asyncio.Task[None] | None = None
        self._owner = owner
        self._addresses = addresses
        self._open_timeout = open_timeout
        self._stable_after = stable_after
        self._retry_first = retry_first
        self._options = options
        self._dialogue: Dialogue | None = None
        self._holding: asyncio.TimerHandle | None = None
        self._malformed = 0
        self._has_asked_again = False  # for a token
        self._has_been_open = False
        self._has_warned = False
        self._delay = 0.0
        self._is_away = False
        self._is_called_back = False
        self._nudged = asyncio.Event()

    def start(self) -> None:
        self.task = asyncio.create_task(self._run())

    @property
    def dialogue(self) -> Dialogue | None:
        return self._dialogue

    def opened(self, window: Window | None) -> None:
        """Handles the welcome of the server."""
        self.state, self._has_been_open = "open", True
        self.backoff.welcomed(window)
        self._holding = asyncio.get_running_loop().call_later(self._stable_after, self._hold)

    def drop(self, away: bool) -> None:
        if self.state in ("closed", "parked") or self.task is None:
            return
        self._is_away |= away
        self._nudged.set()
        if self._dialogue is not None:
            self.state = "reconnecting"
            self._dialogue.end(Ending(1006, "dropped"))

    def fall_behind(self) -> None:
        if self._dialogue is not None:
            self._dialogue.end(Ending(1006, "a room is too far behind"))

    def reconnect(self) -> None:
        if self.state == "parked":
            self.state = "reconnecting"
            self._hold()
        if self.state == "reconnecting" and (self._dialogue is None or self._dialogue.is_over):
            self._is_called_back = True
            self._nudged.set()

    def close(self, code: int, reason: str) -> None:
        self.state = "closed"
        self.closed = Closed(code, reason, False, kind_of(code))
        self._nudged.set()
        if self._dialogue is not None:
            self._dialogue.end(Ending(code, reason, is_said=True))

    async def _run(self) -> None:
        while self.state != "closed":
            self._follow(await self._converse())
            await self._wait()
        await self._owner.ended()

    async def _converse(self) -> Ending:
        dialogue = self._dialogue = Dialogue(self._owner, self._open_timeout, self._options)
        try:
            return await dialogue.run()
        except Exception as error:
            # A function for an address or a token failed, or `websockets.connect` refused an option.
            self._owner.failed(error)
            return Ending(1006, f"there was no attempt: {error}")
        finally:
            self._dialogue = None
            if self._holding is not None:
                self._holding.cancel()

    def _hold(self) -> None:
        """Counts from zero: the connection has held, or the application reconnects a parked client."""
        self.backoff.reset()
        self._malformed = 0
        self._has_asked_again = False

    # --- consequences of an end

    def _follow(self, ending: Ending) -> None:
        if self.closed is not None:
            return
        was_open = self.state == "open"
        is_retried = self._is_retried(ending, was_open) and not self._is_first_round_over(ending)
        self.state = "reconnecting" if is_retried else "parked"
        self._owner.disconnected(ending)
        self._warn(ending)
        self._owner.tell("close", Closed(ending.code, ending.reason, is_retried, ending.kind))
        self.backoff.window = ending.window or self.backoff.window
        if not is_retried:
            self._addresses.next()
            self._park(ending)
        elif ending.consequence == "authorize":
            # The address that refused the token is tried with another one.
            self._delay = self.backoff.delay_at_once()
        else:
            self._addresses.next()
            self._delay = ending.later(self.backoff.delay())

    def _is_retried(self, ending: Ending, was_open: bool) -> bool:
        if ending.cause == "malformed":
            self._malformed += 1
            return self._malformed < _MALFORMED_MAX
        if was_open:
            self._malformed = 0
        if ending.consequence != "authorize":
            return ending.consequence == "retry"
        may_ask = self._addresses.may_change and not self._has_asked_again
        self._has_asked_again |= may_ask
        return may_ask

    def _is_first_round_over(self, ending: Ending) -> bool:
        """Returns True if each address has failed once, where the application wants no more of that."""
        if self._retry_first or self._has_been_open or self._is_away or ending.consequence == "authorize":
            return False
        # An attempt with another token is one at the same address.
        return self.backoff.attempt + 1 - self._has_asked_again >= self._addresses.count

    def _park(self, ending: Ending) -> None:
        if ending.consequence == "authorize":
            self._owner.tell("unauthorized", Unauthorized(ending.code, ending.reason))
        if not self._owner.is_heard("parked"):
            logger.warning("%s", f"parked until reconnect(): {ending.kind} {ending.code} {ending.reason}".rstrip())
        self._owner.tell("parked", Parked(ending.code, ending.reason, ending.kind))

    def _warn(self, ending: Ending) -> None:
        """Logs once why the first attempt failed: an address may be wrong."""
        if not self._has_been_open and not self._has_warned and not ending.is_said:
            self._has_warned = True
            logger.warning("%s", f"cannot connect to {_shown(self._addresses.url)}: {ending.reason}")

    async def _wait(self) -> None:
        """Waits until the next attempt."""
        if self.state == "reconnecting" and not self._is_away:
            self._owner.tell("reconnecting", Reconnecting(self.backoff.attempt, self._delay))
        loop = asyncio.get_running_loop()
        end = loop.time() + self._delay
        while not self._is_called_back and self.closed is None and (self._is_still() or loop.time() < end):
            self._nudged.clear()
            timeout = None if self._is_still() else end - loop.time()
            try:
                await asyncio.wait_for(self._nudged.wait(), timeout)
            except asyncio.TimeoutError:
                break
        self._is_called_back = self._is_away = False
        await self._owner.caught_up()

    def _is_still(self) -> bool:
        """Returns True while only the application makes the next attempt."""
        return self._is_away or self.state == "parked"


def _shown(url: str) -> str:
    return url.split("?")[0]
