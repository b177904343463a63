"""The app: the outermost router, and what the whole server shares."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeVar, cast

from nexios import _nexios
from nexios._asgi import ASGIApp, Http
from nexios._callable import require_async
from nexios.broker import Broker, MemoryBroker, as_broker
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

    ``settings``
        Those of routers, for all routes, and those of the server: see ``nexios.settings.AppSettings``.
    ``http``
        Any ASGI application: it answers the plain HTTP requests for all other paths.
    ``broker``
        Connects the nodes of the app: ``"unix:/run/hub.sock"``, ``"redis://host"``, ``"nats://host"``, or a
        :class:`~nexios.Broker`; where it is not given, the environment's ``NEXIOS_BROKER`` counts.
    ``lifespan``
        A function of the app that gives an async context manager: what it does before ``yield`` is done before
        the server listens, the rest when the last connection is gone.
    ``health``
        A path that answers plain requests with 200.
    ``trusted_proxies``
        Addresses, networks such as ``"10.0.0.0/8"``, or ``"unix"``: their forwarded headers are believed, and
        ``connections_per_host_max`` counts the clients that they name. One text is a list of one.
    ``allowed_hosts``
        Requests to other hosts are answered with 400: names, ``"*.example.org"`` for all hosts below that one, or
        addresses, each with a port where it counts. Any host where it is not given. One text is a list of one.
    ``middleware``, ``name``, ``prefix``
        As of a router.

    >>> app = NexiosApp(health="/health", allowed_origins=["https://example.org"], shutdown_grace=5)
    >>> @app.ws("/ws")
    ... async def echo(ws):
    ...     await ws.accept()
    ...     async for message in ws:
    ...         await ws.send(message)
    >>> with TestClient(app) as test, test.websocket_connect("/ws") as client:
    ...     client.send_text("hello")
    ...     client.receive_text()
    'hello'
    """

    def __init__(
        self,
        *,
        prefix: str = "",
        name: str | None = None,
        middleware: Sequence[Middleware] = (),
        trusted_proxies: str | Iterable[str] = (),
        allowed_hosts: str | Iterable[str] | None = None,
        lifespan: Lifespan | None = None,
        health: str | None = None,
        http: ASGIApp | None = None,
        broker: str | MemoryBroker | Broker | None = None,
        **settings: Unpack[AppSettings],
    ) -> None:
        self.lifespan = lifespan
        server, routes = _split(settings)
        self._server_settings = server
        self._trusted_proxies = _texts(trusted_proxies)
        self._health = health
        self._broker = as_broker(broker)
        self._http = None if http is None else Http(http)
        self._files: list[tuple[str, str, bool, bool]] = []
        self._startup: list[Callable[[], Coroutine[Any, Any, Any]]] = []
        self._shutdown: list[Callable[[], Coroutine[Any, Any, Any]]] = []
        super().__init__(prefix, name=name, middleware=middleware, **routes)
        self._allowed_hosts = None if allowed_hosts is None else _texts(allowed_hosts)
        # What makes no sense is said here, and not only once it is served.
        _nexios.App(
            _nexios.WsRouter("", None, {}),
            self._server_settings,
            self._trusted_proxies,
            [],
            None,
            allowed_hosts=self._allowed_hosts,
        ).check()

    def static(
        self,
        path: str,
        directory: str | os.PathLike[str],
        *,
        hidden_files: bool = False,
        follow_links: bool = False,
    ) -> None:
        """Serves the files of a directory below a path; ``/`` gives ``index.html``.

        Those whose names or directories begin with a dot are served with ``hidden_files`` (``.well-known`` always is),
        and symbolic links that lead out of the directory with ``follow_links``. Raises ``ValueError`` where there is no
        such directory.

        >>> app.static("/files", directory=".")
        """
        self._require_unserved("static files")
        if not os.path.isdir(directory):
            raise ValueError(f"{os.fspath(directory)!r} is no directory")
        self._files.append((path, os.fspath(directory), hidden_files, follow_links))

    def on_startup(self, function: F) -> F:
        """Runs before the server listens; what it raises stops the start.

        >>> @app.on_startup
        ... async def open_database():
        ...     print("opened")
        >>> with TestClient(app):
        ...     pass
        opened
        """
        require_async(function, "a startup function", ())
        self._startup.append(function)
        return function

    def on_shutdown(self, function: F) -> F:
        """Runs when the last connection is gone; the newest first.

        >>> @app.on_shutdown
        ... async def close_database():
        ...     print("closed")
        >>> with TestClient(app):
        ...     pass
        closed
        """
        require_async(function, "a shutdown function", ())
        self._shutdown.append(function)
        return function


def _texts(value: str | Iterable[str]) -> list[str]:
    """Returns a list of texts; a single one is not taken for an iterable of its letters."""
    return [value] if isinstance(value, str) else list(value)


def _split(settings: AppSettings) -> tuple[ServerSettings, RouterSettings]:
    """Separates the settings of the server from those of its routes."""
    server: dict[str, Any] = {}
    routes: dict[str, Any] = {}
    for name, value in settings.items():
        (server if name in ServerSettings.__annotations__ else routes)[name] = value
    return cast(ServerSettings, server), cast(RouterSettings, routes)
