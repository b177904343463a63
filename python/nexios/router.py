"""Routers: routes under a prefix, with middleware, listeners and exception handlers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, overload

from nexios import _live, _nexios
from nexios._build import check, prepare, tree
from nexios._callable import (
    AuthorizationT,
    DropListenerT,
    ExceptionHandlerT,
    GapListenerT,
    HandlerT,
    ListenerT,
    MessageListenerT,
    MiddlewareT,
    PresenceListenerT,
    RequestHandlerT,
    require_async,
)
from nexios.broadcast import Audience, Connections, Room, Serving
from nexios.broker import BrokerMetrics
from nexios.metrics import MetricsSnapshot

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from nexios._callable import ExceptionHandlers, Handler, Middleware
    from nexios.history import History
    from nexios.settings import RouterSettings, RouteSettings

    LogLevel = Literal["critical", "error", "warning", "info", "debug"]

__all__ = ["Route", "WSRouter"]

Event = Literal["connect", "disconnect", "message", "drop", "gap", "join", "leave"]
EVENTS = ("connect", "disconnect", "message", "drop", "gap", "join", "leave")
# What listeners are called with, where it is more or less than the connection.
LISTENERS_TAKE = {
    "message": ("ws", "message"),
    "drop": ("ws", "messages"),
    "gap": ("gap",),
    "join": ("event",),
    "leave": ("event",),
}


class Route:
    """A WebSocket route: ``ws.route`` of its connections.

    Its attributes are ``path``, ``name``, ``handler``, ``router`` and ``app``.

    >>> ws.route.path, ws.route.name
    ('/chat/{room}', 'chat')
    """

    __slots__ = ("_middleware", "_settings", "app", "exception_levels", "handler", "name", "path", "router")

    def __init__(
        self,
        router: WSRouter,
        path: str,
        handler: Handler,
        name: str | None,
        middleware: Sequence[Middleware],
        settings: Mapping[str, Any],
    ) -> None:
        self.router = router
        #: The whole path, once the router is served; before that the route's own.
        self.path = path
        self.name = name
        self.handler = handler
        #: The app, or the outermost router, that serves it.
        self.app: Any = None
        self.exception_levels: Sequence[ExceptionHandlers] = ()
        self._middleware = list(middleware)
        self._settings = settings

    def __repr__(self) -> str:
        return f"<Route {self.path}{f' {self.name!r}' if self.name else ''}>"


class WSRouter(Audience):
    """A group of routes; what is registered on it covers those of routers mounted below it, too.

    ``settings`` are limits and timings for all its routes, such as ``message_bytes_max=65536``,
    ``ping_interval=None``, ``allowed_origins=["https://example.org"]`` or
    ``slow_client="drop_oldest"``; a route's own win. ``nexios.settings.RouterSettings`` has them all.

    >>> chat = WSRouter(prefix="/talk", allowed_origins=["https://example.org"])
    >>> @chat.ws("/general")
    ... async def general(ws):
    ...     await ws.accept()
    ...     await ws.send_text("welcome")
    >>> app.mount_ws_router(chat)
    >>> with TestClient(app) as test, test.websocket_connect("/talk/general") as client:
    ...     client.receive_text()
    'welcome'
    """

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str | None = None,
        middleware: Sequence[Middleware] = (),
        **settings: Unpack[RouterSettings],
    ) -> None:
        self.prefix = prefix
        self.name = name
        self.parent: WSRouter | None = None
        self._serving = Serving()
        self._mounted_at: str | None = None
        self._routes: list[tuple[str, Route]] = []
        self._children: list[WSRouter] = []
        #: The shapes of all paths below the outermost router; those of others are empty.
        self._shapes: set[str] = set()
        self._middleware: list[Middleware] = []
        self._listeners: dict[str, list[Callable[..., Any]]] = {event: [] for event in EVENTS}
        self._exceptions: ExceptionHandlers = {}
        self._rules = _live.Rules()
        self._settings = settings
        #: The allowed hosts of an app, or of the command line.
        self._allowed_hosts: list[str] | None = None
        _nexios.WsRouter(prefix, name, settings)
        for function in middleware:
            self.middleware(function)

    # --- registration

    def ws(
        self,
        path: str,
        *,
        name: str | None = None,
        middleware: Sequence[Middleware] = (),
        **settings: Unpack[RouteSettings],
    ) -> Callable[[HandlerT], HandlerT]:
        """Serves a path: parameters are ``{name}``, ``{name:int}`` and ``{name:path}``.

        ``settings`` are those of ``nexios.settings.RouteSettings``. Raises ``ValueError`` at once if the path is
        taken or invalid, ``TypeError`` if the handler is not an ``async def``.

        >>> @app.ws("/users/{id:int}")
        ... async def user(ws):
        ...     await ws.accept()
        ...     await ws.send_json({"id": ws.path_params["id"]})
        >>> with TestClient(app) as test, test.websocket_connect("/users/42") as client:
        ...     client.receive_json()
        {'id': 42}
        """
        for function in middleware:
            require_async(function, "a middleware", ("ws", "next"))

        def register(handler: HandlerT) -> HandlerT:
            self._require_unserved("a route")
            require_async(handler, "a WebSocket handler")
            route = Route(self, path, handler, name, middleware, settings)
            self._routes.append((path, route))
            self._check(lambda: self._routes.pop(), self, route)
            return handler

        return register

    @overload
    def on(self, event: Literal["connect", "disconnect"]) -> Callable[[ListenerT], ListenerT]: ...
    @overload
    def on(self, event: Literal["message"]) -> Callable[[MessageListenerT], MessageListenerT]: ...
    @overload
    def on(self, event: Literal["drop"]) -> Callable[[DropListenerT], DropListenerT]: ...
    @overload
    def on(self, event: Literal["gap"]) -> Callable[[GapListenerT], GapListenerT]: ...
    @overload
    def on(self, event: Literal["join", "leave"]) -> Callable[[PresenceListenerT], PresenceListenerT]: ...
    def on(self, event: Event) -> Callable[..., Any]:
        """Listens to ``connect``, ``disconnect``, ``message``, ``drop``, ``gap``, ``join`` or ``leave``.

        Listeners of a message also get the message, those of a drop a list of messages. They run one after another,
        those of outer routers first. Those of a gap get a :class:`~nexios.Gap` and no connection, once: clients of this
        router, of one around it or below it, or of a room may have missed messages of other nodes.

        Those of a join or leave get a :class:`~nexios.PresenceEvent`: a user whom ``room.track()`` shows has come into
        a room of the app with the first connection on any node, or has left it with the last. They run once on each
        node that has tracked a user in the room or read its presence within a minute; ``event.here`` is true on the
        client's node. On a node that begins to do so they also run for the users who are in the room already.

        >>> @app.on("disconnect")
        ... async def gone(ws):
        ...     print("closed", ws.close_code, ws.close_reason)
        >>> with TestClient(app) as test, test.websocket_connect("/chat/general") as client:
        ...     client.close(4000, "bye")
        closed 4000 bye
        """
        if event not in EVENTS:
            raise ValueError(f"there is no event {event!r}, only {', '.join(EVENTS)}")

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            self._require_unserved("a listener")
            require_async(function, f"a listener for {event!r}", LISTENERS_TAKE.get(event, ("ws",)))
            self._listeners[event].append(function)
            return function

        return register

    def middleware(self, function: MiddlewareT) -> MiddlewareT:
        """Runs ``function(ws, next)`` around the handlers; the first registered is the outermost.

        >>> @app.middleware
        ... async def members_only(ws, next):
        ...     if ws.bearer_token != "letmein":
        ...         await ws.close(1008, "members only")
        ...         return
        ...     await next(ws)
        >>> with TestClient(app) as test, test.websocket_connect("/chat/general") as client:
        ...     client.wait_closed()
        (1008, 'members only')
        """
        self._require_unserved("a middleware")
        require_async(function, "a middleware", ("ws", "next"))
        self._middleware.append(function)
        return function

    def exception_handler(self, kind: type[Exception]) -> Callable[[ExceptionHandlerT], ExceptionHandlerT]:
        """Takes exceptions of this class from handlers, middleware and message listeners.

        The nearest level counts, and there the most specific class.

        >>> @app.exception_handler(KeyError)
        ... async def missing(ws, exc):
        ...     await ws.close(1007, f"there is no {exc}")
        >>> @app.ws("/strict")
        ... async def strict(ws):
        ...     await ws.accept()
        ...     (await ws.receive_json())["name"]
        >>> with TestClient(app) as test, test.websocket_connect("/strict") as client:
        ...     client.send_json({})
        ...     client.wait_closed()
        (1007, "there is no 'name'")
        """
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise TypeError(f"an exception handler is for a class of exceptions, not {kind!r}")

        def register(function: ExceptionHandlerT) -> ExceptionHandlerT:
            self._require_unserved("an exception handler")
            require_async(function, "an exception handler", ("ws", "error"))
            self._exceptions[kind] = function
            return function

        return register

    def authorize_join(self, function: AuthorizationT) -> AuthorizationT:
        """Decides if a ``nexios.v1`` client may enter a room by itself; without it no client may.

        The nearest router's function is called, and returns a ``bool``. A :class:`~nexios.WebSocketException` or
        :class:`~nexios.RequestError` is reported to the client; other exceptions are logged.

        >>> @app.authorize_join
        ... async def may_enter(ws, room):
        ...     return room == "news" or room == f"team-{ws.state.get('team')}"
        """
        self._require_unserved("an authorization")
        require_async(function, "an authorization", ("ws", "room"))
        self._rules.join = function
        return function

    def authorize_publish(self, function: AuthorizationT) -> AuthorizationT:
        """Decides if a ``nexios.v1`` client may publish into a room; without it no client may.

        It need not be in the room. Exceptions are reported as those of ``authorize_join``.

        >>> @app.authorize_publish
        ... async def may_publish(ws, room):
        ...     return room in ws.rooms
        """
        self._require_unserved("an authorization")
        require_async(function, "an authorization", ("ws", "room"))
        self._rules.publish = function
        return function

    def authorize_history(self, function: AuthorizationT) -> AuthorizationT:
        """Decides if a ``nexios.v1`` client may read a room's history from before it joined.

        Without it no client may. It is called for ``room.join(since="start")`` of the client, after ``authorize_join``
        has returned true.

        >>> @app.authorize_history
        ... async def may_read_all(ws, room):
        ...     return room == "news"
        """
        self._require_unserved("an authorization")
        require_async(function, "an authorization", ("ws", "room"))
        self._rules.history = function
        return function

    def authorize_presence(self, function: AuthorizationT) -> AuthorizationT:
        """Decides if a ``nexios.v1`` client may see the presence of a room that it is in; without it no client may.

        The client receives each change from then on. Exceptions are reported as those of ``authorize_join``.

        >>> @app.authorize_presence
        ... async def may_see(ws, room):
        ...     return room.startswith("team-")
        """
        self._require_unserved("an authorization")
        require_async(function, "an authorization", ("ws", "room"))
        self._rules.presence = function
        return function

    def authorize_leave(self, function: AuthorizationT) -> AuthorizationT:
        """Decides if a ``nexios.v1`` client may leave a room of ``ws.join``; without it no client may.

        A client may always leave a room that it has entered by itself. Exceptions are reported as those of
        ``authorize_join``.

        >>> @app.authorize_leave
        ... async def may_leave(ws, room):
        ...     return room != "announcements"
        """
        self._require_unserved("an authorization")
        require_async(function, "an authorization", ("ws", "room"))
        self._rules.leave = function
        return function

    def on_request(self, method: str, *, json: bool = False) -> Callable[[RequestHandlerT], RequestHandlerT]:
        """Answers the requests of this method that ``nexios.v1`` clients make, concurrently with the handler.

        The argument is a ``str`` or ``bytes``. The result is sent as ``ws.send`` sends it, ``None`` as an empty answer.
        With ``json=True`` the argument is parsed from JSON, and the result is sent as JSON. The nearest router's
        function counts. Exceptions are reported as those of ``authorize_join``.

        >>> @app.on_request("sum", json=True)
        ... async def total(ws, numbers):
        ...     return sum(numbers)
        """

        def register(function: RequestHandlerT) -> RequestHandlerT:
            self._require_unserved("what answers requests")
            require_async(function, "what answers requests", ("ws", "argument"))
            self._rules.requests[method] = _live.with_json(function) if json else function
            return function

        return register

    def mount_ws_router(self, router: WSRouter, prefix: str | None = None) -> None:
        """Mounts a router below this one; ``prefix`` replaces the router's own.

        >>> talk = WSRouter(prefix="/talk")
        >>> talk.ws("/general")(handler)
        <function handler at ...>
        >>> app.mount_ws_router(talk, prefix="/v2/talk")
        >>> [route.path for route in app.routes]
        ['/chat/{room}', '/v2/talk/general']
        """
        if not isinstance(router, WSRouter):
            raise TypeError(f"only a WSRouter can be mounted, not {router!r}")
        self._require_unserved("a router")
        router._require_unserved("a router that is mounted")
        if router.parent is not None:
            raise ValueError(f"{router!r} is mounted already")
        if router is self._root():
            raise ValueError("a router cannot be mounted below itself")
        router.parent, router._mounted_at = self, prefix
        self._children.append(router)

        def undo() -> None:
            self._children.pop()
            router.parent, router._mounted_at = None, None

        self._check(undo, router)
        router._shapes = set()

    # --- clients

    @property
    def connections(self) -> Connections:
        """The clients of this router and of those below it that are connected when it is looked at.

        >>> len(app.connections), ws in app.connections, [other.id for other in app.connections] == [ws.id]
        (1, True, True)
        """
        return Connections(self._serving)

    def room(self, name: str, *, history: History | None = None) -> Room:
        """Returns a room of the app; routers have none of their own.

        With ``history`` its messages are stored by the broker, without a broker in this process. All members get all
        messages in one order, and clients that were away get what they missed by ``ws.join(name, since=position)``.
        Every node has to give the room one history. The app knows it, by name, for as long as there is a ``Room`` that
        was made with it, or a member, and then for ``ttl`` seconds more; a history from before the app is served counts
        once it is.

        >>> await ws.join("general")
        True
        >>> await app.room("general").broadcast("hello") == 1
        True
        """
        return Room(self._serving, name, history)

    def metrics(self) -> MetricsSnapshot:
        """Returns the counters of the server at this moment, on any thread; all zero unless the app is served.

        >>> ws.app.metrics().connected_total
        1
        """
        engine = self._serving.engine
        if engine is None:
            return MetricsSnapshot()
        counters = engine.metrics()
        return MetricsSnapshot(causes=MappingProxyType(counters.pop("causes")), **counters)

    def broker_metrics(self) -> BrokerMetrics | None:
        """Returns the counters of the app's broker, on any thread; ``None`` without one.

        >>> app.broker_metrics() is None
        True
        >>> app = NexiosApp(broker=MemoryBroker())
        >>> with TestClient(app):
        ...     print(app.broker_metrics().connected)
        True
        """
        engine = self._serving.engine
        counters = None if engine is None else engine.broker_metrics()
        if counters is None:
            return None
        return BrokerMetrics(**counters | {"gaps": MappingProxyType(counters["gaps"])})

    # --- serving

    def run(
        self,
        host: str = "127.0.0.1",
        port: int = 8000,
        *,
        uds: str | os.PathLike[str] | None = None,
        fd: int | Sequence[int] | None = None,
        reuse_port: bool = False,
        ssl_certfile: str | os.PathLike[str] | None = None,
        ssl_keyfile: str | os.PathLike[str] | None = None,
        loop: Literal["auto", "asyncio", "uvloop"] = "auto",
        log_level: LogLevel | None = "info",
        access_log: bool = False,
        **unknown: NoReturn,
    ) -> None:
        """Serves until SIGINT or SIGTERM, then closes gracefully; a second signal ends it within a second.

        It listens on ``host`` and ``port``, or instead on the Unix socket ``uds`` or the descriptor ``fd`` that
        listens already. ``ssl_certfile`` and ``ssl_keyfile`` are PEM files: the certificate chain and its key.
        ``loop`` is ``"asyncio"``, ``"uvloop"`` or ``"auto"``: uvloop where it is installed. Where the application
        has not set up ``logging``, messages from ``log_level`` on go to stderr; ``None`` leaves it alone.
        ``access_log`` logs each HTTP answer, each handshake and each end of a connection. Several processes and
        reloading are ``nexios run``'s.

        >>> if __name__ == "__main__":
        ...     app.run(host="0.0.0.0", port=8000, access_log=True)
        """
        from nexios._serve import Listen, refuse_unknown, run

        refuse_unknown("run", unknown)
        listen = Listen(host, port, uds, fd, reuse_port, ssl_certfile, ssl_keyfile)
        run(self, listen, loop=loop, log_level=log_level, access_log=access_log)

    async def serve(
        self,
        host: str = "127.0.0.1",
        port: int = 8000,
        *,
        uds: str | os.PathLike[str] | None = None,
        fd: int | Sequence[int] | None = None,
        reuse_port: bool = False,
        ssl_certfile: str | os.PathLike[str] | None = None,
        ssl_keyfile: str | os.PathLike[str] | None = None,
        log_level: LogLevel | None = None,
        access_log: bool = False,
        stop: asyncio.Event | None = None,
        on_listen: Callable[[list[tuple[str, int]]], Any] | None = None,
        **unknown: NoReturn,
    ) -> None:
        """Serves inside a running event loop, until it is cancelled: then handlers get a second to end.

        The arguments are those of ``run()``, but for ``loop``; it installs no signal handlers, and touches
        ``logging`` only if ``log_level`` is given. When ``stop`` is set, it closes gracefully and returns.
        ``on_listen`` is called with the addresses as soon as clients can connect: ``port=0`` picks a free port.

        >>> async def main():
        ...     stop = asyncio.Event()
        ...     await app.serve(port=0, stop=stop, on_listen=lambda addresses: stop.set())
        >>> asyncio.run(main())
        """
        from nexios._serve import Listen, refuse_unknown, serve

        refuse_unknown("serve", unknown)
        listen = Listen(host, port, uds, fd, reuse_port, ssl_certfile, ssl_keyfile)
        await serve(self, listen, stop=stop, on_listen=on_listen, log_level=log_level, access_log=access_log)

    # --- building

    @property
    def routes(self) -> list[Route]:
        """All routes with their whole paths, including those of routers below.

        >>> app.routes
        [<Route /chat/{room} 'chat'>]
        """
        prepare(self)
        return [route for router in tree(self) for _, route in router._routes]

    def _require_unserved(self, what: str) -> None:
        """Raises where a registration would come too late to have any effect."""
        if self._serving.engine is not None:
            raise RuntimeError(f"{what} cannot be registered while {self!r} is served: do it before that")

    def _root(self) -> WSRouter:
        return self if self.parent is None else self.parent._root()

    def _check(self, undo: Callable[[], Any], router: WSRouter, route: Route | None = None) -> None:
        """Raises where a new route, or a router that was just mounted, contradicts something; it is not kept then."""
        prepare(router, route)
        try:
            self._root()._shapes.update(check(router, route))
        except Exception:
            undo()
            raise

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name or self.prefix or '/'}>"
