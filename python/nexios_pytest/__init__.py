"""The fixture of `nexios.testing`, for pytest.

It is a package of its own, because pytest imports it in every project of an environment:
nexios itself is imported only by tests that ask for a client.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from nexios.testing import TestClient

__all__ = ["nexios_client"]


@pytest.fixture
def nexios_client() -> Iterator[Callable[..., TestClient]]:
    """Starts apps for a test, and ends them after it: ``nexios_client(app, **options)``.

    The options are those of ``nexios.testing.TestClient``::

        def test_echo(nexios_client):
            client = nexios_client(app)
            with client.websocket_connect("/ws") as ws:
                ws.send_text("hello")
                assert ws.receive_text() == "hello"
    """
    from nexios.testing import TestClient

    with contextlib.ExitStack() as clients:

        def start(app: Any, **options: Any) -> TestClient:
            return clients.enter_context(TestClient(app, **options))

        yield start
