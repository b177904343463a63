"""Several nodes of one app, in one process; and publishing from outside of it."""

import asyncio
import contextlib
import logging
import os
import pathlib
import signal
import socket
import subprocess
import sys
import textwrap

import nexios
import pytest
from nexios import (
    Broker,
    BrokerError,
    Gap,
    History,
    MemoryBroker,
    NexiosApp,
    Publisher,
    PublishUnconfirmed,
    WSRouter,
)
from nexios._nexios import Hub
from nexios.testing import TestClient

BROKERS = pathlib.Path(__file__).parents[2] / ".cache" / "brokers" / "bin"


def free_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def node(broker):
    """An app whose clients join the room of their first message, and what it was told of gaps."""
    app, chat = NexiosApp(broker=broker), WSRouter("/chat", name="chat")

    @chat.ws("/{name}")
    async def member(ws):
        ws.client_id = ws.path_params["name"]
        await ws.accept()
        await ws.join(await ws.receive_text())
        await ws.send_text(ws.id)
        await ws.wait_closed()

    app.gaps = []

    @chat.on("gap")
    async def missing(gap):
        app.gaps.append(gap)

    app.chat = chat
    app.mount_ws_router(chat)
    return app


@contextlib.contextmanager
def hub(tmp_path):
    path = tmp_path / "hub.sock"
    running = Hub(path)
    try:
        yield f"unix:{path}"
    finally:
        running.close()


