"""Soaks the Python package: clients of every kind come and go at full speed, and nothing of them is left.

    python/.venv/bin/python python/soak --seconds 120

Memory, descriptors, asyncio tasks and live objects of the server are counted after a warm-up and at the
end. Exit status 1, with a line for each, where one has not returned to where it was.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import json
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "testing"))

import visits  # noqa: E402
from census import Census, compare  # noqa: E402
from raw_client import TEXT, AsyncRawClient, frame, request  # noqa: E402

LOOPS = ("asyncio", "uvloop")
AT_ONCE = 40
#: A visit that takes longer hangs.
VISIT_SECONDS = 30
#: The server gets this long to notice that the last client is gone.
SETTLE_SECONDS = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120, help="for each loop (%(default)s)")
    parser.add_argument("--warm-up", type=float, help="seconds before the first count (a tenth, at least 2)")
    parser.add_argument("--loop", choices=LOOPS, action="append", help="the server's; both unless given")
    parser.add_argument("--app", type=Path, default=HERE / "app.py", help="another app, to see that leaks are found")
    args = parser.parse_args()
    args.warm_up = args.warm_up or max(2, args.seconds / 10)
    leaks = [f"{loop}: {leak}" for loop in args.loop or LOOPS for leak in asyncio.run(soak(loop, args))]
    for leak in leaks:
        print(f"soak: NOT AS BEFORE on {leak}")
    print("soak: failed" if leaks else "soak: nothing is left behind")
    return 1 if leaks else 0


async def soak(loop: str, args: argparse.Namespace) -> list[str]:
    """Soaks one server; what has not returned to the start."""
    async with server(loop, args.app) as port:
        print(f"soak: {loop}, {args.warm_up:.0f} s of warm-up, then {args.seconds:.0f} s", flush=True)
        await Load(port).run(args.warm_up)
        start = await census(port)
        load = Load(port)
        await load.run(args.seconds)
        end = await census(port)
    print(load.summary())
    lines, leaks = compare(start, end)
    print("\n".join(lines), flush=True)
    return leaks


@contextlib.asynccontextmanager
async def server(loop: str, app: Path) -> AsyncIterator[int]:
    """The app as a process; its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        process = await asyncio.create_subprocess_exec(
            sys.executable, app, "--loop", loop, "--fd", str(listening.fileno()), pass_fds=[listening.fileno()]
        )
        port = listening.getsockname()[1]
    ended = asyncio.ensure_future(process.wait())
    try:
        yield port
        if ended.done():
            sys.exit(f"soak: the server ended by itself, status {ended.result()}")
        process.terminate()
        if await ended:
            sys.exit(f"soak: the server ended with status {ended.result()}")
    finally:
        if not ended.done():
            process.kill()
        await ended


class Load:
    """Visits of all kinds, many at once, in an order that is the same every time."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.visits: collections.Counter[str] = collections.Counter()
        self.messages = 0
        self.seconds = 0.0

    async def run(self, seconds: float) -> None:
        started = time.monotonic()
        await asyncio.gather(*(self._keep_visiting(started + seconds) for _ in range(AT_ONCE)))
        self.seconds = time.monotonic() - started

    async def _keep_visiting(self, end: float) -> None:
        while time.monotonic() < end:
            visit = visits.DICE.choice(visits.ALL)
            try:
                messages = await asyncio.wait_for(visit(self.port), VISIT_SECONDS)
            except (AssertionError, OSError, EOFError, asyncio.TimeoutError) as error:
                sys.exit(f"soak: a visit failed: {visit.__name__}: {error!r}")
            self.visits[visit.__name__] += 1
            self.messages += messages

    def summary(self) -> str:
        """What it did."""
        count = sum(self.visits.values())
        kinds = ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in self.visits.most_common())
        rates = f"{count / self.seconds:,.0f} and {self.messages / self.seconds:,.0f} a second"
        return f"  {count:,} visits, {self.messages:,} messages ({rates}): {kinds}"


async def census(port: int) -> Census:
    """A look at the server once all clients are gone, or have had the time to go."""
    client = await AsyncRawClient.open(port, receive_buffer=1 << 20)
    client.send(request("/census"))
    await client.read_head()
    end = time.monotonic() + SETTLE_SECONDS
    try:
        # The first look makes what looking needs.
        await look(client)
        while True:
            seen = await look(client)
            if seen.connections == 0 or time.monotonic() > end:
                # What the last of them have left is collected by now.
                await asyncio.sleep(0.1)
                return await look(client)
            await asyncio.sleep(0.1)
    finally:
        client.cut()


async def look(client: AsyncRawClient) -> Census:
    client.send(frame(TEXT, b"look"))
    _, payload = await client.read_frame()
    return Census(**json.loads(payload))


if __name__ == "__main__":
    sys.exit(main())
