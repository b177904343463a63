"""Requests, with everything that a test may want to say."""

from __future__ import annotations

import http.cookies
import json as _json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import quote, urlencode, urlsplit

if TYPE_CHECKING:
    from nexios.testing.response import TestResponse

    Pairs = Mapping[str, str] | Iterable[tuple[str, str]]
    Address = tuple[str, int]

#: Bytes on the way to a client that reads when it likes, about what a kernel holds.
RECEIVE_BUFFER = 256 << 10


class ConnectOptions(TypedDict, total=False):
    """Options of `websocket_connect` and `handshake`."""

    headers: Pairs
    cookies: Mapping[str, str]
    params: Pairs
    origin: str
    client: Address | None
    compression: bool | Mapping[str, Any] | None
    receive_buffer: int
    timeout: float | None


class RequestOptions(TypedDict, total=False):
    """Options of plain requests."""

    headers: Pairs
    cookies: Mapping[str, str]
    params: Pairs
    client: Address | None
    content: bytes | str
    json: Any
    data: Mapping[str, str]
    timeout: float | None


@dataclass
class Session:
    """State that all requests of a client share; cookies that the server sets are stored."""

    host: str = "testserver"
    headers: list[tuple[str, str]] = field(default_factory=list)
    cookies: dict[str, str] = field(default_factory=dict)

    def fields(self, headers: Pairs, cookies: Mapping[str, str]) -> list[tuple[str, str]]:
        """The header fields of a request: its own replace those of the client."""
        own = pairs(headers)
        replaced = {name.lower() for name, _ in own}
        fields = [(name, value) for name, value in self.headers if name.lower() not in replaced] + own
        together = {**self.cookies, **cookies}
        if together:
            fields.append(("Cookie", "; ".join(f"{name}={value}" for name, value in together.items())))
        return fields

    def store_cookies(self, response: TestResponse) -> None:
        """Keeps the cookies that the answer sets; one that has no more time to live is forgotten."""
        for line in response.headers.get_all("set-cookie"):
            for name, morsel in http.cookies.SimpleCookie(line).items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value


def pairs(fields: Pairs) -> list[tuple[str, str]]:
    return list(fields.items() if isinstance(fields, Mapping) else fields)


def target(url: str, params: Pairs = ()) -> str:
    """The target of a request: the path and query of a URL, encoded where it is not."""
    parts = urlsplit(url)
    query = "&".join(part for part in (parts.query, urlencode(pairs(params))) if part)
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    if not path.startswith("/"):
        path = f"/{path}"
    return path + (f"?{quote(query, safe=_QUERY)}" if query else "")


_QUERY = "/?%:@!$&'()*+,;=~-._"


def plain(
    session: Session,
    method: str,
    url: str,
    *,
    headers: Pairs = (),
    cookies: Mapping[str, str] | None = None,
    params: Pairs = (),
    content: bytes | str | None = None,
    json: Any = None,
    data: Mapping[str, str] | None = None,
) -> bytes:
    """A plain HTTP request as bytes."""
    fields = session.fields(headers, cookies or {})
    body, kind = _body(content, json, data)
    named = {name.lower() for name, _ in fields}
    if kind and "content-type" not in named:
        fields.append(("Content-Type", kind))
    if body is not None:
        fields.append(("Content-Length", str(len(body))))
    if "host" not in named:
        fields.insert(0, ("Host", session.host))
    fields.append(("Connection", "close"))
    lines = [f"{method.upper()} {target(url, params)} HTTP/1.1", *(f"{name}: {_line(value)}" for name, value in fields)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def _line(value: str) -> str:
    if "\r" in value or "\n" in value:
        raise ValueError(f"{value!r} cannot stand in an HTTP header")
    return value


def _body(content: bytes | str | None, json: Any, data: Mapping[str, str] | None) -> tuple[bytes | None, str]:
    if content is not None:
        return (content.encode(), "text/plain; charset=utf-8") if isinstance(content, str) else (content, "")
    if json is not None:
        return _json.dumps(json).encode(), "application/json"
    if data is not None:
        return urlencode(data).encode(), "application/x-www-form-urlencoded"
    return None, ""


def handshake_headers(
    session: Session, headers: Pairs, cookies: Mapping[str, str] | None, origin: str | None
) -> tuple[str, list[tuple[str, str]]]:
    """The host and the header fields of a handshake."""
    fields = session.fields(headers, cookies or {})
    hosts = [value for name, value in fields if name.lower() == "host"]
    fields = [(name, value) for name, value in fields if name.lower() != "host"]
    if origin is not None:
        fields.append(("Origin", origin))
    return (hosts[0] if hosts else session.host), fields


def subprotocol_list(subprotocols: Sequence[str] | None) -> list[str]:
    if isinstance(subprotocols, str):
        raise TypeError("subprotocols: expected a list of names, not one name")
    return list(subprotocols or ())
