// The bridge as a program sees it: streams, publishing, commands.

import { Backoff, pause } from "./backoff.js";
import { Credentials } from "./credentials.js";
import { ProblemError, refusal } from "./problem.js";
import { Subscription } from "./subscription.js";

/** @import * as api from "../index.js" */

const ATTEMPTS = 4;
const IN_PROGRESS = 409; // The same request is under way: its answer is there in a moment.

/** @implements {api.MqttStream} */
export class MqttStream {
  #environment;

  /**
   * @param {string | URL} url
   * @param {api.ClientOptions} [options]
   */
  constructor(url, { token, fetch, WebSocket = /** @type {any} */ (globalThis).WebSocket } = {}) {
    const base = new URL(url);
    // So that a path in front of the bridge's own is kept.
    if (!base.pathname.endsWith("/")) base.pathname += "/";
    [base.search, base.hash] = ["", ""];
    const call = fetch ?? ((...parameters) => globalThis.fetch(...parameters));
    this.#environment = { base, credentials: new Credentials(token), fetch: call, WebSocket };
  }

  /** @param {api.SubscribeOptions} [options] */
  subscribe(options = {}) {
    return new Subscription(this.#environment, options);
  }

  /**
   * @param {api.Publication} publication
   * @param {api.RequestOptions} [options]
   * @returns {Promise<api.Published>}
   */
  publish(publication, options) {
    return this.#post("api/publish", publication, options);
  }

  /**
   * @param {string} device
   * @param {api.CommandRequest} command
   * @param {api.RequestOptions} [options]
   * @returns {Promise<api.Command>}
   */
  command(device, command, options) {
    return this.#post(commandsOf(device), command, options);
  }

  /**
   * @param {string} device
   * @param {string} id
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<api.Command>}
   */
  commandById(device, id, options) {
    return this.#ask(`${commandsOf(device)}/${encodeURIComponent(id)}`, { signal: options?.signal });
  }

  /**
   * @param {string} device
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<api.Command[]>}
   */
  async commands(device, options) {
    return (await this.#ask(commandsOf(device), { signal: options?.signal })).commands;
  }

  /**
   * The same request may be sent again, since its key says that it is the same.
   * @param {string} path
   * @param {unknown} body
   * @param {api.RequestOptions} [options]
   */
  async #post(path, body, { idempotencyKey = randomKey(), attempts = ATTEMPTS, signal } = {}) {
    const headers = { "Content-Type": "application/json", "Idempotency-Key": idempotencyKey };
    const backoff = new Backoff({ base: 500, cap: 5000 });
    const text = JSON.stringify(body);
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#ask(path, { method: "POST", headers, body: text, signal });
      } catch (error) {
        signal?.throwIfAborted();
        if (attempt >= attempts || !isWorthAnother(error)) throw error;
        await pause(backoff.next(error instanceof ProblemError ? error.retryAfter : 0), ...(signal ? [signal] : []));
      }
    }
  }

  /**
   * @param {string} path
   * @param {RequestInit} request
   * @returns {Promise<any>}
   */
  async #ask(path, request, isAgain = false) {
    const { base, credentials, fetch } = this.#environment;
    const headers = { ...request.headers, ...(await credentials.headers()) };
    const answer = await fetch(new URL(path, base), { ...request, headers, cache: "no-store" });
    if (answer.ok) return answer.json();
    const error = await refusal(answer);
    if (answer.status === 401 && !isAgain && credentials.refused()) return this.#ask(path, request, true);
    throw error;
  }
}

/** @param {string} device */
function commandsOf(device) {
  return `api/devices/${encodeURIComponent(device)}/commands`;
}

/**
 * A device that has not answered has got its command; asking again would only wait longer.
 * @param {unknown} error
 */
function isWorthAnother(error) {
  if (!(error instanceof ProblemError)) return error instanceof TypeError;
  return error.status === IN_PROGRESS || (error.isTransient && error.commandId === undefined);
}

/** Pages without TLS have no `randomUUID`. */
function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
