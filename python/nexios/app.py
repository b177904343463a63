"""The app: the outermost router, and what the whole server shares."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeVar, cast

from nexios import _nexios
from nexios._asgi import ASGIApp, Http
from nexios._callable import require_async
from nexios.router import WSRouter
from nexios.settings import AppSettings, RouterSettings, ServerSettings

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from nexios._callable import Middleware

    Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]

__all__ = ["NexiosApp"]

F = TypeVar("F", bound=Callable[[], Coroutine[Any, Any, Any]])


class NexiosApp(WSRouter):
    """Everything that a server serves.

    ``settings`` are those of routers, for all routes, and those of the server:
    ``shutdown_grace``, ``connections_max``, ``connections_per_host_max``, ``head_timeout`` and so on.
    ``http`` is any ASGI application: it answers the plain HTTP requests for all other paths.
    """

    def __init__(
        self,
        *,
        prefix: str = "",
        name: str | None = None,
        middleware: Sequence[Middleware] = (),
        trusted_proxies: Sequence[str] = (),
        lifespan: Lifespan | None = None,
        health: str | None = None,
        http: ASGIApp | None = None,
        **settings: Unpack[AppSettings],
    ) -> None:
        self.lifespan = lifespan
        server, routes = _split(settings)
        self._server_settings = server
        self._trusted_proxies = list(trusted_proxies)
        self._health = health
        self._http = None if http is None else Http(http)
        self._files: list[tuple[str, str]] = []
        self._startup: list[Callable[[], Coroutine[Any, Any, Any]]] = []
        self._shutdown: list[Callable[[], Coroutine[Any, Any, Any]]] = []
        super().__init__(prefix, name=name, middleware=middleware, **routes)
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


def _split(settings: AppSettings) -> tuple[ServerSettings, RouterSettings]:
    """What the server needs, and what its routes do."""
    server: dict[str, Any] = {}
    routes: dict[str, Any] = {}
    for name, value in settings.items():
        (server if name in ServerSettings.__annotations__ else routes)[name] = value
    return cast(ServerSettings, server), cast(RouterSettings, routes)
