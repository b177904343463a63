"""The client in `clients/js` against servers that speak `nexios.v1`: `ws/live.test.mjs` says what should happen."""

import os
import signal
import subprocess

from test_ws_npm import SCRIPTS, node  # noqa: F401: a fixture


def test_our_client_and_the_server_understand_each_other(node, start):  # noqa: F811
    server = start("live")
    command = [node, "--test", "--test-timeout=20000", "live.test.mjs"]
    environment = os.environ | {"LIVE_URL": server.url()}
    done = subprocess.run(command, cwd=SCRIPTS, env=environment, timeout=50, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


RESTART = """
import WebSocket from "ws";
import { connect } from "../../clients/js/nexios.js";
const client = connect(process.env.LIVE_URL, { WebSocket });
client.on("open", () => console.log("open"));
client.on("close", ({ code, kind, retry }) => { console.log(code, kind, retry); process.exit(); });
"""


def test_a_server_that_ends_says_come_back(node, start):  # noqa: F811
    server = start("live")
    command = [node, "--input-type=module", "--eval", RESTART]
    environment = os.environ | {"LIVE_URL": server.url()}
    with subprocess.Popen(command, cwd=SCRIPTS, env=environment, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout.readline() == "open\n"
        server.signal(signal.SIGTERM)
        assert client.stdout.readline() == "1012 restart true\n"
