"""JSON as it goes over the wire: what RFC 8259 knows and every language can read, and nothing else."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import math
import re
import uuid
from typing import Any

from nexios.exceptions import WebSocketException

#: Levels of arrays and objects, as in Rust.
LEVELS_MAX = 127
#: No shorter integer is too large for a double.
LARGE_DIGITS = 309

_LARGE = re.compile(rf"\d{{{LARGE_DIGITS}}}")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def _as_json(value: Any) -> Any:
    """What a value that JSON does not know is sent as, where that is unambiguous.

    The hook of an application's own classes is a method ``__json__()``.
    """
    if (own := getattr(type(value), "__json__", None)) is not None:
        return own(value)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (uuid.UUID, decimal.Decimal)):
        return str(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, type):
        raise TypeError(f"the class {value.__qualname__} is not JSON: send an instance of it")
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if callable(dump := getattr(value, "model_dump", None)):  # pydantic
        return dump(mode="json")
    if (fields := getattr(type(value), "__struct_fields__", None)) is not None:  # msgspec
        return {name: getattr(value, name) for name in fields}
    raise TypeError(
        f"{type(value).__qualname__} is not JSON: give it a method __json__(), or convert {value!r:.80} first"
    )


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_as_json).encode


def encode(value: Any) -> str:
    """Returns a value as JSON, short and as text.

    Raises ``TypeError`` or ``ValueError`` for what JSON does not know.
    """
    try:
        text = _encode(value)
    except RecursionError:
        raise ValueError("the value is nested too deeply for JSON") from None
    if text.count("[") + text.count("{") > LEVELS_MAX:
        # Only what others receive is sent.
        _require_levels(json.loads(text))
    return text


def _not_json(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {text:.40} is out of range")
    return number


def _large_integer(text: str) -> int:
    _number(text)
    return int(text)


_decode = json.JSONDecoder(parse_constant=_not_json, parse_float=_number).decode
_decode_large = json.JSONDecoder(parse_constant=_not_json, parse_float=_number, parse_int=_large_integer).decode


def decode(message: str | bytes) -> Any:
    """Returns the value of a message; what is not JSON closes 1007 where nobody catches it."""
    try:
        text = message if isinstance(message, str) else message.decode()
        value = (_decode_large if len(text) >= LARGE_DIGITS and _LARGE.search(text) else _decode)(text)
        if text.count("[") + text.count("{") > LEVELS_MAX:
            _require_levels(value)
        if _SURROGATE.search(text):
            _require_characters(value)
    except (ValueError, RecursionError) as error:
        raise WebSocketException(1007, f"invalid JSON: {error}") from None
    return value


def _require_levels(value: Any) -> None:
    level = [value]
    for _ in range(LEVELS_MAX):
        level = [inner for outer in level if isinstance(outer, (list, dict)) for inner in _inner(outer)]
        if not any(isinstance(inner, (list, dict)) for inner in level):
            return
    raise ValueError(f"more than {LEVELS_MAX} levels")


def _inner(value: list[Any] | dict[str, Any]) -> Any:
    return value if isinstance(value, list) else value.values()


def _require_characters(value: Any) -> None:
    """Refuses half of a surrogate pair: it is no character, and cannot be sent as UTF-8."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            one.encode()
        elif isinstance(one, dict):
            left.extend(one.keys())
            left.extend(one.values())
        elif isinstance(one, list):
            left.extend(one)