@contextlib.contextmanager
def server(scheme, name, *arguments):
    program = BROKERS / name
    assert program.exists(), f"{name} is missing: run scripts/brokers"
    port = free_port()
    command = [program, *(str(port) if argument == "PORT" else argument for argument in arguments)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield f"{scheme}://127.0.0.1:{port}"
        finally:
            process.kill()


@pytest.fixture(params=["memory", "hub", "redis", "nats"])
def broker(request, tmp_path):
    """Each kind of broker."""
    with contextlib.ExitStack() as stack:
        if request.param == "memory":
            yield MemoryBroker()
        elif request.param == "hub":
            yield stack.enter_context(hub(tmp_path))
        elif request.param == "redis":
            arguments = ["--bind", "127.0.0.1", "--port", "PORT", "--save", "", "--dir", str(tmp_path)]
            yield stack.enter_context(server("redis", "redis-server", *arguments))
        else:
            yield stack.enter_context(server("nats", "nats-server", "--addr", "127.0.0.1", "--port", "PORT"))


@contextlib.asynccontextmanager
async def member(server, name, room="x"):
    async with server.connect(f"/chat/{name}") as ws:
        await ws.send(room)
        ws.connection_id = await ws.recv()
        yield ws


async def until(holds):
    while not holds():
        await asyncio.sleep(0.01)


# --- nodes


async def test_a_broadcast_reaches_the_clients_of_all_nodes(serve, broker):
    one, other = node(broker), node(broker)
    async with serve(one) as first, serve(other) as second, member(first, "ann") as ann, member(second, "bob") as bob:
        for audience, count in (one, 1), (one.chat, 1), (one.room("x"), 1), (one.room("y"), 0):
            outcome = await audience.broadcast({"to": "all"})
            assert (outcome, outcome.accepted) == (count, True)
        await one.room("x").broadcast(b"bytes", exclude="ann")
        assert [await ann.recv() for _ in range(3)] == ['{"to":"all"}'] * 3
        assert [await bob.recv() for _ in range(4)] == ['{"to":"all"}'] * 3 + [b"bytes"]
        assert (one.gaps, other.gaps) == ([], [])
        metrics = other.broker_metrics()
        assert metrics.connected and metrics.received == 4 and metrics.missed == 0


async def test_clients_of_other_nodes_are_found_by_their_ids(serve, broker):
    one, other = node(broker), node(broker)
    async with serve(one) as first, serve(other) as second, member(first, "ann") as ann, member(second, "bob") as bob:
        outcome = await one.broadcast_to(["ann", "bob", bob.connection_id], "hello")
        assert (outcome, outcome.accepted, outcome.unknown) == (1, True, [])
        assert outcome.forwarded == ["bob", bob.connection_id]
        assert (await ann.recv(), await bob.recv()) == ("hello", "hello")


async def test_a_connect_listener_runs_when_messages_of_others_arrive(serve):
    broker = MemoryBroker()
    one, other = node(broker), node(broker)

    @other.on("connect")
    async def connected(ws):
        assert (await one.chat.broadcast("welcome")).accepted

    async with serve(one), serve(other) as second, second.connect("/chat/ann") as ws:
        assert await ws.recv() == "welcome"


async def test_a_gap_is_told_once_to_the_router_and_counted(serve):
    broker = MemoryBroker()
    one, other = node(broker), node(broker)
    async with serve(one) as first, serve(other) as second, member(first, "ann"), member(second, "bob") as bob:
        await one.room("x").broadcast("first")
        assert await bob.recv() == "first"
        broker.stop()
        await until(lambda: not other.broker_metrics().connected)
        broker.start()
        await until(lambda: other.gaps and one.gaps)
        assert other.gaps[0] == Gap(router=None, room=None, missed=None, cause="reconnect")
        assert other.broker_metrics().gaps["reconnect"] == other.broker_metrics().reconnects == 1
        await until(lambda: other.broker_metrics().connected and one.broker_metrics().connected)
        await one.room("x").broadcast("last")
        assert await bob.recv() == "last"


async def test_an_error_in_a_gap_listener_is_logged(serve, caplog):
    broker = MemoryBroker()
    app = node(broker)

    @app.on("gap")
    async def failing(gap):
        raise ValueError("of the listener")

    async with serve(app):
        await until(lambda: app.broker_metrics() is not None)
        broker.stop()
        await until(lambda: not app.broker_metrics().connected)
        broker.start()
        await until(lambda: "a gap listener failed" in caplog.text)
    assert "of the listener" in caplog.text


async def test_what_does_not_fit_is_not_accepted_and_reaches_the_clients_here(serve):
    memory = MemoryBroker()
    app = node(Broker(memory, outgoing_messages_max=1))
    async with serve(app) as served, member(served, "ann") as ann:
        memory.stop()
        await until(lambda: not app.broker_metrics().connected)
        assert [(await app.room("x").broadcast(str(n))).accepted for n in range(3)] == [True, False, False]
        assert [await ann.recv() for _ in range(3)] == ["0", "1", "2"]
        assert app.broker_metrics().refused == 2


async def test_without_a_broker_there_are_no_metrics_and_all_is_accepted(serve):
    app = node(None)
    async with serve(app) as served, member(served, "ann") as ann:
        assert app.broker_metrics() is None
        assert (await app.broadcast("hello")).accepted and await ann.recv() == "hello"
        assert (await app.broadcast_to(["nobody"], "hello")).unknown == ["nobody"]


def test_two_apps_in_memory_are_nodes():
    broker = MemoryBroker()
    one, other = node(broker), node(broker)
    with TestClient(one), TestClient(other) as second, second.websocket_connect("/chat/ann") as ws:
        ws.send_text("x")
        ws.receive_text()
        with Publisher(broker) as publisher:
            publisher.room("x").broadcast("hello")
        assert ws.receive_text() == "hello"


# --- starting


@pytest.mark.parametrize("broker", ["http://host", "unix:", "redis+else://host", "nats://host?x=1"])
def test_what_is_no_broker_is_said_at_once(broker):
    with pytest.raises(ValueError, match="is no broker"):
        NexiosApp(broker=broker)
    with pytest.raises(TypeError):
        NexiosApp(broker=17)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://h?replica=1", 'unknown parameter "replica": there are db, replicas, tls_ca, tls_cert, tls_key'),
        ("valkey://h?protocol=resp3&replicas=1", 'unknown parameter "protocol"'),
        ("nats://h?replica=3", 'unknown parameter "replica": there are credentials, replicas, tls_ca'),
        ("unix:/run/hub.sock?db=1", "redis+unix:///path/to/socket"),
        ("redis://h?password=QSECRETQ", "user:password@host"),
        ("redis://ann:QSECRETQ", 'the port of "ann" is not a number'),
    ],
)
def test_what_is_wrong_with_an_address_is_said_without_a_secret(url, says):
    with pytest.raises(ValueError) as raised:
        Broker(url)
    assert says in str(raised.value) and "QSECRETQ" not in str(raised.value)


