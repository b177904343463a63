/**
 * The end of a connection, `{ code, reason, cause }`, and its consequence (docs/protocol.md, "The end"). Causes:
 * `close`: the connection closed; `closing`: the server announced it; `refused`: another status than 101; `protocol`:
 * `nexios.v1` was not selected; `malformed`: a frame that cannot be read; `own`: the client gave it up.
 */
const KINDS = {
  0: "lost", 1000: "normal", 1001: "going-away", 1002: "protocol", 1003: "invalid-data", 1005: "lost", 1006: "lost",
  1007: "invalid-data", 1008: "policy", 1009: "too-big", 1011: "server-error", 1012: "restart",
  1013: "try-again-later", 1014: "bad-gateway",
};
const RETRIED = [0, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1011, 1012, 1013, 1014, 1015]; // 0 in Deno
const BLAMING = [1002, 1003, 1007, 1008, 1009]; // the server blames a message that it received
const UNAUTHORIZED = 4401;
const RETRY_AFTER_MAX = 300;

export const refused = (status, retryAfter) => ({
  code: 1006,
  reason: `the server refused the handshake with status ${status}`,
  cause: "refused",
  status,
  retryAfter: [429, 503].includes(status) && /^\d{1,9}$/.test(retryAfter) ? Math.min(retryAfter, RETRY_AFTER_MAX) * 1000 : 0,
});

export const kindOf = ({ code, cause }) =>
  cause === "refused" ? cause : KINDS[code] ?? (code >= 3000 && code < 5000 ? "application" : "unknown");

/** Returns `retry`, `park`, or `authorize`: retry with another token, if there is one. */
export function consequenceOf({ code, cause, status, closing }) {
  if (status === 401 || (code === UNAUTHORIZED && cause !== "own")) return "authorize";
  const isRetried = {
    own: true,
    malformed: true,
    protocol: false,
    closing: closing?.retry_ms !== undefined,
    refused: [408, 425, 429].includes(status) || status >= 500,
    close: RETRIED.includes(code),
  }[cause];
  return isRetried ? "retry" : "park";
}

/** Returns true if the publishes that were sent on the connection must not be sent again. */
export const isBlaming = ({ code, cause }) => cause === "close" && BLAMING.includes(code);

/** Returns the changes of the end to the delay of the backoff. */
export const delayOf = ({ code, cause, retryAfter = 0 }) => ({
  extra: cause === "close" && code === 1013 ? 10_000 : 0,
  least: retryAfter,
});
