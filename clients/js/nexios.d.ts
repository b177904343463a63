/**
 * A client of servers that speak `nexios.v1` (docs/protocol.md): it comes back by itself, its rooms
 * go on where they were, what it publishes is confirmed.
 */

/**
 * Starts a client: it connects now, and comes back until it is closed. Of several addresses, which are those of nodes
 * of one application, the first is tried first, and the next after each loss and each failed attempt. Throws what
 * `new WebSocket` throws.
 */
export function connect(url: string | URL | readonly (string | URL)[], options?: Options): Client;

export interface Options {
  /**
   * Subprotocols to offer beside `nexios.v1`, such as `["bearer", token]`; a function is asked before
   * each attempt, for a token that is still good.
   */
  protocols?: readonly string[] | (() => readonly string[] | Promise<readonly string[]>);
  /** Every text is a value as JSON, both ways. Otherwise texts are texts, and what is sent may be a value. */
  json?: boolean;
  /**
   * Where positions are kept, such as `sessionStorage`: a page that is loaded anew goes on where it was. Its value
   * is the JSON of an array of `[room, position]`, those that moved last at the end.
   */
  storage?: PositionStorage;
  /** Under which key; `nexios:` and the first address without its query if left out. */
  storageKey?: string;
  /** The class to connect with, such as that of the package `ws`; `globalThis.WebSocket` if left out. */
  WebSocket?: WebSocketClass;
  /** Milliseconds until an attempt without an answer is given up: 10,000 if left out. */
  openTimeout?: number;
  /** What the server is told. */
  userAgent?: string;
}

/** What a client says and hears: a text, bytes, or, to be sent, what has a form as JSON. */
export type Data = unknown;

/** What `localStorage` and `sessionStorage` are. */
export interface PositionStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

/** As much of a WebSocket class as is used: that of browsers, of Node.js and of `ws` have it. */
export type WebSocketClass = new (url: string, protocols: string[]) => {
  readonly protocol: string;
  readonly bufferedAmount: number;
  send(data: any): void;
  close(code?: number, reason?: string): void;
};

/** `reconnecting`: the connection is lost, or did not come about; there is another attempt. */
export type State = "connecting" | "open" | "reconnecting" | "closed";

/** Removes the listener. */
export type Off = () => void;

/** May be a promise; of a room's messages the next comes when it is settled. */
export type Listener<Values extends unknown[]> = (...values: Values) => unknown;

export interface ClientEvents {
  /** The connection is there: at first, and each time it has come back. */
  open: [opened: { id: string }];
  /** The connection has ended, or did not come about; with `retry` there is another attempt. */
  close: [reason: CloseReason];
  /** The next attempt comes in `delay` milliseconds. */
  reconnecting: [next: { attempt: number; delay: number }];
  /** What the server sent to this connection, and broadcasts to routers and the app; with `json` a value. */
  message: [data: any];
  /** The server has let the connection into a room, which gets its messages behind this. */
  joined: [room: Room, how: Joined];
  /** Broadcasts were lost between servers; `missed` where it is known how many. */
  gap: [gap: Gap];
  /** A listener failed, positions cannot be stored, a text is no JSON. Without a listener: `console.error`. */
  error: [error: unknown];
}

export interface RoomEvents {
  /** `recovered`: what was missed follows. Otherwise there may be a hole: load anew what has to be whole. */
  joined: [how: Joined];
  /** The room was left; `code` and `message` where the server refused to let the client in again. */
  left: [why: { code?: string; message?: string }];
  /** `offset` in rooms that remember. */
  message: [data: any, meta: { offset?: number }];
  /** Messages are lost for good: what is known of the room is stale, load it anew. */
  reset: [];
  /** The same in rooms that do not remember; `missed` where it is known how many. */
  gap: [gap: Gap];
  /** Who came and went, once `presence()` was called; `state` is everyone, after a reconnect. */
  presence: [change: PresenceChange];
}

export interface Joined {
  recovered: boolean;
  /** Whether the room remembers. */
  remembers: boolean;
}

