"""Autobahn against the echo examples in Rust and in Python, over TCP and over TLS.

    python3 conformance/run.py --quick              # part of `make test`
    python3 conformance/run.py --full               # `make conformance`: every case, into docs/conformance.md
    python3 conformance/run.py --quick --only python

Build the servers first: `make examples package` for a quick run, `make checked` for all cases.
"""

import argparse
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import environment

ROOT = Path(__file__).resolve().parent.parent
# Autobahn sends messages and fragments beyond the defaults.
LIMITS = ["--max-message", str(64 << 20), "--max-fragments", "1000000"]
REPORT = """# Conformance

The [Autobahn test suite](https://github.com/crossbario/autobahn-testsuite) (517 cases) and 18 more on
masking and on misuse of permessage-deflate, against `examples/echo.rs` and `examples/python/echo.py`.
NON-STRICT and UNIMPLEMENTED count as faults. INFORMATIONAL cases have no right answer: there the suite
only writes down what a server does.

`make conformance` made this page.
"""


@dataclass
class Server:
    """A server that is judged over one scheme."""

    name: str
    scheme: str
    command: list[str | Path]

    def options(self, certificate: list[str]) -> list[str]:
        return ["--tls", *certificate] if self.scheme == "wss" else []

    @property
    def part(self) -> str:
        """The cases of a quick run: over TLS a sample, since frames are read alike on both."""
        return "sample" if self.scheme == "wss" else "quick"

    @property
    def title(self) -> str:
        return f"{self.name}, {self.scheme}://"

    @property
    def directory(self) -> str:
        return f"{self.name.split()[0].lower()}-{self.scheme}"


def servers(args: argparse.Namespace) -> list[Server]:
    """Rust over TCP and TLS, and Python, on one kind of event loop each."""
    profile = "debug" if args.quick else "checked"
    rust: list[str | Path] = [ROOT / "target" / profile / "examples/echo", "--shards", "1"]
    python: list[str | Path] = [args.python, ROOT / "examples/python/echo.py", "--loop"]
    every = [
        Server("Rust", "ws", rust),
        Server("Rust", "wss", rust),
        Server("Python on asyncio", "ws", [*python, "asyncio"]),
        Server("Python on uvloop", "wss", [*python, "uvloop"]),
    ]
    return [server for server in every if args.only in (None, server.name.split()[0].lower())]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--quick", action="store_true", help="fewer sizes of compressed messages, over TLS a sample of the cases")
    what.add_argument("--full", action="store_true", help="all cases; writes docs/conformance.md")
    parser.add_argument("--only", choices=("rust", "python"), help="one server; docs/conformance.md is left as it is")
    parser.add_argument("--python", type=Path, default=ROOT / "python/.venv/bin/python", help="one that has nexios")
    args = parser.parse_args()
    judged = servers(args)
    for server in judged:
        if not Path(server.command[0]).exists():
            sys.exit(f"conformance: {server.command[0]} is missing; build it as `make test-conformance` does")
    suite = environment.python()
    report, worst = REPORT, 0
    with tempfile.TemporaryDirectory() as directory:
        certificate = self_signed(Path(directory))
        for server in judged:
            status, summary = judge(suite, server, certificate, ["--part", server.part] if args.quick else [])
            report += f"\n## {server.title}\n\n{summary}"
            worst = max(worst, status)
    if args.full and args.only is None and worst == 0:
        (ROOT / "docs/conformance.md").write_text(report)
    return worst


def judge(suite: Path, server: Server, certificate: list[str], options: list[str]) -> tuple[int, str]:
    """Runs the suite against the server; its exit status, and what it found."""
    address = f"127.0.0.1:{free_port()}"
    out = ROOT / ".cache" / "conformance" / server.directory
    command = [*server.command, "--listen", address, *LIMITS, *server.options(certificate)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_for(address, process)
        print(f"conformance: {server.title}, reports in {out.relative_to(ROOT)}", flush=True)
        cases = [suite, Path(__file__).with_name("suite.py"), f"{server.scheme}://{address}/", out, *options]
        status = subprocess.run(cases).returncode
        if process.poll() is not None:
            sys.exit(f"conformance: {server.title} ended by itself, status {process.returncode}")
    finally:
        process.terminate()
        process.wait(10)
    return status, (out / "summary.md").read_text()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    host, port = address.split(":")
    for _ in range(200):
        try:
            socket.create_connection((host, int(port)), 1).close()
            return
        except OSError:
            time.sleep(0.05)
        if server.poll() is not None:
            break
    sys.exit(f"conformance: the server does not listen on {address}")


def self_signed(directory: Path) -> list[str]:
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-days", "2", "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate)]
    if subprocess.run(command, capture_output=True).returncode:
        sys.exit("conformance: `openssl req` failed; install openssl")
    return [str(certificate), str(key)]


if __name__ == "__main__":
    sys.exit(main())
