"""The members that the frames of a server have (``docs/protocol.md``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from nexios.client.errors import Malformed

__all__ = ["check_shape", "is_known"]

_NUMBER_MAX = 2**53 - 1

_Is: TypeAlias = Callable[[object], bool]


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _NUMBER_MAX


def _is_limits(value: object) -> bool:
    return isinstance(value, dict) and all(
        _is_number(value[name]) for name in ("message_bytes", "unanswered", "rooms") if name in value
    )


def _or_left_out(check: _Is) -> _Is:
    return lambda value: value is None or check(value)


_SHAPES: dict[str, dict[str, _Is]] = {
    "welcome": {"id": _is_text, "limits": _or_left_out(_is_limits)},
    "joined": {"room": _is_text},
    "left": {"room": _is_text},
    "message": {"room": _is_text},
    "reset": {"room": _is_text},
    "gap": {"room": _or_left_out(_is_text), "missed": _or_left_out(_is_number), "offset": _or_left_out(_is_number)},
    "ack": {"id": _is_number},
    "reply": {"id": _is_number},
    "error": {"id": _is_number, "code": _is_text, "message": _is_text},
    "presence": {"room": _is_text, "event": _is_text, "user": _is_text},
    "closing": {"code": _is_number, "reason": _or_left_out(_is_text)},
}


def is_known(kind: str) -> bool:
    return kind in _SHAPES


def check_shape(header: dict[str, Any]) -> None:
    """Raises `Malformed` if a header has no type, or lacks the members of its type. Unknown types pass."""
    kind = header.get("type")
    if not isinstance(kind, str):
        raise Malformed("a header has no type")
    for name, check in _SHAPES.get(kind, {}).items():
        if not check(header.get(name)):
            raise Malformed(f"a frame of the type {kind} has no proper {name}")
