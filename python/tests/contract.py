"""Plays the scenarios of `clients/contract` against `nexios.client`; the form is in the README there."""

import asyncio
import json
import re
from pathlib import Path

from live_server import NONCE, position
from nexios.client import NexiosError, Subscription, connect, dialogue
from simulated_network import Network
from virtual_time import VirtualLoop

DIRECTORY = Path(__file__).resolve().parents[2] / "clients/contract"
# By event, how its values are called.
ROOM_EVENTS = ("joined", "left", "message", "reset", "gap", "presence")
CLIENT_EVENTS = ("open", "close", "reconnecting", "parked", "unauthorized", "message", "joined", "gap", "error")
OPTIONS = ("urls", "json", "token", "protocols", "storage", "bigint", "retry_first", "chance")
OPTIONS_MS = {
    "stable_ms": "stable_after",
    "open_timeout_ms": "open_timeout",
    "request_timeout_ms": "request_timeout",
}
ABSENT = object()


class Unexpected(AssertionError):
    """The client does not do what the scenario says."""


def scenarios():
    """All scenarios that are this client's, by name."""
    found = {}
    for path in sorted((DIRECTORY / "scenarios").glob("*.json")):
        for scenario in json.loads(path.read_text()):
            assert scenario["name"] not in found, f"twice: {scenario['name']}"
            found[scenario["name"]] = scenario
    return {name: each for name, each in found.items() if "python" in each.get("only", ["python"])}


def pending():
    return set(json.loads((DIRECTORY / "pending.json").read_text())["python"])


# --- values


def value_of(data):
    """A value of a scenario as the application gives it."""
    if isinstance(data, list):
        return [value_of(each) for each in data]
    if not isinstance(data, dict):
        return _text(data) if isinstance(data, str) else data
    if "$bytes" in data:
        return bytes.fromhex(data["$bytes"])
    if "$text" in data:
        return _text(data["$text"]) * data.get("repeat", 1)
    if "$value" in data:
        return _special(data["$value"])
    return {name: value_of(each) for name, each in data.items()}


def _special(name):
    if name == "cycle":
        cycle = []
        cycle.append(cycle)
        return cycle
    values = {
        "nan": float("nan"),
        "infinity": float("inf"),
        "function": print,
        "lone_surrogate": "\ud83d",
        "bigint": 2**53 + 1,
    }
    assert name in values, f"Python has no value {name!r}"
    return values[name]


def _text(text):
    return re.sub(r"\$pos:(\d+)", lambda found: position(int(found[1])), text)


def matches(pattern, value):
    if isinstance(pattern, dict):
        match pattern:
            case {"$any": _}:
                return value is not ABSENT
            case {"$absent": _}:
                return value is ABSENT
            case {"$matches": regex}:
                return isinstance(value, str) and re.search(_text(regex), value) is not None
            case {"$bytes": _} | {"$text": _} | {"$value": _}:
                return _same(value_of(pattern), value)
        if not isinstance(value, dict):
            return False
        return all(matches(each, value.get(name, ABSENT)) for name, each in pattern.items())
    if isinstance(pattern, list):
        if not isinstance(value, list) or len(pattern) != len(value):
            return False
        return all(matches(each, other) for each, other in zip(pattern, value, strict=True))
    return _same(value_of(pattern), value)


def _same(one, other):
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def shown(value):
    """A result or the values of an event as a JSON value; what is `None` is left out."""
    if hasattr(value, "__dataclass_fields__"):
        fields = {name: shown(getattr(value, name)) for name in value.__dataclass_fields__}
        return {name: each for name, each in fields.items() if each is not None}
    return [shown(each) for each in value] if isinstance(value, list) else value


def event_values(name, values):
    match name, values:
        case "joined", (room, joined):
            return {"name": room.name} | event_values(name, (joined,))
        case "joined", (joined,):
            return {"recovered": joined.recovered, "has_history": joined.has_history}
        case "reconnecting", (event,):
            return {"attempt": event.attempt, "delay_ms": round(event.delay * 1000, 6)}
        case "error", (error,):
            return {"message": str(error)}
        case "message", (message,) if not hasattr(message, "__dataclass_fields__"):
            return {"data": message}
        case "presence", (change,):
            values = shown(change)
            return {"change": values.pop("event")} | values
        case _, (event,):
            return shown(event)
    return {}