def test_the_files_of_tls_are_settings(tmp_path):
    broker = Broker("rediss://:secret@h", tls_ca=tmp_path / "ca.pem", tls_cert="cert.pem", tls_key="key.pem")
    assert repr(broker) == 'Broker { url: "rediss://h", namespace: "nexios", .. }'
    with pytest.raises(ValueError, match="tls_cert needs tls_key"):
        Broker("tls://h", tls_cert="cert.pem")
    with pytest.raises(ValueError, match="write rediss://"):
        Broker("redis://h", tls_ca="ca.pem")
    with pytest.raises(BrokerError, match=r"cannot read tls_ca .*nowhere\.pem: "):
        Publisher(Broker("rediss://127.0.0.1:1", tls_ca=tmp_path / "nowhere.pem")).app.broadcast("x")


async def test_a_broker_that_is_not_there_is_named_after_a_bounded_wait():
    url = f"redis://:secret@127.0.0.1:{free_port()}"
    app = NexiosApp(broker=Broker(url, connect_timeout=0.3))
    with pytest.raises(BrokerError, match=r"cannot reach the broker redis://127\.0\.0\.1:\d+: ") as raised:
        await app.serve(port=0)
    assert "secret" not in str(raised.value) and isinstance(raised.value, OSError)


async def test_the_environment_names_a_broker_and_code_overrides_it(serve, monkeypatch, tmp_path):
    monkeypatch.setenv("NEXIOS_BROKER", f"unix:{tmp_path}/nobody.sock")
    async with serve(node(MemoryBroker())):
        pass
    with hub(tmp_path) as url:
        monkeypatch.setenv("NEXIOS_BROKER", url)
        one, other = node(None), node(None)
        async with serve(one), serve(other) as second, member(second, "ann") as ann:
            await one.room("x").broadcast("hello")
            assert await ann.recv() == "hello"


async def test_two_routers_of_one_prefix_need_names_with_a_broker():
    app = NexiosApp(broker=MemoryBroker())
    app.mount_ws_router(WSRouter("/a"))
    app.mount_ws_router(WSRouter("/a"))
    with pytest.raises(BrokerError, match='two routers are called "/a"'):
        await app.serve(port=0)


# --- publishing


async def test_a_publisher_sends_to_rooms_routers_clients_and_all(serve, broker):
    app = node(broker)
    async with serve(app) as served, member(served, "ann") as ann, member(served, "bob", "y") as bob:
        async with Publisher(broker) as publisher:
            await publisher.room("x").broadcast("to x")
            await publisher.clients("bob").broadcast(b"to bob")
            await publisher.router("chat").broadcast({"to": "the router"}, key="key", compress=False)
            await asyncio.gather(*(publisher.app.broadcast(str(n), exclude=["bob"]) for n in range(100)))
        assert [await ann.recv() for _ in range(2)] == ["to x", '{"to":"the router"}']
        assert [await bob.recv() for _ in range(2)] == [b"to bob", '{"to":"the router"}']
        assert [await ann.recv() for _ in range(100)] == [str(n) for n in range(100)]
        assert app.gaps == []


def test_a_publisher_for_plain_functions_connects_at_its_first_use():
    broker = MemoryBroker()
    broker.stop()
    publisher = Publisher(Broker(broker, connect_timeout=0.1))
    with pytest.raises(BrokerError, match="cannot reach the broker in memory"):
        publisher.room("x")
    broker.start()
    publisher.room("x").broadcast("nobody is there")
    room = publisher.room("x")
    publisher.close()
    publisher.close()
    with pytest.raises(ValueError, match="closed"):
        room.broadcast("too late")
    with pytest.raises(TypeError):
        Publisher(None)


