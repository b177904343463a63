"""The client in JavaScript where Chromium's page and its network come and go."""

import signal
from contextlib import contextmanager

import pytest

from chromium import Chromium
from client_page import ClientPage


@pytest.fixture
def server(start):
    return start("chat")


@pytest.fixture(scope="module")
def chromium():
    with Chromium() as browser:
        yield browser


@pytest.fixture
def browser(chromium):
    yield chromium
    chromium.close_tabs()


@pytest.fixture
def ann(browser, server):
    return ClientPage(browser, server).until_joined()


@pytest.fixture
def bob(browser, ann, server):
    """Another person; the tab of the first one is hidden by theirs."""
    return ClientPage(browser, server, "bob").until_joined()


@contextmanager
def standing_still(server):
    server.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.signal(signal.SIGCONT)


def test_offline_probes_a_connection_that_lives_and_keeps_it(ann):
    before = ann.pings
    ann.tab.set_offline(True)
    ann.tab.set_offline(False)
    ann.until(f"sent.filter((data) => `${{data}}`.includes('ping')).length > {before}")
    ann.say("still")
    ann.until_texts("still")
    assert (ann.state, ann.names) == ("open", ["open", "joined"])


def test_offline_notices_a_dead_network_in_two_seconds_and_online_comes_back(ann, server):
    with standing_still(server):
        ann.tab.set_offline(True)
        # What takes a message says false while nobody knows.
        assert ann.tab.evaluate("client.send({ type: 'typing' })") is False
        ann.until("client.state === 'reconnecting'")
    lost = ann.events[2]
    assert (lost["event"], lost["code"], lost["reason"]) == ("close", 1006, "the network is gone")
    ann.tab.set_offline(False)
    ann.until_joined(recovered=True)


def test_online_does_not_wait_for_the_next_attempt(ann, server, start):
    server.kill()
    ann.until("events.filter(({ event }) => event === 'reconnecting').length >= 4")
    ann.tab.evaluate("events.splice(0)")
    start("chat", port=server.port)
    ann.tab.set_offline(True)
    ann.tab.set_offline(False)
    ann.until("client.state === 'open'")
    assert "close" not in ann.names[: ann.names.index("open")]


def test_a_page_that_is_visible_again_probes(ann, bob):
    assert ann.tab.evaluate("document.visibilityState") == "hidden"
    before = ann.pings
    ann.tab.bring_to_front()
    ann.until(f"sent.filter((data) => `${{data}}`.includes('ping')).length > {before}")
    bob.say("still")
    ann.until_texts("still")
    assert ann.names == ["open", "joined"]


def test_a_frozen_page_lets_go_and_comes_back_without_loss(ann, bob):
    bob.say("before")
    ann.until_texts("before")
    ann.tab.freeze()
    bob.say("meanwhile")
    ann.tab.resume()
    ann.until_texts("before", "meanwhile").until_joined(recovered=True)
    assert ann.names == ["open", "joined", "close", "open", "joined"]
    assert ann.events[2]["code"] == 1001


def test_a_page_comes_back_from_the_back_forward_cache_without_loss(ann, bob, server):
    ann.tab.evaluate("addEventListener('pageshow', ({ persisted }) => (window.persisted = persisted))")
    bob.say("before")
    ann.until_texts("before")
    ann.tab.navigate(server.page_url + "style.css")
    bob.say("meanwhile")
    ann.tab.back()
    ann.tab.until_loaded(server.page_url)
    assert ann.tab.evaluate("window.persisted") is True, "the page was in the cache"
    ann.until_texts("before", "meanwhile").until_joined(recovered=True)
    assert [each["code"] for each in ann.events if each["event"] == "close"] == [1001]


def test_a_page_that_is_closed_has_left(ann, bob):
    here = "client.room('news/general').presence().then((all) => all.map(({ user }) => user).sort().join())"
    bob.until(f"{here}.then((all) => all === 'ann,bob')")
    ann.tab.close()
    bob.until(f"{here}.then((all) => all === 'bob')")
