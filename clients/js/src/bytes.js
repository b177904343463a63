// A tag instead of `instanceof`: an object may come from another frame, or from the sandbox of a test.
export const tagOf = (value) => Object.prototype.toString.call(value).slice(8, -1);

export const isBytes = (data) => ArrayBuffer.isView(data) || tagOf(data) === "ArrayBuffer";

export const bytesOf = (data) =>
  ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : new Uint8Array(data);

export const byteLength = (data) => (typeof data === "string" ? new TextEncoder().encode(data).length : data.byteLength);

/** Returns by how many bytes it is longer than a limit; at most three of them make a code unit. */
export const bytesOver = (data, limit) => (data.length * 3 <= limit ? 0 : Math.max(0, byteLength(data) - limit));
