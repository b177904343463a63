/**
 * One connection for the tabs of a browser: a class to connect with, which gives each tab a socket of its own over the
 * connection of one of them. What it takes: shared.d.ts.
 *
 *     const client = connect("wss://example.org/live", { WebSocket: shared({ name: user }) });
 */
import { text } from "../values.js";
import { SharedSocket } from "./socket.js";

/** Returns the class; where the browser has no locks or no channels, tabs connect by themselves. */
export function shared({ name, WebSocket, locks, BroadcastChannel } = {}) {
  text("name", name);
  WebSocket ??= globalThis.WebSocket;
  locks ??= globalThis.navigator?.locks;
  BroadcastChannel ??= globalThis.BroadcastChannel;
  if (!WebSocket || !locks || !BroadcastChannel) return WebSocket;
  let lastId = 0; // of the calls of this tab, over all connections
  const settings = { key: `nexios:shared:${name}`, WebSocket, locks, BroadcastChannel, nextId: () => ++lastId };
  return class extends SharedSocket {
    constructor(url, protocols = []) {
      super(settings, url, protocols);
    }
  };
}