def rooms_named(steps):
    """The rooms of all steps, as far as they can be."""
    names = {}
    for step in steps:
        parts = [step, step.get("refused"), step.get("says")]
        found = [each["room"] for each in parts if isinstance(each, dict) and "room" in each] + [step.get("room_is")]
        names |= {name: None for name in found if isinstance(name, str)}
    return names


def sequence(values):
    """A function that returns, or raises, one after another; the last again and again."""
    left = list(values)

    def ask():
        value = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(value, dict) and "error" in value:
            raise RuntimeError(value["error"])
        return value_of(value)

    return ask


# --- playing


class Player:
    """One scenario."""

    def __init__(self, scenario):
        self.scenario = scenario
        self.loop = VirtualLoop()
        self.network = Network(self.loop)
        self.dial = None
        self.results = {}
        self.ids = {}
        self.events = []  # (room or None, name, values)
        self.heard = {}
        self.connections = []
        self.ignored = set()
        self.begun = None

    def play(self):
        asyncio.set_event_loop(self.loop)
        original, dialogue.dial = dialogue.dial, self.network.dial
        try:
            self._start()
            for number, step in enumerate(self.scenario["steps"]):
                try:
                    self._step(step)
                except AssertionError as error:
                    raise Unexpected(f"step {number}: {json.dumps(step)[:300]}: {error}") from error
            self._nothing_is_left()
        finally:
            dialogue.dial = original
            self._stop()

    def _start(self):
        options = dict(self.scenario.get("options", {}))
        unknown = options.keys() - set(OPTIONS) - set(OPTIONS_MS)
        assert not unknown, f"unknown options {unknown}"
        urls = options.pop("urls", ["ws://a.test/live"])
        urls = [sequence(each["sequence"]) if isinstance(each, dict) else each for each in urls]
        token = options.pop("token", None)
        token = sequence(token["sequence"]) if isinstance(token, dict) else token
        protocols = options.pop("protocols", [])
        protocols = sequence(protocols["sequence"]) if isinstance(protocols, dict) else protocols
        storage = options.pop("storage", None)
        self.storage = None if storage is None else {room: _text(at) for room, at in storage}
        chance = options.pop("chance", 0.5)
        named = {
            OPTIONS_MS.get(name, name): each / 1000 if name in OPTIONS_MS else each for name, each in options.items()
        }
        self.client = connect(urls, token=token, protocols=protocols, storage=self.storage, **named)
        self.client._driver.backoff.chance = lambda: chance
        for event in CLIENT_EVENTS:
            self.client.on(event)(self._recorder(None, event))
        for name in rooms_named(self.scenario["steps"]):
            self._room(name)
        self.loop.run(lambda: self.loop.create_task(self.client.__aenter__()))

    def _stop(self):
        for each in self.network.dials:
            if not each.answer.done():
                each.answer.cancel()
        if self.begun is not None:
            self.begun.set()
        closing = self.loop.create_task(self.client.close())
        for result in self.results.values():
            if isinstance(result, asyncio.Task):
                result.cancel()
        self.loop.settle()
        self.loop.advance(0)
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.settle()
        assert closing.done()
        self.loop.close()
        asyncio.set_event_loop(None)

    def _recorder(self, room, event):
        def record(*values):
            if room is None and event == "joined":
                self._hear(values[0])
            self.events.append((room, event, event_values(event, values)))
            if event == "message" and self.failing:
                raise ValueError("the handler fails")
            return self.begun.wait() if event == "message" and self.begun is not None else None

        return record

    failing = False

    def _hear(self, room):
        if room.name not in self.heard:
            self.heard[room.name] = room
            for event in ROOM_EVENTS:
                room.on(event)(self._recorder(room.name, event))
        return room

    def _room(self, name):
        return self._hear(self.client.room(value_of(name)))

    # --- steps

    def _step(self, step):
        verbs = [name for name in step if name in VERBS]
        assert len(verbs) >= 1, "no known verb"
        verb = verbs[0]
        function, known = VERBS[verb]
        extra = set(step) - {verb} - set(known)
        assert not extra or known == ANY, f"unknown members {extra}"
        function(self, step[verb], {name: each for name, each in step.items() if name != verb})
        self.loop.settle()

    def _call(self, name, members):
        label, members = members.get("as"), {each: value for each, value in members.items() if each != "as"}
        call = CALLS.get(name)
        assert call is not None, f"unknown call {name!r}"
        function, known = call
        assert not members.keys() - set(known), f"unknown members {members.keys() - set(known)}"
        result = self.loop.run(lambda: self._started(function(self, **members)))
        if label is not None:
            self.results[label] = result
        elif isinstance(result, asyncio.Task):
            self.results[object()] = result
        return result

    def _started(self, result):
        return self.loop.create_task(result) if asyncio.iscoroutine(result) else result

    def _refused(self, call, members):
        try:
            result = self._call(call["call"], {name: each for name, each in call.items() if name != "call"})
            assert isinstance(result, asyncio.Task) and result.done(), "the call did not fail at once"
            error = result.exception()
        except (TypeError, ValueError) as raised:
            error = raised
        assert isinstance(error, (TypeError, ValueError)), f"the call gave {error or result.result()!r}"
        if "message" in members:
            assert matches(members["message"], str(error)), f"the message is {error}"

    def _resolved(self, label, members):
        result = self._done(label)
        if result.exception() is not None:
            raise AssertionError(f"rejected: {result.exception()!r}")
        if "value" in members:
            value = shown(result.result())
            assert matches(members["value"], value), f"the value is {value!r}"

    def _rejected(self, label, members):
        error = self._done(label).exception()
        assert isinstance(error, NexiosError), f"the result is {error!r}"
        seen = {name: each for name, each in vars(error).items() if each is not None}
        assert matches(members, seen), f"the error is {seen}"

    def _done(self, label):
        result = self.results[label]
        assert result.done(), "it has not ended"
        assert not result.cancelled(), "it was cancelled"
        return result

    def _waiting(self, label, _):
        result = self.results[label]
        assert not result.done(), f"it has ended: {result}"

    def _cancel(self, label, _):
        self.loop.run(self.results[label].cancel)

    def _handlers(self, what, _):
        self.failing = what == "fail"
        if what == "hold":
            self.begun = asyncio.Event()
        elif self.begun is not None:
            self.begun.set()
            self.begun = None

    # --- the network

    def _dials(self, url, members):
        least, most = members.get("within_ms", (0, 0))
        start = self.loop.now_ms
        if not self._undealt():
            self.loop.advance(most, lambda: bool(self._undealt()))
        assert self._undealt(), "the client does not dial"
        self.dial = self._undealt()[0]
        self.dial.is_dealt = True
        after = self.dial.at_ms - start
        assert after >= least - 1e-6, f"the client dials after {after} ms"
        assert self.dial.url == url, f"the client dials {self.dial.url}"
        if "offers" in members:
            assert self.dial.offers == members["offers"], f"the client offers {self.dial.offers}"

    def _undealt(self):
        return [dial for dial in self.network.dials if not hasattr(dial, "is_dealt")]

    def _no_dial_is_left(self):
        left = self._undealt()
        assert not left, f"the client dials {left[0].url} at {left[0].at_ms} ms" if left else ""

    def _accepts(self, subprotocol, _):
        assert not self.dial.answer.done(), "the client has given this attempt up"
        self.dial.accept(subprotocol)
        self.connections.append(self.dial.connection)
        self.loop.settle()

    def _refuses(self, status, members):
        self.dial.refuse(status, members.get("headers", {}))

    def _unreachable(self, _, __):
        self.dial.fail()

    def _welcomes(self, members, _):
        self._accepts("nexios.v1", {})
        self._expect({"type": "hello"}, {})
        self._says({"type": "welcome", "id": "c1", "retry_ms": [100, 300]} | members, {})

    def _says(self, header, members):
        payload, head = value_of(members.get("payload", "")), json.dumps(self._filled(header))
        text = f"\x1e{head}\n"
        self.dial.connection.say(text + payload if isinstance(payload, str) else text.encode() + payload)

    def _filled(self, value):
        if isinstance(value, dict) and "$id" in value:
            return self.ids[value["$id"]]
        if isinstance(value, dict) and not value.keys() & {"$text", "$bytes", "$value"}:
            return {name: self._filled(each) for name, each in value.items()}
        return value_of(value)

    def _says_raw(self, text, _):
        self.dial.connection.say(value_of(text))

    def _next_message(self):
        assert self.connections, "there is no connection"
        sent = self.connections[-1].sent
        assert sent, "the client has sent nothing"
        return sent.pop(0)

    def _expect(self, pattern, members):
        header, payload = unframed(self._next_message())
        assert header is not None, f"the client has sent the application's message {payload!r}"
        assert matches(pattern, header), f"the client has sent {json.dumps(header)[:500]}"
        if "payload" in members:
            assert matches(members["payload"], payload), f"the payload is {payload!r}"
        if "as" in members:
            self.ids[members["as"]] = header["id"]

    def _expect_raw(self, pattern, _):
        message = self._next_message()
        header, _ = unframed(message)
        assert header is None, f"the client has sent {header}"
        assert matches(pattern, message), f"the client has sent {message!r}"

    def _silent(self, _, __):
        for connection in self.connections:
            assert not connection.sent, f"the client has sent {connection.sent[0]!r}"

    def _closes(self, code, members):
        self.dial.connection.close_by_server(code, members.get("reason", ""))

    def _cuts(self, _, __):
        self.dial.connection.cut()

    def _closed(self, code, members):
        closed = self.connections[-1].closed
        assert closed is not None, "the client has not closed"
        assert closed[0] == code, f"the client has closed with {closed}"
        if "reason" in members:
            assert matches(members["reason"], closed[1]), f"the reason is {closed[1]!r}"
        self.connections[-1].closed = None

    def _advance(self, milliseconds, _):
        self._no_dial_is_left()
        self.loop.advance(milliseconds)
        self._no_dial_is_left()

    def _idle(self, milliseconds, _):
        before = len(self.events), [len(each.sent) for each in self.connections]
        self._advance(milliseconds, {})
        assert before[0] == len(self.events), f"there is an event {self.events[-1]}"
        assert before[1] == [len(each.sent) for each in self.connections], "the client has sent something"

    # --- what is reported

    def _event(self, name, members):
        whose = members.pop("room", None)
        if "subscription" in members:
            whose = self.results[members.pop("subscription")]
        mine = [event for event in self.events if event[0] == whose]
        assert mine, f"there is no event, of others: {self.events[:3]}"
        self.events.remove(mine[0])
        _, seen, values = mine[0]
        assert seen == name and matches(members, values), f"the event is {seen} {values}"

    def _no_event(self, _, __):
        named = [
            self.results[step["subscription"]]
            for step in self.scenario["steps"]
            if "event" in step and "subscription" in step and step["subscription"] in self.results
        ]
        left = [event for event in self.events if not isinstance(event[0], Subscription) or event[0] in named]
        assert not left, f"there are events: {left}"

    def _is(self, pattern, _):
        seen = {name: getattr(self.client, name) for name in ("state", "id", "url")}
        seen = {name: value for name, value in seen.items() if value is not None}
        assert matches(pattern, seen), f"it is {seen}"

    def _room_is(self, name, members):
        room = self._room(name)
        seen = {"joined": room.joined} | ({} if room.position is None else {"position": room.position})
        assert matches(members, seen), f"it is {seen}"

    def _stored(self, expected, _):
        stored = [list(item) for item in (self.storage or {}).items()]
        assert matches(expected, stored), f"stored is {stored}"

    def _ignore(self, what, _):
        assert set(what) <= {"frames", "events"}
        self.ignored |= set(what)

    def _nothing_is_left(self):
        self._no_dial_is_left()
        if "frames" not in self.ignored:
            self._silent(True, {})
        if "events" not in self.ignored:
            self._no_event(True, {})
        for connection in self.connections:
            assert connection.closed is None, f"the client has closed a connection with {connection.closed}"


