// How the bridge is doing: its parts, who reads the journal and how far behind, the database.

import { ask } from "./api.js";
import { byId, element, setText } from "./dom.js";
import * as format from "./format.js";

const EVERY = 3000;
const PATIENCE = 10_000;
const BEHIND = 5; // Seconds; what waits for less is on its way.

const READERS = {
  timescale: "Into the database",
  devices: "Last values of devices",
  checkpoint: "Checkpoint of sessions",
  sessions: "Oldest queued message",
};

export class State {
  #chip = byId("store");
  #text = byId("store-text");
  #letters = null;
  #refused;

  // `refused` is called when more messages have been refused, with whether there is a database that has them.
  constructor(refused) {
    this.#refused = refused;
    this.#look();
  }

  async #look() {
    try {
      this.#show(await ask("/api/consumers", PATIENCE));
    } catch {
      // The stream's own state tells that the bridge is away.
    } finally {
      setTimeout(() => this.#look(), EVERY);
    }
  }

  #show(info) {
    const [state, text] = store(info);
    this.#chip.hidden = false;
    this.#chip.dataset.state = state;
    setText(this.#text, text);
    byId("waiting").hidden = !info.database;
    setText(byId("tile-waiting"), format.value(writer(info).lagRecords));
    byId("parts").replaceChildren(...Object.entries(info.health.components).map(part));
    byId("readers").replaceChildren(...info.consumers.map(reader));
    showJournal(info.journal);
    byId("figures").replaceChildren(...figures(info));
    const letters = info.database ? info.database.deadLetters : NaN;
    if (!Object.is(this.#letters, letters)) this.#refused(Boolean(info.database));
    this.#letters = letters;
  }
}

// What the database has, in a word.
function store({ database, consumers }) {
  if (!database) return ["none", "No database"];
  if (!database.connected) return ["stopped", "Database away"];
  const { lagRecords, lagSeconds } = writer({ consumers });
  return lagSeconds < BEHIND ? ["live", "Stored"] : ["reconnecting", `${format.value(lagRecords)} behind, ${seconds(lagSeconds)}`];
}

function writer({ consumers }) {
  return consumers.find(({ name }) => name === "timescale") ?? { lagRecords: 0, lagSeconds: 0 };
}

function part([name, { state, reason }]) {
  const said = element("dd", {}, element("span", { className: "dot", ariaHidden: "true" }), state);
  const item = element("div", {}, element("dt", { textContent: name }), said);
  item.dataset.state = state;
  if (reason) item.append(element("dd", { className: "reason", textContent: reason }));
  return item;
}

function reader({ name, lagRecords, lagSeconds }) {
  const cell = (text) => element("td", { textContent: text });
  const head = element("th", { scope: "row", textContent: READERS[name] ?? name });
  return element("tr", {}, head, cell(format.value(lagRecords)), cell(lagRecords ? seconds(lagSeconds) : "–"));
}

// How full the journal is, as a picture too.
function showJournal({ bytes, maximumBytes }) {
  setText(byId("journal-text"), `Journal: ${format.bytes(bytes)} of ${format.bytes(maximumBytes)}`);
  byId("journal-size").value = bytes / maximumBytes;
}

function* figures({ journal, database, import: others, streamClients }) {
  const figure = (name, text) => element("div", {}, element("dt", { textContent: name }), element("dd", { textContent: text }));
  const state = database ? (database.connected ? "connected" : "away") : "none";
  yield figure("Database", state);
  yield figure("Newest record", `number ${format.value(journal.durable)}`);
  yield figure("Open streams", String(streamClients));
  if (database) {
    yield figure("Events stored since the start", format.value(database.events));
    yield figure("Measurements", format.value(database.measurements));
    yield figure("Sent again, left out", format.value(database.repeats));
    yield figure("Refused", format.value(database.deadLetters));
    if (database.error) yield figure("Last fault", database.error);
  }
  if (others) yield figure("From other writers", others.standby ? "another bridge takes them over" : format.value(others.imported));
}

function seconds(number) {
  return number < 1 ? "under 1 s" : format.age(0, number * 1000);
}
