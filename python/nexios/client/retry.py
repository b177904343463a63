"""Delays before attempts (``docs/protocol.md``, "When a client reconnects")."""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["Backoff", "Window", "window_of"]

# In seconds, as all times here; until a server has named another window.
_WINDOW = (0.5, 1.5)
_LIMIT = 30.0
_DAY_MS = 86_400_000

Window = tuple[float, float]


class Backoff:
    """The delays before attempts: within a window at first, then in the upper half of a limit that doubles.

    Attempts are counted further after a connection that did not hold: a server that accepts and closes is as useless
    as a server that is away.
    """

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self.attempt = 0
        self.window: Window = _WINDOW
        self.chance = chance

    def welcomed(self, window: Window | None) -> None:
        self.window = window or _WINDOW

    def reset(self) -> None:
        self.attempt = 0

    def delay(self) -> float:
        """Returns the time until the next attempt, and counts it."""
        wait = self._within(*self.window)
        if self.attempt:
            limit = min(_LIMIT, max(self.window[1], _WINDOW[0]) * 2.0 ** min(self.attempt, 16))
            wait = max(wait, self._within(limit / 2, limit))
        self.attempt += 1
        return wait

    def delay_at_once(self) -> float:
        """Returns the time until an attempt with another token, and counts it."""
        self.attempt += 1
        return self._within(*self.window)

    def _within(self, least: float, most: float) -> float:
        return least + self.chance() * (most - least)


def window_of(value: object) -> Window | None:
    """Returns ``retry_ms`` in seconds, or ``None`` if it is not a window."""
    match value:
        case [int() | float() as least, int() | float() as most] if 0 <= least <= most <= _DAY_MS:
            return least / 1000, most / 1000
    return None
