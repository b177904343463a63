/** A clock that a scenario moves; it stands in for `setTimeout`, `clearTimeout` and `Date.now`. */
export class Clock {
  now = 0;
  #timers = new Map();
  #lastId = 0;
  #real = { setTimeout, clearTimeout, now: Date.now };

  install() {
    globalThis.setTimeout = (callback, delay = 0, ...values) => {
      this.#timers.set(++this.#lastId, { at: this.now + Math.max(0, delay), run: () => callback(...values) });
      return this.#lastId;
    };
    globalThis.clearTimeout = (id) => void this.#timers.delete(id);
    Date.now = () => this.now;
  }

  remove() {
    const { now, ...timers } = this.#real;
    Object.assign(globalThis, timers);
    Date.now = now;
  }

  /** Moves to a time, timer by timer, and stops early as soon as `isDone`. */
  async moveTo(end, isDone = () => false) {
    await settled();
    while (!isDone()) {
      const next = this.#next(end);
      if (!next) return void (this.now = end);
      const [id, { at, run }] = next;
      this.#timers.delete(id);
      this.now = Math.max(this.now, at);
      run();
      await settled();
    }
  }

  #next(end) {
    const due = [...this.#timers].filter(([, { at }]) => at <= end);
    return due.sort(([a, { at: one }], [b, { at: other }]) => one - other || a - b)[0];
  }
}

/** Everything that is due without a timer has run. */
async function settled() {
  for (let round = 0; round < 3; round++) await new Promise((resolve) => setImmediate(resolve));
}
