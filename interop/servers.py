"""An example server as a process: started, watched, ended."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
EXAMPLES = Path(os.environ.get("NEXIOS_EXAMPLES", REPOSITORY / "target/release/examples"))
# What has the Python package.
PYTHON = REPOSITORY / "python/.venv/bin/python"
LANGUAGES = ["rust", "python"]
START_SECONDS = 15


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def command_of(example, language):
    """How the example is started; it fails the test where it has not been built."""
    if language == "rust":
        needed, command = EXAMPLES / example, [str(EXAMPLES / example)]
    else:
        needed, command = PYTHON, [str(PYTHON), str(REPOSITORY / f"examples/python/{example}.py")]
    if not needed.exists():
        pytest.fail(f"{needed} is missing: build it as `make test-interop` does", pytrace=False)
    return command


class Server:
    """`Server("echo", tmp_path)` listens on a free port; another one with `port=` takes its place."""

    def __init__(self, example, directory, *options, port=None, uds=None, scheme="ws", language="rust"):
        self.language = language
        self.port = None if uds else port or free_port()
        self.uds = uds
        self.scheme = scheme
        self._log_path = Path(directory) / f"{example}-{time.monotonic_ns()}.log"
        where = ["--uds", str(uds)] if uds else ["--listen", f"127.0.0.1:{self.port}"]
        command = [*command_of(example, language), *where, *options]
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        self._wait_until_it_listens()

    @property
    def netloc(self):
        return f"127.0.0.1:{self.port}"

    @property
    def page_url(self):
        return f"http://{self.netloc}/"

    def url(self, path="/"):
        host = "localhost" if self.uds or self.scheme == "wss" else "127.0.0.1"
        return f"{self.scheme}://{host}{path}" if self.uds else f"{self.scheme}://{host}:{self.port}{path}"

    def connect(self):
        """A bare socket to it."""
        if self.uds:
            bare = socket.socket(socket.AF_UNIX)
            bare.settimeout(10)
            try:
                bare.connect(str(self.uds))
            except OSError:
                bare.close()
                raise
            return bare
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def output(self):
        return self._log_path.read_text(errors="replace")

    def is_running(self):
        return self._process.poll() is None

    def signal(self, number):
        self._process.send_signal(number)

    def exit_code(self, seconds):
        """The exit code, if it ends within so many seconds."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still running after {seconds} s; its output:\n{self.output()}", pytrace=False)

    def kill(self):
        if self.is_running():
            self.signal(signal.SIGKILL)
        self._process.wait()

    def _wait_until_it_listens(self):
        # The line comes just before the socket; a client may still be too early.
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.is_running():
            if (str(self.uds or self.netloc) in self.output()) and self._accepts():
                return
            time.sleep(0.01)
        self.kill()
        command = " ".join(map(str, self._process.args))
        pytest.fail(f"{command} does not listen; its output:\n{self.output()}", pytrace=False)

    def _accepts(self):
        try:
            self.connect().close()
        except OSError:
            return False
        return self.is_running()
