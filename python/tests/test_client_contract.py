"""`nexios.client` fulfils the contract of clients: `clients/contract`."""

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
