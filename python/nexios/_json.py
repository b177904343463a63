"""JSON as it goes over the wire."""

from __future__ import annotations

import json
from typing import Any

from nexios.exceptions import WebSocketException

# Short, as text, and nothing that other languages cannot read.
encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode

_decode = json.JSONDecoder().decode


def decode(message: str | bytes) -> Any:
    """The value of a message; malformed JSON closes 1007 where nobody catches it."""
    try:
        return _decode(message) if isinstance(message, str) else json.loads(message)
    except (ValueError, RecursionError) as error:
        raise WebSocketException(1007, f"invalid JSON: {error}") from None
