"""The command ``nexios``: ``run``, ``routes`` and ``publish``."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import stat
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nexios import _nexios
from nexios._fallback import LEVELS, configure
from nexios._log import logger, settle_level, show_log
from nexios._serve import adopt
from nexios._target import TargetError, load, source_directories, split
from nexios.app import NexiosApp
from nexios.broker import Broker
from nexios.history import History
from nexios.hub import Hub
from nexios.publisher import Publisher
from nexios.router import WSRouter

__all__ = ["main"]

#: The prefix of the directories of the workers' own hubs.
HUB_PREFIX = "nexios-hub-"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    options = parser().parse_args(arguments)
    command: Any = options.command
    try:
        return int(command(options))
    except TargetError as error:
        print(f"nexios: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if not _is_raised_here(error):
            traceback.print_exception(type(error), error, error.__traceback__)
        print(f"nexios: {error.strerror or error}", file=sys.stderr)
        return 1


def _is_raised_here(error: OSError) -> bool:
    """Returns true if the package raised it, whose text says all: an address in use, a missing certificate.

    An error of the application needs its traceback.
    """
    *_, innermost = traceback.extract_tb(error.__traceback__)
    return Path(__file__).parent in Path(innermost.filename).parents


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    whole = argparse.ArgumentParser(prog="nexios", description="Serves WebSockets.", allow_abbrev=False)
    commands = whole.add_subparsers(title="commands", required=True, metavar="command")
    _add_run(commands.add_parser("run", help="serve an app or a router", allow_abbrev=False))
    routes = commands.add_parser("routes", help="list the routes of an app or a router", allow_abbrev=False)
    _add_target(routes)
    routes.set_defaults(command=list_routes)
    hub = commands.add_parser("hub", help="connect the processes of one machine", allow_abbrev=False)
    hub.add_argument("path", metavar="PATH", help="Unix socket; apps find it by NEXIOS_BROKER=unix:PATH")
    hub.set_defaults(command=run_hub)
    _add_publish(commands.add_parser("publish", help="send a message to clients of an app", allow_abbrev=False))
    return whole


def _add_target(command: argparse.ArgumentParser) -> None:
    command.add_argument("target", metavar="module:name", help="the app or the router, such as main:app")


def _add_run(run: argparse.ArgumentParser) -> None:
    _add_target(run)
    run.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    run.add_argument("--port", type=_port, default=8000, help="port to listen on (%(default)s)")
    run.add_argument("--uds", metavar="PATH", help="Unix socket to listen on instead")
    run.add_argument(
        "--fd", type=int, metavar="N", action="append", help="descriptor that listens already, instead; may be repeated"
    )
    run.add_argument("--workers", type=_workers, default=1, metavar="N", help="processes that share the port (1)")
    run.add_argument(
        "--worker-timeout",
        type=float,
        default=30.0,
        metavar="S",
        help="replace a worker whose event loop has not turned for so many seconds; 0 never does (%(default)s)",
    )
    run.add_argument("--hub", metavar="PATH", help="socket at which scripts reach all of them: --broker unix:PATH")
    run.add_argument(
        "--allowed-host",
        metavar="HOST",
        action="append",
        help="answer requests to this host, and to no other; may be given several times",
    )
    run.add_argument("--reload", action="store_true", help="start again when a Python file of the app changes")
    run.add_argument("--ssl-certfile", metavar="PATH", help="certificate chain, PEM")
    run.add_argument("--ssl-keyfile", metavar="PATH", help="its private key, PEM")
    run.add_argument("--loop", choices=("auto", "asyncio", "uvloop"), default="auto", help="event loop (%(default)s)")
    run.add_argument("--log-level", choices=LEVELS, help="least level that is shown (info)")
    run.add_argument("--log-config", metavar="FILE", help="set up logging by this file: .json, .yaml, else INI")
    run.add_argument("--access-log", action="store_true", help="log each answer, handshake and end of a connection")
    # What workers are started with.
    run.add_argument("--reuse-port", action="store_true", help=argparse.SUPPRESS)
    run.set_defaults(command=run_app, parser=run)


def _add_publish(publish: argparse.ArgumentParser) -> None:
    publish.add_argument("--broker", metavar="URL", default=os.environ.get("NEXIOS_BROKER"), help="($NEXIOS_BROKER)")
    publish.add_argument("--namespace", default="nexios", help="that of the app (%(default)s)")
    whom = publish.add_mutually_exclusive_group(required=True)
    whom.add_argument("--room", metavar="R", help="to the members of a room")
    whom.add_argument("--router", metavar="N", help="to the clients of a router: its name, or its full prefix")
    whom.add_argument("--client", metavar="ID", action="append", help="to a client; may be given several times")
    whom.add_argument("--all", action="store_true", help="to all clients")
    stored = publish.add_argument_group("a room with history", "as in the app; prints the position of the message")
    stored.add_argument("--history-size", type=int, metavar="N", help="how many messages it stores (1000)")
    stored.add_argument("--history-ttl", type=float, metavar="S", help="each for so many seconds (3600)")
    stored.add_argument("--idempotency-key", metavar="K", help="stores the first message of a key within five minutes")
    publish.add_argument("message", metavar="MESSAGE", help="a text; - reads it from the standard input")
    publish.set_defaults(command=publish_message, parser=publish)


def publish_message(options: argparse.Namespace) -> int:
    """``nexios publish``: returns when the broker has the message; prints where it is stored, if it is."""
    if not options.broker:
        options.parser.error("--broker is missing, and $NEXIOS_BROKER is not set")
    try:
        broker = Broker(options.broker, namespace=options.namespace)
        history = _history(options)
    except ValueError as error:
        options.parser.error(str(error))
    message = sys.stdin.read() if options.message == "-" else options.message
    with Publisher(broker) as publisher:
        if options.room is not None:
            room = publisher.room(options.room, history=history)
            stored = room.broadcast(message, idempotency_key=options.idempotency_key).stored
            if stored is not None:
                print(stored)
        elif options.router is not None:
            publisher.router(options.router).broadcast(message)
        elif options.client:
            publisher.clients(options.client).broadcast(message)
        else:
            publisher.app.broadcast(message)
    return 0


def _history(options: argparse.Namespace) -> History | None:
    given = {"size": options.history_size, "ttl": options.history_ttl}
    given = {name: value for name, value in given.items() if value is not None}
    if (given or options.idempotency_key is not None) and options.room is None:
        raise ValueError("only a room has a history: --history-size, --history-ttl, --idempotency-key need --room")
    if options.idempotency_key is not None and not given:
        raise ValueError("--idempotency-key needs --history-size or --history-ttl")
    return History(**given) if given else None


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is no port: they go from 0 to 65535")
    return port


def _workers(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{count} is not at least 1")
    return count


def run_hub(options: argparse.Namespace) -> int:
    """``nexios hub``: until it is told to end."""
    signals = {signal.SIGINT, signal.SIGTERM}
    # Before its threads begin: they inherit it, and the signals are left for this one.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with Hub(options.path) as hub:
        print(f"nexios: the hub is at {hub.url}", flush=True)
        signal.sigwait(signals)
    return 0


def list_routes(options: argparse.Namespace) -> int:
    """``nexios routes``: path, name and handler of each route, on a line of its own."""
    rows = sorted((route.path, route.name or "-", _where(route.handler)) for route in load(options.target).routes)
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(2)]
    for path, name, handler in rows:
        print(f"{path:<{widths[0]}}  {name:<{widths[1]}}  {handler}")
    return 0


def _where(handler: Any) -> str:
    return f"{getattr(handler, '__module__', '?')}.{getattr(handler, '__qualname__', repr(handler))}"


def run_app(options: argparse.Namespace) -> int:
    """``nexios run``: in this process, in several, or in one that is started again and again."""
    _refuse_contradictions(options)
    adopt()
    _set_up_log(options)
    if options.reload:
        return _run_and_reload(options)
    root = load(options.target)
    _allow_hosts(root, options)
    settle_level()
    if options.workers > 1:
        with _hub(root, options) as environment:
            return _run_workers(options, environment)
    names = ("uds", "fd", "reuse_port", "ssl_certfile", "ssl_keyfile", "loop", "access_log")
    # The log is set up already.
    settings = {"log_level": None, **{name: getattr(options, name) for name in names}}
    if options.hub is None:
        root.run(options.host, options.port, **settings)
        return 0
    with _hub(root, options) as environment:
        os.environ.update(environment)
        root.run(options.host, options.port, **settings)
    return 0


def _allow_hosts(root: WSRouter, options: argparse.Namespace) -> None:
    """The hosts of the command line count instead of the app's."""
    if options.allowed_host is None:
        return
    try:
        NexiosApp(allowed_hosts=options.allowed_host)
    except ValueError as error:
        options.parser.error(str(error))
    root._allowed_hosts = options.allowed_host


