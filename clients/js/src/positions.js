import { positionOf } from "./position.js";

const ROOMS_MAX = 1000;
const SLOTS_MAX = 100; // tabs of one browser

/** The positions of the client, and the storage that outlives it. Positions that moved last are at the end. */
export class Positions {
  #positions = new Map();
  #storage;
  #key;
  #slot; // the key of this tab
  #isNeeded = true;
  #release = () => {};
  #failed;

  constructor({ storage, storageKey }, failed) {
    this.#storage = storage;
    this.#key = this.#slot = storageKey;
    this.#failed = failed;
    if (!this.#isShared()) this.#positions = this.#stored();
  }

  get(room) {
    return this.#positions.get(room);
  }

  [Symbol.iterator]() {
    return this.#positions[Symbol.iterator]();
  }

  keep(room, position) {
    this.#positions.delete(room);
    this.#positions.set(room, position);
    if (this.#positions.size > ROOMS_MAX) this.#positions.delete(this.#positions.keys().next().value);
    this.#save();
  }

  forget(room) {
    if (this.#positions.delete(room)) this.#save();
  }

  /** Takes a key in a storage that tabs share; returns a promise, or nothing if tabs do not share it. */
  acquire() {
    this.#isNeeded = true;
    return this.#isShared() ? this.#lock(1).catch(() => this.#use(this.#key)) : undefined;
  }

  release() {
    this.#isNeeded = false;
    this.#release();
  }

  #isShared() {
    const { navigator } = globalThis;
    if (!this.#storage || !navigator?.locks) return false;
    try {
      return this.#storage === globalThis.localStorage;
    } catch {
      return false; // a page may have none
    }
  }

  /** Takes the first free key; the browser frees it when the tab ends. */
  async #lock(number) {
    const key = number === 1 ? this.#key : `${this.#key}:${number}`;
    const isMine = await new Promise((resolve, reject) => {
      const hold = (lock) => {
        resolve(Boolean(lock));
        return lock && this.#isNeeded ? new Promise((release) => (this.#release = release)) : undefined;
      };
      globalThis.navigator.locks.request(key, { ifAvailable: true }, hold).catch(reject);
    });
    if (isMine || number === SLOTS_MAX) this.#use(key);
    else await this.#lock(number + 1);
  }

  #use(slot) {
    this.#slot = slot;
    if (this.#positions.size) this.#save();
    else this.#positions = this.#stored();
  }

  #save() {
    try {
      this.#storage?.setItem(this.#slot, JSON.stringify([...this.#positions]));
    } catch (error) {
      this.#failed(error);
    }
  }

  #stored() {
    try {
      const stored = JSON.parse(this.#storage?.getItem(this.#slot) ?? "[]");
      return new Map(stored.filter(isPlace).slice(-ROOMS_MAX));
    } catch {
      return new Map(); // an unreadable value counts as missing
    }
  }
}

function isPlace([room, position]) {
  try {
    return typeof room === "string" && Boolean(positionOf(position));
  } catch {
    return false;
  }
}
