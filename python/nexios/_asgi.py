"""An ASGI application for plain HTTP: the task of each request, and the application's lifespan."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from nexios._escaped import escaped
from nexios._log import logger

if TYPE_CHECKING:
    from nexios._nexios import AsgiRequest

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
# Frameworks name the three by types of their own.
ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]


class Http:
    """The application that a server asks, and what its lifespan has left for requests."""

    def __init__(self, app: ASGIApp) -> None:
        if not callable(app):
            raise TypeError(f"http has to be an ASGI application, not {app!r}")
        self.app = app
        self.state: dict[str, Any] | None = None

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Startup before, shutdown after; nothing for an application that has neither."""
        lifespan = Lifespan(self.app)
        await lifespan.startup()
        self.state = lifespan.state if lifespan.is_supported else None
        try:
            yield
        finally:
            self.state = None
            await lifespan.shutdown()


async def respond(app: ASGIApp, request: AsgiRequest, scope: Scope) -> None:
    """The task of a request."""
    try:
        await app(scope, request.receive, request.send)
    except Exception as error:
        request.end()
        failed("the HTTP application failed", scope, error)
    except BaseException:
        request.end()
        raise
    else:
        undone = request.end()
        if undone is not None:
            failed(f"the HTTP application returned {undone}", scope)


def failed(what: str, scope: Scope, error: BaseException | None = None) -> None:
    extra = {"method": escaped(scope["method"]), "path": escaped(scope["path"]), "pid": os.getpid()}
    exc_info = None if error is None else (type(error), error, error.__traceback__)
    logger.error("%s (%s %s)", what, extra["method"], extra["path"], exc_info=exc_info, extra=extra)


class Lifespan:
    """The application's side task from before the first request until after the last."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.state: dict[str, Any] = {}
        self.is_supported = False
        self._told: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        """Raises ``RuntimeError`` where the application says that it cannot start."""
        self._task = asyncio.ensure_future(self._run())
        try:
            answer = await self._ask("startup")
        except BaseException:
            await self._cancel()
            raise
        if answer is None:
            self._explain()
            return
        if answer["type"] == "lifespan.startup.failed":
            await self._end()
            raise RuntimeError(answer.get("message") or "the HTTP application failed to start")
        self.is_supported = True

    async def shutdown(self) -> None:
        """Logs what goes wrong: the server ends in any case."""
        if not self.is_supported:
            return
        try:
            answer = await self._ask("shutdown")
            if answer is not None and answer["type"] == "lifespan.shutdown.failed":
                logger.error("the HTTP application failed to shut down: %s", answer.get("message", ""))
            error = await self._end()
            if answer is None and error is not None:
                logger.error("the HTTP application's lifespan failed", exc_info=error)
        except BaseException:
            await self._cancel()
            raise

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        await self.app(scope, self._told.get, self._answer)

    async def _answer(self, message: Message) -> None:
        expected = ("complete", "failed")
        if message["type"] not in [f"lifespan.{event}.{end}" for event in ("startup", "shutdown") for end in expected]:
            raise RuntimeError(f"there is no ASGI message {message['type']!r} that a lifespan has")
        self._answers.put_nowait(message)

    async def _ask(self, event: str) -> Message | None:
        """The application's answer; ``None`` where it ends without one."""
        assert self._task is not None
        self._told.put_nowait({"type": f"lifespan.{event}"})
        answer = asyncio.ensure_future(self._answers.get())
        try:
            await asyncio.wait([answer, self._task], return_when=asyncio.FIRST_COMPLETED)
            # It may have answered and ended at once.
            await asyncio.sleep(0)
            return answer.result() if answer.done() else None
        finally:
            answer.cancel()

    async def _end(self) -> BaseException | None:
        """Waits for the end of the application's task; what it raised."""
        assert self._task is not None
        await asyncio.wait([self._task])
        return asyncio.CancelledError() if self._task.cancelled() else self._task.exception()

    async def _cancel(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await self._end()

    def _explain(self) -> None:
        """An application without lifespan may say so by raising; a fault looks the same."""
        assert self._task is not None
        error = None if self._task.cancelled() else self._task.exception()
        if error is None:
            return
        if self._told.empty():
            logger.warning("the HTTP application failed at lifespan startup, and is served without", exc_info=error)
        else:
            logger.debug("the HTTP application has no lifespan: %r", error)
