"""The hub: the broker of the processes of one machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nexios import _nexios

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Hub"]


class Hub:
    """The broker of the processes of one machine, on a Unix socket that only this user may connect to.

    It runs on threads of its own until :meth:`close`. ``nexios run --hub PATH`` brings one along, ``nexios hub PATH``
    is one by itself.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as directory, Hub(os.path.join(directory, "hub.sock")) as hub:
    ...     with Publisher(hub.url) as publisher:
    ...         publisher.room("lobby").broadcast("hello")
    Published(stored=None, replicated=0, duplicate=False)
    """

    #: The URL that apps and publishers have as their broker.
    url: str

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._running = _nexios.Hub(path)
        self.url = f"unix:{os.path.abspath(path)}"

    def close(self) -> None:
        """Ends it: nodes connect again once there is another.

        >>> import os, tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     hub = Hub(os.path.join(directory, "hub.sock"))
        ...     hub.close()
        """
        self._running.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Hub {self.url}>"
