/**
 * A client of servers that speak `nexios.v1` (docs/protocol.md): it reconnects by itself, continues from its position
 * in each room, and its publishes are confirmed.
 */

/**
 * Starts a client: it connects now, and reconnects until it is closed. Several addresses are those of nodes of one
 * application: the first is tried first, and the next after each loss and each failed attempt. Throws if an address or
 * an option is invalid.
 */
export function connect(url: Address | readonly Address[], options?: Options): Client;

/** An address, or a function that is called for one before each attempt. */
export type Address = string | URL | (() => string | Promise<string>);

export interface Options {
  /**
   * A token, offered as the subprotocols `bearer` and itself. A function is called before each attempt, and once more
   * if the server refuses the token.
   */
  token?: string | (() => string | undefined | Promise<string | undefined>);
  /** Further subprotocols to offer; a function is called before each attempt. */
  protocols?: readonly string[] | (() => readonly string[] | Promise<readonly string[]>);
  /** Every text is a JSON value, in both directions. Otherwise texts are sent as they are, other values as JSON. */
  json?: boolean;
  /**
   * A storage of positions, such as `sessionStorage`: a page that is loaded again continues from them. The stored value
   * is the JSON of an array of `[room, position]`, those that moved last at the end. In `localStorage` each tab has a
   * key of its own where the browser has `navigator.locks`.
   */
  storage?: PositionStorage;
  /** The key of the stored value: `nexios:` and the first address without its query if left out. */
  storageKey?: string;
  /**
   * The class to connect with, such as that of the package `ws`, or that of `nexios-client/shared`, by which tabs share a
   * connection; `globalThis.WebSocket` if left out.
   */
  WebSocket?: WebSocketClass;
  /** Milliseconds until an attempt without an answer is given up: 10,000 if left out. */
  openTimeout?: number;
  /** Milliseconds until a request or a presence without an answer fails: 10,000 if left out. */
  requestTimeout?: number;
  /** Milliseconds after which a connection counts as one that holds: 10,000 if left out. */
  stableAfter?: number;
  /**
   * Whether the first connection is retried like any other: `true` if left out. With `false` the client parks once each
   * address has failed; `reconnect()` tries each once more.
   */
  retryFirst?: boolean;
  /** The form of a `BigInt` in a value: an error (if left out), or the text of its digits. */
  bigint?: "error" | "string";
  /** A name that is sent to the server. */
  userAgent?: string;
}

/** Data of a message: a text, bytes, or, to be sent, a value that JSON can express. */
export type Data = unknown;

/** A storage such as `localStorage` and `sessionStorage`. */
export interface PositionStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

/** A WebSocket class, such as that of browsers, of Node.js or of `ws`. */
export type WebSocketClass = new (url: string, protocols: string[]) => {
  readonly protocol: string;
  readonly bufferedAmount: number;
  send(data: any): void;
  close(code?: number, reason?: string): void;
};

/**
 * `reconnecting`: the connection is lost, or an attempt has failed, and there is another one. `parked`: there is no
 * attempt until `reconnect()`; rooms, positions and waiting calls are kept.
 */
export type State = "connecting" | "open" | "reconnecting" | "parked" | "closed";

/** Removes the listener. */
export type Off = () => void;

/** A listener. If it returns a promise, the next event of a room waits for it. */
export type Listener<Values extends unknown[]> = (...values: Values) => unknown;

export interface ClientEvents {
  /** The connection is open, for the first time or again. */
  open: [opened: { id: string }];
  /** The connection has ended, or an attempt has failed; with `retry` there is another attempt. */
  close: [reason: Closed];
  /** There is no attempt until `reconnect()`. It follows `close`. */
  parked: [why: { code: number; reason: string; kind: CloseKind }];
  /** The server refuses the token, and there is no other. `parked` follows. */
  unauthorized: [why: { code: number; reason: string }];
  /** The next attempt comes in `delay` milliseconds. */
  reconnecting: [next: { attempt: number; delay: number }];
  /** A message that the server sent to this connection or broadcast to routers or the app; with `json` a value. */
  message: [data: any];
  /** The client is in a room, whose messages follow. */
  joined: [room: Room, how: Joined];
  /** Broadcasts were lost between nodes; `missed` if the number is known. */
  gap: [gap: Gap];
  /** A listener failed, positions cannot be stored, a text is not JSON. Without a listener: `console.error`. */
  error: [error: unknown];
}

export interface RoomEvents {
  /** `recovered`: what was missed follows. Otherwise there may be a hole: load the state of the room again. */
  joined: [how: Joined];
  /** The room was left; `code` and `message` if the server refused to let the client in again. */
  left: [why: { code?: string; message?: string }];
  /** `offset` in rooms with history. */
  message: [data: any, meta: { offset?: number }];
  /** The history of the room started over: load the state of the room again. */
  reset: [];
  /** Messages were lost, in a room without history; `missed` if the number is known. */
  gap: [gap: Gap];
  /** A user joined, left or has other data, once `presence()` was called; `state` has all users, after a reconnect. */
  presence: [change: PresenceChange];
}

