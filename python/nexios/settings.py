"""Keyword arguments of routes, routers and apps; times are in seconds, sizes in bytes.

A setting of a route wins over that of its router, and this over that of the router around it.
``docs/python.md`` has the table of defaults.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypedDict

__all__ = [
    "AppSettings",
    "CompressionSettings",
    "RouteSettings",
    "RouterSettings",
    "ServerSettings",
    "SlowClient",
]

SlowClient = Literal["close", "drop_newest", "drop_oldest", "conflate"]


class CompressionSettings(TypedDict, total=False):
    """Settings of compression, for clients that can read it.

    >>> app = NexiosApp(compression={"context_takeover": True, "window_bits": 12, "level": 6})
    """

    context_takeover: bool
    window_bits: int
    level: int
    message_bytes_min: int


class RouterSettings(TypedDict, total=False):
    """Settings of all routes of an app or a router.

    >>> dashboards = WSRouter("/dashboards", slow_client="conflate", ping_interval=10, message_bytes_max=4096)
    """

    message_bytes_max: int | None
    fragments_max: int | None
    fragment_timeout: float
    message_timeout: float | None
    accept_timeout: float
    ping_interval: float | None
    ping_timeout: float
    close_timeout: float
    outbox_mark_bytes: int
    outbox_bytes_max: int
    drain_timeout: float
    inbox_messages_max: int
    inbox_bytes_max: int
    control_frames_per_second_max: int
    compression: CompressionSettings | bool | None
    slow_client: SlowClient
    kernel_bytes_max: int | None
    keep_head: bool
    allowed_origins: Iterable[str]
    refuse_before_accept: bool
    #: Clients may speak ``nexios.v1``; off unless it is set.
    live: bool
    #: Clients of ``nexios.v1`` come back after so many seconds, from and to, at random.
    retry: tuple[float, float]
    #: A client of ``nexios.v1`` may watch the presence of so many rooms at a time.
    watched_rooms_max: int | None
    #: Joins and publishes of a fresh ``nexios.v1`` connection wait so many seconds for its handler to receive.
    hold_timeout: float
    #: A user stays in the presence of rooms for so many seconds after a connection is gone.
    leave_delay: float


class RouteSettings(RouterSettings, total=False):
    """Settings of a route: those of its router, and two of its own.

    >>> @app.ws("/upload", message_bytes_max=None, cancel_on_disconnect=True, subprotocols=["v2", "v1"])
    ... async def upload(ws):
    ...     await ws.accept()
    """

    subprotocols: Iterable[str]
    cancel_on_disconnect: bool


class ServerSettings(TypedDict, total=False):
    """Settings of the whole server.

    >>> app = NexiosApp(connections_max=10_000, connections_per_host_max=100, shutdown_grace=10)
    """

    accept_rate_max: int | None
    connections_max: int | None
    connections_per_host_max: int | None
    head_bytes_max: int
    head_timeout: float
    headers_max: int
    http_bytes_per_second_min: int
    http_stall_timeout: float | None
    read_buffer_bytes: int
    shutdown_grace: float
    waiting_bytes_max: int | None


class AppSettings(RouterSettings, ServerSettings, total=False):
    """Settings of an app: for all its routes, and for the server.

    >>> app = NexiosApp(ping_interval=10, connections_max=10_000)
    """
