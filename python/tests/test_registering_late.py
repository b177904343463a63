"""Registration while an app is served raises."""

import pytest
from apps import echo
from nexios import NexiosApp, WSRouter
from nexios.testing import TestClient


async def nothing(ws, *more): ...


REGISTRATIONS = {
    "a route": lambda router: router.ws("/late")(nothing),
    "a listener": lambda router: router.on("connect")(nothing),
    "a middleware": lambda router: router.middleware(nothing),
    "an exception handler": lambda router: router.exception_handler(KeyError)(nothing),
    "an authorization": lambda router: router.authorize_join(nothing),
    "what answers requests": lambda router: router.on_request("late")(nothing),
    "a router": lambda router: router.mount_ws_router(WSRouter("/late")),
}


@pytest.mark.parametrize("what", REGISTRATIONS)
def test_what_is_registered_while_it_is_served_would_be_too_late_and_raises(what):
    app, inner = NexiosApp(), WSRouter("/inner")
    inner.ws("/ws")(echo)
    app.mount_ws_router(inner)
    with TestClient(app) as test:
        for router in (app, inner):
            with pytest.raises(RuntimeError, match=f"^{what} cannot be registered while <.*> is served"):
                REGISTRATIONS[what](router)
        with test.websocket_connect("/inner/ws") as client:
            client.send_text("served")
            assert client.receive_text() == "served"
    # Nothing of it was kept, and it may be said again before the next start.
    paths = [route.path for route in app.routes]
    assert paths == ["/inner/ws"]
    REGISTRATIONS[what](app)


def test_a_router_that_is_served_by_itself_is_mounted_nowhere_meanwhile():
    router = WSRouter("/alone")
    router.ws("/ws")(echo)
    with TestClient(router), pytest.raises(RuntimeError, match="while <WSRouter /alone> is served"):
        NexiosApp().mount_ws_router(router)
