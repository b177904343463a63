"""Serving: an engine on the running event loop, signals, startup and shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from typing import Any

from nexios import _nexios
from nexios._build import Handles, build
from nexios._log import logger, settle_level, show_log
from nexios.app import NexiosApp
from nexios.router import WSRouter

#: Connections that are closed in one second at shutdown.
CLOSES_PER_SECOND = 1000
JITTER_MAX = 5.0
IDLE_POLL = 0.02
#: Seconds for the shutdown of an app that has failed; then it is ended by force.
UNWINDING_MAX = 10.0
#: The grace period where the app sets none.
GRACE = 30.0
#: Names the descriptor by which a worker shows that its event loop turns, and how often in seconds.
LIFE_VARIABLE = "NEXIOS_LIFE_FD"
LIFE_INTERVAL = 1.0
#: Names the descriptor at whose end the process that has started this one is gone.
PARENT_VARIABLE = "NEXIOS_PARENT_FD"
#: Another process looks after this one: its SIGTERM is the first word, however often it comes, and its SIGINT the last.
#: A service manager sends SIGTERM to both, and what the other passes on is no second signal.
_supervised = False
#: The descriptor by which this process shows that its event loop turns.
_life: int | None = None
#: Seconds for handlers to end, and for their listeners to run, where the server has to end at once.
LAST_MOMENT = 1.0


@dataclasses.dataclass(frozen=True)
class Listen:
    """An address to listen on, and the certificate."""

    host: str
    port: int
    uds: str | os.PathLike[str] | None = None
    fd: int | Sequence[int] | None = None
    reuse_port: bool = False
    ssl_certfile: str | os.PathLike[str] | None = None
    ssl_keyfile: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if self.uds is not None and self.fd is not None:
            raise ValueError("uds and fd exclude each other")
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            raise ValueError("ssl_keyfile needs ssl_certfile")
        if self.ssl_certfile is not None and self.uds is not None:
            raise ValueError("there is no TLS on a Unix socket: ssl_certfile and uds exclude each other")

    @property
    def fds(self) -> Sequence[int]:
        """The descriptors that listen already."""
        if self.fd is None:
            return ()
        return (self.fd,) if isinstance(self.fd, int) else self.fd

    @property
    def names(self) -> list[str]:
        """Names what it listens on, except for TCP, in the log."""
        if self.uds is not None:
            return [f"unix:{os.fspath(self.uds)}"]
        return [f"descriptor {fd}" for fd in self.fds]

    @property
    def tls(self) -> tuple[str, str] | None:
        """The files of the certificate chain and of its key; one file may have both."""
        if self.ssl_certfile is None:
            return None
        return os.fspath(self.ssl_certfile), os.fspath(self.ssl_keyfile or self.ssl_certfile)


class Server:
    """A served app on the running event loop."""

    def __init__(self, root: WSRouter, *, access_log: bool = False) -> None:
        if root._serving.engine is not None:
            raise RuntimeError(f"{root!r} is being served already")
        self.root = root
        self.loop = asyncio.get_running_loop()
        self.addresses: list[tuple[str, int]] = []
        handles: Handles = []
        built = build(root, handles)
        self.engine = _nexios.Engine(_app(root, built, access_log), self.loop)
        for router, handle in handles:
            router._serving.serve(self.engine, handle)
        self._handles = handles
        self.engine.begin()
        self._fds = self.engine.fds()
        for fd, called in zip(self._fds, (self.engine.turn, self.engine.alarm), strict=True):
            self.loop.add_reader(fd, called)

    async def connect(self) -> None:
        """Waits until the broker is reached, if there is one."""
        if self.engine.has_broker:
            await _in_own_thread(self.engine.connect)

    def listen(self, where: Listen) -> None:
        """Listens on a Unix socket, on a descriptor, or on a host and port."""
        tls = where.tls
        if where.uds is not None:
            self.engine.listen_unix(os.fspath(where.uds))
        elif where.fd is not None:
            for fd in where.fds:
                self.engine.listen_fd(os.dup(fd), tls=tls)
        else:
            self.addresses = self.engine.listen_tcp(where.host, where.port, reuse_port=where.reuse_port, tls=tls)
        self.engine.turn()

    async def drain(self) -> None:
        """Closes all connections with 1012, and gives handlers the grace period to end."""
        count = self.engine.connection_count
        self.engine.shutdown(min(count / CLOSES_PER_SECOND, JITTER_MAX))
        if not await self._idle_within(self.engine.shutdown_grace):
            logger.warning("handlers were still running after the grace period: cancelled")

    async def drain_at_once(self) -> None:
        """Closes all connections with 1012 without spreading it over time, and gives handlers half a second."""
        self.engine.shutdown(0)
        await self._idle_within(min(LAST_MOMENT / 2, self.engine.shutdown_grace))

    async def _idle_within(self, seconds: float) -> bool:
        end = self.loop.time() + seconds
        while not self.engine.is_idle:
            if self.loop.time() > end:
                return False
            await asyncio.sleep(IDLE_POLL)
        return True

    async def close(self) -> None:
        """Cuts what is left."""
        for fd in self._fds:
            self.loop.remove_reader(fd)
        for router, _ in self._handles:
            router._serving.engine = router._serving.handle = None
        tasks = self.engine.close()
        if tasks:
            await asyncio.wait(tasks, timeout=LAST_MOMENT / 2)
        if self.engine.has_broker:
            await _in_own_thread(self.engine.disconnect)


async def _in_own_thread(function: Callable[[], Any]) -> None:
    """Calls a function in a new thread: the app may have filled the pool of ``asyncio.to_thread()``."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="nexios")
    try:
        await asyncio.get_running_loop().run_in_executor(pool, contextvars.copy_context().run, function)
    finally:
        pool.shutdown(wait=False)


