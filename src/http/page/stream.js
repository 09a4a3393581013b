// The connection: an EventSource that comes back by itself, and by hand where it would not.

import { admitted } from "./sign_in.js";

const STREAM = "/api/events/stream";
const RECENT = "/api/events?limit=200";
const AGAIN_AFTER = 5000;

// Calls `on.state` with connecting, live, reconnecting or stopped, `on.event` with each event in
// order, and `on.gap` where the stream says that events are missing.
export function connect(on) {
  let lastId = "";
  let live = null; // Events that arrived while the recent ones are being fetched; null afterwards.

  const deliver = (event) => (live ? live.push(event) : on.event(event));

  async function fillOnce() {
    live = [];
    let recent = [];
    try {
      const answer = await fetch(RECENT, { signal: AbortSignal.timeout(AGAIN_AFTER) });
      if (answer.ok) recent = (await answer.json()).events.reverse();
    } catch {
      // The page works with the stream alone.
    }
    const known = new Set(recent.map((event) => event.id));
    recent.forEach(on.event);
    const waiting = live.filter((event) => !known.has(event.id));
    live = null;
    waiting.forEach(on.event);
  }

  async function open() {
    let url = lastId ? `${STREAM}?last_event_id=${encodeURIComponent(lastId)}` : STREAM;
    try {
      url = await admitted(url);
    } catch {
      // The bridge is away: the stream finds out by itself.
    }
    const source = new EventSource(url);
    on.state(lastId ? "reconnecting" : "connecting");
    source.onmessage = (message) => {
      const first = !lastId;
      lastId = message.lastEventId;
      const event = JSON.parse(message.data);
      if (event.type !== "connected" || event.id) return deliver(event);
      on.state("live");
      if (first) fillOnce();
    };
    source.addEventListener("gap", (message) => {
      lastId = message.lastEventId;
      on.gap(JSON.parse(message.data));
    });
    // The credentials are over: with others, or a new ticket, it goes on here.
    source.addEventListener("end", (message) => {
      lastId = message.lastEventId;
      source.close();
      on.state("reconnecting");
      open();
    });
    source.onerror = () => {
      if (source.readyState !== EventSource.CLOSED) return on.state("reconnecting");
      on.state("stopped");
      setTimeout(open, AGAIN_AFTER);
    };
  }

  open();
}
