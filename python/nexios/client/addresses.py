"""Addresses, tokens and subprotocols of attempts. Each may come from a function, called before each attempt."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from websockets.exceptions import InvalidURI
from websockets.uri import parse_uri

__all__ = ["SUBPROTOCOL", "Address", "Addresses", "Protocols", "Token"]

SUBPROTOCOL = "nexios.v1"

Address: TypeAlias = str | Callable[[], str | Awaitable[str]]
Protocols: TypeAlias = Sequence[str] | Callable[[], Sequence[str] | Awaitable[Sequence[str]]]
Token: TypeAlias = str | Callable[[], str | Awaitable[str | None] | None] | None

# RFC 7230 3.2.6: the characters of a subprotocol.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class Addresses:
    """The addresses of the nodes, round and round, the token, and the subprotocols."""

    def __init__(self, url: Address | Sequence[Address], protocols: Protocols, token: Token) -> None:
        self._urls: tuple[Address, ...] = (url,) if isinstance(url, str) or callable(url) else tuple(url)
        if not self._urls:
            raise ValueError("there is no address")
        for each in self._urls:
            if not callable(each):
                _checked_url(each)
        self._protocols = protocols if callable(protocols) else _checked_protocols(protocols)
        self._token = token if callable(token) else _checked_token(token)
        self._turn = 0  # the number of the address, modulo their count
        self._asked = ""  # the last result of a function

    @property
    def url(self) -> str:
        """The address of this attempt; empty before a function has returned it."""
        url = self._urls[self._turn % len(self._urls)]
        return self._asked if callable(url) else url

    @property
    def count(self) -> int:
        """The number of addresses."""
        return len(self._urls)

    @property
    def may_change(self) -> bool:
        """True if another attempt may have another token."""
        return any(callable(each) for each in (*self._urls, self._protocols, self._token))

    def next(self) -> None:
        self._turn += 1

    async def ask(self) -> tuple[str, list[str]]:
        """Returns the address and the subprotocols of an attempt; raises what a function raises."""
        url = self._urls[self._turn % len(self._urls)]
        if callable(url):
            self._asked = _checked_url(await _asked(url))
        token = _checked_token(await _asked(self._token))
        protocols = _checked_protocols(await _asked(self._protocols))
        return self.url, [SUBPROTOCOL, *([] if token is None else ["bearer", token]), *protocols]


async def _asked(value: Any) -> Any:
    if not callable(value):
        return value
    result = value()
    return await result if inspect.isawaitable(result) else result


def _checked_url(url: object) -> str:
    if not isinstance(url, str):
        raise TypeError(f"invalid address {url!r}: must be a text such as ws://localhost:8000/live")
    try:
        parse_uri(url)
    except InvalidURI as error:
        # Without its query, which may have a token.
        raise InvalidURI(url.split("?")[0], error.msg) from None
    return url


def _checked_token(token: object) -> str | None:
    if token is None:
        return None
    if not isinstance(token, str):
        raise TypeError(f"invalid token: must be a text, not {type(token).__name__}")
    if not _TOKEN.fullmatch(token):
        # A token is a secret, and not shown.
        raise ValueError("invalid token: must consist of letters, digits and !#$%&'*+-.^_`|~")
    return token


def _checked_protocols(protocols: object) -> Sequence[str]:
    if isinstance(protocols, str) or not isinstance(protocols, Sequence):
        raise TypeError(f"invalid protocols: must be a sequence of texts, not {type(protocols).__name__}")
    for each in protocols:
        if not isinstance(each, str) or not _TOKEN.fullmatch(each):
            raise ValueError("invalid protocols: each must be a text of letters, digits and !#$%&'*+-.^_`|~")
    return protocols
