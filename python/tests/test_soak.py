"""A short round of `make soak`, and that it finds what it looks for."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
# Counted is what Linux tells about a process.
pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]


def soak(*options):
    command = [sys.executable, HERE.parent / "soak", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_short_soak_leaves_nothing_behind(loop):
    done = soak("--seconds", "6", "--loop", loop)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("soak: nothing is left behind\n")


def test_a_connection_that_is_kept_is_found():
    done = soak("--seconds", "2", "--loop", "asyncio", "--app", HERE / "leaking_app.py")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "NOT AS BEFORE on asyncio: live objects" in done.stdout
    assert "nexios.WebSocket +" in done.stdout
