module.exports = () => {
  globalThis.server.clients.forEach((socket) => socket.terminate());
  return new Promise((resolve) => globalThis.server.close(resolve));
};
