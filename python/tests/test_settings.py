"""The settings that have types are those that there are."""

import pytest
from nexios import NexiosApp, WSRouter
from nexios.settings import AppSettings, RouterSettings, RouteSettings, ServerSettings

VALUES = {
    "accept_rate_max": 100,
    "accept_timeout": 1.5,
    "allowed_origins": ("https://example.org",),
    "cancel_on_disconnect": True,
    "close_timeout": 1,
    "compression": {"context_takeover": True, "window_bits": 9, "level": 9, "message_bytes_min": 0},
    "connections_max": None,
    "connections_per_host_max": 10,
    "control_frames_per_second_max": 1000,
    "drain_timeout": 0.5,
    "fragment_timeout": 2,
    "fragments_max": None,
    "head_bytes_max": 1 << 14,
    "head_timeout": 3,
    "headers_max": 100,
    "http_bytes_per_second_min": 0,
    "http_stall_timeout": None,
    "hold_timeout": 0.5,
    "inbox_bytes_max": 1 << 20,
    "inbox_messages_max": 1,
    "keep_head": False,
    "kernel_bytes_max": 1 << 14,
    "leave_delay": 2,
    "live": True,
    "message_bytes_max": None,
    "message_timeout": None,
    "outbox_bytes_max": 1 << 21,
    "outbox_mark_bytes": 1 << 10,
    "ping_interval": None,
    "ping_timeout": 1,
    "read_buffer_bytes": 1 << 16,
    "refuse_before_accept": True,
    "retry": (0.5, 3),
    "shutdown_grace": 0.1,
    "slow_client": "conflate",
    "subprotocols": ["v1"],
    "waiting_bytes_max": 1 << 20,
    "watched_rooms_max": None,
}


async def handler(ws):
    await ws.accept()


def test_every_setting_has_a_value_here():
    assert VALUES.keys() == AppSettings.__annotations__.keys() | RouteSettings.__annotations__.keys()


@pytest.mark.parametrize("name", RouteSettings.__annotations__)
def test_a_route_takes_each_of_its_settings(name):
    NexiosApp().ws("/", **{name: VALUES[name]})(handler)


@pytest.mark.parametrize("name", RouterSettings.__annotations__)
def test_a_router_takes_each_of_its_settings(name):
    WSRouter(**{name: VALUES[name]})


@pytest.mark.parametrize("name", AppSettings.__annotations__)
def test_an_app_takes_each_of_its_settings(name):
    NexiosApp(**{name: VALUES[name]})


@pytest.mark.parametrize("name", ServerSettings.__annotations__)
def test_settings_of_the_server_are_no_routers(name):
    with pytest.raises(TypeError, match=f"^{name}: "):
        WSRouter(**{name: VALUES[name]})
    with pytest.raises(TypeError, match=f"^{name}: "):
        NexiosApp().ws("/", **{name: VALUES[name]})(handler)


@pytest.mark.parametrize("name", ["subprotocols", "cancel_on_disconnect"])
@pytest.mark.parametrize("kind", [WSRouter, NexiosApp])
def test_what_only_a_route_has_is_refused_elsewhere(kind, name):
    with pytest.raises(TypeError, match=f"^{name} is a setting of routes"):
        kind(**{name: VALUES[name]})
