import { isDeepStrictEqual } from "node:util";

import { NONCE } from "../server.js";

const VALUES = {
  undefined: () => undefined,
  nan: () => NaN,
  infinity: () => Infinity,
  function: () => () => {},
  cycle: () => {
    const cycle = {};
    return Object.assign(cycle, { cycle });
  },
  blob: () => new Blob(["x"]),
  map: () => new Map([["a", 1]]),
  set: () => new Set([1]),
  symbol: () => Symbol("x"),
  invalid_date: () => new Date(NaN),
  lone_surrogate: () => "\ud83d",
  bigint: () => 2n ** 53n + 1n,
  date: () => new Date("2026-01-02T03:04:05.678Z"),
};

/** Replaces what stands for texts, positions and ids; `ids` maps a label to an id. Bytes stay `{ $bytes }`. */
export function expanded(value, ids = {}) {
  if (typeof value === "string") return value.replace(/\$pos:(\d+)/g, `a1-$1-${NONCE}`);
  if (Array.isArray(value)) return value.map((each) => expanded(each, ids));
  if (typeof value !== "object" || !value) return value;
  if ("$text" in value) return value.$text.repeat(value.repeat ?? 1);
  if ("$id" in value) return ids[value.$id] ?? fail(`no frame was expected as ${value.$id}`);
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [expanded(name), expanded(each, ids)]));
}

/** Makes the values that a call gets, and the payloads that a server sends. */
export function made(value) {
  if (Array.isArray(value)) return value.map(made);
  if (typeof value !== "object" || !value) return value;
  if ("$bytes" in value) return Buffer.from(value.$bytes, "hex");
  if ("$value" in value) return (VALUES[value.$value] ?? (() => fail(`no value ${value.$value}`)))();
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, made(each)]));
}

/** Returns true if a value is what a pattern describes. */
export function matches(pattern, value) {
  if (typeof pattern !== "object" || !pattern) return isDeepStrictEqual(pattern, value);
  if (pattern.$any) return true;
  if (pattern.$absent) return value === undefined;
  if ("$matches" in pattern) return typeof value === "string" && new RegExp(pattern.$matches, "u").test(value);
  if (Array.isArray(pattern)) {
    return Array.isArray(value) && value.length === pattern.length && pattern.every((each, at) => matches(each, value[at]));
  }
  if (typeof value !== "object" || !value) return false;
  const seen = asBytes(value);
  return Object.entries(pattern).every(([name, each]) => matches(each, seen[name]));
}

/** Bytes as a scenario writes them. */
export function asBytes(value) {
  const isBytes = value instanceof ArrayBuffer || ArrayBuffer.isView(value);
  return isBytes ? { $bytes: Buffer.from(value.buffer ?? value, value.byteOffset, value.byteLength).toString("hex") } : value;
}

export function fail(message) {
  throw new Error(message);
}
