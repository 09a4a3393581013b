// The chosen device: a plot for each number, or for one of them, and a line for every other value.

import * as address from "./address.js";
import { colours } from "./colours.js";
import { byId, element, setText } from "./dom.js";
import * as format from "./format.js";
import { History } from "./history.js";
import { Period } from "./period.js";
import { Plot } from "./plot.js";

const DESCRIBE_EVERY = 5000;
const ALL = "";

export class Detail {
  #plots = byId("plots");
  #values = byId("values");
  #metric = byId("metric");
  #rows = new Map();
  #device = null;
  #described = 0;
  #colours = colours();
  #history = new History();
  #period = new Period(() => this.#again());

  constructor() {
    this.#metric.addEventListener("change", () => {
      address.write({ metric: this.#metric.value });
      this.#choose();
    });
    document.addEventListener("theme", () => {
      this.#colours = colours();
      this.#again();
    });
  }

  // Shows a device, or none.
  show(device) {
    this.#each((row) => row.plot.close());
    this.#rows.clear();
    this.#plots.replaceChildren();
    this.#values.replaceChildren();
    this.#metric.replaceChildren(element("option", { value: ALL, textContent: "All metrics" }));
    this.#device = device;
    this.#described = 0;
    byId("controls").hidden = !device;
    if (!device) return;
    this.#choose();
    this.changed(device);
  }

  // Shows what the address says.
  follow() {
    this.#period.follow();
    this.#choose();
  }

  changed(device) {
    if (device === this.#device) this.#again();
  }

  draw(now) {
    const device = this.#device;
    if (!device) return;
    const count = `${format.value(device.count)} ${device.count === 1 ? "event" : "events"}`;
    setText(byId("detail-about"), [device.topic ?? device.type, count, `seen ${age(device, now)}`, ...presence(device)].filter(Boolean).join(" · "));
    const range = this.#period.range(now);
    const describe = now - this.#described > DESCRIBE_EVERY;
    if (describe) this.#described = now;
    for (const field of device.fields.values()) {
      const row = this.#row(field);
      const text = format.value(field.value);
      setText(row.value, text);
      if (!row.plot) continue;
      if (range && row.plot.isSeen) this.#history.want(device, field, range, now, () => row.plot.changed());
      row.plot.draw(now, range, this.#colours);
      if (describe) row.plot.canvas.setAttribute("aria-label", describeSeries(field, text, row.plot.shown));
    }
  }

  #row(field) {
    const known = this.#rows.get(field.path);
    if (known && Boolean(known.plot) === Boolean(field.series)) return known;
    known?.item.remove();
    const row = field.series ? plotRow(field) : valueRow(field);
    (field.series ? this.#plots : this.#values).append(row.item);
    this.#rows.set(field.path, row);
    if (row.plot) {
      const option = element("option", { value: field.path, textContent: title(field) });
      const behind = [...this.#metric.options].find(({ value }) => value !== ALL && compare(value, field.path) > 0);
      this.#metric.insertBefore(option, behind ?? null);
    }
    this.#choose();
    return row;
  }

  // One plot or all, as the address says; all where the device has no such metric.
  #choose() {
    const wanted = address.read().metric;
    const chosen = this.#rows.get(wanted)?.plot ? wanted : ALL;
    this.#metric.value = chosen;
    this.#plots.classList.toggle("single", chosen !== ALL);
    for (const [path, row] of this.#rows) row.item.hidden = chosen !== ALL && path !== chosen;
  }

  #again() {
    this.#each((row) => row.plot.changed());
  }

  #each(visit) {
    for (const row of this.#rows.values()) if (row.plot) visit(row);
  }
}

const { compare } = new Intl.Collator(undefined, { numeric: true });

function title({ path }) {
  return path || "value";
}

function plotRow(field) {
  const canvas = element("canvas");
  const value = element("output");
  const name = element("h3", { textContent: title(field), title: field.path });
  const item = element("article", { className: "plot" }, element("header", {}, name, value), canvas);
  return { item, value, plot: new Plot(canvas, field) };
}

function valueRow(field) {
  const value = element("dd");
  return { item: element("div", {}, element("dt", { textContent: title(field) }), value), value, plot: null };
}

function presence({ known, online }) {
  return known ? [online ? "online" : "offline"] : [];
}

function age(device, now) {
  const text = format.age(device.seen, now);
  return text === "now" ? text : `${text} ago`;
}

function describeSeries(field, text, shown) {
  const between = shown?.count ? `from ${format.value(shown.low)} to ${format.value(shown.high)} in ${shown.count} points` : "no values in this period";
  return `Plot of ${title(field)}: now ${text}, ${between}`;
}
