"""A WebSocket framework: routes, middleware, events, groups, broadcast; its engine is Rust.

A server in a few lines::

    from nexios import WSRouter

    ws_router = WSRouter()

    @ws_router.ws("/ws")
    async def websocket_endpoint(ws):
        await ws.accept()
        async for message in ws:
            await ws.send(message)

    ws_router.run(port=8000)

In the examples of the docstrings ``app`` is a ``NexiosApp`` with a route at ``/chat/{room}``, ``ws`` is the connection
of a client that asked for ``/chat/general?name=ann``, and ``client`` is that client (``nexios.testing``).
"""

from nexios._platform import require_support

require_support()

from nexios._chain import Next
from nexios._json import json_encoder
from nexios._nexios import Handle, WebSocket
from nexios.app import NexiosApp
from nexios.broadcast import Outcome, Room
from nexios.broker import Broker, BrokerMetrics, Gap, MemoryBroker
from nexios.exceptions import (
    BrokerError,
    OutboxFull,
    PresenceError,
    PublishUnconfirmed,
    RequestError,
    WebSocketDisconnect,
    WebSocketException,
    WebSocketTypeError,
)
from nexios.history import History, HistoryPage, Joined, StoredMessage
from nexios.hub import Hub
from nexios.metrics import MetricsSnapshot
from nexios.presence import PresenceEvent, Present
from nexios.publisher import AsyncPublisher, Published, Publisher
from nexios.rate_limit import RateLimit
from nexios.request import Address, Headers
from nexios.router import Route, WSRouter
from nexios.state import State, WebSocketState

__all__ = [
    "Address",
    "AsyncPublisher",
    "Broker",
    "BrokerError",
    "BrokerMetrics",
    "Gap",
    "Handle",
    "Headers",
    "History",
    "HistoryPage",
    "Hub",
    "Joined",
    "MemoryBroker",
    "MetricsSnapshot",
    "NexiosApp",
    "Next",
    "OutboxFull",
    "Outcome",
    "PresenceError",
    "PresenceEvent",
    "Present",
    "PublishUnconfirmed",
    "Published",
    "Publisher",
    "RateLimit",
    "RequestError",
    "Room",
    "Route",
    "State",
    "StoredMessage",
    "WSRouter",
    "WebSocket",
    "WebSocketDisconnect",
    "WebSocketException",
    "WebSocketState",
    "WebSocketTypeError",
    "json_encoder",
]
