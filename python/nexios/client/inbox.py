"""Handlers, and the events that wait for them."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from nexios._escaped import Escaping

__all__ = ["Handlers", "Inbox"]

logger = logging.getLogger("nexios.client")
logger.addFilter(Escaping())

_ITEMS_MAX = 1000
_BYTES_MAX = 16 << 20

Failed = Callable[[Exception], None]


class Handlers:
    """The handlers of each event."""

    def __init__(self, failed: Failed) -> None:
        self._by_event: dict[str, list[Callable[..., object]]] = {}
        self._failed = failed

    def add(self, event: str, handler: Callable[..., object]) -> None:
        self._by_event.setdefault(event, []).append(handler)

    def remove(self, event: str, handler: Callable[..., object]) -> None:
        handlers = self._by_event.get(event, [])
        if handler in handlers:
            handlers.remove(handler)

    def has(self, event: str | None = None) -> bool:
        return any(self._by_event.values()) if event is None else bool(self._by_event.get(event))

    async def call(self, event: str, *values: object) -> bool:
        """Calls the handlers of an event; returns True if none failed."""
        went_through = True
        for handler in list(self._by_event.get(event, [])):
            try:
                result = handler(*values)
                if inspect.isawaitable(result):
                    await result
            except Exception as error:
                went_through = False
                (_logged if event == "error" else self._failed)(error)
        return went_through


def _logged(error: Exception) -> None:
    logger.error("a handler of errors failed", exc_info=error)


@dataclass
class Item:
    event: str
    handle: Callable[[], Awaitable[bool]]
    size: int = 0
    handled: Callable[[], None] | None = None
    missed: int | None = None


class Inbox:
    """A queue of events, handled in order by a task that exists only while events wait."""

    def __init__(self, failed: Failed, emptied: Callable[[], None] | None = None) -> None:
        self._failed = failed
        self._emptied = emptied
        self._items: deque[Item] = deque()
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def is_full(self) -> bool:
        return len(self._items) >= _ITEMS_MAX or self._bytes > _BYTES_MAX

    @property
    def is_idle(self) -> bool:
        return self._task is None

    def is_run_by(self, task: asyncio.Task[Any] | None) -> bool:
        return task is not None and task is self._task

    def push(self, item: Item) -> None:
        self._items.append(item)
        self._bytes += item.size
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def miss(self, count: int | None, handle: Callable[[int | None], Awaitable[bool]]) -> None:
        """Counts messages that do not fit in one gap at the end of the queue."""
        last = self._items[-1] if self._items else None
        if last is None or last.event != "gap":
            last = Item("gap", lambda: handle(count), missed=0)
            self.push(last)
        missed = None if last.missed is None or count is None else last.missed + count
        last.missed, last.handle = missed, lambda: handle(missed)

    async def stop(self, spared: asyncio.Task[object] | None) -> None:
        """Drops the waiting events, and cancels the running handler, unless its task is `spared`."""
        self._items.clear()
        self._bytes = 0
        if self._task is not None and self._task is not spared:
            self._task.cancel()
            await self.finished(spared)

    async def finished(self, spared: asyncio.Task[object] | None) -> None:
        if self._task is not None and self._task is not spared:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while self._items:
                item = self._items.popleft()
                self._bytes -= item.size
                await self._handle(item)
        finally:
            self._task = None
        if self._emptied is not None:
            self._emptied()

    async def _handle(self, item: Item) -> None:
        try:
            # A position is stored only behind handled events.
            if await item.handle() and item.handled is not None:
                item.handled()
        except Exception as error:
            self._failed(error)  # a text that is not JSON, or a storage that refuses


def on(handlers: Handlers, event: str, known: tuple[str, ...]) -> Callable[[Any], Any]:
    """Returns the decorator that adds a handler."""
    if event not in known:
        raise ValueError(f"there is no event {event!r}: there are {', '.join(known)}")

    def add(handler: Callable[..., object]) -> Callable[..., object]:
        handlers.add(event, handler)
        return handler

    return add
