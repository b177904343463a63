"""Rooms that remember: what clients that come back get, with a broker and without."""

import asyncio
import json
import time

import pytest
from nexios import Broker, BrokerError, History, MemoryBroker, NexiosApp, Published, Publisher, WSRouter
from nexios.testing import AsyncTestClient, TestClient

HISTORY = History(size=100, ttl=3600)


def node(broker=None, history=HISTORY):
    """An app whose clients join a room where they say they were, and then say what the app stores."""
    app, chat = NexiosApp(broker=broker), WSRouter("/chat", name="chat")
    lobby = app.room("lobby", history=history)

    @chat.ws("/{name}")
    async def member(ws):
        ws.client_id = ws.path_params["name"]
        await ws.accept()
        joined = await ws.join("lobby", since=ws.query_params.get("since"))
        assert joined
        await ws.send_json({"recovered": joined.recovered, "position": joined.position})
        async for text in ws:
            outcome = await lobby.broadcast(text, idempotency_key=ws.query_params.get("key"))
            assert outcome.accepted
            await ws.send_json({"stored": outcome.stored})

    app.mount_ws_router(chat)
    return app, lobby


def until(holds):
    """Waits for what the broker's thread does."""
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def said(client, text):
    """Stores a text; the sender gets it, then where it is."""
    client.send_text(text)
    assert client.receive_text() == text
    return client.receive_json()["stored"]


def test_a_client_that_comes_back_gets_what_it_missed_without_a_broker():
    app, _ = node()
    with TestClient(app) as test:
        with test.websocket_connect("/chat/ann") as ann:
            assert ann.receive_json()["recovered"] is False
            positions = [said(ann, text) for text in ("one", "two", "three")]
            with test.websocket_connect(f"/chat/bob?since={positions[0]}") as bob:
                assert [bob.receive_text(), bob.receive_text()] == ["two", "three"]
                assert bob.receive_json() == {"recovered": True, "position": positions[2]}
                said(ann, "four")
                assert bob.receive_text() == "four"
        assert app.broker_metrics().stored == 4
    assert app.broker_metrics() is None


def test_a_client_that_begins_at_the_start_gets_all_that_is_remembered():
    app, _ = node()
    with TestClient(app) as test:
        with test.websocket_connect("/chat/ann?since=start") as ann:
            assert ann.receive_json()["recovered"] is True
            last = [said(ann, text) for text in ("one", "two", "three")][-1]
        with test.websocket_connect("/chat/bob?since=start") as bob:
            assert [bob.receive_text() for _ in range(3)] == ["one", "two", "three"]
            assert bob.receive_json() == {"recovered": True, "position": last}


def test_what_is_no_position_recovers_nothing():
    app, _ = node()
    with TestClient(app) as test, test.websocket_connect("/chat/ann?since=garbage") as ann:
        assert ann.receive_json()["recovered"] is False


def test_a_made_up_place_before_the_first_message_recovers_nothing():
    app, _ = node()
    with TestClient(app) as test:
        with test.websocket_connect("/chat/ann") as ann:
            start = ann.receive_json()["position"]
            last = [said(ann, text) for text in ("one", "two")][-1]
        epoch, nonce = start.split("-")[0], start.split("-")[2]
        for forged in (f"{epoch}-0-{'0' * 32}", f"{epoch}-0-{'f' * 32}", f"0-0-{'0' * 32}", f"{epoch}-1-{nonce}"):
            with test.websocket_connect(f"/chat/bob?since={forged}") as bob:
                assert bob.receive_json() == {"recovered": False, "position": last}
        with test.websocket_connect(f"/chat/bob?since={start}") as bob:
            assert [bob.receive_text(), bob.receive_text()] == ["one", "two"]
            assert bob.receive_json() == {"recovered": True, "position": last}


def test_a_history_behind_a_made_up_position_is_not_recovered():
    async def read():
        app, lobby = node()
        async with AsyncTestClient(app):
            positions = [(await lobby.broadcast(str(n))).stored for n in range(5)]
            epoch = positions[0].split("-")[0]
            return await lobby.history(since=f"{epoch}-0-{'0' * 32}", limit=2)

    page = asyncio.run(read())
    assert not page.recovered
    assert [stored.message for stored in page.messages] == ["3", "4"], "the newest instead"


def test_a_client_gets_on_any_node_what_it_missed_unless_the_broker_has_begun_anew():
    broker = MemoryBroker()
    (one, _), (other, _) = node(broker), node(broker)
    with TestClient(one) as here, TestClient(other) as there:
        with here.websocket_connect("/chat/ann") as ann:
            ann.receive_json()
            positions = [said(ann, str(n)) for n in range(10)]
        with there.websocket_connect(f"/chat/bob?since={positions[4]}") as bob:
            assert [bob.receive_text() for _ in range(5)] == ["5", "6", "7", "8", "9"]
            assert bob.receive_json()["recovered"] is True
            broker.stop()
            broker.forget()
            broker.start()
            until(lambda: other.broker_metrics().resets == 1)
            with there.websocket_connect(f"/chat/ann?since={positions[9]}") as ann:
                assert ann.receive_json()["recovered"] is False


