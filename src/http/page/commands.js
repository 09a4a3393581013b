// What a device was asked to do and what it answered. A bridge that has no commands shows none.

import { ProblemError } from "./client/index.js";
import { ask, bridge } from "./api.js";
import { byId, element, setText } from "./dom.js";
import { row } from "./rows.js";

const EVENTS = "devices.command.";
const WAIT = 20; // Seconds.
const AGAIN = 300; // Milliseconds: what happens at once is asked for once.

const STATES = {
  waiting: "waits: nobody subscribes to its topic",
  sent: "sent, not delivered yet",
  delivered: "delivered, not answered yet",
  completed: "answered",
  expired: "expired without an answer",
};

export class Commands {
  #panel = byId("commands-panel");
  #list = byId("commands");
  #about = byId("command-about");
  #payload = byId("command-payload");
  #name = "";
  #due = null;

  constructor() {
    byId("command-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.#payload.addEventListener("input", () => this.#payload.setCustomValidity(""));
  }

  show(name) {
    this.#name = name;
    this.#panel.hidden = true;
    this.#list.replaceChildren();
    setText(this.#about, "");
    this.#look();
  }

  hide() {
    this.#name = "";
  }

  take(event, name) {
    if (name !== this.#name || !event.type.startsWith(EVENTS)) return;
    this.#due ??= setTimeout(() => {
      this.#due = null;
      this.#look();
    }, AGAIN);
  }

  async #look() {
    const name = this.#name;
    if (!name) return;
    try {
      const commands = await bridge.commands(name);
      if (name !== this.#name) return;
      this.#panel.hidden = false;
      this.#show(commands);
    } catch {
      // Where there are none; or it is shown at the next event.
    }
  }

  #show(commands) {
    const open = new Set([...this.#list.querySelectorAll("details[open]")].map(({ dataset }) => dataset.id));
    this.#list.replaceChildren(...commands.map((command) => this.#row(command, open)));
  }

  #row(command, open) {
    const item = row(command.topic, command.requestedAt, STATES[command.state] ?? command.state, () => this.#content(command), "reason");
    item.dataset.state = command.state;
    const [details] = item.children;
    details.dataset.id = command.id;
    details.open = open.has(command.id);
    return item;
  }

  #content({ device, id }) {
    const text = element("pre", { tabIndex: 0, textContent: "…" });
    const write = (value) => JSON.stringify(value, null, 2);
    Promise.all([bridge.commandById(device, id), request(id)]).then(
      ([{ completion }, asked]) => setText(text, `Asked: ${write(asked)}\n\n${completion ? `Answer: ${write(completion.answer)}` : "No answer yet."}`),
      (error) => setText(text, error.message),
    );
    return text;
  }

  async #send() {
    let payload;
    try {
      payload = JSON.parse(this.#payload.value);
    } catch (error) {
      this.#payload.setCustomValidity(`This is no JSON: ${error.message}`);
      this.#payload.reportValidity();
      return;
    }
    const name = this.#name;
    const say = (text) => name === this.#name && setText(this.#about, text);
    say("Sent. Waiting for the answer …");
    try {
      const { completion } = await bridge.command(name, { payload, wait: WAIT });
      say(`Answered: ${JSON.stringify(completion?.answer ?? null).slice(0, 200)}`);
    } catch (error) {
      say(error instanceof ProblemError ? error.message : "The bridge cannot be reached.");
    }
    this.#look();
  }
}

// What was asked, as its event has it; null where the bridge does not keep that any more.
async function request(id) {
  const { events } = await ask(`/api/events?${new URLSearchParams({ correlation: id, type: `${EVENTS}requested`, limit: 1 })}`);
  return events[0]?.data.request ?? null;
}
