"""The servers that the tests talk to: each test runs against those in Rust and those in Python."""

import os
import ssl

import pytest
import trustme
from playwright.sync_api import sync_playwright

from servers import LANGUAGES, Server

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def authority():
    return trustme.CA()


@pytest.fixture(scope="session")
def certificate(authority, tmp_path_factory):
    """PEM files of a certificate for localhost and its key."""
    directory = tmp_path_factory.mktemp("certificate")
    issued = authority.issue_cert("localhost", "127.0.0.1")
    chain, key = directory / "chain.pem", directory / "key.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    return str(chain), str(key)


@pytest.fixture(scope="session")
def trusting(authority):
    """What a client needs to believe the certificate."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(scope="session", params=LANGUAGES)
def language(request):
    """What the server is written in."""
    return request.param


@pytest.fixture(scope="session")
def echo(language, tmp_path_factory):
    """The echo server over plain TCP, shared by all tests that leave it as it was."""
    yield from _running(Server("echo", tmp_path_factory.mktemp("echo"), language=language))


@pytest.fixture(scope="session")
def echo_tls(language, tmp_path_factory, certificate):
    directory = tmp_path_factory.mktemp("echo-tls")
    yield from _running(Server("echo", directory, "--tls", *certificate, scheme="wss", language=language))


@pytest.fixture(scope="session")
def echo_unix(language, tmp_path_factory):
    directory = tmp_path_factory.mktemp("echo-unix")
    yield from _running(Server("echo", directory, uds=directory / "echo.sock", language=language))


@pytest.fixture(params=["tcp", "tls", "unix"])
def echo_anywhere(request, language):
    return request.getfixturevalue({"tcp": "echo", "tls": "echo_tls", "unix": "echo_unix"}[request.param])


@pytest.fixture(scope="session")
def chat(language, tmp_path_factory):
    yield from _running(Server("chat", tmp_path_factory.mktemp("chat"), language=language))


@pytest.fixture
def start(language, tmp_path):
    """Starts servers of a test's own: `start("echo", "--compression", "off")`."""
    started = []

    def start(example, *options, **where):
        started.append(Server(example, tmp_path, *options, language=language, **where))
        return started[-1]

    yield start
    for server in started:
        server.kill()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


def _running(server):
    yield server
    alive = server.is_running()
    server.kill()
    assert alive, f"the server died on the way; its output:\n{server.output()}"
