// One connection of JSON messages over WebSocket. A socket cannot be read slowly, so the bridge is told of what has been
// taken, and lets only so many events come ahead of that.

import { refusal, ProblemError } from "./problem.js";
import { Silence } from "./silence.js";

/** @import { Filters, WebSocketLike } from "../index.js" */
/** @import { Connection, Environment, Request, StreamMessage } from "./subscription.js" */

/**
 * @param {Environment} environment
 * @param {Request} request
 * @param {AbortSignal} signal ends it
 * @returns {Promise<Connection>}
 */
export async function openWebSocket(environment, request, signal) {
  if (request.until) throw new ProblemError(400, { detail: "a replay with `until` is for the transport sse" });
  if (!environment.WebSocket) {
    throw new ProblemError(400, { detail: "there is no WebSocket here: give one as an option, or use the transport sse" });
  }
  const url = await address(environment, signal);
  signal.throwIfAborted();
  return new Socket(new environment.WebSocket(url.href), request, signal);
}

/**
 * A handshake cannot show credentials in a browser, so they are exchanged for a ticket, which can.
 * @param {Environment} environment
 * @param {AbortSignal} signal
 */
async function address({ base, credentials, fetch }, signal) {
  const url = new URL("api/events/ws", base);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  if (credentials.areGiven) {
    const headers = await credentials.headers();
    const answer = await fetch(new URL("api/events/ticket", base), { method: "POST", headers, cache: "no-store", signal });
    if (!answer.ok) throw await refusal(answer);
    url.searchParams.set("ticket", (await answer.json()).ticket);
  }
  return url;
}

/** @implements {Connection} */
class Socket {
  #socket;
  #request;
  #silence;
  #signal;
  /** @type {StreamMessage[]} */
  #arrived = [];
  /** @type {(() => void) | null} */
  #ring = null;
  /** @type {Error | null} */
  #fault = null;
  #untaken = 0; // Events that were taken, and not acknowledged.
  #reference = 0;
  /** @type {Map<number, (answer: any) => void>} */
  #answers = new Map();
  #change = Promise.resolve();
  #end = () => this.close();

  /**
   * @param {WebSocketLike} socket
   * @param {Request} request
   * @param {AbortSignal} signal
   */
  constructor(socket, request, signal) {
    this.#socket = socket;
    this.#request = request;
    this.#signal = signal;
    this.#silence = new Silence(request.silence, (error) => this.#over(error));
    this.#silence.start();
    signal.addEventListener("abort", this.#end, { once: true });
    socket.onopen = () => this.#ask("subscribe", this.#begin(request)).then((answer) => this.#refuse(answer));
    socket.onmessage = ({ data }) => this.#take(JSON.parse(data));
    socket.onerror = () => this.#over(new Error("the WebSocket has failed"));
    socket.onclose = ({ code, reason }) => this.#over(new Error(`the WebSocket was closed: ${reason || code}`));
    this.messages = this.#read();
  }

  /** @param {{ filters: Filters, mode?: string, rate?: number, snapshot?: boolean, after?: string, window: number }} request */
  #begin({ filters, mode, rate, snapshot, after, window }) {
    return { topic: filters.topics ?? [], type: filters.types ?? [], device: filters.devices ?? [], mode, rate, snapshot, after, window };
  }

  /** @param {any} message */
  #take(message) {
    this.#silence.heard();
    const answer = this.#answers.get(message.ref);
    if (answer) {
      this.#answers.delete(message.ref);
      return answer(message);
    }
    this.#arrived.push(message);
    this.#ring?.();
  }

  async *#read() {
    for (;;) {
      for (let message = this.#arrived.shift(); message; message = this.#arrived.shift()) {
        yield message;
        this.#taken(message);
      }
      if (this.#fault) throw this.#fault;
      await new Promise((resolve) => (this.#ring = () => resolve(undefined)));
    }
  }

  /** @param {StreamMessage} message */
  #taken(message) {
    if (message.type !== "event" || !message.id) return;
    this.#untaken += 1;
    if (this.#untaken * 2 < this.#request.window) return;
    this.#untaken = 0;
    // One of a stream that has ended meanwhile is refused, which does not matter.
    void this.#ask("acknowledge", { id: message.id });
  }

  /**
   * @param {string} op
   * @param {Record<string, unknown>} [rest]
   * @returns {Promise<any>}
   */
  #ask(op, rest) {
    const ref = (this.#reference += 1);
    if (this.#socket.readyState !== 1) return Promise.resolve({ type: "closed" });
    this.#socket.send(JSON.stringify({ op, ref, ...rest }));
    return new Promise((resolve) => this.#answers.set(ref, resolve));
  }

  /**
   * Leaves everything, and begins anew where that was: so a filter holds exactly from one position on.
   * @param {Filters} filters
   * @param {boolean} snapshot
   */
  setFilters(filters, snapshot) {
    this.#change = this.#change.then(async () => {
      const { id } = await this.#ask("unsubscribe");
      const isAnew = snapshot || !id;
      const request = { ...this.#request, filters, snapshot: isAnew && (snapshot || this.#request.snapshot), after: isAnew ? undefined : id };
      this.#untaken = 0;
      this.#refuse(await this.#ask("subscribe", this.#begin(request)));
    });
  }

  /** @param {any} answer */
  #refuse({ type, problem }) {
    if (type === "error") this.#over(new ProblemError(problem.status, problem));
  }

  look() {
    this.#silence.look();
  }

  /** @param {Error} fault */
  #over(fault) {
    if (this.#fault) return;
    this.#fault = fault;
    this.#silence.stop();
    this.#signal.removeEventListener("abort", this.#end);
    for (const answer of this.#answers.values()) answer({ type: "closed" });
    this.#answers.clear();
    // Closing one that is not open yet is an error that nobody is told of.
    this.#socket.onerror = this.#socket.onclose = this.#socket.onmessage = null;
    try {
      this.#socket.onerror = () => {};
      this.#socket.close();
    } catch {
      // It is closed.
    }
    this.#ring?.();
  }

  close() {
    this.#over(new Error("closed here"));
  }
}
