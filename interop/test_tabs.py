"""Tabs of Chromium that share one connection (`nexios-client/shared`)."""

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
def tab(browser, server):
    return lambda name="ann", shared=True: ClientPage(browser, server, name, shared=shared)


def sockets(*tabs):
    return [tab.sockets for tab in tabs]


def test_three_tabs_have_one_connection(tab):
    tabs = [tab().until_joined() for _ in range(3)]
    assert sockets(*tabs) == [1, 0, 0]
    for number, each in enumerate(tabs):
        each.say(f"from {number}")
    for each in tabs:
        each.until_texts("from 0", "from 1", "from 2")


def test_tabs_that_do_not_share_have_connections_of_their_own(tab):
    tabs = [tab(shared=False).until_joined() for _ in range(2)]
    assert sockets(*tabs) == [1, 1]


def test_users_do_not_share(tab):
    ann, bob = tab("ann").until_joined(), tab("bob").until_joined()
    assert sockets(ann, bob) == [1, 1]


def test_the_tab_of_the_connection_is_closed_and_nothing_is_lost(tab):
    leader, one, other = (tab().until_joined() for _ in range(3))
    bob = tab("bob", shared=False).until_joined()
    bob.say("one")
    for each in [leader, one, other]:
        each.until_texts("one")
    leader.tab.close()
    bob.say("two")
    for each in [one, other]:
        each.until_texts("one", "two").until_joined(recovered=True)
    bob.say("three")
    for each in [one, other]:
        each.until_texts("one", "two", "three")
    assert sorted(sockets(one, other)) == [0, 1]


def test_the_tab_of_the_connection_crashes_and_nothing_is_lost(tab):
    leader, one = tab().until_joined(), tab().until_joined()
    bob = tab("bob", shared=False).until_joined()
    leader.tab.crash()
    bob.say("after")
    one.until_texts("after").until_joined(recovered=True)
    assert one.sockets == 1


def test_the_tab_of_the_connection_is_frozen_and_another_one_connects(tab):
    leader, one = tab().until_joined(), tab().until_joined()
    leader.tab.freeze()
    one.until_joined(recovered=True).until("client.state === 'open'")
    one.say("meanwhile")
    leader.tab.resume()
    for each in [leader, one]:
        each.until_texts("meanwhile")
    assert sockets(leader, one) == [0, 1]


def test_the_client_of_the_connection_is_closed_and_the_others_go_on(tab):
    leader, one = tab().until_joined(), tab().until_joined()
    leader.tab.evaluate("client.close()")
    one.until_joined(recovered=True)
    one.say("still here")
    one.until_texts("still here")
    assert (leader.state, one.state, sockets(leader, one)) == ("closed", "open", [0, 1])


def test_a_tab_that_is_opened_again_is_served_by_the_other(tab):
    leader, one = tab().until_joined(), tab().until_joined()
    one.tab.close()
    again = tab().until_joined()
    leader.say("for both")
    for each in [leader, again]:
        each.until_texts("for both")
    assert sockets(leader, again) == [1, 0]


def test_the_server_goes_and_all_tabs_come_back(tab, server, start):
    tabs = [tab().until_joined() for _ in range(2)]
    server.kill()
    for each in tabs:
        each.until("events.some(({ event }) => event === 'close')")
    start("chat", port=server.port)
    for each in tabs:
        each.until_joined(times=2)
    tabs[0].say("again")
    for each in tabs:
        each.until_texts("again")
    assert sum(sockets(*tabs)) == 1
