"""What a process holds: memory, descriptors, tasks, objects. Taken in the server, compared outside."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import ctypes
import gc
import os
import sys
from dataclasses import asdict, dataclass

PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
#: How much more there may be at the end: caches of the interpreter, and what the allocator keeps in pieces.
ALLOWANCE = {
    "connections": 0,
    "tasks": 0,
    "descriptors": 0,
    "faults": 0,
    "objects": 200,
    "blocks": 2_000,
    "rss_kib": 4_096,
}
WORDS = {
    "connections": "connections",
    "tasks": "asyncio tasks",
    "descriptors": "file descriptors",
    "faults": "errors that nobody could catch",
    "objects": "live objects (gc)",
    "blocks": "blocks of Python's allocator",
    "rss_kib": "resident memory, KiB",
}
KINDS_SHOWN = 5


@dataclass
class Census:
    """One look at the server."""

    connections: int
    tasks: int
    faults: int
    descriptors: int
    objects: int
    blocks: int
    rss_kib: int
    #: What the numbers do not tell: objects by their kind, and the first fault.
    kinds: dict[str, int]
    first_fault: str

    @classmethod
    def take(cls, connections: int, faults: list[str]) -> Census:
        """Of this process, after everything that is garbage has been collected."""
        for _ in range(3):
            gc.collect()
        with contextlib.suppress(AttributeError):
            # What has been freed goes back to the system: else the memory depends on what was freed last.
            ctypes.CDLL(None).malloc_trim(0)
        objects = gc.get_objects()
        kinds = collections.Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in objects)
        count = len(objects)
        del objects
        return cls(
            connections=connections,
            tasks=len(asyncio.all_tasks()),
            faults=len(faults),
            descriptors=len(os.listdir("/proc/self/fd")),
            objects=count,
            blocks=sys.getallocatedblocks(),
            rss_kib=_resident_pages() * PAGE_KIB,
            kinds=dict(kinds),
            first_fault=faults[0] if faults else "",
        )

    def json(self) -> dict[str, object]:
        """As it travels to the one who compares."""
        return asdict(self)


def _resident_pages() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1])


def compare(start: Census, end: Census) -> tuple[list[str], list[str]]:
    """A line for each thing that was counted, and one for each that has not returned to the start."""
    lines, leaks = [], []
    for name, allowed in ALLOWANCE.items():
        before, after = getattr(start, name), getattr(end, name)
        lines.append(f"  {WORDS[name]:<36} {before:>10,} -> {after:>10,}   (at most {allowed:,} more)")
        if after > before + allowed:
            leaks.append(f"{WORDS[name]}: {before:,} at the start, {after:,} at the end{_most(name, start, end)}")
    return lines, leaks


def _most(name: str, start: Census, end: Census) -> str:
    """Which kinds of objects there are more of, or which fault."""
    if name == "faults":
        return f"; the first: {end.first_fault}"
    if name != "objects":
        return ""
    grown = collections.Counter(end.kinds)
    grown.subtract(start.kinds)
    return "; mostly " + ", ".join(f"{kind} +{count:,}" for kind, count in grown.most_common(KINDS_SHOWN))
