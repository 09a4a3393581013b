// One connection of Server-Sent Events over fetch, which can show credentials and be read as slowly as one likes: what
// is not taken stays in the sockets, and the bridge does what the mode says.

import { ProblemError, refusal } from "./problem.js";
import { Silence } from "./silence.js";
import { SseParser } from "./sse-parser.js";

/** @import { Connection, Environment, Request, StreamMessage } from "./subscription.js" */

const TYPE = "text/event-stream";

/**
 * @param {Environment} environment
 * @param {Request} request
 * @param {AbortSignal} signal ends it
 * @returns {Promise<Connection>}
 */
export async function openSse(environment, request, signal) {
  const abort = new AbortController();
  const silence = new Silence(request.silence, (error) => abort.abort(error));
  const end = () => abort.abort(signal.reason);
  signal.addEventListener("abort", end, { once: true });
  const close = () => {
    silence.stop();
    signal.removeEventListener("abort", end);
    abort.abort();
  };
  silence.start();
  try {
    const headers = { Accept: TYPE, ...(await environment.credentials.headers()) };
    const answer = await environment.fetch(address(environment, request), { headers, cache: "no-store", signal: abort.signal });
    // Told to stop: there is nothing more.
    if (answer.status === 204) return { messages: none(), look: () => {}, close };
    if (answer.status !== 200) throw await refusal(answer);
    if (!answer.headers.get("Content-Type")?.startsWith(TYPE) || !answer.body) {
      throw new ProblemError(415, { detail: `the answer is ${answer.headers.get("Content-Type")}, not ${TYPE}` });
    }
    silence.stop();
    return { messages: read(answer.body, silence, request.setRetry), look: () => silence.look(), close };
  } catch (error) {
    close();
    throw abort.signal.reason?.name === "SilenceError" ? abort.signal.reason : error;
  }
}

/** @returns {AsyncGenerator<StreamMessage, void, undefined>} */
async function* none() {
  yield { type: "end", reason: "complete" };
}

/**
 * @param {ReadableStream<Uint8Array>} body
 * @param {Silence} silence
 * @param {(milliseconds: number) => void} setRetry
 * @returns {AsyncGenerator<StreamMessage, void, undefined>}
 */
async function* read(body, silence, setRetry) {
  const parser = new SseParser();
  const decoder = new TextDecoder();
  const reader = body.getReader();
  for (;;) {
    silence.start();
    const { value, done } = await reader.read();
    silence.stop();
    if (done) return;
    for (const { event, data, id } of parser.feed(decoder.decode(value, { stream: true }))) {
      yield message(event, JSON.parse(data), id || undefined);
    }
    if (parser.retry !== undefined) setRetry(parser.retry);
  }
}

/**
 * As the other transports say it.
 * @param {string} name
 * @param {any} data
 * @param {string | undefined} id
 * @returns {StreamMessage}
 */
function message(name, data, id) {
  if (name !== "message") return { ...data, type: name, id };
  // Events have an id of their own; what tells of the connection has none.
  return data.type === "connected" && !data.id ? { type: "connected", id } : { type: "event", id, event: data };
}

/**
 * @param {Environment} environment
 * @param {Request} request
 */
function address({ base }, { filters, mode, rate, snapshot, after, until }) {
  const url = new URL("api/events/stream", base);
  const all = /** @type {const} */ ([["topic", filters.topics], ["type", filters.types], ["device", filters.devices]]);
  for (const [name, values] of all) for (const value of values ?? []) url.searchParams.append(name, value);
  const rest = { mode, rate, snapshot, last_event_id: after, until };
  for (const [name, value] of Object.entries(rest)) if (value !== undefined) url.searchParams.set(name, String(value));
  return url;
}
