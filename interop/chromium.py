"""Chromium by its own protocol, without Playwright, under which no tab is ever hidden."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from websockets.sync.client import connect

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
]
SECONDS = 30


class Chromium:
    """`with Chromium() as browser: tab = browser.tab(url)`."""

    def __enter__(self):
        self._tabs = []
        self._profile = tempfile.mkdtemp()
        command = [CHROMIUM, *OPTIONS, f"--user-data-dir={self._profile}", "about:blank"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._connecting = connect(self._address(), max_size=None)
        self._socket = self._connecting.__enter__()
        self._last_id = 0
        return self

    def __exit__(self, *error):
        self._connecting.__exit__(*error)
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._profile, ignore_errors=True)

    def tab(self, url):
        """Opens a tab in front of the others."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        tab = Tab(self, target, self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        self._tabs.append(tab)
        tab.navigate(url)
        return tab

    def close_tabs(self):
        for tab in self._tabs:
            self.send("Target.closeTarget", targetId=tab.target)
        self._tabs = []

    def call(self, method, session=None, **parameters):
        number = self.send(method, session, **parameters)
        while True:
            answer = json.loads(self._socket.recv(SECONDS))
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def send(self, method, session=None, **parameters):
        """Asks without waiting for the answer."""
        self._last_id += 1
        whose = {"sessionId": session} if session else {}
        self._socket.send(json.dumps({"id": self._last_id, "method": method, "params": parameters, **whose}))
        return self._last_id

    def _address(self):
        """Where it listens, as it writes into its profile."""
        path = Path(self._profile, "DevToolsActivePort")
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            lines = path.read_text().splitlines() if path.exists() else []
            if len(lines) == 2:
                return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
            time.sleep(0.02)
        raise AssertionError("Chromium does not listen")


class Tab:
    def __init__(self, browser, target, session):
        self._browser = browser
        self.target = target
        self._session = session
        self.call("Page.enable")
        self.call("Page.setBypassCSP", enabled=True)

    def call(self, method, **parameters):
        return self._browser.call(method, self._session, **parameters)

    def evaluate(self, expression):
        """Returns the value of an expression, or of the promise that it is."""
        done = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, json.dumps(done["exceptionDetails"], indent=1)
        return done["result"].get("value")

    def until(self, expression):
        """Waits until an expression is true."""
        deadline = time.monotonic() + SECONDS
        while not self.evaluate(expression):
            assert time.monotonic() < deadline, f"not true in {SECONDS} s: {expression}; {self._account()}"
            time.sleep(0.05)

    def _account(self):
        """Returns what a page of a client has seen, for the one who looks for why."""
        return self.evaluate(
            "JSON.stringify({ state: window.client?.state, events: window.events, sent: window.sent?.slice(-3), "
            "sockets: window.sockets?.map(({ readyState }) => readyState), visible: document.visibilityState, "
            "onLine: navigator.onLine })"
        )

    def until_loaded(self, url):
        self.until(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def navigate(self, url):
        self.call("Page.navigate", url=url)
        self.until_loaded(url)

    def back(self):
        history = self.call("Page.getNavigationHistory")
        self.call("Page.navigateToHistoryEntry", entryId=history["entries"][history["currentIndex"] - 1]["id"])

    def bring_to_front(self):
        self._browser.call("Target.activateTarget", targetId=self.target)

    def freeze(self):
        self.call("Page.setWebLifecycleState", state="frozen")

    def resume(self):
        self.call("Page.setWebLifecycleState", state="active")

    def set_offline(self, offline):
        self.call("Network.enable")
        unlimited = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.call("Network.emulateNetworkConditions", offline=offline, **unlimited)

    def crash(self):
        self._browser.send("Page.crash", self._session)

    def close(self):
        self._browser.call("Target.closeTarget", targetId=self.target)
