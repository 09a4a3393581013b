// What the bridge tells of the device that is shown, beside its values: who it is, what is retained, its latest events.

import { ask } from "./api.js";
import { byId, element } from "./dom.js";
import * as format from "./format.js";
import { eventRow } from "./rows.js";

const EVERY = 5000;
const ROWS = 15;

export class DeviceState {
  #name = "";
  #waiting = [];
  #events = byId("device-events");

  constructor() {
    setInterval(() => this.#look(), EVERY);
  }

  show(name) {
    this.#name = name;
    this.#waiting = [];
    this.#events.replaceChildren();
    byId("device-state").replaceChildren();
    byId("device-feed").href = `/?show=events&device=${encodeURIComponent(name)}`;
    this.#look();
    this.#fill(name);
  }

  hide() {
    this.#name = "";
  }

  take(event, name) {
    if (name !== this.#name) return;
    this.#waiting.push(event);
    if (this.#waiting.length > ROWS) this.#waiting.shift();
  }

  draw() {
    if (!this.#waiting.length) return;
    const known = new Set([...this.#events.children].map(({ dataset }) => dataset.id));
    const rows = this.#waiting.filter(({ id }) => !known.has(id)).reverse().map(rowOf);
    this.#waiting = [];
    this.#events.prepend(...rows);
    while (this.#events.childElementCount > ROWS) this.#events.lastElementChild.remove();
  }

  // What was before the page was opened.
  async #fill(name) {
    try {
      const { events } = await ask(`/api/events?${new URLSearchParams({ device: name, limit: ROWS })}`);
      if (name !== this.#name) return;
      this.draw();
      const known = new Set([...this.#events.children].map(({ dataset }) => dataset.id));
      this.#events.append(...events.filter(({ id }) => !known.has(id)).map(rowOf));
    } catch {
      // New ones are shown.
    }
  }

  async #look() {
    const name = this.#name;
    if (!name || document.hidden) return;
    try {
      const info = await ask(`/api/devices/${encodeURIComponent(name)}`);
      if (name === this.#name) byId("device-state").replaceChildren(...lines(info));
    } catch {
      // Looked at again soon.
    }
  }
}

function rowOf(event) {
  const item = eventRow(event);
  item.dataset.id = event.id;
  return item;
}

function* lines({ clientId, since, online, firstSeen, connections, lastClosed, retainedTopics = [] }) {
  const when = (text) => format.time(Date.parse(text), Date.now() - Date.parse(text));
  const line = (name, ...content) => element("div", {}, element("dt", { textContent: name }), element("dd", {}, ...content));
  if (clientId) yield line("Client", sessionLink(clientId));
  if (online && since) yield line("Connected since", when(since));
  if (connections.length > 1) yield line("Connections", String(connections.length));
  if (!online && lastClosed) yield line("Last connection", `ended ${when(lastClosed.timestamp)}, ${lastClosed.reason}`);
  yield line("First seen", when(firstSeen));
  if (retainedTopics.length) yield line("Retained", retainedTopics.join(", "));
}

function sessionLink(clientId) {
  const link = element("a", { href: `/?show=sessions&find=${encodeURIComponent(clientId)}`, textContent: clientId });
  link.dataset.go = "";
  return link;
}
