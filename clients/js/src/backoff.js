const LIMIT_MS = 30_000;
const RETRY_MS = [500, 1500]; // until a server has named another window

const between = (min, max) => min + Math.random() * (max - min);

/** The delays before attempts: within a window at first, then in the upper half of a limit that doubles. */
export class Backoff {
  attempt = 0; // attempts that failed, and connections that did not hold
  #window = RETRY_MS;

  welcomed(retry_ms) {
    this.#window = windowOf(retry_ms) ?? RETRY_MS;
  }

  closing(retry_ms) {
    this.#window = windowOf(retry_ms) ?? this.#window;
  }

  reset() {
    this.attempt = 0;
  }

  /** Returns the time until the next attempt, and counts it. */
  next({ isFirst = !this.attempt, extra = 0, least = 0 } = {}) {
    const [min, max] = this.#window;
    const limit = Math.min(LIMIT_MS, Math.max(max, RETRY_MS[0]) * 2 ** this.attempt);
    const delay = between(min, max);
    this.attempt++;
    return Math.max(least, extra + (isFirst ? delay : Math.max(delay, between(limit / 2, limit))));
  }
}

function windowOf(window) {
  const [min, max] = Array.isArray(window) && window.length === 2 ? window : [];
  return min >= 0 && max >= min && max < 2 ** 31 ? [min, max] : undefined;
}
