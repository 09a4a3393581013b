// A number's latest values as a line without axes. It is drawn when it is seen and has changed, a few a frame, so that
// hundreds of them cost no more than a frame has room for.

const HEIGHT = 34;
const POINTS = 120;
const BUDGET = 4; // Milliseconds of a frame.
const EVERY = 250; // Of one.

const seen = new IntersectionObserver((entries) => entries.forEach(({ target, isIntersecting, boundingClientRect }) => target.spark.see(isIntersecting, boundingClientRect.width)));

export class Sparks {
  #waiting = new Set();
  #colours;

  constructor(colours) {
    this.#colours = colours;
  }

  // A canvas for a field.
  add(field) {
    const canvas = document.createElement("canvas");
    canvas.className = "spark";
    canvas.setAttribute("aria-hidden", "true"); // The value stands beside it.
    canvas.spark = new Spark(canvas, field, this.#waiting);
    seen.observe(canvas);
    return canvas.spark;
  }

  remove(spark) {
    seen.unobserve(spark.canvas);
    this.#waiting.delete(spark);
  }

  repaint(colours) {
    this.#colours = colours;
    for (const canvas of document.querySelectorAll("canvas.spark")) canvas.spark.changed();
  }

  draw(now) {
    const end = performance.now() + BUDGET;
    for (const spark of this.#waiting) {
      if (now - spark.drawn < EVERY) continue;
      this.#waiting.delete(spark);
      spark.draw(now, this.#colours);
      if (performance.now() > end) return;
    }
  }
}

class Spark {
  drawn = 0;
  count = 0; // Points in the last picture.
  #isSeen = false;
  #width = 0;
  #isOld = true;
  #waiting;

  constructor(canvas, field, waiting) {
    this.canvas = canvas;
    this.field = field;
    this.#waiting = waiting;
  }

  see(isSeen, width) {
    this.#isSeen = isSeen;
    this.#isOld ||= width !== this.#width;
    this.#width = width;
    if (isSeen && this.#isOld) this.#waiting.add(this);
    if (!isSeen) this.#waiting.delete(this);
  }

  changed() {
    this.#isOld = true;
    if (this.#isSeen) this.#waiting.add(this);
  }

  draw(now, colours) {
    this.drawn = now;
    this.#isOld = false;
    const width = this.#width;
    const context = this.#context(width, HEIGHT);
    const { series } = this.field;
    const times = series.times.slice(-POINTS);
    const values = series.values.slice(-POINTS);
    this.count = values.length;
    if (!values.length) return;
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const span = times.at(-1) - times[0];
    const x = (time) => (span > 0 ? 2 + ((time - times[0]) / span) * (width - 6) : width - 4);
    const y = (value) => (high > low ? 3 + (1 - (value - low) / (high - low)) * (HEIGHT - 6) : HEIGHT / 2);
    context.beginPath();
    values.forEach((value, at) => context.lineTo(x(times[at]), y(value)));
    Object.assign(context, { strokeStyle: colours.accent, lineWidth: 1.5, lineJoin: "round" });
    context.stroke();
    context.beginPath();
    context.arc(x(times.at(-1)), y(values.at(-1)), 2.2, 0, 7);
    context.fillStyle = colours.accent;
    context.fill();
  }

  // Empty, and as many pixels as the screen has there.
  #context(width, height) {
    const { canvas } = this;
    const ratio = devicePixelRatio || 1;
    const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== across || canvas.height !== down) [canvas.width, canvas.height] = [across, down];
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    return context;
  }
}
