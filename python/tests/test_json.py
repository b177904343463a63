"""JSON: one rule in both languages, and what values that JSON does not know are sent as."""

import dataclasses
import datetime
import decimal
import enum
import json
import uuid
from pathlib import Path

import msgspec
import pydantic
import pytest
from nexios import NexiosApp, WebSocketException, json_encoder
from nexios._json import decode, encode
from nexios.testing import TestClient

CASES = json.loads((Path(__file__).resolve().parents[2] / "crates/nexios/tests/json_cases.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_what_is_json_is_received_and_anything_else_is_1007(case):
    message = case["text"] if "text" in case else bytes.fromhex(case["hex"])
    if case["valid"]:
        decode(message)
        return
    with pytest.raises(WebSocketException) as raised:
        decode(message)
    assert raised.value.code == 1007


def test_a_client_that_sends_no_json_is_closed_and_cannot_harm_those_who_pass_it_on(loop):
    app = NexiosApp()

    @app.ws("/ws")
    async def echo(ws):
        await ws.accept()
        await ws.join("all")
        while True:
            await app.room("all").broadcast(await ws.receive_json())

    with TestClient(app, loop=loop) as test, test.websocket_connect("/ws") as other:
        for text in ("NaN", "[Infinity]", '"\\ud800"', "1e999", "[" * 500 + "]" * 500):
            with test.websocket_connect("/ws") as client:
                client.send_text(text)
                assert client.wait_closed()[0] == 1007
        other.send_text("[1]")
        assert other.receive_json() == [1]


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    color: Color


class Own:
    def __json__(self):
        return {"own": Point(1, Color.RED)}


class Model(pydantic.BaseModel):
    at: datetime.date
    point: Point


class Struct(msgspec.Struct, rename="camel", tag="struct"):
    first_one: int
    second_one: uuid.UUID
    own: object = None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc), '"2026-01-02T03:04:05+00:00"'),
        (datetime.date(2026, 1, 2), '"2026-01-02"'),
        (datetime.time(3, 4), '"03:04:00"'),
        (uuid.UUID(int=0), '"00000000-0000-0000-0000-000000000000"'),
        (decimal.Decimal("1.10"), '"1.10"'),
        (Color.RED, '"red"'),
        ([Point(1, Color.RED)], '[{"x":1,"color":"red"}]'),
        (Own(), '{"own":{"x":1,"color":"red"}}'),
        (Model(at="2026-01-02", point=Point(1, Color.RED)), '{"at":"2026-01-02","point":{"x":1,"color":"red"}}'),
        (
            Struct(1, uuid.UUID(int=1), Own()),
            '{"type":"struct","firstOne":1,"secondOne":"00000000-0000-0000-0000-000000000001",'
            '"own":{"own":{"x":1,"color":"red"}}}',
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_that_are_unambiguous_are_sent(value, text):
    assert encode(value) == text


class Others:
    pass


class OthersChild(Others):
    pass


def test_the_classes_of_others_are_sent_as_a_registered_encoder_says():
    with pytest.raises(TypeError, match="json_encoder"):
        encode(Others())
    json_encoder(Others)(lambda value: {"of": Point(1, Color.RED)})
    assert encode([Others(), OthersChild()]) == '[{"of":{"x":1,"color":"red"}},{"of":{"x":1,"color":"red"}}]'
    with pytest.raises(TypeError, match="invalid class 'path'"):
        json_encoder("path")


def test_long_texts_of_digits_are_no_large_numbers():
    for digits in ("1" * 400, "x" + "1" * 308 + "y"):
        assert decode(encode(digits)) == digits
    assert decode("[" + "1" * 308 + "]") == [int("1" * 308)]


@pytest.mark.parametrize(
    "value", [{1, 2}, b"bytes", object(), Point, float("nan"), {(1, 2): 3}, 1j, 10**400, [10**309]]
)
def test_what_is_no_json_is_an_error_at_the_call(value):
    with pytest.raises((TypeError, ValueError)):
        encode(value)


def test_a_value_that_holds_itself_is_an_error_at_the_call():
    circular = []
    circular.append(circular)
    with pytest.raises(ValueError):
        encode(circular)
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="too deeply"):
        encode(deep)
    levels = []
    for _ in range(126):
        levels = [levels]
    assert decode(encode(levels)) == levels
    with pytest.raises(ValueError, match="127 levels"):
        encode([levels])


def test_everything_that_sends_a_value_takes_them(loop):
    app = NexiosApp()

    @app.ws("/ws")
    async def handler(ws):
        await ws.accept()
        await ws.join("all")
        await ws.send_json(Own())
        await ws.send(Point(2, Color.RED))
        await app.broadcast(Color.RED)
        await app.room("all").broadcast([uuid.UUID(int=0)])
        ws.handle().send_json(datetime.date(2026, 1, 2))

    with TestClient(app, loop=loop) as test, test.websocket_connect("/ws") as client:
        received = [client.receive_json() for _ in range(5)]
    zero = "00000000-0000-0000-0000-000000000000"
    assert received == [{"own": {"x": 1, "color": "red"}}, {"x": 2, "color": "red"}, "red", [zero], "2026-01-02"]
