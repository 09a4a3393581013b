// Messages that their route or the table refused, the last first: why, what was in them, and how to have them stored
// once the fault is mended.

import { ask } from "./api.js";
import { byId, element, setText } from "./dom.js";
import { row } from "./rows.js";

const PAGE = 20;
const PREVIEW = 4096; // Bytes.

export class Refused {
  #list = byId("refused");
  #about = byId("refused-about");
  #more = byId("refused-more");
  #count = byId("refused-count");
  #cursor = null;
  #asking = false;

  constructor() {
    this.#more.addEventListener("click", () => this.#load(this.#cursor));
  }

  // Begins anew with the last.
  reload(isKept) {
    if (isKept) this.#load(null);
    else setText(this.#about, WITHOUT_DATABASE);
  }

  async #load(cursor) {
    if (this.#asking) return;
    this.#asking = true;
    try {
      const question = new URLSearchParams({ limit: PAGE, ...(cursor && { cursor }) });
      this.#show(await ask(`/api/dead-letters?${question}`), cursor);
    } catch (error) {
      setText(this.#about, error.status === 404 ? WITHOUT_DATABASE : "They cannot be listed now.");
    } finally {
      this.#asking = false;
    }
  }

  #show({ deadLetters, nextCursor }, isFurther) {
    // What is open stays so.
    const open = new Set([...this.#list.querySelectorAll("details[open]")].map(({ dataset }) => dataset.letter));
    const rows = deadLetters.map((letter) => letterRow(letter, open));
    if (isFurther) this.#list.append(...rows);
    else this.#list.replaceChildren(...rows);
    this.#cursor = nextCursor;
    this.#more.hidden = !nextCursor;
    const count = this.#list.childElementCount;
    setText(this.#count, count ? `${count}${nextCursor ? "+" : ""}` : "");
    setText(this.#about, count ? "Kept with the reason, and not among the events." : "Nothing was refused.");
  }
}

const WITHOUT_DATABASE = "They are kept in a database, and the bridge has none. What a route refuses is an event here, with “rejected” in its metadata.";

function letterRow(letter, open) {
  const item = row(letter.topic || `connection of ${letter.device}`, letter.receivedAt, letter.reason, () => content(letter), "reason");
  const [details] = item.children;
  details.dataset.letter = `${letter.journal}-${letter.sequence}`;
  details.open = open.has(details.dataset.letter);
  return item;
}

function content(letter) {
  if (letter.device !== undefined) return connection(letter);
  const { name, text } = preview(letter.payload);
  const replay = `synap-mqtt dead-letters replay --topic ${quoted(letter.topic)}`;
  return element(
    "div",
    { className: "letter" },
    element("p", { textContent: `From ${letter.clientId || "a client without a name"}, record ${letter.sequence}. ${name}:` }),
    element("pre", { tabIndex: 0, textContent: text }),
    element("p", { textContent: "Once the route is mended, this stores the messages of the topic:" }),
    element("pre", { tabIndex: 0, textContent: replay }),
  );
}

// That a device has come or gone is no message.
function connection(letter) {
  return element(
    "div",
    { className: "letter" },
    element("p", { textContent: `${letter.clientId} has come or gone, record ${letter.sequence}.` }),
    element("p", { textContent: "Once the table takes such events, this stores all that wait:" }),
    element("pre", { textContent: "synap-mqtt dead-letters replay" }),
  );
}

// Text where it is text, else its bytes.
function preview(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const size = `${bytes.length} ${bytes.length === 1 ? "byte" : "bytes"}`;
  const cut = bytes.length > PREVIEW ? "…" : "";
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    if (!/[\0-\x08\x0e-\x1f]/.test(text)) return { name: `Its ${size}`, text: text.slice(0, PREVIEW) + cut };
  } catch {
    // Bytes, then.
  }
  const hex = Array.from(bytes.subarray(0, PREVIEW / 8), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return { name: `Its ${size}, as they are`, text: bytes.length > PREVIEW / 8 ? `${hex} …` : hex };
}

// For a shell.
function quoted(text) {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
