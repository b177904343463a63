"""Processes that serve for this one, and end with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from nexios._serve import PARENT_VARIABLE

__all__ = ["Child"]

_pipe: tuple[int, int] | None = None


class Child:
    """A process that ends when this one does, whatever ends this one.

    It inherits one end of a pipe whose other end only this process has: when that is closed, it ends.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(
        cls, command: Sequence[str], *, inherited: Sequence[int] = (), environment: Mapping[str, str] | None = None
    ) -> Child:
        """Starts a process that has these descriptors, and this environment in addition to our own."""
        parent = _parent_pipe()
        settings: dict[str, Any] = {
            "pass_fds": [*inherited, parent],
            "env": {**os.environ, **(environment or {}), PARENT_VARIABLE: str(parent)},
            # A session of its own: Ctrl-C reaches it once, through us.
            "start_new_session": True,
        }
        return cls(await asyncio.create_subprocess_exec(*command, **settings))

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    async def wait(self) -> int:
        """Waits for its end; returns the exit code, negative where a signal has killed it."""
        return await self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Sends a signal; nothing happens where it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)


def _parent_pipe() -> int:
    """The end that children inherit; the other one stays open as long as this process lives."""
    global _pipe
    if _pipe is None:
        _pipe = os.pipe()
    return _pipe[0]
