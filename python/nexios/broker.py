"""Brokers: what connects the nodes of one app, and what is missing when one fails."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from nexios._log import logger
from nexios._nexios import Broker, MemoryBroker

__all__ = ["Broker", "BrokerMetrics", "Gap", "MemoryBroker"]


@dataclasses.dataclass(frozen=True)
class Gap:
    """Clients here may have missed messages that were sent on other nodes.

    >>> @app.on("gap")
    ... async def reload(gap: Gap) -> None:
    ...     await app.broadcast({"type": "reload"})
    >>> Gap(room="lobby", missed=3)
    Gap(router=None, room='lobby', missed=3, cause='hole')
    """

    #: The router that the messages were for, by its name or full prefix.
    router: str | None = None
    #: The room that they were for. Without both they may be any.
    room: str | None = None
    #: The number of missing messages, if it is known.
    missed: int | None = None
    #: ``reconnect``, ``late``, ``hole``, ``overflow``, or ``reset``: the history of a room has started over.
    cause: str = "hole"


@dataclasses.dataclass(frozen=True)
class BrokerMetrics:
    """Counters of an app's broker at one moment: ``app.broker_metrics()``.

    >>> app = NexiosApp(broker=MemoryBroker())
    >>> with TestClient(app):
    ...     metrics = app.broker_metrics()
    >>> metrics.connected, metrics.refused, metrics.gaps["hole"]
    (True, 0, 0)
    """

    #: True if the broker is connected now.
    connected: bool = False
    #: The number of times that a lost connection came back.
    reconnects: int = 0
    #: Messages that the broker has taken.
    published: int = 0
    #: Messages that it has not, or for which there was no room.
    refused: int = 0
    #: Messages that came from other nodes.
    received: int = 0
    #: Messages that came twice and were left out.
    duplicates: int = 0
    #: Payloads that are not messages.
    unreadable: int = 0
    #: Messages that are known to be missing.
    missed: int = 0
    #: Messages that the broker has stored: of rooms with history.
    stored: int = 0
    #: Messages that were read from what it has stored.
    read: int = 0
    #: The number of times that a room with history was brought up to date after a loss.
    resyncs: int = 0
    #: The number of times that this was not possible, so that clients of the room miss messages.
    resets: int = 0
    #: Gaps by cause.
    gaps: Mapping[str, int] = dataclasses.field(default_factory=lambda: MappingProxyType({}))


def as_broker(broker: str | MemoryBroker | Broker | None) -> Broker | None:
    """A URL is a broker with default settings."""
    return broker if broker is None or isinstance(broker, Broker) else Broker(broker)


def gap_listener(
    listeners: Sequence[Callable[[Gap], Coroutine[Any, Any, Any]]],
) -> Callable[[str | None, str | None, int | None, str], None]:
    """Starts a router's listeners in a task; their errors are logged."""
    tasks: set[asyncio.Task[None]] = set()
    # Whoever notices a gap may be a handler: its variables are not the listeners'.
    context = contextvars.copy_context()

    async def run(gap: Gap) -> None:
        for listener in listeners:
            try:
                await listener(gap)
            except Exception:
                logger.exception("a gap listener failed")

    def report(router: str | None, room: str | None, missed: int | None, cause: str) -> None:
        create_task = asyncio.get_running_loop().create_task
        task = context.copy().run(create_task, run(Gap(router, room, missed, cause)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    return report
