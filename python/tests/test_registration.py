"""Registration: what is refused at once."""

import functools

import pytest
from apps import echo
from nexios import NexiosApp, WSRouter, _nexios


def test_a_plain_def_is_refused_at_registration():
    app = NexiosApp()

    def plain(ws, *rest):
        pass

    registrations = [
        app.ws("/ws"),
        app.middleware,
        *(app.on(event) for event in ("connect", "disconnect", "message", "drop")),
        app.exception_handler(ValueError),
        app.on_startup,
        app.on_shutdown,
        WSRouter().ws("/ws"),
        lambda function: app.ws("/ws", middleware=[function]),
        lambda function: WSRouter(middleware=[function]),
    ]
    for register in registrations:
        with pytest.raises(TypeError, match="async def"):
            register(plain)


async def test_whatever_calls_a_coroutine_function_is_taken(serve):
    """An object with `async def __call__`, a bound method, a partial."""

    class Handler:
        async def __call__(self, ws):
            await ws.accept()
            await ws.send_text("object")

        async def method(self, ws, text="method"):
            await ws.accept()
            await ws.send_text(text)

    app = NexiosApp()
    app.ws("/object")(Handler())
    app.ws("/method")(Handler().method)
    app.ws("/partial")(functools.partial(Handler().method, text="partial"))
    async with serve(app) as server:
        for kind in "object", "method", "partial":
            async with server.connect(f"/{kind}") as ws:
                assert await ws.recv() == kind


def test_an_unknown_event_or_setting_is_refused():
    with pytest.raises(ValueError, match="conect"):
        NexiosApp().on("conect")
    with pytest.raises(TypeError, match="ping_intervall"):
        NexiosApp(ping_intervall=3)
    with pytest.raises(TypeError, match="no_such_setting"):
        WSRouter().ws("/ws", no_such_setting=3)(echo)
    for name, value in ("subprotocols", ["a"]), ("cancel_on_disconnect", True):
        with pytest.raises(TypeError, match=f"{name} is a setting of routes"):
            NexiosApp(**{name: value})


class Counted:
    """The extension, counting the routers and routes that are built."""

    def __init__(self):
        self.built = 0

    def __getattr__(self, name):
        return getattr(_nexios, name)

    def WsRouter(self, *arguments):
        self.built += 1
        made = _nexios.WsRouter(*arguments)
        return CountedRouter(made, self)

    def App(self, router, *arguments):
        return _nexios.App(router.made, *arguments)


class CountedRouter:
    def __init__(self, made, counted):
        self.made = made
        self._counted = counted

    def route(self, *arguments, **settings):
        self._counted.built += 1
        self.made.route(*arguments, **settings)

    def mount(self, router):
        self.made.mount(router.made)


def test_a_registration_costs_the_same_however_many_routes_there_are(monkeypatch):
    counted = Counted()
    monkeypatch.setattr("nexios._build._nexios", counted)
    app = NexiosApp()
    costs = []
    for i in range(50):
        before = counted.built
        below = WSRouter(prefix=f"/{i}")
        below.ws("/{name}")(echo)
        app.mount_ws_router(below)
        app.ws(f"/alone/{i}")(echo)
        costs.append(counted.built - before)
    assert set(costs) == {costs[0]}


@pytest.mark.parametrize("path", ["/a/{id}", "a/{other}/", "/a//{id}"])
def test_two_paths_of_one_shape_are_refused_wherever_they_are_registered(path):
    app, below, other = NexiosApp(), WSRouter(prefix="/a"), WSRouter()
    below.ws("/{id}")(echo)
    app.mount_ws_router(below)
    with pytest.raises(ValueError, match="two routes are on one path"):
        app.ws(path)(echo)
    other.ws(path)(echo)
    with pytest.raises(ValueError, match="two routes are on one path"):
        app.mount_ws_router(other)
    app.mount_ws_router(other, prefix="/b")
    app.ws("/a/{id:int}")(echo)
    assert len(app.routes) == 3


def test_a_route_that_was_refused_leaves_its_path_free():
    app = NexiosApp()
    with pytest.raises(ValueError, match="two parameters"):
        app.ws("/a/{id}/{id}")(echo)
    with pytest.raises(ValueError, match=r"nexios\.v1"):
        app.ws("/b", subprotocols=["nexios.v1"])(echo)
    app.ws("/b")(echo)
    assert [route.path for route in app.routes] == ["/b"]
