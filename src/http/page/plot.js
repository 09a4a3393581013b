// One number over time on a canvas. Draws only what is seen and when it has to: new points, a new size, a moved
// pointer, or enough time for the picture to have moved by a pixel.

import * as format from "./format.js";
import { points } from "./model.js";

const BOTTOM = 18;
const SIDE = 4;
const FRESH = 15_000; // A plot whose newest point is younger ends now, and moves.

const REDRAW = 50; // Milliseconds between two pictures at least.

const sizes = new ResizeObserver((entries) => entries.forEach((entry) => entry.target.plot.resize()));
const seen = new IntersectionObserver((entries) => entries.forEach((entry) => (entry.target.plot.isSeen = entry.isIntersecting)));

export class Plot {
  #dirty = true;
  #pointer = null;
  #pixel = Infinity; // Milliseconds per pixel.
  #drawn = 0;

  constructor(canvas, field) {
    this.canvas = canvas;
    this.field = field;
    this.context = canvas.getContext("2d");
    canvas.plot = this;
    canvas.setAttribute("role", "img");
    sizes.observe(canvas);
    seen.observe(canvas);
    canvas.addEventListener("pointermove", (event) => this.#point(event.offsetX));
    canvas.addEventListener("pointerleave", () => this.#point(null));
  }

  close() {
    sizes.unobserve(this.canvas);
    seen.unobserve(this.canvas);
  }

  changed() {
    this.#dirty = true;
  }

  resize() {
    const ratio = devicePixelRatio || 1;
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.#dirty = true;
  }

  #point(x) {
    this.#pointer = x;
    this.#dirty = true;
  }

  // Draws if there is reason to. `range` is the time to show, or nothing for all points that there are.
  draw(now, range, colours) {
    if (!this.isSeen || !this.width || now - this.#drawn < (this.#dirty ? REDRAW : this.#pixel)) return;
    this.#dirty = false;
    this.#drawn = now;
    this.points = points(this.field, range);
    const { times } = this.points;
    const newest = times.at(-1);
    const isLive = range ? !range.isOver : Math.abs(now - newest) < FRESH;
    const end = range ? range.end : isLive ? Math.max(now, newest) : newest;
    const start = range ? range.start : Math.min(times[0], end - 1000);
    const first = Math.max(0, times.findIndex((time) => time >= start) - 1); // So that the line comes in from the edge.
    this.shown = this.#extent(first);
    let { low, high } = this.shown;
    if (low === high) {
      const room = Math.abs(low) * 0.05 || 1;
      low -= room;
      high += room;
    }
    const x = (time) => SIDE + ((time - start) / (end - start)) * (this.width - 2 * SIDE);
    const y = (value) => 5 + (1 - (value - low) / (high - low)) * (this.height - BOTTOM - 14);
    this.#pixel = isLive ? Math.max(REDRAW, (end - start) / this.width) : Infinity;

    this.context.clearRect(0, 0, this.width, this.height);
    this.#labels(start, end, colours);
    if (!this.shown.count) return this.#nothing(colours);
    this.#line(first, x, y, colours);
    if (this.#pointer !== null) this.#reading(first, x, y, end - start, colours);
  }

  // Between which values, and how many of them there are.
  #extent(first) {
    const { values, lows, highs } = this.points;
    const extent = { low: Infinity, high: -Infinity, count: 0 };
    for (let at = first; at < values.length; at += 1) {
      if (values[at] === null) continue;
      extent.low = Math.min(extent.low, lows[at]);
      extent.high = Math.max(extent.high, highs[at]);
      extent.count += 1;
    }
    return extent;
  }

  // A null is a gap: the line ends before it and begins anew behind it. Around the line, from the lowest to the highest.
  #line(first, x, y, colours) {
    const { context, points: { times, values, lows, highs } } = this;
    const bottom = this.height - BOTTOM;
    const fade = context.createLinearGradient(0, 0, 0, bottom);
    fade.addColorStop(0, colours.fill);
    fade.addColorStop(1, colours.faded);
    Object.assign(context, { strokeStyle: colours.accent, lineWidth: 1.6, lineJoin: "round" });
    for (let from = first; from < values.length; from += 1) {
      if (values[from] === null) continue;
      const gap = values.indexOf(null, from);
      const to = (gap < 0 ? values.length : gap) - 1;
      const along = (line, at = from) => {
        for (; at <= to; at += 1) context.lineTo(x(times[at]), y(line[at]));
      };
      context.beginPath();
      along(values);
      context.lineTo(x(times[to]), bottom);
      context.lineTo(x(times[from]), bottom);
      context.fillStyle = fade;
      context.fill();
      context.beginPath();
      along(highs);
      for (let at = to; at >= from; at -= 1) context.lineTo(x(times[at]), y(lows[at]));
      context.fillStyle = colours.band;
      context.fill();
      context.beginPath();
      along(values);
      context.stroke();
      // A line of one point is none.
      if (from === to) this.#spot(x(times[from]), y(values[from]), colours);
      from = to;
    }
    const last = values.findLastIndex((value) => value !== null);
    this.#spot(x(times[last]), y(values[last]), colours);
  }

  #nothing(colours) {
    const { context, width, height } = this;
    Object.assign(context, { fillStyle: colours.quiet, font: `13px ${colours.font}`, textAlign: "center", textBaseline: "middle" });
    context.fillText("No values in this period", width / 2, (height - BOTTOM) / 2);
  }

  #labels(start, end, colours) {
    const { context, width, height, shown: { low, high, count } } = this;
    context.strokeStyle = colours.line;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(0, height - BOTTOM + 0.5);
    context.lineTo(width, height - BOTTOM + 0.5);
    context.stroke();
    context.fillStyle = colours.quiet;
    context.font = `11px ${colours.font}`;
    context.textBaseline = "bottom";
    context.textAlign = "left";
    context.fillText(format.time(start, end - start), 0, height);
    context.textAlign = "right";
    context.fillText(format.time(end, end - start), width, height);
    context.textAlign = "center";
    const range = !count || low === high ? "" : `${format.value(low)} – ${format.value(high)}`;
    context.fillText(range, width / 2, height);
  }

  #reading(first, x, y, span, colours) {
    const { context, points: { times, values, lows, highs } } = this;
    let nearest = values.findLastIndex((value) => value !== null);
    for (let at = first; at < times.length; at += 1) {
      if (values[at] === null) continue;
      if (Math.abs(x(times[at]) - this.#pointer) < Math.abs(x(times[nearest]) - this.#pointer)) nearest = at;
    }
    const [left, top] = [x(times[nearest]), y(values[nearest])];
    const [low, high] = [format.value(lows[nearest]), format.value(highs[nearest])];
    const between = low === high ? "" : ` (${low} – ${high})`;
    const text = `${format.value(values[nearest])}${between}  ${format.time(times[nearest], span)}`;
    this.#spot(left, top, colours);
    const half = context.measureText(text).width / 2 + 6;
    const middle = Math.min(Math.max(left, half), this.width - half);
    const above = top > 30 ? top - 26 : top + 10;
    context.fillStyle = colours.panel;
    context.beginPath();
    context.roundRect(middle - half, above, 2 * half, 19, 5);
    context.fill();
    context.fillStyle = colours.text;
    context.textBaseline = "middle";
    context.fillText(text, middle, above + 10);
  }

  #spot(left, top, colours) {
    this.context.beginPath();
    this.context.arc(left, top, 2.6, 0, 7);
    this.context.fillStyle = colours.accent;
    this.context.fill();
  }
}
