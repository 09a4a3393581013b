// The list of devices: rows are made once and only their text changes.

import { byId, element, setText } from "./dom.js";
import * as format from "./format.js";

export class DeviceList {
  #list = byId("devices");
  #search = byId("search");
  #rows = new Map();
  #choose;

  constructor(choose) {
    this.#choose = choose;
    this.#list.addEventListener("keydown", (event) => this.#move(event));
  }

  draw(devices, chosen, now) {
    setText(byId("device-count"), String(devices.size));
    const wanted = this.#search.value.trim().toLowerCase();
    for (const [name, row] of this.#rows) {
      if (devices.has(name)) continue;
      row.item.remove();
      this.#rows.delete(name);
    }
    for (const device of devices.values()) {
      const row = this.#rows.get(device.name) ?? this.#add(device.name);
      row.item.hidden = wanted !== "" && !device.name.toLowerCase().includes(wanted);
      if (row.item.hidden) continue;
      row.button.dataset.online = device.known ? String(device.online) : "";
      setText(row.seen, format.age(device.seen, now));
      setText(row.sum, summary(device));
      row.button.setAttribute("aria-current", String(device === chosen));
    }
  }

  #add(name) {
    const row = { seen: element("span", { className: "seen" }), sum: element("span", { className: "sum" }) };
    row.button = element("button", { type: "button", title: name }, element("span", { className: "name", textContent: name }), row.seen, row.sum);
    row.button.addEventListener("click", () => this.#choose(name));
    row.item = element("li", {}, row.button);
    // By name: a list that sorts by time moves under the pointer.
    const behind = [...this.#rows].filter(([other]) => compare(other, name) > 0).sort(([a], [b]) => compare(a, b))[0];
    this.#list.insertBefore(row.item, behind ? behind[1].item : null);
    this.#rows.set(name, row);
    return row;
  }

  #move(event) {
    const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
    if (!step) return;
    let item = event.target.closest("li")?.[step];
    while (item?.hidden) item = item[step];
    item?.firstElementChild.focus();
    event.preventDefault();
  }
}

const { compare } = new Intl.Collator(undefined, { numeric: true });

function summary(device) {
  const fields = [...device.fields.values()].filter((field) => field.series).slice(0, 3);
  return fields.map((field) => `${field.path} ${format.value(field.value)}`).join(" · ") || device.topic || device.type;
}
