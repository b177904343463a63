/** @jest-environment node */
require("./behaviours.cjs")({ WebSocket: require("ws") });
