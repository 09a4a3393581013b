// Numbers and times as people read them.

const number = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 6 });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const dayClock = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });

const DAY = 86_400_000;

export function value(value) {
  if (typeof value === "number") {
    const size = Math.abs(value);
    return size !== 0 && (size >= 1e9 || size < 1e-4) ? value.toExponential(3) : number.format(value);
  }
  return typeof value === "string" ? value : JSON.stringify(value);
}

// A time as a clock; with its day where `span` milliseconds around it are about one or more, and as that alone where
// they are many.
export function time(at, span = 0) {
  return (span > 20 * DAY ? day : span > 0.8 * DAY ? dayClock : clock).format(at);
}

export function age(at, now) {
  const seconds = Math.max(0, Math.round((now - at) / 1000));
  if (seconds < 2) return "now";
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

export function bytes(count) {
  const steps = ["B", "KiB", "MiB", "GiB", "TiB"];
  const step = Math.min(steps.length - 1, Math.floor(Math.log2(Math.max(count, 1)) / 10));
  return `${Number((count / 1024 ** step).toPrecision(3))} ${steps[step]}`;
}
