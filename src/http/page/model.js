// What is known of each device: its last values, and the latest points of each number. Bounded:
// the device unseen for longest makes room for a new one, the oldest points for new ones.

const DEVICES = 500;
const FIELDS = 256;
const DEPTH = 6;
const POINTS = 1000; // Of one number, as long as all of them together stay below the budget.
const FEWEST = 30;
const BUDGET = 1_000_000; // Points of all numbers: 16 MB.
const TEXT = 200;

// Events that say whether a device is connected; they hold no values of it.
const COMMANDS = "devices.command."; // Told of by the page's commands.
const PRESENCE = new Map([
  ["devices.connection.opened", true],
  ["devices.connection.closed", false],
]);

export class Series {
  times = [];
  values = [];

  static count = 0;

  constructor() {
    Series.count += 1;
  }

  // How many points one number has room for.
  static get room() {
    return Math.max(FEWEST, Math.min(POINTS, Math.floor(BUDGET / Series.count)));
  }

  add(time, value) {
    const { times, values } = this;
    const room = Series.room;
    let at = times.length;
    while (at > 0 && times[at - 1] > time) at -= 1;
    if (at === times.length) {
      times.push(time);
      values.push(value);
    } else {
      times.splice(at, 0, time);
      values.splice(at, 0, value);
    }
    if (times.length > room * 1.1) {
      times.splice(0, times.length - room);
      values.splice(0, values.length - room);
    }
  }
}

// Leaves of a JSON value as [path, value]: nested names joined by dots.
export function* leaves(value, path = "", depth = 0) {
  if (value !== null && typeof value === "object" && depth < DEPTH) {
    for (const [name, inner] of Object.entries(value)) {
      yield* leaves(inner, path ? `${path}.${name}` : name, depth + 1);
    }
  } else {
    yield [path, value];
  }
}

export class Devices {
  all = new Map(); // In the order of last seen, oldest first.

  // Takes an event in; returns its device.
  take(event) {
    const name = String(event.metadata?.device ?? event.metadata?.subject ?? event.metadata?.topic ?? event.subjectId ?? "system");
    let device = this.all.get(name);
    if (device) this.all.delete(name);
    else device = { name, count: 0, fields: new Map() };
    this.all.set(name, device);
    if (this.all.size > DEVICES) this.#forget(this.all.keys().next().value);

    const time = Date.parse(event.timestamp);
    const seen = Date.parse(event.metadata?.receivedAt) || time;
    const online = PRESENCE.get(event.type);
    if (online !== undefined) {
      return Object.assign(device, { known: true, online, seen: online ? seen : (device.seen ?? seen), type: device.type ?? event.type });
    }
    // The bridge has counted those up to the last that it has told of.
    const count = seen <= device.counted ? device.count : device.count + 1;
    Object.assign(device, { count, seen, type: event.type, topic: event.metadata?.topic });
    if (event.type.startsWith(COMMANDS)) return device;
    for (const [path, value] of leaves(event.data)) put(device, path, value, time);
    return device;
  }

  #forget(name) {
    for (const { series } of this.all.get(name).fields.values()) if (series) Series.count -= 1;
    this.all.delete(name);
  }

  // Takes in what the bridge knows of a device, also of one that has said nothing since the page is open.
  know({ device: name, online, since, events, lastSeen, lastType, lastTopic, metrics = {} }) {
    let device = this.all.get(name);
    if (!device) {
      if (this.all.size >= DEVICES) return;
      device = { name, count: 0, fields: new Map(), seen: Date.parse(lastSeen), type: lastType || undefined, topic: lastTopic || undefined };
      this.all.set(name, device);
      for (const [path, { value, timestamp }] of Object.entries(metrics)) put(device, path, value, Date.parse(timestamp));
    }
    Object.assign(device, { known: true, online, since, count: Math.max(device.count, events), counted: Date.parse(lastSeen) });
  }
}

function put(device, path, value, time) {
  let field = device.fields.get(path);
  if (!field) {
    if (device.fields.size >= FIELDS) return;
    device.fields.set(path, (field = { path, series: null }));
  }
  field.value = typeof value === "string" ? value.slice(0, TEXT) : value;
  if (typeof value === "number" && Number.isFinite(time)) (field.series ??= new Series()).add(time, value);
}

// The points of a field within a range: its history, then what the page has seen itself since. One more before
// the range, where there is one, so that the line comes in from the edge.
export function points(field, range) {
  const { series } = field;
  if (!range) return { times: series.times, values: series.values, lows: series.values, highs: series.values };
  const history = field.history?.name === range.name ? field.history : null;
  const all = { times: [], values: [], lows: [], highs: [] };
  if (history) for (const name of Object.keys(all)) all[name].push(...history[name]);
  const behind = history?.times.length ? history.end : range.start;
  let from = series.times.findIndex((time) => time >= behind);
  if (from < 0) from = series.times.length;
  if (from > 0 && from < series.times.length && !history?.times.length) from -= 1;
  for (let at = from; at < series.times.length && series.times[at] <= range.end; at += 1) {
    all.times.push(series.times[at]);
    for (const name of ["values", "lows", "highs"]) all[name].push(series.values[at]);
  }
  return all;
}
