"""`nexios.client` fulfils the contract of clients: `clients/contract`."""

import re
from pathlib import Path

import pytest
from contract import Player, Unexpected, pending, scenarios

SCENARIOS = scenarios()


@pytest.mark.parametrize("name", SCENARIOS)
def test_contract(name):
    if name not in pending():
        Player(SCENARIOS[name]).play()
        return
    with pytest.raises(Unexpected):
        Player(SCENARIOS[name]).play()


def test_what_is_pending_is_there():
    assert pending() <= SCENARIOS.keys()


def test_each_scenario_names_a_heading_that_exists():
    pages = Path(__file__).resolve().parents[2]
    headings = {}
    for scenario in SCENARIOS.values():
        page, anchor = scenario["spec"].split("#")
        if page not in headings:
            titles = re.findall(r"^#+ (.+)$", (pages / page).read_text(), re.MULTILINE)
            headings[page] = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
        assert anchor in headings[page], scenario["name"]
