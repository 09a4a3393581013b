// A connection on which nothing is heard, not even a heartbeat, is dead. The clock of the day decides and not a timer,
// which stands still while a machine sleeps.

const LOOK_EVERY = 2000;

/** Why it was given up. */
export class SilenceError extends Error {
  /** @param {number} milliseconds */
  constructor(milliseconds) {
    super(`nothing was heard for ${Math.round(milliseconds / 1000)} s`);
    this.name = "SilenceError";
  }
}

export class Silence {
  #heard = Date.now();
  #longest;
  #given;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #timer;

  /**
   * @param {number} longest milliseconds
   * @param {(error: Error) => void} given called when it has been too long
   */
  constructor(longest, given) {
    this.#longest = longest;
    this.#given = given;
  }

  heard() {
    this.#heard = Date.now();
  }

  /** Begins to listen: nobody is silent whom one does not listen to. */
  start() {
    this.heard();
    this.#timer ??= setInterval(() => this.look(), Math.min(LOOK_EVERY, this.#longest / 4));
  }

  stop() {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  look() {
    const silence = Date.now() - this.#heard;
    if (this.#timer !== undefined && silence > this.#longest) this.#given(new SilenceError(silence));
  }
}
