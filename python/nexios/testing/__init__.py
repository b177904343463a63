"""Testing an app in memory: no port, no sockets, no threads.

    >>> from nexios import NexiosApp
    >>> from nexios.testing import TestClient
    >>> app = NexiosApp()
    >>> @app.ws("/ws")
    ... async def echo(ws):
    ...     await ws.accept()
    ...     async for message in ws:
    ...         await ws.send(message)
    >>> with TestClient(app) as client, client.websocket_connect("/ws") as ws:
    ...     ws.send_text("hello")
    ...     ws.receive_text()
    'hello'

The same engine serves as in production; only the cable is memory. ``TestClient`` is for plain
test functions, ``AsyncTestClient`` for coroutines. Under pytest the fixture ``nexios_client``
starts apps and ends them: ``client = nexios_client(app)``.

The app of a ``TestClient`` runs whenever the test waits for it, in the test's own thread: a
breakpoint in a handler works, and nothing happens behind the test's back.
"""

from nexios.testing.async_client import AsyncTestClient
from nexios.testing.async_socket import AsyncTestSocket
from nexios.testing.client import TestClient
from nexios.testing.exceptions import HandshakeRefused, TestTimeout
from nexios.testing.response import Accepted, Refused, TestResponse
from nexios.testing.socket import TestSocket

__all__ = [
    "Accepted",
    "AsyncTestClient",
    "AsyncTestSocket",
    "HandshakeRefused",
    "Refused",
    "TestClient",
    "TestResponse",
    "TestSocket",
    "TestTimeout",
]
