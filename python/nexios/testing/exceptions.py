"""Exceptions of the test clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nexios.request import Headers
    from nexios.testing.response import Refused

__all__ = ["HandshakeRefused", "TestTimeout"]


class TestTimeout(TimeoutError):
    """Something did not come in time; ``waited_for`` says what, and ``seconds`` how long it was waited for.

    >>> from nexios.testing import TestTimeout
    >>> print(TestTimeout("a message on /ws", 5))
    waited 5 s in vain for a message on /ws
    """

    __test__ = False

    def __init__(self, waited_for: str, seconds: float) -> None:
        super().__init__(waited_for, seconds)
        self.waited_for = waited_for
        self.seconds = seconds

    def __str__(self) -> str:
        return f"waited {self.seconds:g} s in vain for {self.waited_for}"


class HandshakeRefused(Exception):
    """The server answered the handshake by HTTP: ``status``, ``headers`` and ``body`` say how.

    >>> import pytest
    >>> from nexios import NexiosApp
    >>> from nexios.testing import HandshakeRefused, TestClient
    >>> with TestClient(NexiosApp()) as client, pytest.raises(HandshakeRefused) as refused:
    ...     with client.websocket_connect("/nowhere"):
    ...         pass
    >>> refused.value.status
    404
    """

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused)
        self.refused = refused

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.refused.status

    @property
    def headers(self) -> Headers:
        """The header fields."""
        return self.refused.headers

    @property
    def body(self) -> bytes:
        """The body."""
        return self.refused.body

    @property
    def text(self) -> str:
        """The body as text."""
        return self.refused.text

    def json(self) -> Any:
        """The body, read as JSON."""
        return self.refused.json()

    def __str__(self) -> str:
        text = self.text
        return f"the server refused the handshake: {self.status}" + (f" {text!r}" if text else "")
