const QUEUE_MAX = 1000;
const BYTES_MAX = 16 << 20;

/** The queue of a room's events, which are handled one after another. */
export class Line {
  isBehind = false;
  #queue = [];
  #bytes = 0;
  #isRunning = false;
  #owner;

  /** Takes an owner with `handle`, `isEnded`, `fallBehind` and `caughtUp`. */
  constructor(owner) {
    this.#owner = owner;
  }

  get isEmpty() {
    return !this.#queue.length && !this.#isRunning;
  }

  /** Queues an event; returns false if there is no space: the event comes again in a room with history, or is a gap. */
  push(item, hasHistory) {
    const { event, values, size = 0 } = item;
    const isFull = this.#queue.length >= QUEUE_MAX || this.#bytes > BYTES_MAX;
    if (isFull && !hasHistory && (event === "message" || event === "gap")) {
      this.#miss(event === "gap" ? values[0].missed : 1);
      return false;
    }
    if (isFull) {
      this.fallBehind();
      return false;
    }
    this.#queue.push({ size, ...item });
    this.#bytes += size;
    this.#run();
    return true;
  }

  fallBehind() {
    this.isBehind = this.#isRunning;
    this.#owner.fallBehind();
  }

  #miss(count) {
    const last = this.#queue.at(-1);
    const missed = last.event === "gap" ? last.values[0].missed + count : count;
    if (last.event !== "gap") this.#queue.push({ event: "gap", size: 0 });
    this.#queue.at(-1).values = [{ missed: missed >= 0 ? missed : undefined }]; // the number is not always known
  }

  async #run() {
    if (this.#isRunning) return;
    this.#isRunning = true;
    for (let item; !this.#owner.isEnded() && (item = this.#queue.shift()); ) {
      this.#bytes -= item.size;
      const handled = this.#owner.handle(item);
      if (typeof handled !== "boolean") await handled;
    }
    this.#isRunning = this.isBehind = false;
    this.#owner.caughtUp();
  }
}