def _set_up_log(options: argparse.Namespace) -> None:
    """Before the app is imported, which may have a log set up of its own: that counts."""
    if options.log_level is not None:
        logger.setLevel(options.log_level.upper())
    if options.log_config is None:
        show_log(options.log_level or "info")
    else:
        try:
            configure(options.log_config)
        except ValueError as error:
            options.parser.error(f"--log-config: {error}")


def _refuse_contradictions(options: argparse.Namespace) -> None:
    if options.uds is not None and options.fd is not None:
        options.parser.error("--uds and --fd exclude each other")
    if options.reload and options.workers > 1:
        options.parser.error("--reload and --workers exclude each other")
    if options.reload and options.hub is not None:
        options.parser.error("--reload and --hub exclude each other: run `nexios hub PATH` in addition")
    if not options.host:
        options.parser.error("--host is empty: 0.0.0.0 is all interfaces, :: those of IPv6 too")
    if options.ssl_keyfile and not options.ssl_certfile:
        options.parser.error("--ssl-keyfile needs --ssl-certfile")
    if options.ssl_certfile and options.uds is not None:
        options.parser.error("--uds has no TLS: it excludes --ssl-certfile")
    split(options.target)


@contextlib.contextmanager
def _hub(root: WSRouter, options: argparse.Namespace) -> Iterator[dict[str, str]]:
    """Connects the workers unless they have a broker of their own: what they find in their environment."""
    if getattr(root, "_broker", None) is not None or os.environ.get("NEXIOS_BROKER"):
        if options.hub is not None:
            options.parser.error("--hub is a broker, and the app or $NEXIOS_BROKER names another")
        yield {}
        return
    if options.hub is not None:
        with Hub(options.hub) as own:
            yield {"NEXIOS_BROKER": own.url}
        return
    _remove_stale_hubs()
    with tempfile.TemporaryDirectory(prefix=HUB_PREFIX) as directory:
        path = os.path.join(directory, "hub.sock")
        hub = Hub(path)
        try:
            yield {"NEXIOS_BROKER": f"unix:{path}"}
        finally:
            hub.close()