def test_a_publisher_waits_for_its_time_and_no_longer():
    broker = MemoryBroker()
    with Publisher(broker) as publisher:
        for room in (publisher.room("x"), publisher.room("y", history=History(size=10, ttl=60))):
            broker.stop()
            with pytest.raises(TimeoutError, match=r"^the broker has not confirmed the message within 0.1 s"):
                room.broadcast("late", timeout=0.1)
            broker.start()
            room.broadcast("in time", timeout=60)
        with pytest.raises(ValueError, match="invalid timeout"):
            publisher.app.broadcast("x", timeout=-1)


def test_what_is_not_confirmed_at_the_end_may_have_been_sent(tmp_path):
    url = f"unix:{tmp_path / 'hub.sock'}"
    with subprocess.Popen([sys.executable, "-m", "nexios", "hub", str(tmp_path / "hub.sock")]) as process:
        try:
            for history in (None, History(size=10, ttl=60)):
                publisher = Publisher(Broker(url, connect_timeout=60))
                room = publisher.room("x", history=history)
                process.send_signal(signal.SIGSTOP)
                os.waitpid(process.pid, os.WUNTRACED)  # until it has stopped: before, it may still answer
                sent = room._publish("one", None, None, None, None)
                publisher.close()
                with pytest.raises(PublishUnconfirmed, match=r"^the message may have been sent, the broker has not"):
                    sent.wait()
                process.send_signal(signal.SIGCONT)
        finally:
            process.kill()


def test_what_is_never_sent_is_refused():
    broker = MemoryBroker()
    for history in (None, History(size=10, ttl=60)):
        broker.start()
        publisher = Publisher(broker)
        room = publisher.room("x", history=history)
        broker.stop()
        sent = room._publish("one", None, None, None, None)
        publisher.close()
        with pytest.raises(BrokerError, match=r"^the broker has not taken the message: it ended before") as refused:
            sent.wait()
        assert not isinstance(refused.value, PublishUnconfirmed)


def run_script(script, *arguments):
    """What a script prints that publishes in a process of its own, where signals and forks harm nobody."""
    command = [sys.executable, "-c", textwrap.dedent(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout.split()


def test_a_publisher_that_waits_can_be_interrupted():
    script = """
        import os, signal, threading
        from nexios import Broker, MemoryBroker, Publisher
        # Where the tests run in the background it is ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        broker = MemoryBroker()
        publisher = Publisher(broker)
        room = publisher.room("x")
        broker.stop()
        for wait in (lambda: room.broadcast("x"), lambda: Publisher(Broker(broker, connect_timeout=60)).app):
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                wait()
            except KeyboardInterrupt:
                print("interrupted", flush=True)
        os._exit(0)
    """
    assert run_script(script) == ["interrupted", "interrupted"]


def test_a_publisher_connects_again_in_a_process_that_was_forked(tmp_path):
    script = """
        import os, sys
        from nexios import History, Publisher
        from nexios._nexios import Hub
        hub = Hub(sys.argv[1])
        publisher = Publisher(f"unix:{sys.argv[1]}")
        room = publisher.room("x", history=History(size=10, ttl=60))
        def publish(who):
            offset = room.broadcast(who, timeout=30).stored.split("-")[1]
            print(who, offset, flush=True)
        publish("parent")
        child = os.fork()
        if not child:
            publish("child")
            publish("child")
            publisher.close()
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        publish("parent")
        publisher.close()
        hub.close()
    """
    said = run_script(script, str(tmp_path / "hub.sock"))
    assert said == ["parent", "1", "child", "2", "child", "3", "parent", "4"]


def test_the_public_names_are_those_of_the_package():
    assert nexios.Publisher is Publisher and nexios.Gap is Gap
    assert repr(Broker("redis://:secret@host/0")) == 'Broker { url: "redis://host/0", namespace: "nexios", .. }'
    assert logging.getLogger("nexios")
