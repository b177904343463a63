"""Arguments of calls: checked and encoded at the call, so that no call hurts another."""

from __future__ import annotations

import re
from typing import Any, Literal, TypeAlias

from nexios.client.frames import HEADER_BYTES_MAX, Payload, encode_json, header_text

__all__ = ["Bigint", "check_header", "check_room", "check_text", "encode"]

KEY_BYTES_MAX = 128

#: The form of a whole number beyond 2^53 in a value: ``ValueError``, or its digits as a text.
Bigint: TypeAlias = Literal["error", "string"]

_EXACT_MAX = 2**53
# Without so many digits in a row a value has no number beyond 2^53.
_MANY_DIGITS = re.compile(r"\d{16}")


def encode(data: Any, is_json: bool, bigint: Bigint) -> Payload:
    """Returns the payload of a value; raises ``TypeError`` or ``ValueError`` if it cannot be sent."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    text = data if isinstance(data, str) and not is_json else _json_of(data, bigint)
    if not _is_unicode(text):
        raise ValueError("invalid value: a text in it has a lone surrogate, which UTF-8 cannot encode")
    return text


def check_text(what: str, value: object) -> str:
    """Returns the text; raises ``TypeError`` or ``ValueError`` if it is not a Unicode text."""
    if not isinstance(value, str):
        raise TypeError(f"invalid {what} {value!r}: must be a text, not {type(value).__name__}")
    if not _is_unicode(value):
        raise ValueError(f"invalid {what} {_shown(value)}: has a lone surrogate, which UTF-8 cannot encode")
    return value


def check_key(key: object) -> str:
    """Returns the key of a message; raises ``ValueError`` if it is longer than a server takes."""
    size = len(check_text("key", key).encode())
    if size > KEY_BYTES_MAX:
        raise ValueError(f"invalid key {_shown(str(key))}: has {size} bytes, must have at most {KEY_BYTES_MAX}")
    return str(key)


def check_room(name: object) -> str:
    """Returns the name of a room; raises ``ValueError`` if it does not fit into a header."""
    check_header({"type": "join", "id": 1, "room": check_text("room", name)}, "room")
    return str(name)


def check_header(header: dict[str, Any], what: str) -> str:
    """Returns the text of a header; ``ValueError`` if it is too long. `what` is the member that makes it long."""
    text = header_text(header)
    size = len(text.encode())
    if size > HEADER_BYTES_MAX:
        shown = _shown(str(header.get(what)))
        raise ValueError(
            f"invalid {what} {shown}: makes a header of {size} bytes, must have at most {HEADER_BYTES_MAX}"
        )
    return text


def _json_of(data: Any, bigint: Bigint) -> str:
    try:
        text = encode_json(data)
        if _MANY_DIGITS.search(text):
            exact = _exact(data, bigint)
            text = text if exact is data else encode_json(exact)
    except RecursionError:
        raise ValueError("invalid value: is nested too deeply for JSON") from None
    return text


def _exact(value: Any, bigint: Bigint) -> Any:
    """Returns the value without numbers that a reader with doubles would read as others."""
    if isinstance(value, int) and abs(value) > _EXACT_MAX:
        if bigint == "error":
            raise ValueError(f'invalid number {value}: is beyond 2^53; send it as a text, or set bigint="string"')
        return str(int(value))
    if isinstance(value, dict):
        return {name: _exact(each, bigint) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_exact(each, bigint) for each in value]
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 40 else text[:40] + "...")
