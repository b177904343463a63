import { bytesOf } from "./bytes.js";
import { Malformed } from "./errors.js";

const MARK = "\x1e";
export const HEADER_MAX = 4096;
export const LONG_HEADER_MAX = 131072; // of a hello, and of the frames of a server

export const isMarked = (payload) =>
  typeof payload === "string" ? payload.startsWith(MARK) : bytesOf(payload)[0] === 0x1e;

/** Returns a frame of a header and a payload; an empty header escapes an application's message. */
export function frame(header, payload = "") {
  const head = `${MARK}${header && JSON.stringify(header)}\n`;
  if (typeof payload === "string") return head + payload;
  const start = new TextEncoder().encode(head);
  const whole = new Uint8Array(start.length + payload.byteLength);
  whole.set(start);
  whole.set(bytesOf(payload), start.length);
  return whole;
}

/** Parses a message; without a header it is the application's. */
export function parse(data) {
  if (!isMarked(data)) return { payload: data };
  const isText = typeof data === "string";
  const end = isText ? data.indexOf("\n") : bytesOf(data).indexOf(0x0a);
  if (end < 0 || end > LONG_HEADER_MAX + 1) throw new Malformed("a header has no end");
  const payload = data.slice(end + 1);
  if (end === 1) return { payload };
  let header;
  try {
    const head = isText ? data.slice(1, end) : new TextDecoder("utf-8", { fatal: true }).decode(data.slice(1, end));
    header = JSON.parse(head);
  } catch {
    // Reported below.
  }
  if (typeof header !== "object" || !header || Array.isArray(header)) throw new Malformed("a header is not a JSON object");
  return { header, payload };
}
