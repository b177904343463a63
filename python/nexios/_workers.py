"""Several processes that serve one port, and the one that looks after them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence

__all__ = ["run_workers"]

logger = logging.getLogger("nexios")

DELAY_MIN = 0.1
DELAY_MAX = 10.0
#: A worker that has lived for so long has not died of its start.
SETTLED = 10.0


def run_workers(
    arguments: Sequence[str],
    count: int,
    *,
    inherited: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
) -> int:
    """Keeps ``count`` processes running until SIGINT or SIGTERM; returns the exit code.

    ``arguments`` are those of ``python -m nexios``; ``inherited`` are descriptors that the workers get, and
    ``environment`` is what they find besides this process's own.
    """
    return asyncio.run(_Supervisor(arguments, inherited, environment or {}).run(count))


class _Supervisor:
    def __init__(self, arguments: Sequence[str], inherited: Sequence[int], environment: Mapping[str, str]) -> None:
        self._command = [sys.executable, "-m", "nexios", *arguments]
        self._inherited = inherited
        self._environment = {**os.environ, **environment}
        self._processes: set[asyncio.subprocess.Process] = set()
        self._stopping = asyncio.Event()
        self._signal = signal.SIGTERM

    async def run(self, count: int) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, number)
        codes = await asyncio.gather(*(self._keep(index) for index in range(1, count + 1)))
        # One that was told to stop before it could listen for the signal has died of it.
        return 0 if all(code in (0, -self._signal) for code in codes) else 1

    def _stop(self, number: signal.Signals) -> None:
        """The first signal ends the workers gracefully, the second at once."""
        self._signal = number
        self._stopping.set()
        for process in self._processes:
            _send(process, number)

    async def _keep(self, index: int) -> int:
        """Runs a worker again and again; the exit code of the last."""
        code, delay = 0, DELAY_MIN
        while not self._stopping.is_set():
            started = asyncio.get_running_loop().time()
            code, pid = await self._work()
            if self._stopping.is_set():
                break
            if asyncio.get_running_loop().time() - started > SETTLED:
                delay = DELAY_MIN
            logger.error("worker %d (process %d) %s: starting another in %.1f s", index, pid, _ended(code), delay)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)
            code, delay = 0, min(delay * 2, DELAY_MAX)
        return code

    async def _work(self) -> tuple[int, int]:
        # A session of its own: Ctrl-C reaches the workers once, through the supervisor.
        process = await asyncio.create_subprocess_exec(
            *self._command, pass_fds=self._inherited, env=self._environment, start_new_session=True
        )
        self._processes.add(process)
        if self._stopping.is_set():
            _send(process, self._signal)
        try:
            return await process.wait(), process.pid
        finally:
            self._processes.discard(process)


def _send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def _ended(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
