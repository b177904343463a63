#!/usr/bin/env python3
"""Asks every server of peers.toml for each of its routes, byte by byte, and prints what works.

    python3 check.py                 # all of them
    python3 check.py nexios axum     # these
    python3 check.py --no-build …    # as they were built before

It needs Python 3.11 and nothing else: the client is message_client.py, so that no peer judges itself.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from message_client import BINARY, TEXT, Client, Message
from room_client import RoomClient

FOLDER = Path(__file__).resolve().parent
TARGET = FOLDER / os.environ.get("CARGO_TARGET_DIR", "target")
START_SECONDS_MAX = 20
#: After the last delivery that is due, for one too many.
PATIENCE_SECONDS = 0.2
CLIENTS = 5
MESSAGES = 40
#: Until a room has all of its members on all nodes.
JOINED_SECONDS = 1.0

Address = tuple[str, int]


class Wrong(Exception):
    """What a server does otherwise than it should."""


def require(condition: object, fault: str) -> None:
    if not condition:
        raise Wrong(fault)


def echoes(address: Address, path: str = "/echo", deflate: bool = False, tls: bool = False) -> None:
    client = Client(address, path, deflate, tls)
    require(client.deflates == deflate, f"permessage-deflate: {client.deflates}")
    for message in messages(deflate):
        client.send(message)
        answer = client.receive()
        require(answer == message, f"{len(message.payload)} bytes come back otherwise")
        require(answer.compressed == deflate, f"the answer is compressed: {answer.compressed}")
    many = [text(number) for number in range(MESSAGES)]
    client.send(*many)
    require([client.receive() for _ in many] == many, "messages sent at once come back in another order")
    client.close()


def broadcasts(address: Address, path: str = "/bcast", deflate: bool = False) -> None:
    clients = [Client(address, path, deflate=deflate) for _ in range(CLIENTS)]
    # There is no answer that says who has joined.
    time.sleep(PATIENCE_SECONDS)
    half = MESSAGES // 2
    clients[0].send(*(text(number) for number in range(half)))
    clients[-1].send(*(Message(BINARY, b"\xff%d" % number * 300) for number in range(half)))
    for client in clients:
        received = [client.receive() for _ in range(2 * half)]
        texts = [message for message in received if message.opcode == TEXT]
        others = [message for message in received if message.opcode == BINARY]
        require(texts == [text(number) for number in range(half)], "the texts are not each once and in order")
        require(others == [Message(BINARY, b"\xff%d" % number * 300) for number in range(half)], "nor the binaries")
        require(all(message.compressed == deflate for message in received), f"not all are compressed: {deflate}")
    nothing_more(clients)


def publishes(address: Address) -> None:
    subscribers = [Client(address, "/sub") for _ in range(CLIENTS)]
    publisher = Client(address, "/pub")
    # There is no answer that says who has joined.
    time.sleep(PATIENCE_SECONDS)
    sent = [text(number) for number in range(MESSAGES)] + [Message(BINARY, b"\x00\xff")]
    publisher.send(*sent)
    for subscriber in subscribers:
        require([subscriber.receive() for _ in sent] == sent, "a subscriber gets another row of messages")
    nothing_more([publisher, *subscribers])


def answers_http(address: Address) -> None:
    with socket.create_connection(address, timeout=5) as connection:
        for _ in range(2):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
            answer = b""
            while not answer.endswith(b"Hello, bench"):
                more = connection.recv(4096)
                require(more, f"the answer is {answer!r}")
                answer += more
            require(answer.startswith(b"HTTP/1.1 200"), f"the answer is {answer!r}")
            require(b"content-length: 12" in answer.lower(), f"the answer is {answer!r}")


def messages(deflate: bool) -> list[Message]:
    if deflate:
        return [text(1), Message(BINARY, bytes(range(256)) * 8), text(2), text(2)]
    sizes = (1, 125, 126, 65535, 65536)
    return [
        *(Message(TEXT, b"t" * size) for size in sizes),
        *(Message(BINARY, b"\xff" * size) for size in sizes),
        text(1),
    ]


def text(number: int) -> Message:
    """Some 2 KiB of JSON: over every minimum for compression."""
    return Message(TEXT, ('{"number": %d, "word": "größer"}, ' % number * 60).encode())


def shares_a_room(first: Address, second: Address, protocol: str) -> None:
    clients = [RoomClient(address, "/room", protocol) for address in (first, second) for _ in range(CLIENTS)]
    publisher = RoomClient(first, "/publish", protocol)
    # There is no answer that says who has joined.
    time.sleep(JOINED_SECONDS)
    sent = [f"{number:03}" + "x" * 253 for number in range(MESSAGES)]
    for message in sent:
        publisher.publish(message)
        # Not all keep the order of what comes at once.
        time.sleep(0.02)
    for client in clients:
        require([client.hear() for _ in sent] == sent, "a client gets another row of messages")
    nothing_more(clients)


def nothing_more(clients: list[Client] | list[RoomClient]) -> None:
    time.sleep(PATIENCE_SECONDS)
    for client in clients:
        require(not client.has_more(), "something comes a second time")
        client.close()


#: The column, and the family that it belongs to.
CHECKS: list[tuple[str, str, Callable[[Address], None]]] = [
    ("echo", "echo", echoes),
    ("bcast", "broadcast", broadcasts),
    ("pub/sub", "broadcast", publishes),
    ("deflate", "deflate", lambda address: echoes(address, "/deflate", deflate=True)),
    ("bcast-deflate", "broadcast-deflate", lambda address: broadcasts(address, "/bcast-deflate", deflate=True)),
    ("http", "http", answers_http),
    ("tls", "tls", lambda address: echoes(address, tls=True)),
]


def offers(peer: dict, family: str) -> bool:
    if "only" in peer:
        return family in peer["only"]
    if family in ("http", "tls", "cluster"):
        return family in peer.get("also", [])
    missing = peer.get("without", [])
    return not any(part in missing for part in [family, *family.split("-")])


def words(line: str, address: str = "", broker: str = "") -> list[str]:
    line = line.replace("{target}", str(TARGET)).replace("{address}", address).replace("{broker}", broker)
    return line.split()


def build(peer: dict) -> str | None:
    """Why it does not build."""
    if "build" not in peer:
        return None
    done = subprocess.run(words(peer["build"]), cwd=FOLDER, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    return "does not build: " + (done.stderr.strip().splitlines() or ["without a word"])[-1]


def free_address() -> Address:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()


def start(peer: dict, log, broker: str = "") -> tuple[subprocess.Popen, Address]:
    address = free_address()
    return start_command(words(peer["run"], "%s:%d" % address, broker), address, log), address


def start_command(command: list[str], address: Address, log) -> subprocess.Popen:
    server = subprocess.Popen(command, cwd=FOLDER, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    end = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < end and server.poll() is None:
        try:
            socket.create_connection(address).close()
            return server
        except OSError:
            time.sleep(0.05)
    stop(server)
    log.seek(0)
    raise Wrong("does not start: " + (log.read().decode(errors="replace").strip().splitlines() or ["silent"])[-1])


def stop(server: subprocess.Popen) -> None:
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(2)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def check(peer: dict) -> list[str]:
    """One word for each column."""
    outcomes = []
    cluster = check_cluster(peer) if offers(peer, "cluster") else "–"
    for name, family, ask in CHECKS:
        if not offers(peer, family):
            outcomes.append("–")
            continue
        # Each on a server of its own: the clients of the one before are still leaving.
        with tempfile.TemporaryFile() as log:
            server, address = start(peer, log)
            try:
                ask(address)
                outcomes.append("ok")
            except (Wrong, OSError, EOFError, ValueError) as error:
                outcomes.append(f"WRONG: {type(error).__name__}: {error}")
                if os.environ.get("VERBOSE"):
                    traceback.print_exc()
                    log.seek(0)
                    print(name, log.read().decode(errors="replace")[-3000:], file=sys.stderr)
            finally:
                stop(server)
    return [*outcomes, cluster]


def check_cluster(peer: dict) -> str:
    """Two nodes and a broker."""
    try:
        with nodes(peer) as (first, second):
            shares_a_room(first, second, peer.get("protocol", "plain"))
        return "ok"
    except (Wrong, OSError, EOFError, ValueError) as error:
        return f"WRONG: {type(error).__name__}: {error}"


@contextlib.contextmanager
def nodes(peer: dict) -> Iterator[tuple[Address, Address]]:
    folder = subprocess.run([FOLDER / "../scripts/brokers"], check=True, capture_output=True, text=True).stdout.strip()
    address = free_address()
    command = [f"{folder}/redis-server", "--bind", "127.0.0.1", "--port", str(address[1]), "--save", ""]
    with contextlib.ExitStack() as running:
        log = running.enter_context(tempfile.TemporaryFile())
        running.callback(stop, start_command(command, address, log))
        addresses = []
        for _ in range(2):
            server, node = start(peer, log, "redis://%s:%d" % address)
            running.callback(stop, server)
            addresses.append(node)
        yield addresses[0], addresses[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-build", action="store_true")
    parser.add_argument("peers", nargs="*")
    options = parser.parse_args()
    table = tomllib.loads((FOLDER / "peers.toml").read_text())
    unknown = set(options.peers) - table.keys()
    if unknown:
        parser.error(f"no peer {', '.join(sorted(unknown))}")
    print("| server |", " | ".join(name for name, _, _ in CHECKS), "| cluster |")
    print("|---|" + "---|" * (len(CHECKS) + 1))
    wrong = 0
    for name in options.peers or table:
        fault = None if options.no_build else build(table[name])
        try:
            outcomes = [fault] if fault else check(table[name])
        except Wrong as error:
            outcomes = [str(error)]
        wrong += any(outcome not in ("ok", "–") for outcome in outcomes)
        print(f"| {name} |", " | ".join(outcomes), "|", flush=True)
    print(f"\n{wrong} of {len(options.peers or table)} servers are not as peers.toml says")
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
