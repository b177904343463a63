/** @jest-environment jsdom */
// jsdom has a WebSocket, and lacks these two.
const { TextDecoder, TextEncoder } = require("node:util");

Object.assign(globalThis, { TextDecoder, TextEncoder });
require("./behaviours.cjs")({});
