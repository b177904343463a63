"""Texts of others in lines of a log."""

from __future__ import annotations

import itertools
import logging
import re
import traceback
from typing import Any

__all__ = ["Escaping", "escaped", "escaped_traceback"]

#: Characters that a text takes in a line of a log at most.
CHARACTERS_MAX = 256
#: The limit for the message of an exception, which may be the application's own.
FAULT_CHARACTERS_MAX = 2048
#: The mark of a text that was cut. A backslash of the text itself is escaped, so this is never a part of it.
CUT = r"\..."

#: Control characters, separators of lines and paragraphs, surrogates, and what is invisible or turns a text around.
_CODES = (
    r"\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    r"\U000e0000-\U000e007f"
)
_HIDDEN = re.compile(f"[{_CODES}]")
_UNSAFE = re.compile(rf"[{_CODES}\\]")
_UNSAFE_IN_QUOTES = re.compile(rf'[{_CODES}\\"]')
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", '"': '\\"'}


def escaped(text: str, characters_max: int = CHARACTERS_MAX, *, quotes: bool = True) -> str:
    r"""Escapes a text for a log, so that it can neither begin a line of its own nor steer a terminal.

    Backslashes and double quotes are escaped, too (``quotes=False`` leaves the latter), so that the form is
    unambiguous. What is longer is cut and ends in ``\...``.
    """
    unsafe = _UNSAFE_IN_QUOTES if quotes else _UNSAFE
    if len(text) <= characters_max and unsafe.search(text) is None:
        return text
    units: list[str] = []
    left = characters_max
    for character in itertools.islice(text, characters_max + 1):
        unit = _unit(character) if unsafe.match(character) else character
        left -= len(unit)
        if left < 0:
            return "".join(units) + CUT
        units.append(unit)
    return "".join(units)


def _unit(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def escaped_traceback(error: BaseException) -> str:
    """Formats an exception like ``traceback.format_exception()``, but with each message on one escaped line."""
    whole = traceback.TracebackException(type(error), error, error.__traceback__)
    unseen: list[traceback.TracebackException | None] = [whole]
    while unseen:
        part = unseen.pop()
        if part is None or isinstance(part, _Escaped):
            continue
        # The parts are of a class that cannot be chosen when they are made.
        part.__class__ = _Escaped
        unseen += [part.__cause__, part.__context__, *(getattr(part, "exceptions", None) or ())]
    return "".join(whole.format()).rstrip("\n")


class _Escaped(traceback.TracebackException):
    def format_exception_only(self, *args: Any, **kwargs: Any) -> Any:
        notes, self.__notes__ = getattr(self, "__notes__", None), None
        for text in super().format_exception_only(*args, **kwargs):
            indented = text.lstrip(" ")
            yield text[: len(text) - len(indented)] + _line(indented.removesuffix("\n")) + "\n"
        for note in notes if isinstance(notes, (list, tuple)) else ():
            # Indented, since a note is nothing but text.
            yield f"  {_line(str(note))}\n"


def _line(text: str) -> str:
    return escaped(text, FAULT_CHARACTERS_MAX, quotes=False)


class Escaping(logging.Filter):
    """Escapes tracebacks in the records of a logger, and messages that have something to hide."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None and not record.exc_text:
            # Formatters take this text instead of making one.
            record.exc_text = escaped_traceback(record.exc_info[1])
        message = record.getMessage()
        if _HIDDEN.search(message):
            record.msg, record.args = escaped(message, FAULT_CHARACTERS_MAX), ()
        return True
