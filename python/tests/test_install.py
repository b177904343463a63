"""What README promises: `pip install .` builds the package, and the quick start runs elsewhere."""

import os
import re
import signal
import socket
import subprocess
import time
import venv
from pathlib import Path

import pytest
from websockets.sync.client import connect

REPOSITORY = Path(__file__).resolve().parents[2]


def quick_start(port):
    """The first Python program of README, as it stands but for its port."""
    readme = (REPOSITORY / "README.md").read_text()
    program = next(block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "NexiosApp()" in block)
    assert program.count("port=8000") == 1
    return program.replace("port=8000", f"port={port}")


@pytest.fixture
def fresh(tmp_path):
    """The interpreter of a new virtual environment with the package in it, built in isolation."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    # The same build as the tests', which cargo has done already.
    environment = os.environ | {"MATURIN_PEP517_ARGS": "--profile dev"}
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", REPOSITORY]
    installed = subprocess.run(pip, env=environment, capture_output=True, text=True, check=False)
    assert installed.returncode == 0, installed.stderr
    return python


@pytest.mark.timeout(900)
def test_pip_install_from_a_checkout_and_the_quick_start_elsewhere(fresh, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "main.py").write_text(quick_start(port))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    server = subprocess.Popen([fresh, "-W", "error", "main.py"], cwd=elsewhere, env=environment)
    try:
        with opened(port, server) as ws:
            for message in ("hello", b"hello"):
                ws.send(message)
                assert ws.recv(timeout=5) == message
        server.send_signal(signal.SIGTERM)
        assert server.wait(10) == 0
        shown = subprocess.run([fresh.parent / "nexios", "--help"], capture_output=True, text=True, check=True)
        assert "run" in shown.stdout
    finally:
        server.kill()
        server.wait()


def opened(port, server):
    end = time.monotonic() + 10
    while True:
        try:
            return connect(f"ws://127.0.0.1:{port}/ws", proxy=None)
        except ConnectionRefusedError:
            assert server.poll() is None and time.monotonic() < end, "the quick start does not listen"
            time.sleep(0.05)
