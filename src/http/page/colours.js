// A canvas knows no CSS variables: an element with them as its colour tells what they are.

export function colours() {
  const probe = document.createElement("i");
  probe.hidden = true;
  document.body.append(probe);
  const read = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const found = Object.fromEntries(["accent", "line", "quiet", "panel", "text"].map((name) => [name, read(name)]));
  const accent = (opacity) => found.accent.replace(")", ` / ${opacity})`).replace(/(\d+), (\d+), /, "$1 $2 ");
  Object.assign(found, { fill: accent(0.2), faded: accent(0), band: accent(0.28) });
  found.font = getComputedStyle(document.body).fontFamily;
  probe.remove();
  return found;
}