def test_a_history_is_read_on_any_node():
    async def read():
        broker = MemoryBroker()
        (one, first), (other, second) = node(broker), node(broker)
        async with AsyncTestClient(one), AsyncTestClient(other):
            positions = [(await first.broadcast(str(n))).stored for n in range(10)]
            return await second.history(limit=3, since=positions[4]), positions

    page, positions = asyncio.run(read())
    assert [(stored.message, stored.position) for stored in page.messages] == [
        (str(n), positions[n]) for n in (5, 6, 7)
    ]
    assert page.recovered and page.position == positions[7]


def test_a_key_is_stored_once():
    app, _ = node()
    with TestClient(app) as test, test.websocket_connect("/chat/ann?key=a") as ann:
        ann.receive_json()
        first = said(ann, "hello")
        ann.send_text("hello")
        assert ann.receive_json() == {"stored": first}


def test_a_key_of_a_client_is_not_one_of_the_application():
    app = NexiosApp(live=True)
    room = app.room("x", history=HISTORY)

    @app.authorize_publish
    async def may_publish(ws, name):
        return True

    @app.on_request("order")
    async def order(ws, data):
        first, again = [await room.broadcast("ordered", idempotency_key="order 17") for _ in range(2)]
        assert (first.duplicate, again.duplicate, first.stored) == (False, True, again.stored)
        return str(first.stored)

    @app.ws("/{name}")
    async def member(ws):
        if ws.path_params["name"] != "nobody":
            ws.client_id = ws.path_params["name"]
        await ws.accept()
        await ws.wait_closed()

    def ask(client, number, payload, **members):
        client.send_text("\x1e" + json.dumps({"id": number, **members}) + "\n" + payload)
        header, _, payload = client.receive_text().removeprefix("\x1e").partition("\n")
        return json.loads(header), payload

    with TestClient(app) as test:
        acks = []
        for name in ("ann", "bob", "nobody", "ann", "nobody"):
            with test.websocket_connect(f"/{name}", subprotocols=["nexios.v1"]) as client:
                client.send_text('\x1e{"type":"hello"}\n')
                client.receive_text()
                acks.append(ask(client, 1, "mine", type="publish", room="x", key="order 17")[0])
                if len(acks) == 3:
                    reply, stored = ask(client, 2, "", type="request", method="order")
                    assert reply["type"] == "reply"
        assert [ack.get("duplicate", False) for ack in acks] == [False, False, False, True, True]
        positions = [ack["position"] for ack in acks]
        assert positions[3:] == [positions[0], positions[2]]
        assert len({*positions, stored}) == 4


def test_a_room_that_is_declared_while_the_app_is_served_remembers():
    app = NexiosApp()

    @app.ws("/")
    async def endpoint(ws):
        await ws.accept()
        room = app.room("late", history=History(size=2, ttl=60))
        outcomes = [await room.broadcast(text) for text in ("one", "two", "three")]
        page = await app.room("late").history()
        await ws.send_json([stored.message for stored in page.messages])
        page = await room.history(since=outcomes[0].stored)
        await ws.send_json([page.recovered, page.position == outcomes[2].stored])
        await ws.send_json([(await app.room("plain").broadcast("x")).stored])

    with TestClient(app) as test, test.websocket_connect("/") as client:
        assert client.receive_json() == ["two", "three"]
        # The first is not kept, and nothing else is missing: the room may or may not know that.
        assert client.receive_json()[1] is True
        assert client.receive_json() == [None]


def test_what_cannot_be_is_an_error():
    for size, ttl in ((0, 60), (1, 0), (1, float("nan"))):
        with pytest.raises(ValueError, match="history"):
            History(size=size, ttl=ttl)
    assert History(size=1_000_000).size == 1_000_000
    with pytest.raises(ValueError, match=r"^history size 1000001 is out of range \(1-1000000\)$"):
        History(size=1_000_001)
    room = NexiosApp().room("x", history=HISTORY)
    with pytest.raises(BrokerError, match="not served"):
        asyncio.run(room.history())
    with pytest.raises(ValueError, match="limit"):
        asyncio.run(room.history(limit=0))
    with pytest.raises(ValueError, match="durability"):
        Broker("redis://x", durability="perhaps")
    app = NexiosApp(broker=Broker(MemoryBroker(), durability="replicated"))
    with pytest.raises(BrokerError, match="replicated"), TestClient(app):
        pass


def test_a_publisher_stores_what_clients_get_later():
    broker = MemoryBroker()
    app, _ = node(broker)
    with Publisher(broker) as publisher, TestClient(app) as test:
        room = publisher.room("lobby", history=HISTORY)
        one, two, again = (room.broadcast(text, idempotency_key=text) for text in ("one", "two", "two"))
        assert one.stored != two.stored == again.stored
        assert [published.duplicate for published in (one, two, again)] == [False, False, True]
        assert publisher.room("lobby").broadcast("nobody stores this") == Published(None, 0)
        with test.websocket_connect(f"/chat/ann?since={one.stored}") as ann:
            assert ann.receive_text() == "two"
            assert ann.receive_json() == {"recovered": True, "position": two.stored}


async def test_an_async_publisher_stores_in_the_order_of_its_calls():
    async with Publisher(MemoryBroker()) as publisher:
        room = publisher.room("lobby", history=HISTORY)
        published = await asyncio.gather(*(room.broadcast(str(n)) for n in range(20)))
        offsets = [int(one.stored.split("-")[1]) for one in published]
        assert offsets == sorted(offsets) and len(set(offsets)) == 20
