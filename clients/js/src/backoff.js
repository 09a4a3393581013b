// How long until the next attempt: twice as long each time, up to a bound, and shortened by chance, so that clients
// that were cut off together do not come back together.

const BASE = 1000;
const CAP = 30_000;

export class Backoff {
  #failures = 0;
  #base;
  #cap;

  /** @param {{ base?: number, cap?: number }} [options] milliseconds */
  constructor({ base = BASE, cap = CAP } = {}) {
    this.#base = base;
    this.#cap = cap;
  }

  /**
   * What the server wishes instead of our own beginning.
   * @param {number} milliseconds
   */
  setBase(milliseconds) {
    this.#base = Math.min(milliseconds, this.#cap);
  }

  succeeded() {
    this.#failures = 0;
  }

  /**
   * Counts a failure.
   * @param {number} [atLeast]
   */
  next(atLeast = 0) {
    const longest = Math.min(this.#cap, this.#base * 2 ** this.#failures);
    this.#failures = Math.min(this.#failures + 1, 30);
    return Math.max(atLeast, longest * (0.5 + Math.random() / 2));
  }
}

/**
 * Fulfilled after a time, or as soon as `wake` or `signal` is aborted.
 * @param {number} milliseconds
 * @param {...AbortSignal} signals
 * @returns {Promise<void>}
 */
export function pause(milliseconds, ...signals) {
  return new Promise((resolve) => {
    if (signals.some((signal) => signal.aborted)) return resolve();
    const end = () => {
      clearTimeout(timer);
      for (const signal of signals) signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    for (const signal of signals) signal.addEventListener("abort", end);
  });
}