def _remove_stale_hubs() -> None:
    """Removes directories of hubs that no process listens on any more: their processes were killed."""
    for directory in Path(tempfile.gettempdir()).glob(f"{HUB_PREFIX}*"):
        with contextlib.suppress(OSError):
            path = directory / "hub.sock"
            if os.listdir(directory) == ["hub.sock"] and stat.S_ISSOCK(path.lstat().st_mode) and not _is_served(path):
                path.unlink()
                directory.rmdir()


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        try:
            client.connect(os.fspath(path))
        except ConnectionRefusedError:
            return False
        except BlockingIOError:
            # Its queue is full.
            return True
        return True


def _run_workers(options: argparse.Namespace, environment: dict[str, str]) -> int:
    from nexios._workers import run_workers

    settings: dict[str, Any] = {"environment": environment, "silence_max": options.worker_timeout}
    if options.fd is not None:
        logger.info("%d workers on %s", options.workers, ", ".join(f"descriptor {fd}" for fd in options.fd))
        arguments = [*_arguments(options), *_inherited(options.fd)]
        return run_workers(arguments, options.workers, inherited=options.fd, **settings)
    if options.uds is not None:
        bound = _nexios.UnixSocket(options.uds)
        try:
            logger.info("%d workers on unix:%s", options.workers, options.uds)
            fds = [bound.fileno()]
            return run_workers([*_arguments(options), *_inherited(fds)], options.workers, inherited=fds, **settings)
        finally:
            bound.close()
    with contextlib.ExitStack() as stack:
        _claim(options.host, options.port, stack)
        # Where others serve the port already, clients would land on either.
        for probe in _bound(options.host, options.port):
            probe.close()
        # Bound, but they do not listen: they keep the port, and get no connections.
        reserved = [stack.enter_context(one) for one in _bound(options.host, options.port, reuse_port=True)]
        port = reserved[0].getsockname()[1]
        logger.info("%d workers on %s:%d", options.workers, options.host, port)
        where = ["--host", options.host, "--port", str(port), "--reuse-port"]
        return run_workers([*_arguments(options), *where], options.workers, **settings)


