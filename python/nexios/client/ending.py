"""The end of a connection, and its consequence (``docs/protocol.md``, "The end")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from nexios.client.events import CloseKind, kind_of
from nexios.client.retry import Window

__all__ = ["Cause", "Consequence", "Ending"]

#: ``lost``: cut, or not made; ``close``: a Close frame of the server; ``closing``: the server announced it;
#: ``refused``: another status than 101; ``protocol``: ``nexios.v1`` not selected; ``malformed``: a frame that cannot
#: be read.
Cause: TypeAlias = Literal["lost", "close", "closing", "refused", "protocol", "malformed"]
Consequence: TypeAlias = Literal["retry", "park", "authorize"]

_RETRIED = (1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1011, 1012, 1013, 1014, 1015)
# The server blames a message that it received.
_BLAMING = (1002, 1003, 1007, 1008, 1009)
_UNAUTHORIZED = 4401
_TRY_AGAIN_LATER = 1013
_TRY_AGAIN_SECONDS = 10.0
_RETRY_AFTER_MAX = 300.0


@dataclass
class Ending:
    """The end of a connection: its code, its reason, and its cause."""

    code: int
    reason: str
    cause: Cause = "lost"
    window: Window | None = None  # of `closing`
    is_final: bool = False  # by a `closing` without a window
    status: int = 101
    retry_after: float = 0.0
    is_said: bool = False  # sent to the peer, by a Close frame

    @classmethod
    def refused(cls, status: int, headers: Mapping[str, str]) -> Ending:
        reason = f"the server refused the handshake with status {status}"
        after = _seconds(headers.get("Retry-After")) if status in (429, 503) else 0.0
        return cls(1006, reason, "refused", status=status, retry_after=after)

    @property
    def consequence(self) -> Consequence:
        if self.status == 401 or (self.code == _UNAUTHORIZED and self.cause in ("close", "closing")):
            return "authorize"
        match self.cause:
            case "lost" | "malformed":
                return "retry"
            case "protocol":
                return "park"
            case "closing":
                return "park" if self.is_final else "retry"
            case "refused":
                return "retry" if self.status in (408, 425, 429) or self.status >= 500 else "park"
            case "close":
                return "retry" if self.code in _RETRIED else "park"

    @property
    def is_blaming(self) -> bool:
        """True if the server closed because of a message that was sent. It is not sent again."""
        return self.cause == "close" and self.code in _BLAMING

    @property
    def kind(self) -> CloseKind:
        return "refused" if self.cause == "refused" else kind_of(self.code)

    def later(self, delay: float) -> float:
        """Returns the delay that the server demands, from that of the backoff."""
        if self.cause == "close" and self.code == _TRY_AGAIN_LATER:
            return delay + _TRY_AGAIN_SECONDS
        return max(delay, self.retry_after)


def _seconds(value: str | None) -> float:
    if value is None or not value.strip().isascii() or not value.strip().isdigit():
        return 0.0  # a date, or not a number
    return float(min(int(value.strip()[:9]), _RETRY_AFTER_MAX))
