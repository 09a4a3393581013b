// Events for a part of the page: the newest that are stored, then the stream, without a hole between and without doubles.

import { ask, bridge } from "./api.js";

const RECENT = 200;
const TURN = 30; // Milliseconds of events after which the page is drawn.

// Calls `on.event` with each event in order, `on.state` with connecting, open, waiting or closed, and `on.gap` where
// events are missing. Returns what ends it. A page shows the present, so the bridge may leave out what it cannot keep up
// with: it says how much that was.
export function watch(filters, on, transport = "sse") {
  let live = []; // Events that arrive while the recent ones are asked for; null afterwards.
  let isFilled = false;
  let turn = performance.now();

  const deliver = (event) => (live ? live.push(event) : on.event(event));

  async function fill() {
    isFilled = true;
    const recent = await recentEvents(filters).catch(() => []); // The page works with the stream alone.
    if (subscription.state === "closed") return;
    const known = new Set(recent.map((event) => event.id));
    const waiting = live.filter((event) => !known.has(event.id));
    live = null;
    for (const event of [...recent, ...waiting]) on.event(event);
    on.filled?.(recent.length);
  }

  const subscription = bridge.subscribe({
    ...filters,
    transport,
    mode: "best-effort",
    backoff: { base: 500, cap: 10_000 },
    onEvent(event) {
      deliver(event);
      if (performance.now() - turn < TURN) return undefined;
      return new Promise((resolve) => setTimeout(() => resolve((turn = performance.now())), 0));
    },
    onGap: (gap) => on.gap?.(gap),
    onState(state) {
      on.state?.(state);
      if (state === "open" && !isFilled) fill();
    },
  });
  subscription.closed.catch((error) => on.refused?.(error));
  return () => subscription.close();
}

// Stored events that match, the oldest first.
async function recentEvents({ topics = [], types = [], devices = [] }) {
  const question = new URLSearchParams({ limit: RECENT });
  for (const [name, values] of [["topic", topics], ["type", types], ["device", devices]]) {
    for (const value of values) question.append(name, value);
  }
  return (await ask(`/api/events?${question}`)).events.reverse();
}
