"""The client for tests that are plain functions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from nexios._serve import _cancel_all, new_event_loop
from nexios.testing.async_client import TIMEOUT, AsyncTestClient
from nexios.testing.socket import TestSocket

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from nexios.request import Headers
    from nexios.router import WSRouter
    from nexios.testing.request import Address, ConnectOptions, Pairs, RequestOptions
    from nexios.testing.response import Accepted, Refused, TestResponse

__all__ = ["TestClient"]

T = TypeVar("T")


class TestClient:
    """An app in memory, with as many clients as a test likes.

    The app has an event loop of its own in the test's thread, and runs whenever the test waits for
    it. The ``with`` block runs startup and shutdown. Without it, too, WebSockets and requests work:
    then the app runs as long as one of them is open, without startup and shutdown.

    ``timeout``
        How many seconds a call waits for the server; `None` is without limit. Time in which the
        thread is held up, as at a breakpoint, does not count.
    ``raise_server_exceptions``
        Exceptions of handlers, listeners and the HTTP application that nobody took are raised in
        the test. With ``False`` the client sees only what clients see (1011, or HTTP 500);
        ``client.errors`` has them in any case.
    ``headers``, ``cookies``, ``host``, ``client``
        What all requests have: header fields, cookies, ``Host``, and the address of the first
        connection; each further one has the next port.
    ``loop``
        ``"auto"`` takes uvloop where it is installed, as ``app.run()`` does; else ``"asyncio"`` or
        ``"uvloop"``.

    >>> from nexios import NexiosApp
    >>> from nexios.testing import TestClient
    >>> app = NexiosApp(health="/health")
    >>> @app.ws("/chat")
    ... async def chat(ws):
    ...     await ws.accept()
    ...     async for message in ws:
    ...         await app.broadcast(message)
    >>> with TestClient(app) as client:
    ...     with client.websocket_connect("/chat") as one, client.websocket_connect("/chat") as two:
    ...         one.send_text("hello, everyone")
    ...         two.receive_text()
    ...     client.get("/health").status
    'hello, everyone'
    200
    """

    __test__ = False

    def __init__(
        self,
        app: WSRouter,
        *,
        timeout: float | None = TIMEOUT,
        raise_server_exceptions: bool = True,
        headers: Pairs = (),
        cookies: Mapping[str, str] | None = None,
        host: str = "testserver",
        client: Address | None = ("127.0.0.1", 50000),
        loop: str = "auto",
    ) -> None:
        self._client = AsyncTestClient(
            app,
            timeout=timeout,
            raise_server_exceptions=raise_server_exceptions,
            headers=headers,
            cookies=cookies,
            host=host,
            client=client,
        )
        self._loop_kind = loop
        self._loop: asyncio.AbstractEventLoop | None = None
        # The with block, and what is open without one.
        self._users = 0

    # --- running

    def __enter__(self) -> Self:
        if self._users:
            raise RuntimeError("this test client runs already")
        self._acquire(lifespan=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._release(error)

    @property
    def _is_running(self) -> bool:
        return self._loop is not None

    def _acquire(self, lifespan: bool = False) -> None:
        if self._users == 0:
            _refuse_running_loop()
            self._loop = new_event_loop(self._loop_kind)
            try:
                self.run(self._client._start(lifespan))
            except BaseException:
                self._close_loop()
                raise
        self._users += 1

    def _release(self, error: BaseException | None = None) -> None:
        self._users -= 1
        if self._users:
            return
        try:
            self.run(self._client.__aexit__(None if error is None else type(error), error, None))
        finally:
            self._close_loop()

    def _close_loop(self) -> None:
        loop, self._loop = self._loop, None
        assert loop is not None
        try:
            _cancel_all(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()

    def run(self, awaitable: Awaitable[T]) -> T:
        """Awaits something of the app's on its loop: ``client.run(app.broadcast("hello"))``.

        It has no limit in time.
        """
        if self._loop is None:
            _close(awaitable)
            raise RuntimeError("the app does not run: use `with TestClient(app) as client:`")
        try:
            _refuse_running_loop()
        except RuntimeError:
            _close(awaitable)
            raise
        try:
            return self._loop.run_until_complete(_awaited(awaitable))
        except RuntimeError as error:
            # uvloop forgets which exception has stopped it.
            if "Event loop stopped" in str(error):
                for fault in reversed(self._client.errors):
                    if isinstance(fault, (KeyboardInterrupt, SystemExit)):
                        raise fault from None
            raise

    # --- WebSockets

    def websocket_connect(
        self, url: str, subprotocols: Sequence[str] | None = None, **options: Unpack[ConnectOptions]
    ) -> Connecting:
        """Opens a WebSocket: ``with client.websocket_connect("/ws") as ws:``.

        ``headers``, ``cookies``, ``params`` (of the query), ``origin``
            What the handshake says besides.
        ``client``
            The address that the server sees, such as ``("1.2.3.4", 5)``; `None` is none, as on a
            Unix socket.
        ``compression``
            ``True`` offers it; a mapping of settings, such as ``{"context_takeover": True}``, too.
        ``receive_buffer``
            Bytes on the way to this client, 256 KiB: with a small one it is soon a slow reader.
        ``timeout``
            Another one than the client's.

        Raises ``HandshakeRefused`` where the server answers by HTTP.

        >>> from nexios import NexiosApp
        >>> from nexios.testing import TestClient
        >>> app = NexiosApp()
        >>> @app.ws("/ws")
        ... async def handler(ws):
        ...     await ws.accept()
        ...     await ws.send_text(f"{ws.client.host}, {ws.cookies['theme']}")
        >>> with TestClient(app) as client:
        ...     with client.websocket_connect("/ws", client=("1.2.3.4", 5), cookies={"theme": "dark"}) as ws:
        ...         ws.receive_text()
        '1.2.3.4, dark'
        """
        return Connecting(self, url, subprotocols, options)

    def handshake(
        self, url: str, subprotocols: Sequence[str] | None = None, **options: Unpack[ConnectOptions]
    ) -> Accepted | Refused:
        """Returns the answer to a handshake; an accepted connection is closed at once.

        >>> from nexios import NexiosApp
        >>> from nexios.testing import TestClient
        >>> with TestClient(NexiosApp()) as client:
        ...     client.handshake("/nowhere").status
        404
        """
        return self._brief(lambda: self._client.handshake(url, subprotocols, **options))

    # --- plain HTTP

    def request(self, method: str, url: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """Sends a plain HTTP request and reads the whole answer; redirects are not followed.

        ``headers``, ``cookies``, ``params``, ``client`` and ``timeout`` are as for
        ``websocket_connect``; the body is ``content`` (bytes or text), ``json``, or ``data`` (a form).
        """
        return self._brief(lambda: self._client.request(method, url, **options))

    def get(self, url: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """``request("GET", url, …)``"""
        return self.request("GET", url, **options)

    def head(self, url: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """``request("HEAD", url, …)``"""
        return self.request("HEAD", url, **options)

    def options(self, url: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """``request("OPTIONS", url, …)``"""
        return self.request("OPTIONS", url, **options)

    def post(self, url: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """``request("POST", url, …)``"""
        return self.request("POST", url, **options)

    def put(self, url: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """``request("PUT", url, …)``"""
        return self.request("PUT", url, **options)

    def patch(self, url: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """``request("PATCH", url, …)``"""
        return self.request("PATCH", url, **options)

    def delete(self, url: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """``request("DELETE", url, …)``"""
        return self.request("DELETE", url, **options)

    def _brief(self, call: Callable[[], Awaitable[T]]) -> T:
        """Runs the app for one call, where it does not run already."""
        self._acquire()
        error: BaseException | None = None
        try:
            return self.run(call())
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._release(error)

    # --- the server

    @property
    def app(self) -> WSRouter:
        """The app."""
        return self._client.app

    @property
    def timeout(self) -> float | None:
        """The time for which a call waits for the server, in seconds; `None` is without limit."""
        return self._client.timeout

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        self._client.timeout = seconds

    @property
    def headers(self) -> Headers:
        """The header fields of all requests."""
        return self._client.headers

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies of all requests; those that the server sets are stored here."""
        return self._client.cookies

    @property
    def errors(self) -> list[BaseException]:
        """All exceptions that no handler took, in their order."""
        return self._client.errors

    def settle(self) -> None:
        """Lets the server do all that it can do now."""
        self.run(self._client.settle())

    def run_for(self, seconds: float) -> None:
        """Lets the server run for so long."""
        self.run(asyncio.sleep(seconds))

    def advance(self, seconds: float) -> None:
        """Moves the clock of the engine, which takes no time.

        Everything that the engine times comes due on the way: pings and their timeouts, limits of
        silence, rate limits. ``asyncio.sleep`` in a handler is the event loop's affair and is not moved.

        >>> from nexios import NexiosApp
        >>> from nexios.testing import TestClient
        >>> app = NexiosApp()
        >>> @app.ws("/ws")
        ... async def handler(ws):
        ...     await ws.accept()
        ...     await ws.wait_closed()
        ...     print("seen by the server:", ws.close_code)
        >>> with TestClient(app) as client, client.websocket_connect("/ws") as ws:
        ...     ws.cut()
        ...     client.advance(60)
        seen by the server: 1006
        """
        self.run(self._client.advance(seconds))

    def shutdown(self) -> None:
        """Starts the graceful shutdown: clients get 1012, and new ones a ``ConnectionRefusedError``."""
        self._client.shutdown()


class Connecting:
    """A WebSocket that the ``with`` statement opens."""

    def __init__(
        self, client: TestClient, url: str, subprotocols: Sequence[str] | None, options: ConnectOptions
    ) -> None:
        self._client = client
        self._connecting = client._client.websocket_connect(url, subprotocols, **options)
        self._socket: TestSocket | None = None

    def __enter__(self) -> TestSocket:
        self._client._acquire()
        try:
            self._socket = TestSocket(self._client, self._client.run(self._connecting))
        except BaseException as error:
            self._client._release(error)
            raise
        return self._socket

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._socket is not None
        try:
            self._socket.__exit__(kind, error, traceback)
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._client._release(error)


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable


def _close(awaitable: object) -> None:
    """A coroutine that is not awaited would be warned of."""
    if asyncio.iscoroutine(awaitable):
        awaitable.close()


def _refuse_running_loop() -> None:
    if asyncio._get_running_loop() is not None:
        raise RuntimeError(
            "TestClient has an event loop of its own and cannot be used inside a running one: "
            "use `async with AsyncTestClient(app) as client:`"
        )
