// One view at a time, as the address says. Links between views are links: they can be opened in another tab.

import * as address from "./address.js";
import { byId } from "./dom.js";

export class Views {
  #changed;
  #shown = "";

  // Calls `changed` with the view, each time the address has changed.
  constructor(changed) {
    this.#changed = changed;
    document.addEventListener("click", (event) => this.#click(event));
    addEventListener("popstate", () => this.follow());
  }

  // Shows what the address says.
  follow() {
    const view = address.view();
    document.body.dataset.view = view;
    for (const name of address.VIEWS) byId(`view-${name}`).hidden = name !== view;
    for (const link of byId("views").querySelectorAll("a")) {
      const isHere = link.dataset.view === view || (view === "device" && link.dataset.view === "fleet");
      if (isHere) link.setAttribute("aria-current", view === link.dataset.view ? "page" : "true");
      else link.removeAttribute("aria-current");
    }
    if (this.#shown && view !== this.#shown) scrollTo(0, 0);
    this.#shown = view;
    this.#changed(view);
  }

  // Goes somewhere, and puts the focus where reading goes on.
  go(values) {
    address.open(values);
    this.follow();
    byId(`view-${address.view()}`).querySelector("h2")?.focus();
  }

  #click(event) {
    const link = event.target.closest?.("a[data-go]");
    if (!link || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    this.go(Object.fromEntries(new URL(link.href).searchParams));
  }
}
