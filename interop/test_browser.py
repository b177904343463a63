"""The chat page in Chromium, served by Rust and by Python: several people, each in a context of their own."""

import signal
from contextlib import ExitStack

import pytest
from playwright.sync_api import expect

from chat_page import window
from servers import REPOSITORY

SCREENSHOTS = REPOSITORY / "artefacts"
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}
WIDE = {"viewport": {"width": 1280, "height": 800}}


@pytest.fixture
def server(start):
    return start("chat")


@pytest.fixture
def open_window(browser, server):
    """Opens windows that must be without errors in their consoles when the test ends."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(window(browser, server, **options))


def test_a_wrong_token_shows_the_reason_of_the_refusal(open_window):
    page = open_window().sign_in("Ann", token="wrong").page
    expect(page.locator("#sign-in-error")).to_have_text("Invalid token")
    expect(page.locator("#sign-in-form")).to_be_visible()
    expect(page.locator("#chat-screen")).to_be_hidden()


def test_after_a_wrong_token_the_right_one_signs_in(open_window):
    ann = open_window().sign_in("Ann", token="wrong")
    expect(ann.page.locator("#sign-in-error")).to_have_text("Invalid token")
    ann.enter("Ann")
    ann.expect_people("Ann")


def test_a_token_that_cannot_travel_is_told_so(open_window):
    page = open_window().sign_in("Ann", token="let me in").page
    expect(page.locator("#sign-in-error")).to_contain_text("no spaces")


def test_two_people_see_each_other_come_and_go(open_window, browser, server):
    ann = open_window().enter("Ann")
    with window(browser, server) as bob:
        bob.enter("Bob")
        ann.expect_people("Ann", "Bob")
        bob.expect_people("Ann", "Bob")
    ann.expect_people("Ann")
    expect(ann.page.locator("#messages .event")).to_have_text(["Bob joined", "Bob left"])


def test_a_person_in_two_tabs_is_one_person(open_window):
    ann, bob = open_window().enter("Ann"), open_window().enter("Bob")
    bob_again = open_window().enter("Bob")
    ann.expect_people("Ann", "Bob")
    bob_again.page.click("#sign-out")
    ann.say("still there?")
    expect(bob.bodies()).to_have_text("still there?")
    ann.expect_people("Ann", "Bob")


def test_a_message_arrives_with_its_author(open_window):
    ann, bob = open_window().enter("Ann"), open_window().enter("Bob")
    ann.say("Grüße an alle 🦀")
    for person in [ann, bob]:
        expect(person.bodies()).to_have_text("Grüße an alle 🦀")
        expect(person.page.locator("#messages .message .author")).to_have_text("Ann")
    expect(ann.page.locator("#message")).to_have_value("")


def test_who_comes_late_sees_what_was_said(open_window):
    ann = open_window().enter("Ann")
    for text in ["one", "two", "three"]:
        ann.say(text)
    expect(ann.bodies()).to_have_text(["one", "two", "three"])
    expect(open_window().enter("Bob").bodies()).to_have_text(["one", "two", "three"])


def test_markup_in_a_message_stays_text(open_window):
    ann, bob = open_window().enter("<b>Ann</b>"), open_window().enter("Bob")
    attack = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
    ann.say(attack)
    expect(bob.bodies()).to_have_text(attack)
    expect(bob.page.locator("#messages .author")).to_have_text("<b>Ann</b>")
    assert bob.page.locator("#messages img, #messages script, #messages b").count() == 0


def test_typing_shows_at_the_others_and_ends_with_the_message(open_window):
    ann, bob = open_window().enter("Ann"), open_window().enter("Bob")
    ann.page.locator("#message").press_sequentially("hel")
    expect(bob.page.locator("#typing")).to_have_text("Ann is typing")
    expect(ann.page.locator("#typing")).to_have_text("")
    ann.page.click("#send")
    expect(bob.bodies()).to_have_text("hel")
    expect(bob.page.locator("#typing")).to_have_text("")


def test_typing_ends_by_itself(open_window):
    ann, bob = open_window().enter("Ann"), open_window()
    bob.page.clock.install()
    bob.enter("Bob")
    ann.page.locator("#message").press_sequentially("h")
    expect(bob.page.locator("#typing")).to_have_text("Ann is typing")
    bob.page.clock.fast_forward(5_000)
    expect(bob.page.locator("#typing")).to_have_text("")


def test_a_direct_message_arrives_at_its_recipient_alone(open_window):
    ann, bob, eve = (open_window().enter(name) for name in ["Ann", "Bob", "Eve"])
    overheard = []
    eve.page.on("websocket", lambda ws: ws.on("framereceived", lambda frame: overheard.append(frame)))
    eve.open_room("random")  # another connection, of which every frame is seen
    eve.open_room("general")
    eve.expect_people("Ann", "Bob", "Eve")
    ann.open_person("Bob")
    ann.say("only for you")
    expect(bob.page.locator('#people [data-person="Ann"] .badge')).to_have_text("1")
    bob.open_person("Ann")
    for person in [ann, bob]:
        expect(person.page.locator("#messages .message.direct .body")).to_have_text("only for you")
    # What everybody gets comes after it, on the same connection: Eve has all she will ever get.
    ann.open_room("general")
    ann.say("for all")
    expect(eve.bodies()).to_have_text("for all")
    assert any("for all" in frame for frame in overheard)
    assert not any("only for you" in frame for frame in overheard)
    assert "only for you" not in eve.page.content()


def test_rooms_do_not_hear_each_other(open_window):
    ann, bob = open_window().enter("Ann"), open_window().enter("Bob")
    bob.open_room("random")
    bob.expect_people("Bob")
    ann.expect_people("Ann")
    ann.say("in general")
    expect(ann.bodies()).to_have_text("in general")
    bob.say("in random")
    expect(bob.bodies()).to_have_text("in random")
    bob.open_room("general")
    expect(bob.bodies()).to_have_text("in general")


def test_a_ping_is_told_in_milliseconds(open_window):
    ann = open_window().enter("Ann")
    ann.say("/ping")
    ann.expect_notice("ms there and back")


def test_a_flood_shows_the_rate_limit_and_a_way_back(open_window):
    ann, bob = open_window(), open_window().enter("Bob")
    ann.page.clock.install()
    ann.enter("Ann")
    ann.flood(60)
    ann.expect_notice("Rate limit exceeded")
    ann.expect_status("reconnecting")
    bob.expect_people("Bob")
    bob.say("calm here")
    expect(bob.bodies().last).to_have_text("calm here")
    ann.page.clock.fast_forward(6_000)
    ann.expect_status("connected")
    expect(ann.bodies().last).to_have_text("calm here")


@pytest.mark.parametrize(
    "number, why", [(signal.SIGTERM, "The server is restarting."), (signal.SIGKILL, "Connection lost.")]
)
def test_a_server_that_goes_and_comes_back_is_reconnected_to(open_window, server, start, number, why):
    ann, bob = open_window().enter("Ann"), open_window().enter("Bob")
    server.signal(number)
    for person in [ann, bob]:
        person.expect_status("reconnecting")
        person.expect_notice(why)
        expect(person.page.locator("#send")).to_be_disabled()
    assert server.exit_code(8) == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    start("chat", port=server.port)
    for person in [ann, bob]:
        person.expect_status("connected", seconds=20)
    for person in [ann, bob]:
        person.expect_people("Ann", "Bob")
        person.expect_notice("loaded again")  # the other server has no history
    ann.say("back again")
    expect(bob.bodies()).to_have_text("back again")


def test_what_is_typed_while_the_server_is_away_is_not_lost(open_window, server, start):
    ann = open_window().enter("Ann")
    server.kill()
    ann.expect_status("reconnecting")
    ann.page.fill("#message", "a long thought")
    ann.page.press("#message", "Enter")
    expect(ann.page.locator("#message")).to_have_value("a long thought")
    start("chat", port=server.port)
    ann.page.click("#retry")
    ann.expect_status("connected")
    ann.page.press("#message", "Enter")
    expect(ann.bodies()).to_have_text("a long thought")


def test_while_the_cable_is_pulled_nothing_is_lost_and_nothing_comes_twice(open_window):
    ann, bob = open_window().enter("Ann"), open_window().enter("Bob")
    bob.say("before")
    expect(ann.bodies()).to_have_text(["before"])
    ann.page.click("#cable")
    ann.expect_status("away")
    ann.expect_notice("You pulled the cable")
    bob.expect_people("Bob")
    for text in ["one", "two", "three"]:
        bob.say(text)
    expect(bob.bodies()).to_have_text(["before", "one", "two", "three"])
    expect(ann.bodies()).to_have_text(["before"])
    ann.page.click("#cable")
    ann.expect_status("connected")
    ann.expect_people("Ann", "Bob")
    expect(ann.bodies()).to_have_text(["before", "one", "two", "three"])
    expect(ann.page.locator("#messages .event").last).to_have_text("You were away. Nothing is missing:")
    bob.say("after")
    for person in [ann, bob]:
        expect(person.bodies()).to_have_text(["before", "one", "two", "three", "after"])


def test_what_cannot_be_caught_up_with_is_told_and_loaded_anew(open_window, server, start):
    ann = open_window().enter("Ann")
    ann.say("before")
    expect(ann.bodies()).to_have_text(["before"])
    ann.page.click("#cable")
    server.kill()
    start("chat", port=server.port)  # it remembers nothing of what the other did
    bob = open_window().enter("Bob")
    bob.say("after")
    ann.page.click("#retry")
    ann.expect_status("connected")
    ann.expect_notice("loaded again")
    expect(ann.bodies()).to_have_text(["after"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size, options", [("phone", PHONE), ("wide", WIDE)], ids=["phone", "wide"])
def test_the_page_fits_the_screen(open_window, server, size, options, scheme):
    def shoot(what):
        SCREENSHOTS.mkdir(exist_ok=True)
        ann.page.screenshot(path=SCREENSHOTS / f"chat-{server.language}-{what}-{size}-{scheme}.png")
        assert ann.overflows() == [], what

    ann = open_window(**options, color_scheme=scheme)
    ann.sign_in("Ann", token="wrong")
    expect(ann.page.locator("#sign-in-error")).to_have_text("Invalid token")
    shoot("sign-in")
    ann.enter("Ann")
    bob, long_name = open_window().enter("Bob"), open_window().enter("W" * 24)
    bob.say("Has anybody seen the release notes?")
    bob.say("They were to come today.")
    ann.say("Yes, an hour ago: " + "the quick brown fox jumps over the lazy dog, " * 6)
    long_name.say("https://example.org/" + "long" * 60)
    bob.page.locator("#message").press_sequentially("I")
    expect(ann.bodies()).to_have_count(4)
    expect(ann.page.locator("#typing")).to_have_text("Bob is typing")
    shoot("room")
    bob.open_person("Ann")
    bob.say("Shall we have lunch?")
    expect(ann.page.locator('#people [data-person="Bob"] .badge')).to_have_text("1")
    ann.open_person("Bob")
    ann.say("At noon.")
    expect(ann.bodies()).to_have_count(2)
    shoot("direct")
    ann.page.click("#cable")
    ann.expect_status("away")
    shoot("away")
    ann.page.click("#retry")
    ann.expect_status("connected")
    server.kill()
    ann.expect_status("reconnecting")
    shoot("reconnecting")
