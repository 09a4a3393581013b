// The fleet: a card for each device. Cards are made once, and only their text and line change.

import * as address from "./address.js";
import { byId, element, setText } from "./dom.js";
import * as format from "./format.js";

const FIGURES = 3;

export class DeviceList {
  #list = byId("devices");
  #search = byId("search");
  #online = byId("online");
  #cards = new Map();
  #devices = new Map();
  #sparks;

  constructor(sparks) {
    this.#sparks = sparks;
    this.#list.addEventListener("keydown", (event) => this.#move(event));
    byId("fleet-form").addEventListener("submit", (event) => event.preventDefault());
    for (const input of [this.#search, this.#online]) {
      input.addEventListener("input", () => {
        address.write({ find: this.#search.value.trim(), state: this.#online.value }, false);
        this.draw(this.#devices, Date.now());
      });
    }
  }

  // Shows what the address says.
  follow() {
    const { find, state } = address.read();
    if (find !== this.#search.value.trim()) this.#search.value = find;
    this.#online.value = state;
    if (this.#online.selectedIndex < 0) this.#online.value = "";
  }

  changed(device) {
    this.#cards.get(device.name)?.spark?.changed();
  }

  draw(devices, now) {
    this.#devices = devices;
    const { find, state } = address.read();
    const wanted = find.toLowerCase();
    for (const [name, card] of this.#cards) if (!devices.has(name)) this.#remove(name, card);
    let shown = 0;
    for (const device of devices.values()) {
      const card = this.#cards.get(device.name) ?? this.#add(device.name);
      const isWanted = device.name.toLowerCase().includes(wanted) && (!state || Boolean(device.online) === (state === "online"));
      card.item.hidden = !isWanted;
      if (!isWanted) continue;
      shown += 1;
      this.#fill(card, device, now);
    }
    const isPart = wanted !== "" || state !== "";
    setText(byId("fleet-about"), isPart ? `${shown} of ${devices.size}` : "");
    byId("empty").hidden = devices.size > 0;
  }

  #fill(card, device, now) {
    const state = device.known ? (device.online ? "online" : "offline") : "";
    card.link.dataset.online = state;
    setText(card.presence, state);
    setText(card.seen, format.age(device.seen, now));
    const numbers = figures(device);
    setText(card.about, numbers.length ? "" : (device.topic ?? device.type ?? ""));
    while (card.figures.childElementCount > numbers.length) card.figures.lastElementChild.remove();
    numbers.forEach((field, at) => {
      const figure = card.figures.children[at] ?? card.figures.appendChild(element("span", { className: "figure" }, element("b"), element("i")));
      setText(figure.firstElementChild, format.value(field.value));
      setText(figure.lastElementChild, field.path || "value");
    });
    if (numbers.length && card.spark?.field !== numbers[0]) {
      if (card.spark) this.#sparks.remove(card.spark);
      card.spark?.canvas.remove();
      card.spark = this.#sparks.add(numbers[0]);
      card.link.append(card.spark.canvas);
    }
  }

  #add(name) {
    const part = (className) => element("span", { className });
    const card = { presence: part("hidden"), seen: part("seen"), about: part("about"), figures: part("figures"), spark: null };
    const title = element("span", { className: "name", textContent: name });
    card.link = element("a", { href: `/?device=${encodeURIComponent(name)}`, title: name }, title, card.presence, card.seen, card.figures, card.about);
    card.link.dataset.go = "";
    card.item = element("li", { className: "card" }, card.link);
    // By name: a list that sorts by time moves under the pointer.
    const behind = [...this.#cards].filter(([other]) => compare(other, name) > 0).sort(([a], [b]) => compare(a, b))[0];
    this.#list.insertBefore(card.item, behind ? behind[1].item : null);
    this.#cards.set(name, card);
    return card;
  }

  #remove(name, card) {
    if (card.spark) this.#sparks.remove(card.spark);
    card.item.remove();
    this.#cards.delete(name);
  }

  // Along the cards, and from row to row.
  #move(event) {
    const items = [...this.#list.children].filter((item) => !item.hidden);
    const at = items.indexOf(event.target.closest("li"));
    const top = items[0]?.offsetTop;
    const row = Math.max(1, items.findIndex((item) => item.offsetTop > top)) || 1;
    const columns = items.every((item) => item.offsetTop === top) ? items.length : row;
    const step = { ArrowDown: columns, ArrowUp: -columns, ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step || at < 0) return;
    items[at + step]?.firstElementChild.focus();
    event.preventDefault();
  }
}

// The numbers that a card shows: first those that change.
function figures(device) {
  const numbers = [...device.fields.values()].filter((field) => field.series);
  const [moving, still] = [[], []];
  for (const field of numbers) (field.series.times.length > 1 ? moving : still).push(field);
  return [...moving, ...still].slice(0, FIGURES);
}

const { compare } = new Intl.Collator(undefined, { numeric: true });
