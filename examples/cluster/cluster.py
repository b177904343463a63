"""Three nodes of the chat and one Redis: kill a node, and watch its page move to another and miss nothing.

`make demo-cluster` builds what this needs and starts it. Ctrl-C ends all of it.
"""

from __future__ import annotations

import argparse
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NODES = 3
FIRST_PORT = 8001
START_SECONDS = 15
STOP_SECONDS = 5
REPOSITORY = Path(__file__).resolve().parent.parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(description="Three nodes of the chat and one Redis")
    parser.add_argument("--chat", default=REPOSITORY / "target/release/examples/chat", help="built with redis")
    parser.add_argument("--redis", default=REPOSITORY / ".cache/brokers/bin/redis-server", help="redis-server")
    parser.add_argument("--any-ports", action="store_true", help="not 8001 to 8003, but whatever is free")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, interrupt)
    with tempfile.TemporaryDirectory() as directory:
        cluster = Cluster(args.chat, args.redis, Path(directory), FIRST_PORT if not args.any_ports else None)
        try:
            cluster.start()
            cluster.run()
        except KeyboardInterrupt:
            print("\nEnding all of it.", flush=True)
            return 0
        except Failed as error:
            print(f"cluster: {error}", file=sys.stderr)
            return 1
        finally:
            cluster.stop()


class Failed(Exception):
    """What cannot be had."""


class Process:
    """A child in a session of its own, so that Ctrl-C in the terminal reaches this program alone."""

    def __init__(self, name: str, command: list[str], log: Path, **environment: str) -> None:
        self.name = name
        self.command = command
        self.log = log
        self.environment = os.environ | environment
        self.popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.popen is not None
        return self.popen.pid

    def is_running(self) -> bool:
        return self.popen is not None and self.popen.poll() is None

    def start(self, port: int) -> None:
        """Starts it, and returns when it listens."""
        with self.log.open("ab") as log:
            try:
                self.popen = subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self.environment,
                    start_new_session=True,
                )
            except OSError as error:
                raise Failed(f"{self.name} cannot be started: {error}") from None
        deadline = time.monotonic() + START_SECONDS
        while self.is_running() and time.monotonic() < deadline:
            if is_taken(port):
                return
            time.sleep(0.02)
        raise Failed(f"{self.name} does not listen at port {port}:\n{self.log.read_text(errors='replace')}")

    def end(self, number: signal.Signals) -> None:
        if self.popen is not None and self.is_running():
            self.popen.send_signal(number)

    def wait(self, seconds: float) -> None:
        if self.popen is None:
            return
        try:
            self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()


class Cluster:
    def __init__(self, chat: str | Path, redis: str | Path, directory: Path, first_port: int | None) -> None:
        self.ports = ports_from(first_port)
        self.broker_port = free_port()
        snapshots = ["--save", "", "--appendonly", "no", "--dir", str(directory)]
        address = ["--bind", "127.0.0.1", "--port", str(self.broker_port)]
        self.redis = Process("Redis", [str(redis), *address, *snapshots], directory / "redis.log")
        origins = [argument for port in self.ports for argument in ("--origin", f"http://127.0.0.1:{port}")]
        self.nodes = [
            Process(
                f"Node {number}",
                [str(chat), "--listen", f"127.0.0.1:{port}", *origins],
                directory / f"node{number}.log",
                NEXIOS_BROKER=f"redis://127.0.0.1:{self.broker_port}",
            )
            for number, port in enumerate(self.ports, 1)
        ]
        self.is_gone = [False] * NODES

    def start(self) -> None:
        self.redis.start(self.broker_port)
        for node, port in zip(self.nodes, self.ports):
            node.start(port)
        self.explain()

    def explain(self) -> None:
        """What there is, and what to do with it."""
        print(f"One chat on {NODES} nodes; Redis at port {self.broker_port} keeps what was said.\n")
        for number, node in enumerate(self.nodes):
            print(f"  {node.name}  PID {node.pid:<8} {self.page(number)}")
        print(f"""
1. Open the three pages side by side, and sign in with three names; the token is letmein.
2. Kill a node:  kill -9 {self.nodes[0].pid}   (or press 1 and Enter here)
3. Its page moves to another node. Whatever the others say meanwhile arrives there, once.

1, 2 or 3 and Enter kills that node, or starts it again. Ctrl-C ends all of it.""", flush=True)

    def page(self, number: int) -> str:
        """The page of a node, which knows the others, those behind it first."""
        own, *others = self.ports[number:] + self.ports[:number]
        return f"http://127.0.0.1:{own}/?ports={','.join(map(str, others))}"

    def run(self) -> None:
        """Until Ctrl-C: tells of nodes that are gone, and does what is typed."""
        with selectors.DefaultSelector() as selector:
            if can_be_watched(sys.stdin):
                selector.register(sys.stdin, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select(0.2):
                    line = sys.stdin.readline()
                    if not line:
                        selector.unregister(key.fileobj)
                    elif line.strip() in map(str, range(1, NODES + 1)):
                        self.toggle(int(line) - 1)
                self.look()

    def toggle(self, number: int) -> None:
        node = self.nodes[number]
        if node.is_running():
            node.end(signal.SIGKILL)
            node.wait(STOP_SECONDS)
        else:
            node.start(self.ports[number])
            self.is_gone[number] = False
            print(f"{node.name} is back: PID {node.pid}", flush=True)

    def look(self) -> None:
        if not self.redis.is_running():
            raise Failed("Redis is gone; the nodes cannot reach each other any more")
        for number, node in enumerate(self.nodes):
            if not self.is_gone[number] and not node.is_running():
                self.is_gone[number] = True
                print(f"{node.name} is gone. Press {number + 1} and Enter to start it again.", flush=True)

    def stop(self) -> None:
        for node in self.nodes:
            node.end(signal.SIGTERM)
        for node in self.nodes:
            node.wait(STOP_SECONDS)
        self.redis.end(signal.SIGTERM)
        self.redis.wait(STOP_SECONDS)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def can_be_watched(stream: object) -> bool:
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)  # type: ignore[arg-type]
    except (OSError, ValueError):
        return False  # a file, or nothing
    return True


def ports_from(first: int | None) -> list[int]:
    """Those from the first on; others instead of those that are taken."""
    wanted = [None if first is None else first + number for number in range(NODES)]
    return [free_port() if port is None or is_taken(port) else port for port in wanted]


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
