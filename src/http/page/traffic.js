// What /metrics says of traffic: totals, and how fast they grow.

import { askText } from "./api.js";
import { byId, element } from "./dom.js";
import * as format from "./format.js";

const EVERY = 3000;

const TOTALS = [
  ["Messages received", "synap_mqtt_messages_received_total"],
  ["Messages delivered", "synap_mqtt_messages_delivered_total"],
  ["Bytes received", "synap_mqtt_bytes_received_total", format.bytes],
  ["Bytes sent", "synap_mqtt_bytes_sent_total", format.bytes],
  ["Messages dropped", "synap_mqtt_messages_dropped_total"],
];
const NOW = [
  ["Connections", "synap_mqtt_connections"],
  ["Sessions", "synap_mqtt_sessions"],
  ["Retained messages", "synap_mqtt_retained_messages"],
  ["Memory", "process_resident_memory_bytes", format.bytes],
];

export class Traffic {
  #isShown = false;
  #before = null;

  constructor() {
    setInterval(() => this.#look(), EVERY);
  }

  follow(isShown) {
    this.#isShown = isShown;
    this.#look();
  }

  async #look() {
    if (!this.#isShown || document.hidden) return;
    try {
      const found = parse(await askText("/metrics"));
      byId("traffic").replaceChildren(...this.#lines(found));
    } catch {
      // Looked at again soon.
    }
  }

  *#lines(values) {
    const at = performance.now();
    const { before = {}, seconds } = this.#before ? { before: this.#before.values, seconds: (at - this.#before.at) / 1000 } : {};
    this.#before = { at, values };
    const line = (name, text) => element("div", {}, element("dt", { textContent: name }), element("dd", { textContent: text }));
    for (const [name, metric, write = format.value] of NOW) yield line(name, write(values[metric] ?? 0));
    for (const [name, metric, write = format.value] of TOTALS) {
      const [total, rate] = [values[metric] ?? 0, ((values[metric] ?? 0) - (before[metric] ?? 0)) / seconds];
      yield line(name, rate >= 0.5 ? `${write(total)}, ${write(Math.round(rate))} a second` : write(total));
    }
  }
}

// The sum over its labels for each name.
function parse(text) {
  const values = {};
  for (const line of text.split("\n")) {
    const found = /^([a-zA-Z_:]\w*)(?:\{.*\})? (\S+)/.exec(line);
    if (found) values[found[1]] = (values[found[1]] ?? 0) + Number(found[2]);
  }
  return values;
}
