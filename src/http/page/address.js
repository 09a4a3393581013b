// What is shown, in the address bar: a copied address shows the same, and Back goes to what was shown before.

const NAMES = ["device", "metric", "period", "from", "to", "show"];

// What the address says, each under its name; empty where it says nothing.
export function read() {
  const parameters = new URLSearchParams(location.search);
  return Object.fromEntries(NAMES.map((name) => [name, parameters.get(name) ?? ""]));
}

// Changes some of it; an empty value takes a name away. `isStep` says that Back leads to what was there.
export function write(changes, isStep = true) {
  const parameters = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value) parameters.set(name, value);
    else parameters.delete(name);
  }
  const query = parameters.size ? `?${parameters}` : location.pathname;
  if (query !== location.search) history[isStep ? "pushState" : "replaceState"](null, "", query);
}
