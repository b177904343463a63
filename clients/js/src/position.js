import { Malformed } from "./errors.js";

/** Parses the text of a position. */
export function positionOf(text) {
  const [, epoch, offset, nonce] = /^([\da-f]{1,16})-(\d{1,16})-([\da-f]{32})$/i.exec(text) ?? [];
  return positionAt(epoch, Number(offset), nonce);
}

export function positionAt(epoch, offset, nonce) {
  if (!(Number.isSafeInteger(offset) && offset >= 0 && /^[\da-f]{32}$/i.test(nonce)))
    throw new Malformed("a position is EPOCH-OFFSET-NONCE");
  return { epoch, offset, text: `${epoch}-${offset}-${nonce}` };
}