def _app(root: WSRouter, built: _nexios.WsRouter, access_log: bool) -> _nexios.App:
    if not isinstance(root, NexiosApp):
        return _nexios.App(built, {}, [], [], None, allowed_hosts=root._allowed_hosts, access_log=access_log)
    return _nexios.App(
        built,
        root._server_settings,
        root._trusted_proxies,
        root._files,
        root._health,
        root._http,
        root._broker,
        allowed_hosts=root._allowed_hosts,
        access_log=access_log,
    )


@contextlib.asynccontextmanager
async def _lifespan(root: WSRouter, failed: Callable[[Exception], None] = lambda _: None) -> AsyncIterator[None]:
    """Runs the startup before and the shutdown after, the newest first; ``failed`` gets an error of the startup."""
    if not isinstance(root, NexiosApp):
        yield
        return
    async with contextlib.AsyncExitStack() as stack:
        try:
            if root.lifespan is not None:
                context: AbstractAsyncContextManager[Any] = root.lifespan(root)
                await stack.enter_async_context(context)
            if root._http is not None:
                await stack.enter_async_context(root._http.lifespan())
            for function in root._startup:
                await function()
        except Exception as error:
            failed(error)
            raise
        for function in root._shutdown:
            stack.push_async_callback(function)
        yield


async def serve(
    root: WSRouter,
    where: Listen,
    *,
    stop: asyncio.Event | None = None,
    on_listen: Callable[[list[tuple[str, int]]], Any] | None = None,
    on_failure: Callable[[], Any] | None = None,
    log_level: str | None = None,
    access_log: bool = False,
) -> None:
    """Serves until it is cancelled, or until ``stop`` is set and the connections are gone.

    ``on_failure`` is called with what has failed in the log, before the app's shutdown, which may hang.
    """
    if log_level is not None:
        show_log(log_level)
    stop = stop or asyncio.Event()
    cancelled: asyncio.CancelledError | None = None

    def failed(error: Exception) -> None:
        logger.error("the app has failed: %s: %s", type(error).__name__, error)
        if on_failure is not None:
            on_failure()

    async with _lifespan(root, failed):
        try:
            await _serve(root, where, stop, on_listen, access_log)
        except asyncio.CancelledError as error:
            # A lifespan that is written without `finally` gets its shutdown, too.
            cancelled = error
        except Exception as error:
            failed(error)
            raise
    if cancelled is not None:
        raise cancelled


async def _serve(
    root: WSRouter,
    where: Listen,
    stop: asyncio.Event,
    on_listen: Callable[[list[tuple[str, int]]], Any] | None,
    access_log: bool,
) -> None:
    # The application may have set up logging at its startup.
    settle_level()
    server = Server(root, access_log=access_log)
    try:
        await server.connect()
        server.listen(where)
        for address in server.addresses:
            logger.info("listening on %s:%d", *address)
        for name in where.names:
            logger.info("listening on %s", name)
        if on_listen is not None:
            on_listen(server.addresses)
        await stop.wait()
        logger.info("shutting down: connections=%d", server.engine.connection_count)
        await server.drain()
    except asyncio.CancelledError:
        logger.info("shutting down at once: connections=%d", server.engine.connection_count)
        await server.drain_at_once()
        raise
    finally:
        await server.close()
        logger.info("stopped")


def run(
    root: WSRouter, where: Listen, *, loop: str = "auto", log_level: str | None = "info", access_log: bool = False
) -> None:
    """Serves until SIGINT or SIGTERM; a second one ends within a second, by force where it has to."""
    watchdogs: list[_nexios.Watchdog] = []

    async def main() -> None:
        stop = asyncio.Event()

        def started(_addresses: object) -> None:
            watchdogs[0].rearm()  # the app may have set signal handlers of its own
            _report_life()

        serving = asyncio.ensure_future(
            serve(
                root,
                where,
                stop=stop,
                on_listen=started,
                on_failure=lambda: watchdogs[0].end_within(UNWINDING_MAX),
                log_level=log_level,
                access_log=access_log,
            )
        )

        def stopping(number: signal.Signals) -> None:
            if number == signal.SIGINT if _supervised else stop.is_set():
                serving.cancel()
            stop.set()

        running = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            running.add_signal_handler(number, stopping, number)
        # Behind the handlers of the loop, which it calls.
        watchdogs.append(_watchdog(root))
        with contextlib.suppress(asyncio.CancelledError):
            await serving

    _require_main_thread()
    try:
        _run_on(new_event_loop(loop), main())
    finally:
        for watchdog in watchdogs:
            watchdog.stop()


