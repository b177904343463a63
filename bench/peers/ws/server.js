// ws with its native helper bufferutil, after its own README: one server without a port for each route.

import { createServer } from "node:http";
import { WebSocket, WebSocketServer } from "ws";

const PAYLOAD_BYTES_MAX = 1024 * 1024;

function route(perMessageDeflate) {
  // The threshold is 1 KiB by default; the other servers compress every message.
  const deflate = perMessageDeflate ? { threshold: 0 } : false;
  return new WebSocketServer({ noServer: true, maxPayload: PAYLOAD_BYTES_MAX, perMessageDeflate: deflate });
}

function echo(server) {
  server.on("connection", (socket) => {
    socket.on("error", () => socket.terminate());
    socket.on("message", (data, binary) => socket.send(data, { binary }));
  });
  return server;
}

function relay(server, audience) {
  server.on("connection", (socket) => {
    socket.on("error", () => socket.terminate());
    socket.on("message", (data, binary) => {
      for (const client of audience.clients) {
        if (client.readyState === WebSocket.OPEN) {
          client.send(data, { binary });
        }
      }
    });
  });
  return server;
}

const everybody = route(false);
const everybodyDeflated = route(true);
const subscribers = route(false);
subscribers.on("connection", (socket) => socket.on("error", () => socket.terminate()));

const routes = {
  "/echo": echo(route(false)),
  "/deflate": echo(route(true)),
  "/bcast": relay(everybody, everybody),
  "/bcast-deflate": relay(everybodyDeflated, everybodyDeflated),
  "/pub": relay(route(false), subscribers),
  "/sub": subscribers,
};

const server = createServer((request, response) => {
  response.writeHead(request.url === "/" ? 200 : 404, { "Content-Type": "text/plain", "Content-Length": 12 });
  response.end("Hello, bench");
});

server.on("upgrade", (request, socket, head) => {
  const chosen = routes[request.url];
  if (chosen === undefined) {
    socket.destroy();
    return;
  }
  chosen.handleUpgrade(request, socket, head, (client) => chosen.emit("connection", client, request));
});

const flag = process.argv.indexOf("--listen");
const [host, port] = (process.argv[flag + 1] ?? "").split(":");
if (flag < 0 || port === undefined) {
  console.error("usage: node server.js --listen HOST:PORT");
  process.exit(2);
}
server.listen({ host, port: Number(port), backlog: 1024 });
