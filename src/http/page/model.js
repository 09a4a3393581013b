// What is known of each device: its last values, and the latest points of each number. Bounded:
// the device unseen for longest makes room for a new one, the oldest points for new ones.

const DEVICES = 500;
const FIELDS = 48;
const DEPTH = 6;
const POINTS = 1000;
const TEXT = 200;

// Events that say whether a device is connected; they hold no values of it.
const PRESENCE = new Map([
  ["devices.connection.opened", true],
  ["devices.connection.closed", false],
]);

export class Series {
  times = [];
  values = [];

  add(time, value) {
    const { times, values } = this;
    let at = times.length;
    while (at > 0 && times[at - 1] > time) at -= 1;
    if (at === times.length) {
      times.push(time);
      values.push(value);
    } else {
      times.splice(at, 0, time);
      values.splice(at, 0, value);
    }
    if (times.length > POINTS + 100) {
      times.splice(0, times.length - POINTS);
      values.splice(0, values.length - POINTS);
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
    if (this.all.size > DEVICES) this.all.delete(this.all.keys().next().value);

    const time = Date.parse(event.timestamp);
    const seen = Date.parse(event.metadata?.receivedAt) || time;
    const online = PRESENCE.get(event.type);
    if (online !== undefined) {
      return Object.assign(device, { known: true, online, seen: online ? seen : (device.seen ?? seen), type: device.type ?? event.type });
    }
    Object.assign(device, { count: device.count + 1, seen, type: event.type, topic: event.metadata?.topic });
    for (const [path, value] of leaves(event.data)) put(device, path, value, time);
    return device;
  }

  // Takes in what the bridge knows of a device, also of one that has said nothing since the page is open.
  know({ device: name, online, events, lastSeen, lastType, lastTopic, metrics = {} }) {
    let device = this.all.get(name);
    if (!device) {
      if (this.all.size >= DEVICES) return;
      device = { name, count: 0, fields: new Map(), seen: Date.parse(lastSeen), type: lastType || undefined, topic: lastTopic || undefined };
      this.all.set(name, device);
      for (const [path, { value, timestamp }] of Object.entries(metrics)) put(device, path, value, Date.parse(timestamp));
    }
    Object.assign(device, { known: true, online, count: Math.max(device.count, events) });
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

// All points of a field: its history, then what the page has seen itself.
export function points({ series, history }) {
  if (!history?.times.length) return series;
  const first = series.times[0] ?? Infinity;
  const before = history.times.findIndex((time) => time >= first);
  const end = before < 0 ? history.times.length : before;
  return { times: [...history.times.slice(0, end), ...series.times], values: [...history.values.slice(0, end), ...series.values] };
}
