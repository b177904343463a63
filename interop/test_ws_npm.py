"""The npm package `ws` against the servers: `ws/client.mjs` talks, here stands what it should hear."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent / "ws"
ALL_ECHOED = dict.fromkeys(
    ["text", "emptyText", "unicode", "words", "emptyBinary", "binary", "mebibyte"], True
)
NORMAL = [1000, ""]


@pytest.fixture(scope="session")
def node():
    """The path of node, with `ws` installed as the lock file says."""
    wanted = json.loads((SCRIPTS / "package.json").read_text())["dependencies"]["ws"]
    installed = SCRIPTS / "node_modules/ws/package.json"
    if not installed.exists() or json.loads(installed.read_text())["version"] != wanted:
        npm = ["npm", "ci", "--no-audit", "--no-fund"]
        subprocess.run(npm, cwd=SCRIPTS, check=True, timeout=50, capture_output=True)
    return shutil.which("node") or pytest.fail("node is missing", pytrace=False)


@pytest.fixture
def talk(node, authority, tmp_path):
    def talk(server, conversation, path="/"):
        command = [node, "client.mjs", server.url(path), conversation]
        if server.scheme == "wss":
            root = tmp_path / "root.pem"
            authority.cert_pem.write_to_path(root)
            command.append(str(root))
        done = subprocess.run(command, cwd=SCRIPTS, timeout=20, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return talk


@pytest.fixture(params=["echo", "echo_tls"])
def over_tcp(request, language):
    return request.getfixturevalue(request.param)


def test_messages_come_back_as_they_were(over_tcp, talk):
    assert talk(over_tcp, "plain") == {"echo": ALL_ECHOED, "extensions": "", "over": NORMAL}


@pytest.mark.parametrize("conversation", ["deflate", "deflate-small-window"])
def test_messages_come_back_as_they_were_under_deflate(over_tcp, talk, conversation):
    heard = talk(over_tcp, conversation)
    assert heard == {"echo": ALL_ECHOED, "extensions": "permessage-deflate", "over": NORMAL}


@pytest.mark.parametrize("conversation", ["deflate", "deflate-small-window"])
def test_messages_come_back_as_they_were_with_context_takeover(start, talk, conversation):
    heard = talk(start("echo", "--compression", "takeover"), conversation)
    assert heard == {"echo": ALL_ECHOED, "extensions": "permessage-deflate", "over": NORMAL}


def test_compression_can_be_off_at_the_server(start, talk):
    heard = talk(start("echo", "--compression", "off"), "deflate")
    assert heard == {"echo": ALL_ECHOED, "extensions": "", "over": NORMAL}


def test_messages_sent_in_one_burst_come_back_in_order(over_tcp, talk):
    assert talk(over_tcp, "burst") == {"inOrder": True, "over": NORMAL}


def test_a_fragmented_message_with_a_ping_inside_comes_back_whole(over_tcp, talk):
    assert talk(over_tcp, "fragments") == {"whole": "fragmented", "pong": "between", "over": NORMAL}


def test_a_ping_is_answered_with_its_payload(over_tcp, talk):
    assert talk(over_tcp, "ping") == {"pongs": [True, True, True], "over": NORMAL}


def test_a_close_is_answered_with_the_same_code(over_tcp, talk):
    assert talk(over_tcp, "codes") == {"codes": [1000, 1001, 3000, 4999]}


def test_a_message_over_the_limit_closes_1009(over_tcp, talk):
    assert talk(over_tcp, "too-big")["over"][0] == 1009


def test_a_refusal_before_accept_arrives_with_code_and_reason(chat, talk):
    heard = talk(chat, "refused", "/chat/npm?name=ann")
    assert heard == {"protocol": "bearer", "over": [1008, "Invalid token"]}


def test_a_path_that_nobody_routes_is_404(over_tcp, talk):
    assert talk(over_tcp, "not-found", "/nowhere") == {"error": "Unexpected server response: 404"}