def unframed(message):
    """The header of a frame, and its payload; without a header an application's message."""
    mark, end = ("\x1e", "\n") if isinstance(message, str) else (b"\x1e", b"\n")
    if not message.startswith(mark):
        return None, message
    header, _, payload = message[1:].partition(end)
    return (json.loads(header), payload) if header else (None, payload)


async def _publish(player, room, data=None, key=None):
    key = {} if key is None else {"key": value_of(key)}
    return await player._room(room).publish(value_of(data), **key)


async def _request(player, method, data=None, timeout_ms=None):
    timeout = None if timeout_ms is None else timeout_ms / 1000
    return await player.client.request(value_of(method), value_of(data), timeout=timeout)


async def _join(player, room, since=None, timeout_ms=None):
    timeout = None if timeout_ms is None else timeout_ms / 1000
    await player._room(room).join(since=None if since is None else _text(since), timeout=timeout)


async def _leave(player, room):
    await player._room(room).leave()


async def _presence(player, room):
    return await player._room(room).presence()


def _subscribe(player, room, join=True):
    handlers = {event: lambda *values, event=event: record(event, values) for event in ROOM_EVENTS}
    subscription = player.client.subscribe(value_of(room), join=join, **handlers)

    def record(event, values):
        player.events.append((subscription, event, event_values(event, values)))

    return subscription


