"""Autobahn against the echo example, over TCP and over TLS.

    python3 conformance/run.py --quick      # part of `make test`
    python3 conformance/run.py --full       # `make conformance`: every case, into docs/conformance.md

Build the server first: `cargo build --profile checked -p nexios --example echo`.
"""

import argparse
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import environment

ROOT = Path(__file__).resolve().parent.parent
# Autobahn sends messages and fragments beyond the defaults.
LIMITS = ["--max-message", str(64 << 20), "--max-fragments", "1000000", "--shards", "1"]
REPORT = """# Conformance

The [Autobahn test suite](https://github.com/crossbario/autobahn-testsuite) (517 cases) and 18 more on
masking and on misuse of permessage-deflate, against `examples/echo.rs`. NON-STRICT and UNIMPLEMENTED count
as faults. INFORMATIONAL cases have no right answer: there the suite only writes down what a server does.

`make conformance` made this page.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--quick", action="store_true", help="fewer sizes of compressed messages")
    what.add_argument("--full", action="store_true", help="all cases; writes docs/conformance.md")
    parser.add_argument("--server", type=Path, default=ROOT / "target/checked/examples/echo")
    args = parser.parse_args()
    if not args.server.exists():
        sys.exit(f"conformance: {args.server} is missing; build it: cargo build --profile checked -p nexios --example echo")
    python = environment.python()
    report, worst = REPORT, 0
    with tempfile.TemporaryDirectory() as directory:
        certificate = self_signed(Path(directory))
        for scheme, options in (("ws", []), ("wss", ["--tls", *certificate])):
            status, summary = check(python, args, scheme, options)
            report += f"\n## {scheme}://\n\n{summary}"
            worst = max(worst, status)
    if args.full and worst == 0:
        (ROOT / "docs/conformance.md").write_text(report)
    return worst


def check(python: Path, args: argparse.Namespace, scheme: str, options: list[str]) -> tuple[int, str]:
    address = f"127.0.0.1:{free_port()}"
    out = ROOT / ".cache" / "conformance" / scheme
    server = subprocess.Popen([args.server, "--listen", address, *LIMITS, *options], stdout=subprocess.DEVNULL)
    try:
        wait_for(address, server)
        print(f"conformance: {scheme}://{address}, reports in {out.relative_to(ROOT)}", flush=True)
        command = [python, Path(__file__).with_name("suite.py"), f"{scheme}://{address}/", out]
        status = subprocess.run([*command, *["--quick"] * args.quick]).returncode
        if server.poll() is not None:
            sys.exit(f"conformance: the server ended by itself, status {server.returncode}")
    finally:
        server.terminate()
        server.wait(10)
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
