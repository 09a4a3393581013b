// Events as rows that open: the line says what and when, the rest is written out when somebody looks.

import { element } from "./dom.js";
import * as format from "./format.js";

const PREVIEW = 240;

export function eventRow(event) {
  return row(event.metadata?.topic ?? event.type, event.timestamp, JSON.stringify(event.data).slice(0, PREVIEW), () =>
    element("pre", { tabIndex: 0, textContent: JSON.stringify(event, null, 2) }),
  );
}

// A row with a title, a time, and a line of text; `content` makes what is inside, once.
export function row(title, timestamp, text, content, className = "data") {
  const at = Date.parse(timestamp);
  const summary = element(
    "summary",
    {},
    element("span", { className: "topic", textContent: title }),
    element("time", { dateTime: timestamp, textContent: format.time(at, Math.abs(Date.now() - at) * 2) }),
    element("span", { className, textContent: text }),
  );
  const details = element("details", {}, summary);
  details.addEventListener("toggle", () => details.append(content()), { once: true });
  return element("li", {}, details);
}
