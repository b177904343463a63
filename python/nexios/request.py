"""The parts of an upgrade request: headers, parameters, the client's address."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from typing import NamedTuple, TypeVar

from nexios.exceptions import WebSocketDisconnect

__all__ = ["Address", "Headers", "Parameters"]

T = TypeVar("T")


class Address(NamedTuple):
    """A client's host and port.

    >>> ws.client
    Address(host='203.0.113.7', port=50000)
    >>> host, port = ws.client
    """

    host: str
    port: int


class Parameters(Mapping[str, str]):
    """Names with values; of a repeated name the first counts, ``get_all`` has the rest.

    >>> dict(ws.query_params)
    {'name': 'ann'}
    """

    __slots__ = ("_pairs",)

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs

    def _key(self, name: str) -> str:
        return name

    def __getitem__(self, name: str) -> str:
        key = self._key(name)
        for other, value in self._pairs:
            if self._key(other) == key:
                return value
        raise KeyError(name)

    def get_all(self, name: str) -> list[str]:
        """Returns all values of this name, in their order.

        >>> Headers([("X-Tag", "1"), ("x-tag", "2")]).get_all("X-TAG")
        ['1', '2']
        """
        key = self._key(name)
        return [value for other, value in self._pairs if self._key(other) == key]

    def multi_items(self) -> list[tuple[str, str]]:
        """Returns all names and values, in their order.

        >>> ws.query_params.multi_items()
        [('name', 'ann')]
        """
        return list(self._pairs)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(self._key(name) for name, _ in self._pairs))

    def __len__(self) -> int:
        return len({self._key(name) for name, _ in self._pairs})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._pairs!r})"


class Headers(Parameters):
    """Header fields; their names have no case.

    >>> ws.headers["AUTHORIZATION"], "x-none" in ws.headers
    ('Bearer letmein', False)
    """

    __slots__ = ()

    def _key(self, name: str) -> str:
        return name.lower()

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and any(self._key(other) == self._key(name) for other, _ in self._pairs)


def path_params(route: str, pairs: list[tuple[str, str]]) -> dict[str, str | int]:
    """The parameters of a path; those that the route declares as ``int`` are numbers."""
    numbers = set(re.findall(r"\{(\w+):int\}", route))
    return {name: int(value) if name in numbers else value for name, value in pairs}


async def iterate(receive: Callable[[], Awaitable[T]]) -> AsyncGenerator[T, None]:
    """Yields what ``receive`` returns, until the connection is over."""
    try:
        while True:
            yield await receive()
    except WebSocketDisconnect:
        return
