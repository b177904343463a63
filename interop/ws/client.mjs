// One conversation between the npm package ws and a server, as JSON on standard output.
//
//     node client.mjs <url> <conversation> [certificate authority]
//
// What came back is printed; the tests say what it should be.
import { readFileSync } from "node:fs";
import WebSocket from "ws";

const [url, conversation, authority] = process.argv.slice(2);
const options = { ...(authority && { ca: readFileSync(authority) }), handshakeTimeout: 5_000 };

/** An open connection whose messages, pongs and end can be awaited. */
function open(protocols, more = {}) {
  const ws = new WebSocket(url, protocols, { ...options, ...more });
  const waiting = [], arrived = [];
  ws.on("message", (data, isBinary) => {
    const message = isBinary ? data : data.toString();
    waiting.length ? waiting.shift()(message) : arrived.push(message);
  });
  ws.next = () => (arrived.length ? arrived.shift() : new Promise((resolve) => waiting.push(resolve)));
  ws.over = new Promise((resolve) => ws.on("close", (code, reason) => resolve([code, reason.toString()])));
  ws.ready = new Promise((resolve, reject) => ws.on("open", resolve).on("error", reject));
  ws.ready.catch(() => {}); // whoever does not wait for it does not care
  return ws;
}

/** Which of the messages came back as they were, by name. */
async function echo(ws) {
  const words = "lorem ipsum dolor sit amet ".repeat(2_000);
  const messages = {
    text: "hello", emptyText: "", unicode: "grüße 日本 🦀", words,
    emptyBinary: Buffer.alloc(0), binary: Buffer.from([...Array(256).keys()]), mebibyte: Buffer.alloc(1 << 20, 0x80),
  };
  const same = (a, b) => typeof a === typeof b && Buffer.from(a).equals(Buffer.from(b));
  const result = {};
  for (const [name, message] of Object.entries(messages)) {
    ws.send(message);
    result[name] = same(await ws.next(), message);
  }
  return result;
}

async function closed(ws, result) {
  ws.close(1000);
  return { ...result, over: await ws.over };
}

const conversations = {
  async plain() {
    const ws = open([], { perMessageDeflate: false });
    await ws.ready;
    return closed(ws, { echo: await echo(ws), extensions: ws.extensions });
  },
  async deflate() {
    const ws = open([], { perMessageDeflate: true });
    await ws.ready;
    return closed(ws, { echo: await echo(ws), extensions: ws.extensions });
  },
  async "deflate-small-window"() {
    const ws = open([], { perMessageDeflate: { serverMaxWindowBits: 10, clientMaxWindowBits: 10, threshold: 0 } });
    await ws.ready;
    return closed(ws, { echo: await echo(ws), extensions: ws.extensions });
  },
  async burst() {
    const ws = open([]);
    await ws.ready;
    const sent = Array.from({ length: 5_000 }, (_, i) => `message ${i}`);
    sent.forEach((message) => ws.send(message));
    const received = [];
    while (received.length < sent.length) received.push(await ws.next());
    return closed(ws, { inOrder: JSON.stringify(received) === JSON.stringify(sent) });
  },
  async fragments() {
    const ws = open([]);
    await ws.ready;
    ws.send("frag", { fin: false });
    ws.send("men", { fin: false });
    ws.ping("between");
    const pong = new Promise((resolve) => ws.once("pong", resolve));
    ws.send("ted", { fin: true });
    return closed(ws, { whole: await ws.next(), pong: (await pong).toString() });
  },
  async ping() {
    const ws = open([]);
    await ws.ready;
    const pongs = [];
    for (const payload of ["", "are you there", "p".repeat(125)]) {
      const pong = new Promise((resolve) => ws.once("pong", resolve));
      ws.ping(payload);
      pongs.push((await pong).toString() === payload);
    }
    return closed(ws, { pongs });
  },
  async codes() {
    const overs = [];
    for (const [code, reason] of [[1000, ""], [1001, "going"], [3000, "grüße"], [4999, "x".repeat(123)]]) {
      const ws = open([]);
      await ws.ready;
      ws.close(code, reason);
      overs.push((await ws.over)[0]);
    }
    return { codes: overs };
  },
  async "too-big"() {
    const ws = open([], { perMessageDeflate: false });
    await ws.ready;
    ws.on("error", () => {}); // the rest of the message may meet a closed socket
    ws.send(Buffer.alloc((1 << 20) + 1));
    return { over: await ws.over };
  },
  async refused() {
    const ws = open(["bearer", "wrong"]);
    await ws.ready;
    return { protocol: ws.protocol, over: await ws.over };
  },
  async "not-found"() {
    const ws = open([]);
    return ws.ready.then(() => ({ error: null }), (error) => ({ error: error.message }));
  },
};

console.log(JSON.stringify(await conversations[conversation]()));
