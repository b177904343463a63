"""Serving: an engine on the running event loop, signals, startup and shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from nexios import _nexios
from nexios._log import logger
from nexios.app import NexiosApp
from nexios.router import WSRouter

#: Clients that are told to come back in one second at shutdown.
CLOSES_PER_SECOND = 1000
JITTER_MAX = 5.0
IDLE_POLL = 0.02


class Server:
    """A served app on the running event loop."""

    def __init__(self, root: WSRouter) -> None:
        if root._place.engine is not None:
            raise RuntimeError(f"{root!r} is being served already")
        self.root = root
        self.loop = asyncio.get_running_loop()
        self.addresses: list[tuple[str, int]] = []
        handles: list[tuple[WSRouter, _nexios.RouterHandle]] = []
        built = root._build(root, handles)
        self.engine = _nexios.Engine(_app(root, built), self.loop)
        for router, handle in handles:
            router._place.engine, router._place.handle = self.engine, handle
        self._handles = handles
        turn = self.engine.turn
        self.engine.begin()
        self._fds = self.engine.fds()
        for fd in self._fds:
            self.loop.add_reader(fd, turn)

    def listen(
        self,
        host: str = "127.0.0.1",
        port: int = 8000,
        *,
        uds: str | os.PathLike[str] | None = None,
        fd: int | None = None,
        reuse_port: bool = False,
        ssl_certfile: str | os.PathLike[str] | None = None,
        ssl_keyfile: str | os.PathLike[str] | None = None,
    ) -> None:
        """Listens on a Unix socket, on a descriptor, or on a host and port."""
        tls = None
        if ssl_certfile is not None:
            tls = (os.fspath(ssl_certfile), os.fspath(ssl_keyfile or ssl_certfile))
        if uds is not None:
            self.engine.listen_unix(os.fspath(uds))
        elif fd is not None:
            self.engine.listen_fd(os.dup(fd), tls=tls)
        else:
            self.addresses = self.engine.listen_tcp(host, port, reuse_port=reuse_port, tls=tls)
        self.engine.turn()

    async def drain(self) -> None:
        """Tells the clients to come back, and gives handlers the grace period to end."""
        count = self.engine.connection_count
        self.engine.shutdown(min(count / CLOSES_PER_SECOND, JITTER_MAX))
        end = self.loop.time() + self.engine.shutdown_grace
        while not self.engine.is_idle:
            if self.loop.time() > end:
                logger.warning("handlers were still running after the grace period: cancelled")
                break
            await asyncio.sleep(IDLE_POLL)

    async def close(self) -> None:
        """Cuts what is left."""
        for fd in self._fds:
            self.loop.remove_reader(fd)
        for router, _ in self._handles:
            router._place.engine = router._place.handle = None
        tasks = self.engine.close()
        if tasks:
            await asyncio.wait(tasks, timeout=1)


def _app(root: WSRouter, built: _nexios.WsRouter) -> _nexios.App:
    if not isinstance(root, NexiosApp):
        return _nexios.App(built, {}, [], [], None)
    return _nexios.App(built, root._server_settings, root._trusted_proxies, root._files, root._health, root._http)


@contextlib.asynccontextmanager
async def _lifespan(root: WSRouter) -> AsyncIterator[None]:
    """Startup before, shutdown after; the newest first, as with contexts."""
    if not isinstance(root, NexiosApp):
        yield
        return
    async with contextlib.AsyncExitStack() as stack:
        if root.lifespan is not None:
            context: AbstractAsyncContextManager[Any] = root.lifespan(root)
            await stack.enter_async_context(context)
        if root._http is not None:
            await stack.enter_async_context(root._http.lifespan())
        for function in root._startup:
            await function()
        for function in root._shutdown:
            stack.push_async_callback(function)
        yield


async def serve(
    root: WSRouter,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    stop: asyncio.Event | None = None,
    on_listen: Callable[[list[tuple[str, int]]], Any] | None = None,
    **options: Any,
) -> None:
    """Serves until it is cancelled, or until ``stop`` is set and the connections are gone."""
    stop = stop or asyncio.Event()
    cancelled: asyncio.CancelledError | None = None
    async with _lifespan(root):
        try:
            await _serve(root, host, port, stop, on_listen, options)
        except asyncio.CancelledError as error:
            # A lifespan that is written without `finally` gets its shutdown, too.
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def _serve(
    root: WSRouter,
    host: str,
    port: int,
    stop: asyncio.Event,
    on_listen: Callable[[list[tuple[str, int]]], Any] | None,
    options: dict[str, Any],
) -> None:
    server = Server(root)
    try:
        server.listen(host, port, **options)
        for address in server.addresses:
            logger.info("listening on %s:%d", *address)
        if on_listen is not None:
            on_listen(server.addresses)
        await stop.wait()
        await server.drain()
    finally:
        await server.close()


def run(root: WSRouter, host: str = "127.0.0.1", port: int = 8000, *, loop: str = "auto", **options: Any) -> None:
    """Serves until SIGINT or SIGTERM; a second one ends at once."""

    async def main() -> None:
        stop = asyncio.Event()
        serving = asyncio.ensure_future(serve(root, host, port, stop=stop, **options))

        def stopping() -> None:
            if stop.is_set():
                serving.cancel()
            stop.set()

        running = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            running.add_signal_handler(number, stopping)
        with contextlib.suppress(asyncio.CancelledError):
            await serving

    _run_on(new_event_loop(loop), main())


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
    try:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(main)
    finally:
        try:
            _cancel_all(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


if sys.platform == "win32":
    raise ImportError("nexios does not run on Windows: its engine needs epoll or kqueue")
