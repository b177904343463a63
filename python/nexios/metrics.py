"""Counters of a served app."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

__all__ = ["MetricsSnapshot"]


@dataclass(frozen=True)
class MetricsSnapshot:
    """The counters at one moment: what ``app.metrics()`` returns.

    >>> snapshot = ws.app.metrics()
    >>> snapshot.connected_total, snapshot.causes.get("slow_client", 0)
    (1, 0)
    """

    #: Open sockets now, plain HTTP included.
    connections: int = 0
    #: Handshakes accepted since the start.
    connected_total: int = 0
    #: Broadcasts left out for slow clients since the start.
    dropped_total: int = 0
    #: The number of times that each cause ended or refused something, by its name: ``handshake``, ``handler``,
    #: ``slow_head``, ``slow_accept``, ``connection_limit``, ``host_limit``, ``accept_rate``, ``descriptors``,
    #: ``protocol``, ``control_flood``, ``stalled_message``, ``silence``, ``slow_client``, ``slow_http``, ``panic``.
    causes: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
