// Small helpers. Text is only ever set as text: nothing from a device is parsed as markup.

export const byId = (id) => document.getElementById(id);

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// Sets text where it differs, so that an unchanged page costs no layout.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
