/**
 * A client of servers that speak `nexios.v1` (docs/protocol.md): it comes back by itself, its rooms
 * go on where they were, what it publishes is confirmed. What everything takes: nexios.d.ts.
 *
 *     const client = connect("wss://example.org/live");
 *     client.room("general").on("message", (text) => console.log(text));
 */
import { Client } from "./client.js";

export { NexiosError } from "./errors.js";

/** Starts a client: it connects now, and comes back until it is closed. */
export const connect = (url, options) => new Client(url, options);
