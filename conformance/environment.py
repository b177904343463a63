"""The Autobahn test suite on Python 3, from PyPI packages only, in an environment of its own.

The suite was written for Python 2. Nothing of it is kept here: `port_to_python3.py` is a list
of edits that is applied to the installed packages, and refuses where one does not fit.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOME = Path(os.environ.get("AUTOBAHN_HOME", HERE.parent / ".cache" / "autobahn"))
OLDEST, NEWEST = (3, 9), (3, 12)

# The suite has to be whole, and with the fast UTF-8 validator, before anything is believed.
CHECK = """
from collections import Counter
from autobahn.websocket.utf8validator import Utf8Validator
from autobahntestsuite.case import Cases
found = Counter(case.__name__[4:].split("_")[0] for case in Cases)
wanted = {"1": 16, "2": 11, "3": 7, "4": 10, "5": 20, "6": 145, "7": 37, "9": 54, "10": 1,
          "12": 90, "13": 126, "14": 4, "15": 14}
assert found == wanted, found
assert "wsaccel" in repr(Utf8Validator), "the UTF-8 validator in C is missing"
"""


def python() -> Path:
    """The interpreter of the environment, which is made where it is missing or out of date."""
    venv = HOME / _fingerprint()
    if not (venv / "ready").exists():
        HOME.mkdir(parents=True, exist_ok=True)
        with open(HOME / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (venv / "ready").exists():
                _make(venv)
    return venv / "bin" / "python"


def _fingerprint() -> str:
    digest = hashlib.sha256(sys.version.encode())
    for name in ("requirements.txt", "sources.txt", "port_to_python3.py", "glue.py", "extra_cases.py"):
        digest.update((HERE / name).read_bytes())
    return digest.hexdigest()[:16]


def _make(venv: Path) -> None:
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        sys.exit(f"conformance: the Autobahn suite needs Python 3.9 to 3.12, this is {sys.version.split()[0]}")
    print(f"conformance: installing the Autobahn test suite into {venv}", flush=True)
    shutil.rmtree(venv, ignore_errors=True)
    _run(sys.executable, "-m", "venv", str(venv))
    pip = [str(venv / "bin" / "python"), "-m", "pip", "-q", "install", "--disable-pip-version-check"]
    _run(*pip, "-r", str(HERE / "requirements.txt"))
    _run(*pip, "--no-compile", "--no-deps", "--no-build-isolation", "--no-binary", ":all:", "--require-hashes",
         "-r", str(HERE / "sources.txt"))
    _run(str(venv / "bin" / "python"), str(HERE / "port_to_python3.py"))
    _run(str(venv / "bin" / "python"), "-c", CHECK)
    (venv / "ready").touch()


def _run(*command: str) -> None:
    if subprocess.run(command).returncode:
        sys.exit(f"conformance: this failed, and nothing can be tested without it: {' '.join(command)}")
