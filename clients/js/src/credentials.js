// What a request shows: a fixed token, or one from a function that is asked again when one was refused.

/** @import { Token } from "../index.js" */

export class Credentials {
  #token;
  #isRefused = false;

  /** @param {Token} [token] */
  constructor(token) {
    this.#token = token;
  }

  get areGiven() {
    return this.#token !== undefined;
  }

  /**
   * The headers of a request.
   * @returns {Promise<Record<string, string>>}
   */
  async headers() {
    const token = typeof this.#token === "function" ? await this.#token(this.#isRefused) : this.#token;
    this.#isRefused = false;
    return token ? { Authorization: `Bearer ${token}` } : {};
  }

  /** Notes that they were refused. Returns whether there may be others. */
  refused() {
    this.#isRefused = true;
    return typeof this.#token === "function";
  }
}