export interface Gap {
  missed?: number;
}

export interface Member {
  user: string;
  data?: any;
}

export type PresenceChange =
  | ({ event: "join" | "leave" } & Member)
  | { event: "state"; users: Member[] };

/** Why a connection ended. */
export interface CloseReason {
  code: number;
  reason: string;
  /** Whether the client comes back. */
  retry: boolean;
  kind: CloseKind;
}

export type CloseKind =
  | "normal" // 1000
  | "going-away" // 1001
  | "protocol" // 1002
  | "invalid-data" // 1003, 1007
  | "lost" // 1005, 1006
  | "policy" // 1008
  | "too-big" // 1009
  | "server-error" // 1011
  | "restart" // 1012
  | "try-again-later" // 1013
  | "bad-gateway" // 1014
  | "application" // 3000 to 4999
  | "unknown";

export interface Client {
  readonly state: State;
  /** The connection's id at the server, once it has been open. */
  readonly id: string | undefined;
  /** Where it is connected, or tries to. */
  readonly url: string;

  on<Event extends keyof ClientEvents>(event: Event, listener: Listener<ClientEvents[Event]>): Off;
  off<Event extends keyof ClientEvents>(event: Event, listener: Listener<ClientEvents[Event]>): void;

  /** The room of this name, the same each time. Throws a `RangeError` where 1,000 are in use. */
  room(name: string): Room;
  /** Sends to the server's handler, at most once: `false` where it cannot go out now. */
  send(data: Data): boolean;
  /**
   * Asks the server, and gives its reply: a text or bytes, with `json` a value. Rejects with a
   * {@link NexiosError}; one that was sent is not repeated after a reconnect.
   */
  request(method: string, data?: Data, options?: { timeout?: number }): Promise<any>;

  /** Cuts the connection as a pulled cable does; with `away` the client comes back by `reconnect()` only. */
  drop(options?: { away?: boolean }): void;
  /** Makes the next attempt now. */
  reconnect(): void;
  /** Ends the client: 1000, or a code from 3000 to 4999. */
  close(code?: number, reason?: string): void;
}

export interface Room {
  readonly name: string;
  /** Whether the connection is in it now. */
  readonly joined: boolean;

  on<Event extends keyof RoomEvents>(event: Event, listener: Listener<RoomEvents[Event]>): Off;
  off<Event extends keyof RoomEvents>(event: Event, listener: Listener<RoomEvents[Event]>): void;

  /**
   * Asks to be let in, now and after each reconnect, until `leave()`. Not needed where the server lets the
   * connection in by itself. In a room that remembers, `since` says where to begin: a position that the server
   * has given, or `"start"`, where the application permits it. Rejects with a {@link NexiosError}.
   */
  join(options?: { since?: string }): Promise<void>;
  leave(): Promise<void>;
  /**
   * Sends a message to the room. What has no answer when the connection ends is sent again; rooms that
   * remember store a `key` once. Rejects with a {@link NexiosError}.
   */
  publish(data: Data, options?: { key?: string }): Promise<Published>;
  /** Who is in the room. From then on `presence` tells of changes. */
  presence(options?: { timeout?: number }): Promise<Member[]>;
}

export interface Published {
  key: string;
  /** In rooms that remember. */
  position?: string;
  /** A message with this key was stored before, perhaps by an attempt whose answer was lost. */
  duplicate?: true;
}

/** Why an answer did not come, or was none. */
export class NexiosError extends Error {
  constructor(code: ErrorCode, message: string);
  readonly code: ErrorCode;
}

/** The server's, among them the application's own, and the client's. */
export type ErrorCode =
  | "forbidden"
  | "not_found"
  | "invalid"
  | "busy" // too much is unanswered; of the client itself: too much is waiting
  | "unavailable"
  | "failed"
  | "timeout"
  | "disconnected" // the connection ended before the answer
  | "closed" // the client is closed, or the room was left
  | "expired" // the server may have forgotten the key: a retry could store the message twice
  | (string & {});
