"""When a client comes back (``docs/protocol.md``, "The end")."""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["Backoff", "is_retried", "window_of"]

# In seconds, as everything here; until a server has said otherwise.
_WINDOW = (0.5, 1.5)
_LIMIT = 30.0
_TRY_AGAIN_LATER = 10.0
_DAY_MS = 86_400_000

Window = tuple[float, float]


class Backoff:
    """How long to wait: the first time within a window, then below a limit that doubles."""

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self.attempt = 0
        self.window: Window = _WINDOW
        self._chance = chance

    def welcomed(self, window: Window | None) -> None:
        self.attempt = 0
        self.window = window or _WINDOW

    def delay(self, code: int | None) -> float:
        """Until the next attempt; ``code`` where the server did not say when."""
        least, most = self.window
        if self.attempt:
            wait = self._chance() * min(_LIMIT, max(most, 0.5) * 2.0 ** min(self.attempt, 16))
        else:
            wait = least + self._chance() * (most - least)
        self.attempt += 1
        return wait + (_TRY_AGAIN_LATER if code == 1013 else 0)


def is_retried(code: int) -> bool:
    return code in (1001, 1005, 1006, 1011, 1012, 1013, 1014)


def is_status_retried(status: int) -> bool:
    return status in (408, 425, 429) or status >= 500


def window_of(value: object) -> Window | None:
    """``retry_ms`` in seconds, if it is a window."""
    match value:
        case [int() | float() as least, int() | float() as most] if 0 <= least <= most <= _DAY_MS:
            return least / 1000, most / 1000
    return None
