"""Frames, and positions in them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nexios.client.errors import Malformed
from nexios.client.shapes import check_shape

HEADER_BYTES_MAX = 4096
# Of a hello, and of the frames of a server.
LONG_HEADER_BYTES_MAX = 131_072
ROOMS_MAX = 1000

_NUMBER_MAX = 2**53 - 1
_POSITION = re.compile(r"([0-9a-f]{1,16})-([0-9]{1,16})-([0-9a-f]{32})", re.IGNORECASE)
_NONCE = re.compile(r"[0-9a-f]{32}", re.IGNORECASE)

encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode

Payload = str | bytes


@dataclass(frozen=True)
class Position:
    """A position behind the message of this offset; ``EPOCH-OFFSET-NONCE`` as text."""

    epoch: str
    offset: int
    nonce: str

    @classmethod
    def parse(cls, text: object) -> Position:
        match = _POSITION.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise Malformed("a position is EPOCH-OFFSET-NONCE")
        epoch, offset, nonce = match.groups()
        return cls(epoch, _checked(int(offset)), nonce)

    def moved(self, offset: object, nonce: object) -> Position:
        """Returns the position behind a message of this epoch."""
        if not isinstance(nonce, str) or not _NONCE.fullmatch(nonce):
            raise Malformed("a nonce has 32 hexadecimal digits")
        return Position(self.epoch, _checked(offset), nonce)

    def __str__(self) -> str:
        return f"{self.epoch}-{self.offset}-{self.nonce}"


def frame(header: Mapping[str, Any] | None, payload: Payload = "") -> Payload:
    """Returns a frame of the payload's kind; without a header an application's message."""
    return frame_of("" if header is None else header_text(header), payload)


def frame_of(header: str, payload: Payload) -> Payload:
    head = f"\x1e{header}\n"
    return head + payload if isinstance(payload, str) else head.encode() + payload


def header_text(header: Mapping[str, Any]) -> str:
    return encode_json({name: value for name, value in header.items() if value is not None})


def parse(message: Payload) -> tuple[dict[str, Any] | None, Payload]:
    """Returns the header of a frame, and its payload; the header of an application's message is ``None``."""
    if not is_marked(message):
        return None, message
    end = message.find("\n") if isinstance(message, str) else message.find(b"\n")
    if end < 0 or end > LONG_HEADER_BYTES_MAX + 1:
        raise Malformed("a header has no end")
    payload = message[end + 1 :]
    if end == 1:
        return None, payload
    try:
        header = json.loads(message[1:end])
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise Malformed("a header is not a JSON object")
    check_shape(header)
    return header, payload


def is_marked(message: Payload) -> bool:
    return message.startswith("\x1e") if isinstance(message, str) else message.startswith(b"\x1e")


def _checked(number: object) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= _NUMBER_MAX:
        raise Malformed(f"invalid offset {number!r}: must be a whole number below 2^53")
    return number
