/**
 * A client of servers that speak `nexios.v1` (docs/protocol.md): it reconnects by itself, continues from its position
 * in each room, and its publishes are confirmed. The types are in nexios.d.ts.
 *
 *     const client = connect("wss://example.org/live");
 *     client.room("general").on("message", (text) => console.log(text));
 */
import { Client } from "./client.js";

export { NexiosError } from "./errors.js";

/** Starts a client: it connects now, and reconnects until it is closed. */
export const connect = (url, options) => new Client(url, options);