def _claim(host: str, port: int, stack: contextlib.ExitStack) -> None:
    """Keeps other workers off a port that ours do not listen on yet, by a name that goes with this process."""
    if port == 0 or sys.platform != "linux":
        return
    for *_, address in dict.fromkeys(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)):
        claim = stack.enter_context(socket.socket(socket.AF_UNIX))
        try:
            claim.bind(f"\0nexios-workers-{address[0]}-{port}")
        except OSError as error:
            text = f"cannot listen on {host}:{port}: other workers are starting or serving there"
            raise OSError(error.errno, text) from None


def _inherited(fds: Sequence[int]) -> list[str]:
    return [argument for fd in fds for argument in ("--fd", str(fd))]


def _run_and_reload(options: argparse.Namespace) -> int:
    from nexios._reload import run_and_reload

    directories = source_directories(options.target)
    if options.uds is not None:
        return run_and_reload([*_arguments(options), "--uds", options.uds], directories)
    if options.fd is not None:
        return run_and_reload([*_arguments(options), *_inherited(options.fd)], directories, inherited=options.fd)
    # The sockets outlive the restarts: who connects meanwhile waits, and is not refused.
    with contextlib.ExitStack() as stack:
        listening = [stack.enter_context(one) for one in _bound(options.host, options.port)]
        for one in listening:
            one.listen(1024)
            logger.info("listening on %s:%d", *one.getsockname()[:2])
        fds = [one.fileno() for one in listening]
        return run_and_reload([*_arguments(options), *_inherited(fds)], directories, inherited=fds)


def _arguments(options: argparse.Namespace) -> list[str]:
    """Returns the arguments for a process that serves for this one, without its address."""
    arguments = ["run", options.target, "--loop", options.loop]
    for name in ("log_level", "log_config", "ssl_certfile", "ssl_keyfile"):
        if getattr(options, name) is not None:
            arguments += [f"--{name.replace('_', '-')}", getattr(options, name)]
    for host in options.allowed_host or ():
        arguments += ["--allowed-host", host]
    return [*arguments, "--access-log"] if options.access_log else arguments


def _bound(host: str, port: int, *, reuse_port: bool = False) -> list[socket.socket]:
    """A socket for each address of the host, as serving binds them; of port 0 for the first only."""
    resolved = dict.fromkeys(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    bound: list[socket.socket] = []
    for family, kind, protocol, _, address in list(resolved)[: 1 if port == 0 else None]:
        one = socket.socket(family, kind, protocol)
        bound.append(one)
        try:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind(address)
        except OSError as error:
            for opened in bound:
                opened.close()
            raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from None
    return bound
