"""Exception groups and their meaning for a connection: task groups raise the exceptions of their tasks as one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from nexios.exceptions import WebSocketDisconnect, WebSocketException


def essence(error: Exception) -> Exception:
    """Returns what a group is about: the disconnect, the ``WebSocketException``, or the one fault in it.

    A client that is gone ends all tasks of a group, so a disconnect does not count where there is more. Several faults
    stay a group. What is no group is returned as it is.
    """
    if not _is_group(error):
        return error
    leaves = list(_leaves(error))
    relevant = [leaf for leaf in leaves if not isinstance(leaf, (WebSocketDisconnect, asyncio.CancelledError))]
    if not relevant:
        return next((leaf for leaf in leaves if isinstance(leaf, WebSocketDisconnect)), error)
    faults = [leaf for leaf in relevant if not isinstance(leaf, WebSocketException)]
    if len(faults) > 1 or not all(isinstance(leaf, Exception) for leaf in relevant):
        return error
    chosen = (faults or relevant)[0]
    return chosen if isinstance(chosen, Exception) else error


def _is_group(error: BaseException) -> bool:
    """Groups came with Python 3.11; before, the package ``exceptiongroup`` has classes of the same names."""
    return any(kind.__name__ == "BaseExceptionGroup" for kind in type(error).__mro__)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if not _is_group(error):
        yield error
        return
    for inner in getattr(error, "exceptions", ()):
        yield from _leaves(inner)
