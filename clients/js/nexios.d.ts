/**
 * A client of servers that speak `nexios.v1` (docs/protocol.md): it comes back by itself, its rooms
 * go on where they were, what it publishes is confirmed.
 */

/**
 * Starts a client: it connects now, and comes back until it is closed. Several addresses are those of nodes of one
 * application: the first is tried first, and the next after each loss and each failed attempt. Throws where an address
 * is not one, or an option is wrong.
 */
export function connect(url: Address | readonly Address[], options?: Options): Client;

/** An address, or a function that is called for one before each attempt. */
export type Address = string | URL | (() => string | Promise<string>);

export interface Options {
  /**
   * A token, offered as the subprotocols `bearer` and itself. A function is called before each attempt, and once more
   * where the server refuses the token.
   */
  token?: string | (() => string | undefined | Promise<string | undefined>);
  /** Further subprotocols to offer; a function is called before each attempt. */
  protocols?: readonly string[] | (() => readonly string[] | Promise<readonly string[]>);
  /** Every text is a value as JSON, both ways. Otherwise texts are texts, and what is sent may be a value. */
  json?: boolean;
  /**
   * Where positions are kept, such as `sessionStorage`: a page that is loaded again continues where it was. Its value
   * is the JSON of an array of `[room, position]`, those that moved last at the end. In `localStorage` each tab has a
   * key of its own where the browser has `navigator.locks`.
   */
  storage?: PositionStorage;
  /** Under which key; `nexios:` and the first address without its query if left out. */
  storageKey?: string;
  /** The class to connect with, such as that of the package `ws`; `globalThis.WebSocket` if left out. */
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
  /** Whether a `BigInt` in a value is an error (if left out), or sent as the text of its digits. */
  bigint?: "error" | "string";
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

/**
 * `reconnecting`: the connection is lost, or did not come about; there is another attempt. `parked`: there is none until
 * `reconnect()`; rooms, positions and waiting calls are kept.
 */
export type State = "connecting" | "open" | "reconnecting" | "parked" | "closed";

/** Removes the listener. */
export type Off = () => void;

/** May be a promise; of a room's messages the next comes when it is settled. */
export type Listener<Values extends unknown[]> = (...values: Values) => unknown;

export interface ClientEvents {
  /** The connection is there: at first, and each time it has come back. */
  open: [opened: { id: string }];
  /** The connection has ended, or did not come about; with `retry` there is another attempt. */
  close: [reason: CloseReason];
  /** The server means the end: there is no attempt until `reconnect()`. It follows on `close`. */
  parked: [why: { code: number; reason: string; kind: CloseKind }];
  /** The server refuses the token, and there is no other. `parked` follows. */
  unauthorized: [why: { code: number; reason: string }];
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
  | "refused" // another status than 101; a browser does not see it
  | "application" // 3000 to 4999
  | "unknown";

export interface Client {
  readonly state: State;
  /** The connection's id at the server, once it has been open. */
  readonly id: string | undefined;
  /** Where it is connected, or tries to; `undefined` until a function has given it. */
  readonly url: string | undefined;

  on<Event extends keyof ClientEvents>(event: Event, listener: Listener<ClientEvents[Event]>): Off;
  off<Event extends keyof ClientEvents>(event: Event, listener: Listener<ClientEvents[Event]>): void;

  /** The room of this name, the same each time. Throws where it cannot be a name, or 1,000 are in use. */
  room(name: string): Room;
  /**
   * Adds handlers to a room, and wishes to be in it until the function that it returns is called. The last subscription
   * that is stopped leaves the room, unless `room.join()` keeps the client in. With `join: false` there are only the
   * handlers, for a room that the server lets the client into.
   */
  subscribe(name: string, handlers?: Handlers, options?: { join?: boolean }): Off;
  /**
   * Sends to the server's handler, at most once: `false` where it cannot go out now. Throws where the value cannot be
   * sent, and a {@link NexiosError} `too_big` over the server's limit.
   */
  send(data: Data): boolean;
  /**
   * Asks the server, and gives its reply: a text or bytes, with `json` a value. Rejects with a
   * {@link NexiosError}; one that was sent is not repeated after a reconnect.
   */
  request(method: string, data?: Data, options?: CallOptions): Promise<any>;

  /** Cuts the connection as a pulled cable does; with `away` the client comes back by `reconnect()` only. */
  drop(options?: { away?: boolean }): void;
  /** Makes the next attempt now; the way back of a client that is parked. */
  reconnect(): void;
  /** Ends the client: 1000, or a code from 3000 to 4999. */
  close(code?: number, reason?: string): void;
}

export interface Room {
  readonly name: string;
  /** Whether the connection is in it now. */
  readonly joined: boolean;
  /** How far the client has received, in rooms that remember. */
  readonly position: string | undefined;

  on<Event extends keyof RoomEvents>(event: Event, listener: Listener<RoomEvents[Event]>): Off;
  off<Event extends keyof RoomEvents>(event: Event, listener: Listener<RoomEvents[Event]>): void;

  /**
   * Asks to be let in, now and after each reconnect, until `leave()`. Not needed where the server lets the
   * connection in by itself. In a room that remembers, `since` says where to begin: a position that the server
   * has given, or `"start"`, where the application permits it. Rejects with a {@link NexiosError}.
   */
  join(options?: { since?: string } & CallOptions): Promise<void>;
  /** Takes the joins back; subscriptions stay. */
  leave(options?: CallOptions): Promise<void>;
  /**
   * Sends a message to the room. What has no answer when the connection ends is sent again; rooms that
   * remember store a `key` once. Rejects with a {@link NexiosError}.
   */
  publish(data: Data, options?: { key?: string; signal?: AbortSignal }): Promise<Published>;
  /** Who is in the room. From then on `presence` tells of changes. */
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
  /** In rooms that remember. */
  position?: string;
  /** A message with this key was stored before, perhaps by an attempt whose answer was lost. */
  duplicate: boolean;
}

/** Why an answer did not come, or was none. */
export class NexiosError extends Error {
  constructor(code: ErrorCode, message: string, details?: { key?: string; maybeStored?: boolean });
  readonly code: ErrorCode;
  /** Of a publish: with the same key a retry is stored once, in rooms that remember. */
  readonly key?: string;
  /** Whether the server may have done it all the same: it was sent, and no answer says that it was refused. */
  readonly maybeStored: boolean;
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
  | "expired" // five minutes after a publish the server may have forgotten its key
  | "rejected" // the server closed the connection because of what it had received
  | "too_big" // over the server's limit
  | (string & {});
