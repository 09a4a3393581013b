// The latest events, newest first. What arrives faster than anyone reads is counted in a row instead of shown; while
// paused, the latest are kept and nothing moves. With filters it has a stream of its own, which brings only these.

import * as address from "./address.js";
import { byId, element, setText } from "./dom.js";
import { eventRow } from "./rows.js";
import { watch } from "./stream.js";

const ROWS = 200;
const ROWS_AT_ONCE = 20;
const EVERY = 250;
const KINDS = ["topic", "type", "device"];

export class Feed {
  #list = byId("feed");
  #button = byId("pause");
  #inputs = KINDS.map((kind) => byId(`filter-${kind}`));
  #waiting = [];
  #unseen = 0; // Waiting, and left out of it because they were too many.
  #all = []; // The latest of the whole stream, for when the filters are taken away.
  #drawn = 0;
  #paused = false;
  #filters = "";
  #stop = null;

  constructor() {
    this.#button.addEventListener("click", () => this.toggle());
    byId("filters").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#choose();
    });
    // Also where a field is emptied by its cross.
    for (const input of this.#inputs) input.addEventListener("search", () => this.#choose());
  }

  toggle() {
    this.#paused = !this.#paused;
    this.#button.setAttribute("aria-pressed", String(this.#paused));
  }

  // An event of the whole stream.
  take(event) {
    this.#all.push(event);
    if (this.#all.length > 2 * ROWS) this.#all = this.#all.slice(-ROWS);
    if (!this.#filters) this.#show(event);
  }

  // Shows what the address says, where events are shown.
  follow(isShown) {
    if (!isShown) return;
    const wanted = address.read();
    KINDS.forEach((kind, at) => (this.#inputs[at].value = wanted[kind]));
    const filters = KINDS.map((kind) => wanted[kind]).join("\n");
    if (filters.trim() === this.#filters.trim()) return;
    this.#filters = filters.trim() ? filters : "";
    this.#begin(wanted);
  }

  draw(now) {
    if (now - this.#drawn < EVERY) return;
    this.#drawn = now;
    setText(this.#button, !this.#paused ? "Pause" : this.#unseen ? `Resume · ${this.#unseen} new` : "Resume");
    if (this.#paused || !this.#unseen) return;
    const rows = this.#waiting.slice(this.#list.childElementCount ? -ROWS_AT_ONCE : -ROWS).reverse().map(eventRow);
    const more = this.#unseen - rows.length;
    if (more > 0) rows.push(element("li", { className: "more", textContent: `${more} more` }));
    this.#waiting = [];
    this.#unseen = 0;
    // A reader who has scrolled down keeps what is being read in place; the browser anchors it.
    this.#list.prepend(...rows);
    while (this.#list.childElementCount > ROWS) this.#list.lastElementChild.remove();
    if (this.#filters) setText(byId("feed-about"), "");
  }

  #choose() {
    address.write(Object.fromEntries(KINDS.map((kind, at) => [kind, this.#inputs[at].value.trim()])));
    this.follow(true);
  }

  #begin({ topic, type, device }) {
    this.#stop?.();
    this.#stop = null;
    this.#list.replaceChildren();
    [this.#waiting, this.#unseen] = [[], 0];
    setText(byId("feed-about"), "");
    if (!this.#filters) return this.#all.forEach((event) => this.#show(event));
    const list = (value) => (value ? [value] : []);
    this.#stop = watch(
      { topics: list(topic), types: list(type), devices: list(device) },
      {
        event: (event) => this.#show(event),
        filled: (count) => count || setText(byId("feed-about"), "No event matches yet. New ones appear here."),
        gap: ({ count }) => count && this.#leftOut(count),
        refused: (error) => setText(byId("feed-about"), error.message),
      },
      "websocket",
    );
  }

  #show(event) {
    this.#waiting.push(event);
    this.#unseen += 1;
    if (this.#waiting.length > 2 * ROWS) this.#waiting = this.#waiting.slice(-ROWS);
  }

  #leftOut(count) {
    this.#unseen += count;
  }
}