export interface Joined {
  recovered: boolean;
  /** True if the room has history. */
  hasHistory: boolean;
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

/** The end of a connection. */
export interface Closed {
  code: number;
  reason: string;
  /** True if there is another attempt. */
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
  | "refused" // another status than 101; a browser does not see it
  | "application" // 3000 to 4999
  | "unknown";

export interface Client {
  readonly state: State;
  /** The connection's id at the server, once it has been open. */
  readonly id: string | undefined;
  /** The address of the connection or attempt; `undefined` until a function has returned it. */
  readonly url: string | undefined;

  on<Event extends keyof ClientEvents>(event: Event, listener: Listener<ClientEvents[Event]>): Off;
  off<Event extends keyof ClientEvents>(event: Event, listener: Listener<ClientEvents[Event]>): void;

  /** Returns the room of this name, one object for each name. Throws if the name is invalid, or 1,000 are in use. */
  room(name: string): Room;
  /**
   * Adds handlers to a room, and joins it until the returned function is called. The last subscription that is stopped
   * leaves the room, unless `room.join()` keeps the client in. With `join: false` only the handlers are added, for a
   * room that the server joins.
   */
  subscribe(name: string, handlers?: Handlers, options?: { join?: boolean }): Off;
  /**
   * Sends to the server's handler, at most once; returns `false` if it cannot be sent now. Throws if the value cannot
   * be sent, and a {@link NexiosError} `too_big` over the server's limit.
   */
  send(data: Data): boolean;
  /**
   * Sends a request, and returns its reply: a text or bytes, with `json` a value. Rejects with a
   * {@link NexiosError}; a request that was sent is not repeated after a reconnect.
   */
  request(method: string, data?: Data, options?: CallOptions): Promise<any>;

  /** Cuts the connection as a pulled cable does; with `away` the client reconnects by `reconnect()` only. */
  drop(options?: { away?: boolean }): void;
  /** Makes the next attempt now, for a parked client too. */
  reconnect(): void;
  /** Ends the client: 1000, or a code from 3000 to 4999. */
  close(code?: number, reason?: string): void;
}

export interface Room {
  readonly name: string;
  /** True while the client is in the room. */
  readonly joined: boolean;
  /** The position behind the last received message, in rooms with history. */
  readonly position: string | undefined;

  on<Event extends keyof RoomEvents>(event: Event, listener: Listener<RoomEvents[Event]>): Off;
  off<Event extends keyof RoomEvents>(event: Event, listener: Listener<RoomEvents[Event]>): void;

  /**
   * Joins the room, now and after each reconnect, until `leave()`. Rooms that the server joins need no call. In a room
   * with history `since` is the position to begin at: one that the server has returned, or `"start"`, if the
   * application permits it. Rejects with a {@link NexiosError}.
   */
  join(options?: { since?: string } & CallOptions): Promise<void>;
  /** Takes the joins back, and forgets the position. Subscriptions stay. */
  leave(options?: CallOptions): Promise<void>;
  /**
   * Publishes a message to the room. Without an answer it is sent again after a reconnect; rooms with history store a
   * `key` once. Rejects with a {@link NexiosError}.
   */
  publish(data: Data, options?: { key?: string; signal?: AbortSignal }): Promise<Published>;
  /** Returns the users of the room. From then on the event `presence` reports changes. */
  presence(options?: CallOptions): Promise<Member[]>;
}

/** The end of a call before its answer: after `timeout` milliseconds, or by a signal. */
export interface CallOptions {
  timeout?: number;
  signal?: AbortSignal;
}

export type Handlers = { [Event in keyof RoomEvents]?: Listener<RoomEvents[Event]> };

export interface Published {
  key: string;
  /** In rooms with history. */
  position?: string;
  /** A message with this key was stored before, perhaps by an attempt whose answer was lost. */
  duplicate: boolean;
}

/** The failure of a call. */
export class NexiosError extends Error {
  constructor(code: ErrorCode, message: string, details?: { key?: string; maybeStored?: boolean });
  readonly code: ErrorCode;
  /** The key of a publish. A retry with this key is stored once, in rooms with history. */
  readonly key?: string;
  /** True if the server may have carried the call out: it was sent, and no answer refuses it. */
  readonly maybeStored: boolean;
}

/** Codes of the server, of the application, and of the client. */
export type ErrorCode =
  | "forbidden"
  | "not_found"
  | "invalid"
  | "busy" // too many frames are unanswered; from the client itself: too many calls are waiting
  | "unavailable"
  | "failed"
  | "timeout"
  | "disconnected" // the connection ended before the answer
  | "closed" // the client is closed, or the room was left
  | "expired" // five minutes after a publish the server may have forgotten its key
  | "rejected" // the server closed the connection because of what it had received
  | "too_big" // over the server's limit
  | (string & {});
