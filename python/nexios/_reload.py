"""``--reload``: a process that serves, started again whenever a file of the app changes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from nexios._children import Child

__all__ = ["run_and_reload"]

logger = logging.getLogger("nexios")

POLL = 0.25
#: Folders that are not looked into for changes.
EXCLUDED = frozenset({"__pycache__", "node_modules", "site-packages"})
#: Handlers get this long to end before a restart; whoever waits for a reload is a person.
PATIENCE = 3.0


def run_and_reload(arguments: Sequence[str], directories: Sequence[Path], *, inherited: Sequence[int] = ()) -> int:
    """Serves until SIGINT or SIGTERM, and starts again at each change; returns the exit code."""
    return asyncio.run(_Reloader(arguments, directories, inherited).run())


class _Reloader:
    def __init__(self, arguments: Sequence[str], directories: Sequence[Path], inherited: Sequence[int]) -> None:
        self._command = [sys.executable, "-m", "nexios", *arguments]
        self._directories = directories
        self._inherited = inherited
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stopping.set)
        while True:
            changes = asyncio.ensure_future(changed(self._directories, self._stopping))
            process = await self._start()
            ended = asyncio.ensure_future(process.wait())
            await asyncio.wait([changes, ended], return_when=asyncio.FIRST_COMPLETED)
            if not changes.done():
                # A mistake in a file, most likely: the next change may mend it.
                logger.warning("the app has ended with exit code %s: waiting for a change", ended.result())
            path = await changes
            code = await _end(process, ended)
            if self._stopping.is_set():
                return 0 if code in (0, -signal.SIGTERM, -signal.SIGINT) else 1
            logger.info("%s has changed: starting again", path)

    async def _start(self) -> Child:
        return await Child.start(self._command, inherited=self._inherited)


async def _end(process: Child, ended: asyncio.Future[int]) -> int:
    """Gracefully, then at once, then by force."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        if not ended.done():
            process.send(number)
        await asyncio.wait([ended], timeout=PATIENCE)
    return await ended


async def changed(directories: Sequence[Path], stopping: asyncio.Event) -> Path | None:
    """The Python file that changes next; `None` when it is time to stop."""
    try:
        import watchfiles  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return await _changed_by_polling(directories, stopping)
    async for changes in watchfiles.awatch(*directories, watch_filter=watchfiles.PythonFilter(), stop_event=stopping):
        return Path(min(path for _, path in changes))
    return None


async def _changed_by_polling(directories: Sequence[Path], stopping: asyncio.Event) -> Path | None:
    before = _times(directories)
    while not stopping.is_set():
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(stopping.wait(), POLL)
        now = _times(directories)
        if now != before:
            return min(path for path, _ in before.items() ^ now.items())
    return None


def _is_excluded(folder: str, name: str) -> bool:
    """Returns true for folders with code of others: packages, caches, names that begin with a dot."""
    if name.startswith(".") or name in EXCLUDED:
        return True
    # A virtual environment, whatever its name.
    return os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))


def _times(directories: Iterable[Path]) -> dict[Path, int]:
    """When each Python file was changed last."""
    times = {}
    for directory in directories:
        for folder, folders, files in os.walk(directory):
            folders[:] = [name for name in folders if not _is_excluded(folder, name)]
            for name in files:
                if name.endswith(".py"):
                    path = Path(folder, name)
                    with contextlib.suppress(OSError):
                        times[path] = path.stat().st_mtime_ns
    return times
