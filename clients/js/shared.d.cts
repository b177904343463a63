/** One connection for the tabs of a browser. */
import type { WebSocketClass } from "./nexios.cjs";

/**
 * Returns a class to connect with, for the option `WebSocket` of `connect`. All tabs of an origin that give the same name
 * use one connection, that of one of them; when its tab ends, another one connects, and every client continues where it
 * was. Where the browser lacks `navigator.locks` (a page that is not secure) or `BroadcastChannel`, the tab connects by
 * itself.
 */
export function shared(options: SharedOptions): WebSocketClass;

export interface SharedOptions {
  /**
   * Names the server and the user: tabs of one name act as one user, with the token of any one of them. Another user
   * needs another name.
   */
  name: string;
  /** The class to connect with; `globalThis.WebSocket` if left out. */
  WebSocket?: WebSocketClass;
}
