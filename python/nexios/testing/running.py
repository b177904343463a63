"""An app that runs in memory, on the running event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nexios import _nexios
from nexios._log import logger
from nexios._serve import Server, _lifespan
from nexios.app import NexiosApp
from nexios.testing.exceptions import TestTimeout

if TYPE_CHECKING:
    from nexios._asgi import Receive, Scope, Send
    from nexios.router import WSRouter

#: Rounds of the loop after which everybody has had a turn.
SETTLE_ROUNDS = 10
#: Seconds that handlers get to end when the client is closed; the app's own grace where that is shorter.
GRACE = 1.0
IDLE_POLL = 0.005


class Faults:
    """The exceptions that nobody took; each is raised in the test once."""

    def __init__(self) -> None:
        self.all: list[BaseException] = []
        self._unraised: list[tuple[str | None, BaseException]] = []

    def note(self, connection: str | None, error: BaseException) -> None:
        self.all.append(error)
        self._unraised.append((connection, error))

    def take(self, connection: str | None) -> BaseException | None:
        """The first of a connection; `None` is plain HTTP."""
        for index, (other, error) in enumerate(self._unraised):
            if other == connection:
                del self._unraised[index]
                return error
        return None

    def take_any(self) -> BaseException | None:
        return self._unraised.pop(0)[1] if self._unraised else None


class RunningApp:
    """Startup, engine and shutdown in a task of their own, so that they share a context."""

    def __init__(self, root: WSRouter) -> None:
        self.root = root
        self.faults = Faults()
        self._stop = asyncio.Event()
        self._server: Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._accepts = True

    @property
    def engine(self) -> _nexios.Engine:
        assert self._server is not None
        return self._server.engine

    def dial(self, address: tuple[str, int] | None, receive_buffer: int) -> _nexios.TestConnection:
        """Returns a new connection that has sent nothing yet."""
        if not self._accepts:
            raise ConnectionRefusedError("the server has been shut down")
        return _nexios.TestConnection(self.engine, address, receive_buffer)

    def shut_down(self) -> None:
        """Accepts no more, and closes all connections with 1012."""
        self._accepts = False
        self.engine.shutdown(0.0)

    async def start(self, timeout: float | None, lifespan: bool = True) -> None:
        """Raises what the startup raises."""
        started = asyncio.get_running_loop().create_future()
        self._task = asyncio.ensure_future(self._serve(started, lifespan))
        try:
            await asyncio.wait([self._task, started], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not started.done() and not self._task.done():
                await self._cancel()
        if self._task.done() and not started.done():
            if self._task.cancelled():
                raise TestTimeout("the app's startup", timeout or 0)
            self._task.result()

    async def stop(self, timeout: float | None) -> None:
        """Raises what the shutdown raises."""
        assert self._task is not None
        self._stop.set()
        try:
            await asyncio.wait([self._task], timeout=None if timeout is None else timeout + GRACE)
        finally:
            if not self._task.done():
                await self._cancel()
        if self._task.cancelled():
            raise TestTimeout("the app's shutdown", timeout or 0)
        self._task.result()

    async def _cancel(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _serve(self, started: asyncio.Future[None], lifespan: bool) -> None:
        async with _lifespan(self.root) if lifespan else contextlib.nullcontext():
            with self._watched():
                self._server = server = Server(self.root)
            self.root._serving.on_fault = self.faults.note
            try:
                await server.connect()
                started.set_result(None)
                await self._stop.wait()
                await self._drain(server)
            finally:
                await server.close()
                self.root._serving.on_fault = None

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Gives the engine an HTTP application whose exceptions are noted."""
        http = self.root._http if isinstance(self.root, NexiosApp) else None
        if http is None:
            yield
            return
        app = http.app

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await app(scope, receive, send)
            except Exception as error:
                self.faults.note(None, error)
                raise

        http.app = watched
        try:
            yield
        finally:
            http.app = app

    async def _drain(self, server: Server) -> None:
        engine = server.engine
        self.shut_down()
        grace = min(engine.shutdown_grace, GRACE)
        if not await self.until(lambda: engine.is_idle, grace):
            logger.warning("handlers were still running %g s after the test: cancelled", grace)

    # --- time

    async def settle(self) -> None:
        """Lets the server do all that it can do now."""
        for _ in range(SETTLE_ROUNDS):
            await asyncio.sleep(0)

    async def until(self, condition: Any, seconds: float) -> bool:
        """Waits for something that nobody announces; whether it has come."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        rounds = 0
        while not condition():
            if loop.time() > end:
                return False
            rounds += 1
            await asyncio.sleep(0 if rounds <= SETTLE_ROUNDS else IDLE_POLL)
        return True

    async def advance(self, seconds: float) -> None:
        """Moves the engine's clock from deadline to deadline."""
        left = seconds
        while left > 0:
            left = self.engine.advance(left)
            await self.settle()
