"""Middleware: its order, and what it must do."""

from apps import Log, app_with, echo
from nexios import NexiosApp, WSRouter


def noted(log, name):
    async def middleware(ws, next):
        log(f"{name} in")
        await next(ws)
        log(f"{name} out")

    return middleware


async def test_middleware_runs_app_parent_child_route_in_order(serve):
    log = Log()
    app, parent, child = NexiosApp(), WSRouter(prefix="/p"), WSRouter(prefix="/c")

    async def handler(ws):
        await ws.accept()
        log("handler")

    child.ws("/ws", middleware=[noted(log, "route 1"), noted(log, "route 2")])(handler)
    for router, name in (child, "child"), (parent, "parent"), (app, "app"):
        router.middleware(noted(log, f"{name} 1"))
        router.middleware(noted(log, f"{name} 2"))
    parent.mount_ws_router(child)
    app.mount_ws_router(parent)
    async with serve(app) as server:
        assert await server.closed("/p/c/ws") == (1000, "")
        entries = await log.has(17)
    names = [f"{level} {i}" for level in ("app", "parent", "child", "route") for i in (1, 2)]
    assert entries == [*(f"{name} in" for name in names), "handler", *(f"{name} out" for name in reversed(names))]


async def test_one_function_at_two_levels_runs_once(serve):
    log = Log()
    once = noted(log, "once")
    app, router = NexiosApp(), WSRouter(prefix="/x")
    router.ws("/ws", middleware=[once])(echo)
    assert router.middleware(once) is once
    app.middleware(once)
    app.mount_ws_router(router)
    async with serve(app) as server:
        async with server.connect("/x/ws"):
            pass
        assert await log.has(2) == ["once in", "once out"]


async def test_middleware_covers_routes_registered_before_it(serve):
    log = Log()
    app = app_with(echo)
    app.middleware(noted(log, "later"))
    async with serve(app) as server, server.connect() as ws:
        await ws.close()
        assert await log.has(2) == ["later in", "later out"]


async def test_middleware_that_neither_calls_next_nor_closes_is_403(serve):
    app = app_with(echo)

    @app.middleware
    async def nothing(ws, next):
        pass

    async with serve(app) as server:
        assert (await server.refusal()).status_code == 403


async def test_middleware_that_accepts_and_does_nothing_more_is_1008(serve):
    app = app_with(echo)

    @app.middleware
    async def nothing(ws, next):
        await ws.accept()

    async with serve(app) as server:
        assert (await server.closed())[0] == 1008


async def test_calling_next_twice_raises(serve):
    log = Log()

    async def handler(ws):
        await ws.accept()

    app = app_with(handler)

    @app.middleware
    async def twice(ws, next):
        await next(ws)
        try:
            await next(ws)
        except RuntimeError as error:
            log(error)

    async with serve(app) as server:
        assert await server.closed() == (1000, "")
        await log.has(1)


async def test_what_follows_next_is_teardown(serve):
    log = Log()
    app = app_with(echo)

    @app.middleware
    async def around(ws, next):
        try:
            await next(ws)
        finally:
            log(ws.close_code)

    async with serve(app) as server:
        async with server.connect() as ws:
            await ws.close(4001)
        assert await log.has(1) == [4001]


async def test_events_of_a_router_cover_routers_below_it(serve):
    log = Log()
    app, router, other = NexiosApp(), WSRouter(prefix="/x"), WSRouter(prefix="/y")
    router.ws("/ws")(echo)
    other.ws("/ws")(echo)
    for level, name in (app, "app"), (router, "router"), (other, "other"):

        @level.on("connect")
        async def connected(ws, name=name):
            log(name)

    app.mount_ws_router(router)
    app.mount_ws_router(other)
    async with serve(app) as server, server.connect("/x/ws"):
        assert await log.has(2) == ["app", "router"]
