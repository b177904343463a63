"""The client for tests that are coroutines."""

from __future__ import annotations

import weakref
from collections.abc import Generator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from nexios.request import Headers
from nexios.testing import request as requests
from nexios.testing.async_socket import AsyncTestSocket
from nexios.testing.exceptions import HandshakeRefused, TestTimeout
from nexios.testing.request import RECEIVE_BUFFER, Session
from nexios.testing.response import Accepted, Refused, TestResponse, parse
from nexios.testing.running import RunningApp

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from nexios import _nexios
    from nexios.router import WSRouter
    from nexios.testing.request import Address, ConnectOptions, Pairs, RequestOptions

__all__ = ["AsyncTestClient"]

#: The time for which a test waits for the server, in seconds.
TIMEOUT = 5.0
_UNSET: Any = object()


class AsyncTestClient:
    """An app in memory on the running event loop, with as many clients as a test likes.

    ``async with`` runs the app's startup and shutdown. What it can do, and its arguments, are
    those of ``TestClient``; here they are awaited. It needs no plugin of pytest, and works with all.

    >>> import asyncio
    >>> from nexios import NexiosApp
    >>> from nexios.testing import AsyncTestClient
    >>> app = NexiosApp()
    >>> @app.ws("/ws")
    ... async def echo(ws):
    ...     await ws.accept()
    ...     async for message in ws:
    ...         await ws.send(message)
    >>> async def test_echo():
    ...     async with AsyncTestClient(app) as client:
    ...         async with client.websocket_connect("/ws") as ws:
    ...             await ws.send_text("hello")
    ...             assert await ws.receive_text() == "hello"
    >>> asyncio.run(test_echo())
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
    ) -> None:
        self.app = app
        self.timeout = timeout
        self.raise_server_exceptions = raise_server_exceptions
        self._session = Session(host, requests.pairs(headers), dict(cookies or {}))
        self._client = client
        self._running: RunningApp | None = None
        self._sockets: weakref.WeakSet[AsyncTestSocket] = weakref.WeakSet()
        self._ended = RunningApp(app)

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._end()
        except TestTimeout:
            # Whatever came before is the cause.
            if error is None:
                raise
        if error is None:
            self._raise(self._ended.faults.take_any())

    async def _start(self, lifespan: bool = True) -> None:
        if self._running is not None:
            raise RuntimeError("this test client runs already")
        running = RunningApp(self.app)
        await running.start(self.timeout, lifespan)
        self._running = self._ended = running

    async def _end(self) -> None:
        running, self._running = self._app(), None
        for socket in list(self._sockets):
            if socket._connection.is_deaf:
                socket._connection.reset()
        try:
            await running.stop(self.timeout)
        finally:
            for socket in list(self._sockets):
                socket._connection.reset()

    def _app(self) -> RunningApp:
        if self._running is None:
            raise RuntimeError(f"the app does not run: use `async with {type(self).__name__}(app) as client:`")
        return self._running

    # --- WebSockets

    def websocket_connect(
        self, url: str, subprotocols: Sequence[str] | None = None, **options: Unpack[ConnectOptions]
    ) -> Connecting:
        """Opens a WebSocket: ``async with client.websocket_connect("/ws") as ws:``, or awaited.

        The options are those of ``TestClient.websocket_connect``. Raises ``HandshakeRefused`` where
        the server answers by HTTP.
        """
        return Connecting(self, url, subprotocols, options)

    async def handshake(
        self, url: str, subprotocols: Sequence[str] | None = None, **options: Unpack[ConnectOptions]
    ) -> Accepted | Refused:
        """Returns the answer to a handshake; an accepted connection is closed at once."""
        answer = await self._connect(url, subprotocols, **options)
        if isinstance(answer, Refused):
            return answer
        async with answer as socket:
            return Accepted(socket.subprotocol, socket.response_headers)

    async def _connect(
        self,
        url: str,
        subprotocols: Sequence[str] | None = None,
        *,
        headers: Pairs = (),
        cookies: Mapping[str, str] | None = None,
        params: Pairs = (),
        origin: str | None = None,
        client: Address | None = _UNSET,
        compression: bool | Mapping[str, Any] | None = None,
        receive_buffer: int = RECEIVE_BUFFER,
        timeout: float | None = _UNSET,
    ) -> AsyncTestSocket | Refused:
        running = self._app()
        timeout = self.timeout if timeout is _UNSET else timeout
        connection = running.dial(self._address(client), receive_buffer)
        target = requests.target(url, params)
        host, fields = requests.handshake_headers(self._session, headers, cookies, origin)
        offered = requests.subprotocol_list(subprotocols)
        if isinstance(compression, Mapping):
            compression = dict(compression)
        connection.open(host, target, fields, offered, compression)
        try:
            accepted = await connection.answer(timeout)
        except TimeoutError:
            raise TestTimeout(f"the answer to the handshake on {target}", timeout or 0) from None
        if accepted:
            socket = AsyncTestSocket(self, running, connection, target, timeout)
            self._sockets.add(socket)
            return socket
        response = await self._read_response(connection, "GET", target, timeout)
        self._raise(running.faults.take(connection.id) or running.faults.take(None))
        return Refused(response.status, response.headers, response.body)

    def _address(self, client: Address | None) -> Address | None:
        """Each connection has a port of its own, unless the test names one."""
        if client is not _UNSET or self._client is None:
            return self._client if client is _UNSET else client
        host, port = self._client
        self._client = (host, port % 65535 + 1)
        return host, port

    # --- plain HTTP

    async def request(self, method: str, url: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """Sends a plain HTTP request and reads the whole answer; redirects are not followed."""
        return await self._request(method, url, **options)

    async def _request(
        self, method: str, url: str, *, client: Address | None = _UNSET, timeout: float | None = _UNSET, **options: Any
    ) -> TestResponse:
        running = self._app()
        timeout = self.timeout if timeout is _UNSET else timeout
        connection = running.dial(self._address(client), RECEIVE_BUFFER)
        connection.write(requests.plain(self._session, method, url, **options))
        response = await self._read_response(connection, method.upper(), url, timeout)
        self._raise(running.faults.take(None))
        return response

    async def get(self, url: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """``request("GET", url, …)``"""
        return await self.request("GET", url, **options)

    async def head(self, url: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """``request("HEAD", url, …)``"""
        return await self.request("HEAD", url, **options)

    async def options(self, url: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """``request("OPTIONS", url, …)``"""
        return await self.request("OPTIONS", url, **options)

    async def post(self, url: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """``request("POST", url, …)``"""
        return await self.request("POST", url, **options)

    async def put(self, url: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """``request("PUT", url, …)``"""
        return await self.request("PUT", url, **options)

    async def patch(self, url: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """``request("PATCH", url, …)``"""
        return await self.request("PATCH", url, **options)

    async def delete(self, url: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """``request("DELETE", url, …)``"""
        return await self.request("DELETE", url, **options)

    async def _read_response(
        self, connection: _nexios.TestConnection, method: str, url: str, timeout: float | None
    ) -> TestResponse:
        data = bytearray()
        while True:
            try:
                more = await connection.receive_raw(timeout)
            except TimeoutError:
                raise TestTimeout(f"the answer to {method} {url}", timeout or 0) from None
            data += more or b""
            response = parse(bytes(data), method, ended=more is None)
            if response is not None:
                self._session.store_cookies(response)
                return response
            if more is None:
                raise ConnectionError(f"the server hung up in the middle of its answer to {method} {url}")

    # --- the server

    @property
    def headers(self) -> Headers:
        """The header fields of all requests."""
        return Headers(self._session.headers)

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies of all requests; those that the server sets are stored here."""
        return self._session.cookies

    @property
    def errors(self) -> list[BaseException]:
        """All exceptions that no handler took, in their order."""
        return self._ended.faults.all

    async def settle(self) -> None:
        """Lets the server do all that it can do now."""
        await self._app().settle()

    async def advance(self, seconds: float) -> None:
        """Moves the clock of the engine: see ``TestClient.advance``."""
        await self._app().advance(seconds)

    def shutdown(self) -> None:
        """Starts the graceful shutdown: clients get 1012, and new ones a ``ConnectionRefusedError``."""
        self._app().shut_down()

    def _raise(self, fault: BaseException | None) -> None:
        if fault is not None and self.raise_server_exceptions:
            raise fault


class Connecting:
    """A WebSocket that is about to be opened: by ``async with``, or by ``await``."""

    def __init__(
        self, client: AsyncTestClient, url: str, subprotocols: Sequence[str] | None, options: ConnectOptions
    ) -> None:
        self._client = client
        self._arguments = (url, subprotocols)
        self._options = options
        self._socket: AsyncTestSocket | None = None

    def __await__(self) -> Generator[Any, Any, AsyncTestSocket]:
        return self._open().__await__()

    async def _open(self) -> AsyncTestSocket:
        answer = await self._client._connect(*self._arguments, **self._options)
        if isinstance(answer, Refused):
            raise HandshakeRefused(answer)
        return answer

    async def __aenter__(self) -> AsyncTestSocket:
        self._socket = await self._open()
        return self._socket

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._socket is not None
        await self._socket.__aexit__(kind, error, traceback)
