"""Registration: what is refused at once."""

import functools

import pytest
from apps import echo
from nexios import NexiosApp, WSRouter


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
