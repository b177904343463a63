"""The app: the outermost router, and what the whole server shares."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from nexios import _nexios
from nexios._asgi import ASGIApp, Http
from nexios._callable import require_async
from nexios.router import WSRouter

__all__ = ["NexiosApp"]

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])
Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]

#: Settings of the server, not of a route.
SERVER_SETTINGS = frozenset(
    {
        "accept_rate_max",
        "connections_max",
        "connections_per_host_max",
        "head_bytes_max",
        "head_timeout",
        "headers_max",
        "read_buffer_bytes",
        "shutdown_grace",
    }
)


class NexiosApp(WSRouter):
    """Everything that a server serves.

    ``settings`` are those of routers, for all routes, and those of the server:
    ``shutdown_grace``, ``connections_max``, ``connections_per_host_max``, ``head_timeout`` and so on.
    ``http`` is any ASGI application: it answers the plain HTTP requests for all other paths.
    """

    def __init__(
        self,
        *,
        trusted_proxies: Sequence[str] = (),
        lifespan: Lifespan | None = None,
        health: str | None = None,
        http: ASGIApp | None = None,
        **settings: Any,
    ) -> None:
        self.lifespan = lifespan
        self._server_settings = {name: settings.pop(name) for name in SERVER_SETTINGS & settings.keys()}
        self._trusted_proxies = list(trusted_proxies)
        self._health = health
        self._http = None if http is None else Http(http)
        self._files: list[tuple[str, str]] = []
        self._startup: list[Callable[[], Awaitable[Any]]] = []
        self._shutdown: list[Callable[[], Awaitable[Any]]] = []
        super().__init__(**settings)
        # What makes no sense is said here, and not only once it is served.
        _nexios.App(_nexios.WsRouter("", None, {}), self._server_settings, self._trusted_proxies, [], None).check()

    def static(self, path: str, directory: str | os.PathLike[str]) -> None:
        """Serves the files of a directory below a path; ``/`` gives ``index.html``."""
        if not os.path.isdir(directory):
            raise ValueError(f"{os.fspath(directory)!r} is no directory")
        self._files.append((path, os.fspath(directory)))

    def on_startup(self, function: F) -> F:
        """Runs before the server listens."""
        require_async(function, "a startup function")
        self._startup.append(function)
        return function

    def on_shutdown(self, function: F) -> F:
        """Runs when the last connection is gone."""
        require_async(function, "a shutdown function")
        self._shutdown.append(function)
        return function
