"""From routers as they were registered to those of the engine, and the checks of what is registered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nexios import _nexios
from nexios._chain import Chain, acceptor, guarded, listener, message_listener
from nexios.broker import gap_listener
from nexios.presence import Announcer

if TYPE_CHECKING:
    from nexios._callable import ExceptionHandlers, Listener, Middleware
    from nexios.router import Route, WSRouter

__all__ = ["Handles", "build", "check", "prepare", "tree"]

#: The routers of an app with their handles, once they are built.
Handles = list[tuple["WSRouter", "_nexios.RouterHandle"]]


def build(router: WSRouter, handles: Handles | None = None) -> _nexios.WsRouter:
    """Builds the outermost router and those below it."""
    return _build(router, router, _Outer(), [] if handles is None else handles)


def tree(router: WSRouter) -> Iterator[WSRouter]:
    """Yields a router and those below it."""
    yield router
    for child in router._children:
        yield from tree(child)


def prepare(router: WSRouter, route: Route | None = None) -> None:
    """Gives a route, or all of a router and of those below it, what they inherit: the whole path, the app."""
    above = list(_above(router))
    outer = _Outer()
    for one in reversed(above):
        outer = outer.with_router(one)
    app = above[-1] if above else router
    if route is None:
        _prepare(router, app, outer)
    else:
        own, _ = router._routes[-1]
        outer.with_router(router).prepare(route, own, app)


def check(router: WSRouter, route: Route | None = None) -> list[str]:
    """Raises where a new route, or a router that was mounted last, contradicts itself or the routes around it.

    Returns the shapes of their paths. Only what is new is built, in its place below the routers above it. Two routes
    contradict each other only if their paths have one shape; then the whole is built, which says how.
    """
    new = _checked(router) if route is None else _alone(router, route)
    _require_sound(_below_all_above(router, new))
    routes = [route] if route is not None else [own for below in tree(router) for _, own in below._routes]
    shapes = [_shape(one.path) for one in routes]
    root = router._root()
    if len(set(shapes)) < len(shapes) or not root._shapes.isdisjoint(shapes):
        _require_sound(_checked(root))
    return shapes


class _Outer:
    """The part of the routers above that a router inherits."""

    def __init__(self) -> None:
        self.prefix = ""
        self.middleware: list[Middleware] = []
        self.connect: list[Listener] = []
        # Nearest first.
        self.exceptions: list[ExceptionHandlers] = []

    def with_router(self, router: WSRouter) -> _Outer:
        inner = _Outer()
        inner.prefix = _joined(self.prefix, _prefix(router))
        inner.middleware = [*self.middleware, *router._middleware]
        inner.connect = [*self.connect, *router._listeners["connect"]]
        inner.exceptions = [router._exceptions, *self.exceptions] if router._exceptions else self.exceptions
        return inner

    def prepare(self, route: Route, own: str, app: WSRouter) -> None:
        route.path = _joined(self.prefix, own) or "/"
        route.app = app
        route.exception_levels = self.exceptions


def _build(app: WSRouter, router: WSRouter, outer: _Outer, handles: Handles) -> _nexios.WsRouter:
    inner = outer.with_router(router)
    built = _nexios.WsRouter(_prefix(router), router.name, router._settings)
    for own, route in router._routes:
        inner.prepare(route, own, app)
        _add_route(built, inner, own, route)
    _add_listeners(built, router._listeners)
    router._rules.apply(built)
    handles.append((router, built.handle()))
    for child in router._children:
        built.mount(_build(app, child, inner, handles))
    return built


def _add_route(built: _nexios.WsRouter, inner: _Outer, own: str, route: Route) -> None:
    middleware = [*inner.middleware, *route._middleware]
    serve = Chain(middleware, route.handler) if middleware else route.handler
    built.route(
        own,
        name=route.name,
        start=guarded(serve, inner.exceptions) if inner.exceptions else serve,
        info=route,
        accept=acceptor(inner.connect) if inner.connect else None,
        guarded=bool(middleware),
        settings=route._settings,
    )


def _add_listeners(built: _nexios.WsRouter, listeners: dict[str, list[Any]]) -> None:
    if listeners["message"]:
        built.on_message(message_listener(listeners["message"]))
    if listeners["disconnect"]:
        built.on_disconnect(listener(listeners["disconnect"], "disconnect"))
    if listeners["drop"]:
        built.on_drop(listener(listeners["drop"], "drop"))
    if listeners["gap"]:
        built.on_gap(gap_listener(listeners["gap"]))
    announcer = Announcer(listeners)
    if listeners["join"]:
        built.on_join(announcer.announce)
    if listeners["leave"]:
        built.on_leave(announcer.announce)


def _prepare(router: WSRouter, app: WSRouter, outer: _Outer) -> None:
    inner = outer.with_router(router)
    for own, route in router._routes:
        inner.prepare(route, own, app)
    for child in router._children:
        _prepare(child, app, inner)


def _require_sound(built: _nexios.WsRouter) -> None:
    _nexios.App(built, {}, [], [], None).check()


def _checked(router: WSRouter) -> _nexios.WsRouter:
    """Builds as much of a router and of those below it as can contradict itself."""
    built = _bare(router)
    for own, route in router._routes:
        _add_bare_route(built, own, route)
    for child in router._children:
        built.mount(_checked(child))
    return built


def _alone(router: WSRouter, route: Route) -> _nexios.WsRouter:
    """Builds a router with its newest route."""
    built = _bare(router)
    own, _ = router._routes[-1]
    _add_bare_route(built, own, route)
    return built


def _below_all_above(router: WSRouter, built: _nexios.WsRouter) -> _nexios.WsRouter:
    for outer in _above(router):
        around = _bare(outer)
        around.mount(built)
        built = around
    return built


def _above(router: WSRouter) -> Iterator[WSRouter]:
    """Yields the routers above this one, the nearest first."""
    while (parent := router.parent) is not None:
        yield parent
        router = parent


def _bare(router: WSRouter) -> _nexios.WsRouter:
    """Builds a router without a name: two of one name are an error only when they are served."""
    return _nexios.WsRouter(_prefix(router), None, router._settings)


def _add_bare_route(built: _nexios.WsRouter, own: str, route: Route) -> None:
    built.route(
        own, name=route.name, start=route.handler, info=route, accept=None, guarded=False, settings=route._settings
    )


def _prefix(router: WSRouter) -> str:
    return router.prefix if router._mounted_at is None else router._mounted_at


def _joined(*parts: str) -> str:
    """Joins paths, without duplicate and trailing slashes."""
    segments = [segment for part in parts for segment in part.split("/") if segment]
    return "".join(f"/{segment}" for segment in segments)


def _shape(path: str) -> str:
    """Returns a path without the names of its parameters: two of one shape match the same requests."""
    return re.sub(r"\{[^:}]*", "{", path)
