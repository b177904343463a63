"""The client in JavaScript in a tab of Chromium, on a page of the chat; the server lets it into `talk/general`."""

import json

from servers import REPOSITORY

SHARED = REPOSITORY / "clients/js/shared.js"

START = """(async ({ name, shared }) => {
  const [sockets, sent, events, texts] = [[], [], [], []];
  Object.assign(window, { sockets, sent, events, texts });
  window.WebSocket = class extends WebSocket {
    constructor(...values) {
      super(...values);
      sockets.push(this);
    }
    send(data) {
      sent.push(data);
      super.send(data);
    }
  };
  const { connect } = await import("/nexios.js");
  const own = shared && (await import(URL.createObjectURL(new Blob([shared], { type: "text/javascript" }))));
  const url = `ws://${location.host}/chat/general?name=${name}`;
  const sharing = own && { WebSocket: own.shared({ name }) };
  const client = (window.client = connect(url, { token: "letmein", json: true, ...sharing }));
  for (const event of ["open", "close", "reconnecting", "parked"])
    client.on(event, (what) => events.push({ event, ...what }));
  const room = client.room("talk/general");
  room.on("joined", ({ recovered }) => events.push({ event: "joined", recovered }));
  for (const event of ["left", "reset", "gap"]) room.on(event, () => events.push({ event }));
  room.on("message", ({ text }) => texts.push(text));
})"""


class ClientPage:
    """`ClientPage(browser, server)` opens a tab and starts a client in it; with `shared` tabs share a connection."""

    def __init__(self, browser, server, name="ann", shared=False):
        self.tab = browser.tab(server.page_url)
        options = {"name": name, "shared": SHARED.read_text() if shared else None}
        self.tab.evaluate(f"{START}({json.dumps(options)})")

    def until(self, condition):
        self.tab.until(condition)
        return self

    def until_joined(self, recovered=None, times=1):
        wanted = "" if recovered is None else f" && recovered === {json.dumps(recovered)}"
        return self.until(f"events.filter(({{ event, recovered }}) => event === 'joined'{wanted}).length >= {times}")

    def until_texts(self, *texts):
        return self.until(f"JSON.stringify(texts) === {json.dumps(json.dumps(texts, separators=(',', ':')))}")

    def say(self, text):
        self.tab.evaluate(f"client.request('say', {{ text: {json.dumps(text)}, key: `${{Math.random()}}` }})")

    @property
    def events(self):
        return self.tab.evaluate("events")

    @property
    def names(self):
        return [each["event"] for each in self.events]

    @property
    def state(self):
        return self.tab.evaluate("client.state")

    @property
    def sockets(self):
        """The number of connections that this tab has."""
        return self.tab.evaluate("sockets.filter(({ readyState }) => readyState <= 1).length")

    @property
    def pings(self):
        return self.tab.evaluate("sent.filter((data) => `${data}`.includes('\"type\":\"ping\"')).length")
