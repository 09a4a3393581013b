// Single keys, where nobody is typing.

import * as address from "./address.js";
import { byId } from "./dom.js";

const VIEWS = { 1: "", 2: "events", 3: "sessions", 4: "health", 5: "refused" };
const SEARCH = { fleet: "search", events: "filter-topic" };

export class Keys {
  #views;
  #pause;
  #list = byId("keys");

  constructor(views, pause) {
    this.#views = views;
    this.#pause = pause;
    byId("keys-open").addEventListener("click", () => this.#list.showModal());
    addEventListener("keydown", (event) => this.#press(event));
  }

  #press(event) {
    const isTyping = event.target.closest?.("input, select, textarea");
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey || this.#list.open) return;
    const view = address.view();
    const does = {
      "?": () => this.#list.showModal(),
      "/": () => byId(SEARCH[view] ?? "")?.focus(),
      p: () => view === "events" && this.#pause(),
      Escape: () => view === "device" && this.#views.go({}),
      ...Object.fromEntries(Object.entries(VIEWS).map(([key, show]) => [key, () => this.#views.go({ show })])),
    }[event.key];
    if (!does) return;
    event.preventDefault();
    does();
  }
}
