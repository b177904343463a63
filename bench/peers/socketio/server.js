// Socket.IO with one of its Redis adapters, after its own documentation: one node of two.

import { createServer } from "node:http";
import { createShardedAdapter } from "@socket.io/redis-adapter";
import { createAdapter as createStreamsAdapter } from "@socket.io/redis-streams-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const ROOM = "bench";

function option(name) {
  const flag = process.argv.indexOf(`--${name}`);
  return flag < 0 ? undefined : process.argv[flag + 1];
}

async function connected(url) {
  const client = createClient({ url });
  client.on("error", (error) => console.error(`Redis: ${error.message}`));
  return client.connect();
}

const adapters = {
  sharded: async (url) => createShardedAdapter(await connected(url), await connected(url)),
  streams: async (url) => createStreamsAdapter(await connected(url)),
};

const [host, port] = (option("listen") ?? "").split(":");
const broker = option("broker");
const adapter = adapters[option("adapter")];
if (port === undefined || broker === undefined || adapter === undefined) {
  console.error("usage: node server.js --listen HOST:PORT --broker URL --adapter sharded|streams");
  process.exit(2);
}

const server = createServer();
const io = new Server(server, { transports: ["websocket"], adapter: await adapter(broker) });

// What the documentation advises against memory: the request is of no use after the handshake.
io.engine.on("connection", (rawSocket) => {
  rawSocket.request = null;
});

io.on("connection", (socket) => {
  socket.on("join", () => socket.join(ROOM));
  socket.on("publish", (text) => io.to(ROOM).emit("message", text));
});

server.listen({ host, port: Number(port), backlog: 1024 });
