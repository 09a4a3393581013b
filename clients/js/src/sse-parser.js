// Server-Sent Events by the WHATWG text (HTML, section 9.2.6): fed with text, it gives the messages that are whole.

/** @typedef {{ event: string, data: string, id: string }} SseMessage */

export class SseParser {
  #rest = "";
  #isAfterReturn = false;
  #isFirst = true;
  #data = "";
  #hasData = false;
  #event = "";
  #id = "";
  /** What the server wishes between two attempts, in milliseconds. @type {number | undefined} */
  retry;

  /**
   * @param {string} text
   * @returns {SseMessage[]}
   */
  feed(text) {
    if (this.#isFirst && text) {
      this.#isFirst = false;
      if (text.startsWith("\uFEFF")) text = text.slice(1);
    }
    // The second half of a line end that a chunk has cut.
    const isCut = this.#isAfterReturn && text.startsWith("\n");
    if (text) this.#isAfterReturn = text.endsWith("\r");
    if (isCut) text = text.slice(1);
    const lines = (this.#rest + text).split(/\r\n|\r|\n/);
    this.#rest = lines.pop() ?? "";
    /** @type {SseMessage[]} */
    const messages = [];
    for (const line of lines) this.#line(line, messages);
    return messages;
  }

  /**
   * @param {string} line
   * @param {SseMessage[]} messages
   */
  #line(line, messages) {
    if (line === "") {
      if (this.#hasData) messages.push({ event: this.#event || "message", data: this.#data, id: this.#id });
      this.#data = this.#event = "";
      this.#hasData = false;
      return;
    }
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (name === "data") {
      this.#data = this.#hasData ? `${this.#data}\n${value}` : value;
      this.#hasData = true;
    } else if (name === "event") this.#event = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    else if (name === "retry" && /^\d+$/.test(value)) this.retry = Number(value);
  }
}
