/** The failure of a call: `code` is the server's, or one of the client's own. */
export class NexiosError extends Error {
  name = "NexiosError";

  constructor(code, message, { key, maybeStored = false } = {}) {
    super(message);
    Object.assign(this, { code, ...(key !== undefined && { key }), maybeStored });
  }
}

/** The server sent a frame that is not valid in `nexios.v1`. */
export class Malformed extends Error {}

export const closedError = () => new NexiosError("closed", "the client is closed");

/** Keeps a call that nobody awaits from ending a Node.js process. */
export function quiet(promise) {
  promise.catch(() => {});
  return promise;
}
