// A server outside of the sandbox of jest: it welcomes, answers requests with what they have, refuses `no`, cuts at `cut`.
const { WebSocketServer } = require("ws");

exports.start = () => new Promise((resolve) => {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1", handleProtocols: () => "nexios.v1" });
  server.on("listening", () => resolve({ server, url: `ws://127.0.0.1:${server.address().port}/` }));
  server.on("connection", (socket) => socket.on("message", (data, binary) => answer(socket, data, binary)));
});

function answer(socket, data, binary) {
  const end = data.indexOf(10);
  const { type, id, method } = JSON.parse(data.subarray(1, end).toString());
  const say = (header, payload = "") =>
    socket.send(Buffer.concat([Buffer.from(`\x1e${JSON.stringify(header)}\n`), Buffer.from(payload)]), { binary });
  if (type === "hello") say({ type: "welcome", id: "c1", retry_ms: [10, 20] });
  else if (method === "no") say({ type: "error", id, code: "forbidden", message: "no" });
  else if (method === "cut") socket.terminate();
  else say({ type: "reply", id }, data.subarray(end + 1));
}
