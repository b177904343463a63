import { Malformed } from "./errors.js";

const isText = (value) => typeof value === "string";
const isNumber = (value) => Number.isSafeInteger(value) && value >= 0;
const orNothing = (check) => (value) => value === undefined || value === null || check(value);
const isLimits = (value) => typeof value === "object" && ["message_bytes", "unanswered", "rooms"].every((name) => orNothing(isNumber)(value[name]));

/** The members that the frames of a server have (docs/protocol.md). */
const SHAPES = {
  welcome: { id: isText, limits: orNothing(isLimits) },
  joined: { room: isText },
  left: { room: isText },
  message: { room: isText },
  reset: { room: isText },
  gap: { room: orNothing(isText), missed: orNothing(isNumber), offset: orNothing(isNumber) },
  ack: { id: isNumber },
  reply: { id: isNumber },
  error: { id: isNumber, code: isText, message: isText },
  presence: { room: isText, event: isText, user: isText },
  closing: { code: isNumber, reason: orNothing(isText) },
};

/** Throws if a header lacks a member of its type; returns false if the type is unknown. */
export function isShaped(header) {
  const { type } = header;
  if (!isText(type)) throw new Malformed("a header has no type");
  if (!Object.hasOwn(SHAPES, type)) return false;
  for (const [name, check] of Object.entries(SHAPES[type]))
    if (!check(header[name])) throw new Malformed(`a frame of the type ${type} has no proper ${name}`);
  return true;
}
