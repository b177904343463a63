"""How long a client of `nexios.v1` waits, and what it keeps."""

import pytest
from live_server import position
from nexios.client.ending import Ending
from nexios.client.frames import LONG_HEADER_BYTES_MAX, Position, encode_json
from nexios.client.positions import Positions
from nexios.client.retry import Backoff, window_of


def test_the_first_attempt_is_within_the_window_and_each_further_in_half_of_a_limit_that_doubles():
    backoff = Backoff(chance=lambda: 0.5)
    backoff.welcomed((0.1, 0.3))
    delays = [backoff.delay() for _ in range(9)]
    assert delays == pytest.approx([0.2, 0.75, 1.5, 3, 6, 12, 22.5, 22.5, 22.5])
    backoff.welcomed((0.0, 0.0))
    assert backoff.delay() == 22.5
    backoff.reset()
    assert backoff.delay() == 0


def test_before_any_welcome_there_is_a_window_of_its_own():
    assert Backoff(chance=lambda: 0).delay() == 0.5
    assert Backoff(chance=lambda: 1).delay() == 1.5


def test_1013_is_ten_seconds_more_unless_the_server_said_when():
    assert Ending(1013, "", "close").later(0.5) == 10.5
    assert Ending(1013, "", "closing", (1, 2)).later(0.5) == 0.5


@pytest.mark.parametrize(
    ("status", "value", "seconds"),
    [(503, "7", 7), (429, " 20 ", 20), (429, "99999999999999999999", 300), (500, "7", 0)]
    + [(503, value, 0) for value in ("-1", "", "1.5", "Wed, 21 Oct 2026 07:28:00 GMT", "\u0661")],
)
def test_retry_after_is_the_least_delay(status, value, seconds):
    assert Ending.refused(status, {"Retry-After": value}).later(0) == seconds


def test_limits_stay_finite_over_many_attempts():
    backoff = Backoff(chance=lambda: 1)
    assert max(backoff.delay() for _ in range(5000)) == 30


@pytest.mark.parametrize("value", [None, 5, [], [1], [3, 1], [-1, 5], ["1", "x"], [0, 1e12], [float("nan"), 1], {}])
def test_what_is_no_window(value):
    assert window_of(value) is None


def test_a_window_is_in_seconds():
    assert window_of([100, 2500]) == (0.1, 2.5)


def test_which_codes_are_worth_another_attempt():
    retried = [code for code in range(1000, 5000) if Ending(code, "", "close").consequence == "retry"]
    assert retried == [1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1011, 1012, 1013, 1014, 1015]


def test_positions_are_limited_the_oldest_go():
    storage = {}
    positions = Positions(storage)
    for number in range(1001):
        positions.keep(f"room {number}", Position.parse(position(1)))
    assert len(storage) == 1000
    assert "room 0" not in storage


def test_hello_names_the_rooms_that_moved_last_within_its_length():
    positions = Positions(None)
    names = [f"room {number} {'x' * 120}" for number in range(1000)]
    for name in names:
        positions.keep(name, Position.parse(position(1)))
    positions.keep(names[0], Position.parse(position(2)))
    rooms = positions.for_hello([], rest=100)
    assert list(rooms)[:2] == [names[0], names[999]]
    assert names[1] not in rooms
    assert len(encode_json(rooms).encode()) + 100 <= LONG_HEADER_BYTES_MAX


def test_what_was_received_is_further_than_what_was_handled():
    positions = Positions({"r": position(5)})
    assert positions.for_hello([("r", Position.parse(position(7)))], rest=0) == {"r": position(7)}
