import { byteLength } from "./bytes.js";
import { LONG_HEADER_MAX, frame } from "./frame.js";

const ROOMS_MAX = 1000;

/** Returns the first frame: the positions that moved last, as many as fit into the header and the server's limits. */
export function hello(positions, user_agent, { bytesMax, roomsMax }) {
  const rooms = {};
  let left = Math.min(LONG_HEADER_MAX, bytesMax - 2) - byteLength(JSON.stringify({ type: "hello", user_agent, rooms }));
  for (const [room, position] of [...positions].reverse().slice(0, Math.min(ROOMS_MAX, roomsMax))) {
    left -= byteLength(JSON.stringify({ [room]: position }));
    if (left < 0) break;
    Object.defineProperty(rooms, room, { value: position, enumerable: true }); // `__proto__` is a name too
  }
  return frame({ type: "hello", user_agent, rooms });
}