def _watchdog(root: WSRouter) -> _nexios.Watchdog:
    # Without a descriptor to write to, there are no stacks.
    with contextlib.suppress(AttributeError, OSError, ValueError):
        if sys.__stderr__ is not None and not faulthandler.is_enabled():
            faulthandler.enable(sys.__stderr__)
    settings = root._server_settings if isinstance(root, NexiosApp) else {}
    return _nexios.Watchdog(float(settings.get("shutdown_grace", GRACE)), supervised=_supervised)


def adopt() -> None:
    """Takes over what the process that looks after this one has left for it, before the app is imported.

    Neither the app nor what it starts sees it: the descriptors are numbers that mean something else there.
    """
    global _supervised, _life
    parent, life = os.environ.pop(PARENT_VARIABLE, None), os.environ.pop(LIFE_VARIABLE, None)
    if parent is not None:
        _supervised = True
        os.set_inheritable(int(parent), False)
        _nexios.watch_parent(int(parent))
    if life is not None:
        _life = int(life)
        os.set_inheritable(_life, False)


def _report_life() -> None:
    """Shows the process that looks after this one, if there is one, that its event loop turns."""
    if (fd := _life) is None:
        return
    loop = asyncio.get_running_loop()

    def report() -> None:
        with contextlib.suppress(OSError):
            os.write(fd, b".")
        loop.call_later(LIFE_INTERVAL, report)

    report()


def _require_main_thread() -> None:
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("run() starts an event loop of its own; inside a running one, await serve()")
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("run() handles signals, which only the main thread can; in others, await serve()")


#: Arguments that people expect and that are not there, with the way to have it.
ELSEWHERE = {
    "workers": "workers are started from the command line: nexios run module:name --workers N",
    "reload": "reloading is the command line's: nexios run module:name --reload",
    "log_config": "a file for logging is the command line's: nexios run module:name --log-config FILE",
    "loop": "serve() runs on the event loop that is running",
}


def refuse_unknown(function: str, unknown: Mapping[str, Any]) -> None:
    """Raises ``TypeError`` for keyword arguments that a function does not have."""
    for name in unknown:
        hint = f": {ELSEWHERE[name]}" if name in ELSEWHERE else ""
        raise TypeError(f"{function}() has no argument {name!r}{hint}")


def new_event_loop(kind: str) -> asyncio.AbstractEventLoop:
    """``auto`` is uvloop where it is installed."""
    if kind not in ("auto", "asyncio", "uvloop"):
        raise ValueError(f'loop: expected "auto", "asyncio" or "uvloop", not {kind!r}')
    if kind != "asyncio":
        try:
            import uvloop
        except ImportError:
            if kind == "uvloop":
                raise
        else:
            loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
            return loop
    return asyncio.new_event_loop()


def _run_on(loop: asyncio.AbstractEventLoop, main: Any) -> None:
    # Named as asyncio names its own. A pool that the app sets instead is left to `loop.close()`, which does not wait.
    threads = ThreadPoolExecutor(thread_name_prefix="asyncio")
    try:
        asyncio.set_event_loop(loop)
        loop.set_default_executor(threads)
        loop.run_until_complete(main)
    finally:
        try:
            _cancel_all(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(_end_threads(threads))
        finally:
            asyncio.set_event_loop(None)
            loop.close()


async def _end_threads(pool: ThreadPoolExecutor) -> None:
    """Waits for the threads of ``asyncio.to_thread()``, but not for longer than the last moment.

    ``loop.shutdown_default_executor()`` has no limit that holds: before Python 3.12, and in uvloop, it joins a thread
    on its way out, even if it is cancelled. The event loop turns meanwhile, since a thread may wait for it.
    """
    # A daemon: the interpreter waits for the threads of the pool at its exit, and need not wait for this one.
    ending = threading.Thread(target=pool.shutdown, daemon=True)
    ending.start()
    end = time.monotonic() + LAST_MOMENT
    while ending.is_alive():
        if time.monotonic() > end:
            logger.warning("a thread of asyncio.to_thread() still runs: the process ends with it, or by another signal")
            return
        await asyncio.sleep(IDLE_POLL)


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        _, swallowing = loop.run_until_complete(asyncio.wait(tasks, timeout=LAST_MOMENT))
        for task in swallowing:
            logger.warning("a task goes on although it was cancelled, and is given up: %r", task)
