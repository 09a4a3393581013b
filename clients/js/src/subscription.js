// A stream over one connection after the other. It is pulled: a message is asked for when the last was taken, and the id
// of what was handed over is where the next connection goes on. So nothing is lost or repeated, whatever is cut when.

import { Backoff, pause } from "./backoff.js";
import { ProblemError } from "./problem.js";
import { openSse } from "./sse.js";
import { onWake } from "./wake.js";
import { openWebSocket } from "./websocket.js";

/** @import * as api from "../index.js" */
/** @import { Credentials } from "./credentials.js" */

/**
 * What there is to connect with.
 * @typedef {object} Environment
 * @property {URL} base
 * @property {Credentials} credentials
 * @property {typeof globalThis.fetch} fetch
 * @property {(new (url: string) => api.WebSocketLike) | undefined} WebSocket
 *
 * What a connection is to bring.
 * @typedef {object} Request
 * @property {api.Filters} filters
 * @property {api.Mode} [mode]
 * @property {number} [rate]
 * @property {boolean} [snapshot]
 * @property {string} [after]
 * @property {string} [until]
 * @property {number} window
 * @property {number} silence milliseconds
 * @property {(milliseconds: number) => void} setRetry
 *
 * @typedef {object} Connection
 * @property {AsyncIterable<StreamMessage>} messages ends or throws where it is cut
 * @property {(filters: api.Filters, snapshot: boolean) => void} [setFilters] where that needs no new one
 * @property {() => void} look finds out whether it is dead
 * @property {() => void} close
 *
 * @typedef {{ type: string, id?: string, event?: api.SynapEvent, reason?: string } & Record<string, unknown>} StreamMessage
 */

const OPEN = { sse: openSse, websocket: openWebSocket };
const WINDOW = 200;
const SILENCE = 50_000; // Two and a half heartbeats of the bridge as it comes.

/** @implements {api.Subscription} */
export class Subscription {
  #environment;
  #options;
  #filters;
  #snapshot;
  #backoff;
  /** @type {string | undefined} */
  #lastId;
  /** @type {api.Transport} */
  #transport;
  /** @type {api.State} */
  #state = "connecting";
  #over = new AbortController();
  #wake = new AbortController();
  /** @type {AbortController | null} */
  #cut = null;
  /** @type {Connection | null} */
  #connection = null;
  #events;
  #isAnotherToken = false;
  /** @type {() => void} */
  #resolve = () => {};
  /** @type {(error: unknown) => void} */
  #reject = () => {};

