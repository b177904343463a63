"""JSON as it goes over the wire: what RFC 8259 knows and every language can read, and nothing else."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import json
import math
import re
import sys
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from nexios.exceptions import WebSocketException

#: Levels of arrays and objects, as in Rust.
LEVELS_MAX = 127
#: No shorter integer is too large for a double.
LARGE_DIGITS = 309

_DIGITS = "0123456789"
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


_Encoder = TypeVar("_Encoder", bound=Callable[[Any], Any])


def _unknown(value: Any) -> Any:
    raise TypeError(
        f"{type(value).__qualname__} is not JSON: give it a method __json__(), register a json_encoder() for it, "
        f"or convert {value!r:.80} first"
    )


_registered = functools.singledispatch(_unknown)


def json_encoder(cls: type) -> Callable[[_Encoder], _Encoder]:
    """Registers what the instances of a class, and of its subclasses, are sent as, in all apps of the process.

    It is for classes of others; one's own may have a method ``__json__()``. What the function returns is encoded
    in turn.

    >>> from pathlib import PurePath
    >>> from nexios import json_encoder
    >>> @json_encoder(PurePath)
    ... def path(value):
    ...     return str(value)
    """
    if not isinstance(cls, type):
        raise TypeError(f"invalid class {cls!r}: json_encoder() takes the class whose instances are sent")

    def register(function: _Encoder) -> _Encoder:
        _registered.register(cls, function)
        return function

    return register


def _as_json(value: Any) -> Any:
    """Returns JSON's form of a value that JSON does not have, where that is unambiguous."""
    if (registered := _registered.dispatch(type(value))) is not _unknown:
        return registered(value)
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
    if hasattr(type(value), "__struct_fields__") and (msgspec := sys.modules.get("msgspec")) is not None:
        # By the names and the tag that its class has for JSON.
        return msgspec.to_builtins(value, enc_hook=_as_json)
    return _unknown(value)


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
    if _has_large_integer(text):
        _decode_large(text)
    return text


def _not_json(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {text:.40} is out of range")
    return number


def _has_large_integer(text: str) -> bool:
    """Returns whether :data:`LARGE_DIGITS` digits stand in a row; then one of every so many characters is a digit."""
    for index, character in enumerate(text[LARGE_DIGITS - 1 :: LARGE_DIGITS]):
        if character in _DIGITS:
            place = (index + 1) * LARGE_DIGITS - 1
            before, behind = text[place - LARGE_DIGITS + 1 : place], text[place : place + LARGE_DIGITS]
            digits = len(before) - len(before.rstrip(_DIGITS)) + len(behind) - len(behind.lstrip(_DIGITS))
            if digits >= LARGE_DIGITS:
                return True
    return False


def _large_integer(text: str) -> int:
    _number(text)
    return int(text)


_decode = json.JSONDecoder(parse_constant=_not_json, parse_float=_number).decode
_decode_large = json.JSONDecoder(parse_constant=_not_json, parse_float=_number, parse_int=_large_integer).decode


def decode(message: str | bytes) -> Any:
    """Returns the value of a message; other text closes 1007 unless the exception is caught."""
    try:
        text = message if isinstance(message, str) else message.decode()
        value = (_decode_large if _has_large_integer(text) else _decode)(text)
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
