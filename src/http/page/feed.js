// The latest events, newest first. What arrives faster than anyone reads is counted in a row
// instead of shown; while paused, the latest are kept and nothing moves.

import { byId, element, setText } from "./dom.js";
import * as format from "./format.js";

const ROWS = 200;
const ROWS_AT_ONCE = 20;
const EVERY = 250;
const PREVIEW = 240;

export class Feed {
  #list = byId("feed");
  #button = byId("pause");
  #waiting = [];
  #unseen = 0; // Waiting, and left out of it because they were too many.
  #drawn = 0;
  #paused = false;

  constructor() {
    this.#button.addEventListener("click", () => this.toggle());
  }

  toggle() {
    this.#paused = !this.#paused;
    this.#button.setAttribute("aria-pressed", String(this.#paused));
  }

  take(event) {
    this.#waiting.push(event);
    this.#unseen += 1;
    if (this.#waiting.length > 2 * ROWS) this.#waiting = this.#waiting.slice(-ROWS);
  }

  draw(now) {
    if (now - this.#drawn < EVERY) return;
    this.#drawn = now;
    setText(this.#button, !this.#paused ? "Pause" : this.#unseen ? `Resume · ${this.#unseen} new` : "Resume");
    if (this.#paused || !this.#unseen) return;
    const rows = this.#waiting.slice(this.#list.childElementCount ? -ROWS_AT_ONCE : -ROWS).reverse().map(row);
    const more = this.#unseen - rows.length;
    if (more > 0) rows.push(element("li", { className: "more", textContent: `${more} more` }));
    this.#waiting = [];
    this.#unseen = 0;
    // A reader who has scrolled down keeps what is being read in place; the browser anchors it.
    this.#list.prepend(...rows);
    while (this.#list.childElementCount > ROWS) this.#list.lastElementChild.remove();
  }
}

function row(event) {
  const at = Date.parse(event.timestamp);
  const summary = element(
    "summary",
    {},
    element("span", { className: "topic", textContent: event.metadata?.topic ?? event.type }),
    element("time", { dateTime: event.timestamp, textContent: format.time(at, Math.abs(Date.now() - at) * 2) }),
    element("span", { className: "data", textContent: JSON.stringify(event.data).slice(0, PREVIEW) }),
  );
  const details = element("details", {}, summary);
  // Written out when it is opened: most never are.
  details.addEventListener("toggle", () => details.append(element("pre", { textContent: JSON.stringify(event, null, 2) })), { once: true });
  return element("li", {}, details);
}
