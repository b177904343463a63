import { byteLength, isBytes, tagOf } from "./bytes.js";

const JSON_OBJECTS = ["Object", "Boolean", "Number", "String"];
const KEY_MAX = 128;

/** Returns the payload of a value: a text or bytes. Throws if it would arrive as another value. */
export function encode(data, { json, bigint }) {
  if (isBytes(data)) return data;
  if (typeof data === "string" && !json) return wellFormed("message", data);
  return data === undefined ? "" : JSON.stringify(data, jsonOf(bigint)) ?? "";
}

export const decode = (payload, { json }) => (json && typeof payload === "string" && payload ? JSON.parse(payload) : payload);

/** Returns the text; throws if it is not a valid one. */
export function text(what, value) {
  if (typeof value !== "string") throw new TypeError(`invalid ${what} ${shown(value)}: must be a text`);
  return wellFormed(what, value);
}

export function keyOf(key = newKey()) {
  const size = byteLength(text("key", key));
  if (size > KEY_MAX) throw new RangeError(`invalid key ${shown(key)}: has ${size} bytes, at most ${KEY_MAX} are allowed`);
  return key;
}

export function shown(value) {
  if (typeof value === "string") return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  return typeof value === "object" && value ? tagOf(value) : `${typeof value === "bigint" ? `${value}n` : String(value)}`;
}

function wellFormed(what, value) {
  if (/\p{Surrogate}/u.test(value)) throw new TypeError(`invalid ${what} ${shown(value)}: holds half of a surrogate pair`);
  return value;
}

/** Returns a replacer for `JSON.stringify` that refuses values which JSON would change or leave out. */
function jsonOf(bigint) {
  return function (name, value) {
    const type = typeof value;
    wellFormed("message", name);
    if (type === "string") return wellFormed("message", value);
    if (type === "bigint" && bigint === "string") return `${value}`;
    const isObject = type === "object" && value && !Array.isArray(value);
    const isWrong =
      ["bigint", "function", "symbol"].includes(type) ||
      (type === "number" && !Number.isFinite(value)) ||
      (isObject && !JSON_OBJECTS.includes(tagOf(value))) ||
      isBytes(this[name]) || // a Buffer has a `toJSON`
      (value === null && tagOf(this[name]) === "Date");
    if (isWrong) throw new TypeError(`invalid message: ${kindOf(type, value, this[name])} has no form as JSON`);
    return value;
  };
}

function kindOf(type, value, given) {
  if (type === "object") return value ? `a ${tagOf(value)}` : `an invalid ${tagOf(given)}`;
  return type === "number" ? `${value}` : type === "bigint" ? `the BigInt ${value} (see the option bigint)` : `a ${type}`;
}

function newKey() {
  // Node.js 18 has no `crypto` here; a key has to be unique, not secret.
  const chance = () => Math.random() * 2 ** 32;
  const numbers = globalThis.crypto?.getRandomValues(new Uint32Array(4)) ?? Array.from("1234", chance);
  return Array.from(numbers, (number) => Math.floor(number).toString(36)).join("-");
}
