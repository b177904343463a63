"""Permissions and requests of ``nexios.v1`` clients, on their way to the engine."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from nexios import _json

if TYPE_CHECKING:
    from nexios import _nexios
    from nexios._callable import Authorization, RequestHandler
    from nexios._nexios import WebSocket

__all__ = ["Rules", "with_json"]


@dataclasses.dataclass
class Rules:
    """The rules of a router."""

    join: Authorization | None = None
    publish: Authorization | None = None
    history: Authorization | None = None
    presence: Authorization | None = None
    leave: Authorization | None = None
    requests: dict[str, RequestHandler] = dataclasses.field(default_factory=dict)

    def apply(self, router: _nexios.WsRouter) -> None:
        if self.join is not None:
            router.authorize_join(self.join)
        if self.publish is not None:
            router.authorize_publish(self.publish)
        if self.history is not None:
            router.authorize_history(self.history)
        if self.presence is not None:
            router.authorize_presence(self.presence)
        if self.leave is not None:
            router.authorize_leave(self.leave)
        for method, function in self.requests.items():
            router.on_request(method, function)


def with_json(function: RequestHandler) -> RequestHandler:
    """Wraps a function of values, so that it takes and gives JSON. A request without an argument has ``None``."""

    async def answer(ws: WebSocket, payload: str | bytes) -> str:
        return _json.encode(await function(ws, _json.decode(payload) if payload else None))

    return answer
