const { start } = require("./server.cjs");

module.exports = async () => {
  const { server, url } = await start();
  globalThis.server = server;
  process.env.LIVE_URL = url;
};
