"""`make demo-cluster` without a person: three nodes, a page on each, one node is killed."""

import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from playwright.sync_api import expect

from chat_page import window
from servers import EXAMPLES, REPOSITORY, START_SECONDS

REDIS = REPOSITORY / ".cache/brokers/bin/redis-server"
CLUSTER = [sys.executable, REPOSITORY / "examples/cluster/cluster.py", "--chat", EXAMPLES / "chat", "--any-ports"]


@dataclass
class Node:
    pid: int
    page_url: str

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)


@pytest.fixture
def cluster():
    """The program and its nodes, as it prints them."""
    if not REDIS.exists():
        pytest.fail(f"{REDIS} is missing: make brokers", pytrace=False)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(list(map(str, CLUSTER)), **pipes) as process:
        try:
            nodes = list(started(process))
            yield process, nodes
            process.send_signal(signal.SIGINT)
            assert process.wait(START_SECONDS) == 0
            assert not any(is_alive(node.pid) for node in nodes)
        finally:
            process.terminate()  # so that it ends the others


def started(process):
    line = ""
    while "Ctrl-C" not in line:
        line = process.stdout.readline()
        assert line, f"it ended with {process.wait()}"
        if found := re.search(r"PID (\d+) +(http\S+)", line):
            yield Node(int(found[1]), found[2])


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_page_of_a_node_that_is_killed_moves_and_misses_nothing(cluster, browser):
    process, nodes = cluster
    with ExitStack() as stack:
        ann, bob, cyd = (stack.enter_context(window(browser, node)) for node in nodes)
        names = ["Ann", "Bob", "Cyd"]
        for person, name in zip([ann, bob, cyd], names):
            person.enter(name)
        for person in [ann, bob, cyd]:
            person.expect_people(*names)
        said = ["before"]
        ann.say("before")
        expect(cyd.bodies()).to_have_text(said)
        nodes[0].kill()
        for number in range(5):
            person, text = (bob, cyd)[number % 2], f"meanwhile {number}"
            person.say(text)
            said.append(text)
            expect(bob.bodies()).to_have_text(said)
            expect(cyd.bodies()).to_have_text(said)
        own = nodes[0].page_url.split("/")[2].split(":")[1]
        expect(ann.page.locator("#status")).not_to_have_text(f"On :{own}", timeout=10_000)
        ann.expect_status("connected", seconds=30)
        ann.say("moved")
        said.append("moved")
        for person in [ann, bob, cyd]:
            expect(person.bodies()).to_have_text(said)
        assert "is gone. Press 1 and Enter" in process.stdout.readline()
        process.stdin.write("1\n")
        process.stdin.flush()
        assert "Node 1 is back" in process.stdout.readline()


def test_without_redis_it_says_so():
    missing = [*CLUSTER, "--redis", "/nowhere/redis-server"]
    ended = subprocess.run(list(map(str, missing)), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "Redis cannot be started" in ended.stderr
