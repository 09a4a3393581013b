// Tabs by the pattern of the ARIA practices: one is in the order of Tab, arrows lead to the others.

import * as address from "./address.js";

export class Tabs {
  #tabs;
  #changed;

  constructor(list, changed) {
    this.#tabs = [...list.querySelectorAll("[role=tab]")];
    this.#changed = changed;
    for (const tab of this.#tabs) tab.addEventListener("click", () => this.#choose(tab));
    list.addEventListener("keydown", (event) => this.#move(event));
    this.follow();
  }

  // Shows what the address says.
  follow() {
    this.#show(this.#tabs.find((tab) => tab.value === address.read().show) ?? this.#tabs[0]);
  }

  #choose(tab) {
    address.write({ show: tab === this.#tabs[0] ? "" : tab.value });
    this.#show(tab);
  }

  #show(chosen) {
    for (const tab of this.#tabs) {
      const isChosen = tab === chosen;
      tab.setAttribute("aria-selected", String(isChosen));
      tab.tabIndex = isChosen ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = !isChosen;
    }
    this.#changed(chosen.value);
  }

  #move(event) {
    const at = this.#tabs.indexOf(event.target);
    const last = this.#tabs.length - 1;
    const next = { ArrowRight: at === last ? 0 : at + 1, ArrowLeft: at === 0 ? last : at - 1, Home: 0, End: last }[event.key];
    if (at < 0 || next === undefined) return;
    event.preventDefault();
    this.#tabs[next].focus();
    this.#choose(this.#tabs[next]);
  }
}
