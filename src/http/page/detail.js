// The chosen device: a plot for each number, a line for every other value.

import { byId, element, setText } from "./dom.js";
import * as format from "./format.js";
import { History } from "./history.js";
import { Plot } from "./plot.js";

const DESCRIBE_EVERY = 5000;

export class Detail {
  #plots = byId("plots");
  #values = byId("values");
  #span = byId("span");
  #rows = new Map();
  #device = null;
  #described = 0;
  #colours = colours();
  #history = new History();

  constructor() {
    const again = () => this.#each((row) => row.plot.changed());
    this.#span.addEventListener("change", again);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.#colours = colours();
      again();
    });
  }

  show(device) {
    this.#each((row) => row.plot.close());
    this.#rows.clear();
    this.#plots.replaceChildren();
    this.#values.replaceChildren();
    this.#device = device;
    this.#described = 0;
    byId("empty").hidden = true;
    setText(byId("detail-title"), device.name);
    this.changed(device);
  }

  changed(device) {
    if (device === this.#device) this.#each((row) => row.plot.changed());
  }

  draw(now) {
    const device = this.#device;
    if (!device) return;
    const count = `${device.count} ${device.count === 1 ? "event" : "events"}`;
    setText(byId("detail-about"), [device.topic ?? device.type, count, `seen ${age(device, now)}`, ...presence(device)].filter(Boolean).join(" · "));
    const span = Number(this.#span.value) * 1000;
    const describe = now - this.#described > DESCRIBE_EVERY;
    if (describe) this.#described = now;
    for (const field of device.fields.values()) {
      const row = this.#row(field);
      const text = format.value(field.value);
      setText(row.value, text);
      if (row.plot?.isSeen) this.#history.want(device, field, span, now, () => row.plot.changed());
      row.plot?.draw(now, span, this.#colours);
      if (row.plot && describe) row.plot.canvas.setAttribute("aria-label", describeSeries(field, text));
    }
  }

  #row(field) {
    const known = this.#rows.get(field.path);
    if (known && Boolean(known.plot) === Boolean(field.series)) return known;
    known?.item.remove();
    const row = field.series ? plotRow(field) : valueRow(field);
    (field.series ? this.#plots : this.#values).append(row.item);
    this.#rows.set(field.path, row);
    return row;
  }

  #each(visit) {
    for (const row of this.#rows.values()) if (row.plot) visit(row);
  }
}

function plotRow(field) {
  const canvas = element("canvas");
  const value = element("output");
  const name = element("h3", { textContent: field.path || "value", title: field.path });
  const item = element("article", { className: "plot" }, element("header", {}, name, value), canvas);
  return { item, value, plot: new Plot(canvas, field) };
}

function valueRow(field) {
  const value = element("dd");
  return { item: element("div", {}, element("dt", { textContent: field.path || "value" }), value), value, plot: null };
}

function presence({ known, online }) {
  return known ? [online ? "online" : "offline"] : [];
}

function age(device, now) {
  const text = format.age(device.seen, now);
  return text === "now" ? text : `${text} ago`;
}

function describeSeries({ path, series: { values } }, text) {
  const [low, high] = values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  return `Plot of ${path}: now ${text}, from ${format.value(low)} to ${format.value(high)} over ${values.length} values`;
}

// A canvas knows no CSS variables: an element with them as its colour tells what they are.
function colours() {
  const probe = element("i", { hidden: true });
  document.body.append(probe);
  const read = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const found = Object.fromEntries(["accent", "line", "quiet", "panel", "text"].map((name) => [name, read(name)]));
  const accent = (opacity) => found.accent.replace(")", ` / ${opacity})`).replace(/(\d+), (\d+), /, "$1 $2 ");
  Object.assign(found, { fill: accent(0.2), faded: accent(0) });
  found.font = getComputedStyle(document.body).fontFamily;
  probe.remove();
  return found;
}
