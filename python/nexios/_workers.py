"""Several processes that serve one port, and the one that looks after them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from nexios._children import Child
from nexios._serve import LIFE_VARIABLE

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["run_workers"]

logger = logging.getLogger("nexios")

DELAY_MIN = 0.1
DELAY_MAX = 10.0
#: A worker that has lived for so long has not died of its start.
SETTLED = 10.0
#: So many starts in a row may fail before any worker has served.
STARTS_MAX = 5
#: So many starts in a row of one worker may fail later: over half a minute, in which a database may come back.
RESTARTS_MAX = 10
#: Seconds without a sign of life after which a worker is replaced.
SILENCE_MAX = 30.0
#: Seconds for the stacks of a worker that hangs, and for workers that got two signals to end.
LAST_MOMENT = 5.0


def run_workers(
    arguments: Sequence[str],
    count: int,
    *,
    inherited: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
    silence_max: float = SILENCE_MAX,
) -> int:
    """Keeps ``count`` processes running until SIGINT or SIGTERM; returns the exit code.

    ``arguments`` are those of ``python -m nexios``; ``inherited`` are descriptors that the workers get, and
    ``environment`` is added to this process's own. A worker whose event loop does not turn for
    ``silence_max`` seconds is replaced; 0 waits for ever.
    """
    return asyncio.run(_Supervisor(arguments, inherited, environment or {}, silence_max).run(count))


class _Supervisor:
    def __init__(
        self,
        arguments: Sequence[str],
        inherited: Sequence[int],
        environment: Mapping[str, str],
        silence_max: float,
    ) -> None:
        self._command = [sys.executable, "-m", "nexios", *arguments]
        self._inherited = inherited
        self._environment = environment
        self._silence_max = silence_max
        self._workers: set[Child] = set()
        self._stopping = asyncio.Event()
        #: The signal for workers: SIGTERM ends them gracefully, SIGINT at once.
        self._last_word = signal.SIGTERM
        self._served = False
        self._gave_up = False
        #: Workers that are not given up.
        self._kept = 0

    async def run(self, count: int) -> int:
        self._kept = count
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        codes = await asyncio.gather(*(self._keep(index) for index in range(1, count + 1)))
        # A worker that got the signal before it could handle it has died of it.
        return 0 if not self._gave_up and all(code in (0, -signal.SIGTERM, -signal.SIGINT) for code in codes) else 1

    def _stop(self) -> None:
        """The first signal ends the workers gracefully, the second at once, and by force where that fails."""
        if self._stopping.is_set():
            self._last_word = signal.SIGINT
            asyncio.get_running_loop().call_later(LAST_MOMENT, self._kill)
        self._stopping.set()
        for worker in self._workers:
            worker.send(self._last_word)

    def _kill(self) -> None:
        for worker in self._workers:
            logger.error("process %d does not end: killed", worker.pid)
            worker.send(signal.SIGKILL)

    async def _keep(self, index: int) -> int:
        """Runs a worker again and again; returns the exit code of the last."""
        code, delay, failed = 0, DELAY_MIN, 0
        while not self._stopping.is_set():
            started = asyncio.get_running_loop().time()
            code, pid, has_served = await self._work(index)
            failed = 0 if has_served else failed + 1
            if self._stopping.is_set():
                break
            if failed >= (RESTARTS_MAX if self._served else STARTS_MAX):
                self._give_up(index, code, failed)
                break
            if asyncio.get_running_loop().time() - started > SETTLED:
                delay = DELAY_MIN
            logger.error("worker %d (process %d) %s: starting another in %.1f s", index, pid, _ended(code), delay)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)
            code, delay = 0, min(delay * 2, DELAY_MAX)
        return code

    def _give_up(self, index: int, code: int, starts: int) -> None:
        """Starts a worker no more. The others serve on if any has served; without them all ends."""
        self._gave_up = True
        self._kept -= 1
        if not self._served:
            logger.error(
                "worker %d %s, the last of %d starts, and none has served: giving up", index, _ended(code), starts
            )
        else:
            logger.error(
                "worker %d %s: given up after %d starts in a row that failed. Workers that are left: %d",
                index,
                _ended(code),
                starts,
                self._kept,
            )
            if self._kept:
                return
        self._stopping.set()
        for worker in self._workers:
            worker.send(signal.SIGTERM)

    async def _work(self, index: int) -> tuple[int, int, bool]:
        """Runs a worker once; returns its exit code, its process id, and true if it has served."""
        with _Life() as life:
            try:
                worker = await Child.start(
                    self._command,
                    inherited=[*self._inherited, life.shown_by],
                    environment={**self._environment, LIFE_VARIABLE: str(life.shown_by)},
                )
            finally:
                life.leave_to_worker()
            self._workers.add(worker)
            if self._stopping.is_set():
                worker.send(self._last_word)
            watching = asyncio.ensure_future(self._watch(index, worker, life))
            try:
                code = await worker.wait()
            finally:
                self._workers.discard(worker)
                watching.cancel()
            has_served = life.has_begun()
            self._served |= has_served
            return code, worker.pid, has_served

    async def _watch(self, index: int, worker: Child, life: _Life) -> None:
        """Ends a worker that has begun to serve and shows no life any more, with the stacks that it hangs in."""
        await life.sign()
        self._served = True
        while True:
            try:
                await asyncio.wait_for(life.sign(), self._silence_max or None)
            except asyncio.TimeoutError:
                break
        logger.error(
            "worker %d (process %d) has not turned its event loop for %g s: replaced. Its stacks follow",
            index,
            worker.pid,
            self._silence_max,
        )
        worker.send(signal.SIGABRT)
        await asyncio.sleep(LAST_MOMENT)
        worker.send(signal.SIGKILL)


class _Life:
    """A pipe into which a worker writes while its event loop turns, from the moment at which it serves."""

    def __init__(self) -> None:
        self._read, self.shown_by = os.pipe()
        os.set_blocking(self._read, False)
        self._sign = asyncio.Event()
        self._begun = False

    def __enter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._read, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._read)
        os.close(self._read)

    def leave_to_worker(self) -> None:
        """Closes the end that the worker has inherited."""
        os.close(self.shown_by)

    async def sign(self) -> None:
        """Waits for the next sign of life."""
        self._sign.clear()
        await self._sign.wait()

    def has_begun(self) -> bool:
        """Returns true if there was a sign, also one that the event loop has not looked at yet."""
        self._note()
        return self._begun

    def _note(self) -> None:
        with contextlib.suppress(BlockingIOError):
            if os.read(self._read, 4096):
                self._begun = True
                self._sign.set()
            else:
                asyncio.get_running_loop().remove_reader(self._read)


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        # Of real-time signals only two have names.
        return f"was killed by signal {-code}"
