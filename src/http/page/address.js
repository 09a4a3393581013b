// What is shown, in the address bar: a copied address shows the same, and Back goes to what was shown before.

const NAMES = ["show", "device", "metric", "period", "from", "to", "topic", "type", "find", "state"];
export const VIEWS = ["fleet", "device", "events", "sessions", "health", "refused"];

// What the address says, each under its name; empty where it says nothing.
export function read() {
  const parameters = new URLSearchParams(location.search);
  return Object.fromEntries(NAMES.map((name) => [name, parameters.get(name) ?? ""]));
}

// Which view that is: a device without more is that device.
export function view() {
  const { show, device } = read();
  return VIEWS.includes(show) ? show : device ? "device" : "fleet";
}

// Changes some of it; an empty value takes a name away. `isStep` says that Back leads to what was there.
export function write(changes, isStep = true) {
  const parameters = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value) parameters.set(name, value);
    else parameters.delete(name);
  }
  go(parameters, isStep);
}

// Goes to a view, with nothing but what is named.
export function open(values) {
  go(new URLSearchParams(Object.entries(values).filter(([, value]) => value)), true);
}

function go(parameters, isStep) {
  const query = parameters.size ? `?${parameters}` : location.pathname;
  if (query === location.search || (!parameters.size && !location.search)) return;
  history[isStep ? "pushState" : "replaceState"](null, "", query);
}
