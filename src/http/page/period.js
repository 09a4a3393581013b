// The time that plots show: what the page has seen itself, up to now and moving on, or from one time to another.

import * as address from "./address.js";
import { byId } from "./dom.js";

const SECOND = { m: 60, h: 3600, d: 86_400 };
const CUSTOM = "custom";

export class Period {
  #choice = byId("span");
  #form = byId("custom");
  #from = byId("from");
  #to = byId("to");
  #fixed = null;
  #changed;

  constructor(changed) {
    this.#changed = changed;
    this.#choice.addEventListener("change", () => this.#choose());
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#take();
    });
    for (const input of [this.#from, this.#to]) input.addEventListener("input", () => this.#to.setCustomValidity(""));
    this.follow();
  }

  // Shows what the address says.
  follow() {
    const { period, from, to } = address.read();
    const [start, end] = [Date.parse(from), Date.parse(to)];
    this.#fixed = start < end ? { start, end } : null;
    this.#choice.value = this.#fixed ? CUSTOM : period;
    if (this.#choice.selectedIndex < 0) this.#choice.value = "";
    this.#show();
    this.#changed();
  }

  // The milliseconds that are shown at `now`, and a name for the choice; nothing where it is what the page has seen.
  range(now) {
    if (this.#fixed) return { ...this.#fixed, name: `${this.#fixed.start}-${this.#fixed.end}`, isOver: this.#fixed.end <= now };
    const text = this.#choice.value;
    if (!text || text === CUSTOM) return null;
    return { start: now - Number.parseInt(text, 10) * SECOND[text.at(-1)] * 1000, end: now, name: text, isOver: false };
  }

  #choose() {
    const now = Date.now();
    // Begins with what was shown until now.
    const before = this.#fixed ?? { start: now - 86_400_000, end: now };
    this.#fixed = null;
    this.#show();
    if (this.#choice.value === CUSTOM) {
      [this.#from.value, this.#to.value] = [local(before.start), local(before.end)];
      this.#from.focus();
      return;
    }
    address.write({ period: this.#choice.value, from: "", to: "" });
    this.#changed();
  }

  #take() {
    const [start, end] = [Date.parse(this.#from.value), Date.parse(this.#to.value)];
    this.#to.setCustomValidity(start < end ? "" : "The end must be later than the beginning.");
    if (!this.#form.reportValidity()) return;
    this.#fixed = { start, end };
    address.write({ period: "", from: new Date(start).toISOString(), to: new Date(end).toISOString() });
    this.#changed();
  }

  #show() {
    this.#form.hidden = this.#choice.value !== CUSTOM;
    if (this.#fixed) [this.#from.value, this.#to.value] = [local(this.#fixed.start), local(this.#fixed.end)];
  }
}

// As the fields for a local time take it, to the minute.
function local(time) {
  return new Date(time - new Date(time).getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