# By name: the function, and its members.
CALLS = {
    "join": (_join, ("room", "since", "timeout_ms")),
    "leave": (_leave, ("room",)),
    "subscribe": (_subscribe, ("room", "join")),
    "room": (lambda player, room: player._room(room), ("room",)),
    "unsubscribe": (lambda player, subscription: player.results[subscription](), ("subscription",)),
    "publish": (_publish, ("room", "data", "key")),
    "presence": (_presence, ("room",)),
    "request": (_request, ("method", "data", "timeout_ms")),
    "send": (lambda player, data=None: player.client.send(value_of(data)), ("data",)),
    "drop": (lambda player, away=False: player.client.drop(away=away), ("away",)),
    "reconnect": (lambda player: player.client.reconnect(), ()),
    "close": (lambda player: player.client.close(), ()),
}

ANY = ("*",)
VERBS = {
    "call": (Player._call, ANY),
    "resolved": (Player._resolved, ("value",)),
    "rejected": (Player._rejected, ("code", "message", "key", "maybe_stored")),
    "refused": (Player._refused, ("message",)),
    "waiting": (Player._waiting, ()),
    "cancel": (Player._cancel, ()),
    "handlers": (Player._handlers, ()),
    "dials": (Player._dials, ("within_ms", "offers")),
    "accepts": (Player._accepts, ()),
    "refuses": (Player._refuses, ("headers",)),
    "unreachable": (Player._unreachable, ()),
    "welcomes": (Player._welcomes, ()),
    "says": (Player._says, ("payload",)),
    "says_raw": (Player._says_raw, ()),
    "expect": (Player._expect, ("payload", "as")),
    "expect_raw": (Player._expect_raw, ()),
    "silent": (Player._silent, ()),
    "closes": (Player._closes, ("reason",)),
    "cuts": (Player._cuts, ()),
    "closed": (Player._closed, ("reason",)),
    "advance": (Player._advance, ()),
    "idle": (Player._idle, ()),
    "event": (Player._event, ANY),
    "no_event": (Player._no_event, ()),
    "is": (Player._is, ()),
    "room_is": (Player._room_is, ("joined", "position")),
    "stored": (Player._stored, ()),
    "ignore": (Player._ignore, ()),
}
assert NONCE in position(1)