  /**
   * @param {Environment} environment
   * @param {api.SubscribeOptions} options
   */
  constructor(environment, options) {
    this.#environment = environment;
    this.#options = options;
    this.#filters = { topics: options.topics, types: options.types, devices: options.devices };
    this.#snapshot = options.snapshot;
    this.#lastId = options.after;
    this.#transport = options.transport ?? "sse";
    this.#backoff = new Backoff(options.backoff);
    /** @type {Promise<void>} */
    this.closed = new Promise((resolve, reject) => ([this.#resolve, this.#reject] = [resolve, reject]));
    // Who iterates is told there.
    this.closed.catch(() => {});
    options.signal?.addEventListener("abort", () => this.close(), { once: true, signal: this.#over.signal });
    if (options.signal?.aborted) this.close();
    onWake(() => this.#awake(), this.#over.signal);
    this.#events = this.#run();
    if (options.onEvent) void this.#pump(options.onEvent);
  }

  get lastEventId() {
    return this.#lastId;
  }

  get state() {
    return this.#state;
  }

  get transport() {
    return this.#transport;
  }

  [Symbol.asyncIterator]() {
    return this.#events;
  }

  /**
   * @param {api.Filters} filters
   * @param {{ snapshot?: boolean }} [options]
   */
  setFilters({ topics, types, devices }, { snapshot = false } = {}) {
    this.#filters = { topics, types, devices };
    if (snapshot) [this.#snapshot, this.#lastId] = [true, undefined];
    if (this.#connection?.setFilters) this.#connection.setFilters(this.#filters, snapshot);
    else this.#reconnect();
  }

  /** @param {api.Transport} transport */
  setTransport(transport) {
    if (transport === this.#transport) return;
    this.#transport = transport;
    this.#reconnect();
  }

  close() {
    this.#over.abort();
    this.#cut?.abort();
    this.#wake.abort();
    void this.#events?.return();
    this.#finish();
  }

  #finish() {
    this.#setState("closed");
    this.#resolve();
  }

  /** Another connection at once, by what is wanted now. */
  #reconnect() {
    this.#cut?.abort();
    this.#wake.abort();
  }

  #awake() {
    this.#connection?.look();
    this.#wake.abort();
  }

  /**
   * @param {api.State} state
   * @param {Error} [cause]
   */
  #setState(state, cause) {
    if (state === this.#state && state !== "waiting") return;
    this.#state = state;
    this.#options.onState?.(state, cause);
  }

  /** @param {NonNullable<api.SubscribeOptions["onEvent"]>} onEvent */
  async #pump(onEvent) {
    try {
      for await (const event of this.#events) await onEvent(event, this.#lastId);
    } catch {
      // `closed` tells.
    }
  }

  /** @returns {AsyncGenerator<api.SynapEvent, void, undefined>} */
  async *#run() {
    try {
      while (!this.#over.signal.aborted) {
        this.#setState("connecting");
        const cut = (this.#cut = new AbortController());
        try {
          if (yield* this.#connected(cut.signal)) return this.#over.abort();
          if (!cut.signal.aborted) await this.#wait(new Error("the bridge has ended the connection"));
        } catch (error) {
          if (cut.signal.aborted) continue;
          await this.#wait(this.#judge(error));
        } finally {
          this.#connection?.close();
          this.#connection = null;
        }
      }
    } catch (error) {
      this.#reject(error);
      this.#over.abort();
      throw error;
    } finally {
      // Also where the iteration is left.
      this.#over.abort();
      this.#finish();
    }
  }

  /**
   * Hands over the events of one connection. Returns whether that is all.
   * @param {AbortSignal} signal
   * @returns {AsyncGenerator<api.SynapEvent, boolean, undefined>}
   */
  async *#connected(signal) {
    const connection = await OPEN[this.#transport](this.#environment, this.#request(), signal);
    this.#connection = connection;
    for await (const message of connection.messages) {
      if (signal.aborted) return false;
      if (message.type === "error") throw new ProblemError(Number(Object(message.problem).status), Object(message.problem));
      if (message.type === "end") return message.reason === "complete";
      this.#note(message);
      if (message.event) yield message.event;
      // While it was worked on, all of it may have changed.
      if (signal.aborted) return false;
    }
    return false;
  }

  /** @returns {Request} */
  #request() {
    const { mode, rate, until, window = WINDOW, silence = SILENCE } = this.#options;
    const [filters, after] = [this.#filters, this.#lastId];
    return { filters, mode, rate, until, window, silence, after, snapshot: after ? undefined : this.#snapshot, setRetry: (retry) => this.#setRetry(retry) };
  }

  /** @param {number} retry */
  #setRetry(retry) {
    if (!this.#options.backoff) this.#backoff.setBase(retry);
  }

  /** @param {StreamMessage} message */
  #note(message) {
    const { onGap, onReset = onGap, onSnapshot } = this.#options;
    this.#backoff.succeeded();
    this.#isAnotherToken = false;
    this.#setState("open");
    if (message.id) this.#lastId = message.id;
    const { type, id: _, ...rest } = message;
    if (type === "gap") (rest.reset ? onReset : onGap)?.(/** @type {api.Gap} */ (rest));
    else if (type === "snapshot") onSnapshot?.(/** @type {api.Snapshot} */ (rest));
  }

  /**
   * Throws what another attempt would not change.
   * @param {unknown} error
   */
  #judge(error) {
    if (!(error instanceof ProblemError) || error.isTransient) return error instanceof Error ? error : new Error(String(error));
    if (error.status !== 401 || this.#isAnotherToken || !this.#environment.credentials.refused()) throw error;
    this.#isAnotherToken = true;
    return error;
  }

  /** @param {Error} cause */
  async #wait(cause) {
    this.#wake = new AbortController();
    this.#setState("waiting", cause);
    const atLeast = cause instanceof ProblemError ? cause.retryAfter : 0;
    await pause(this.#backoff.next(atLeast), this.#wake.signal, this.#over.signal);
  }
}
