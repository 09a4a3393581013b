// MQTT sessions: who is connected, what they subscribe to, what waits for them.

import * as address from "./address.js";
import { ask } from "./api.js";
import { byId, element, setText } from "./dom.js";
import * as format from "./format.js";

const EVERY = 5000;
const PAGE = 100;
const NONE = "–";

export class Sessions {
  #rows = byId("sessions");
  #more = byId("sessions-more");
  #about = byId("sessions-about");
  #pages = 1;
  #isShown = false;
  #isAsking = false;

  constructor() {
    this.#more.addEventListener("click", () => {
      this.#pages += 1;
      this.#look();
    });
    setInterval(() => this.#look(), EVERY);
  }

  follow(isShown) {
    this.#isShown = isShown;
    this.#look();
  }

  async #look() {
    if (!this.#isShown || this.#isAsking || document.hidden) return;
    this.#isAsking = true;
    try {
      const { sessions, nextCursor } = await this.#load();
      this.#show(sessions, nextCursor);
    } catch (error) {
      setText(this.#about, error.message);
    } finally {
      this.#isAsking = false;
    }
  }

  async #load() {
    const { find } = address.read();
    if (find) {
      const one = await ask(`/api/sessions/${encodeURIComponent(find)}`).catch((error) => (error.status === 404 ? null : Promise.reject(error)));
      return { sessions: one ? [one] : [], nextCursor: null };
    }
    const sessions = [];
    let cursor = "";
    for (let page = 0; page < this.#pages && cursor !== null; page += 1) {
      const question = new URLSearchParams({ limit: PAGE, filters: true, ...(cursor && { cursor }) });
      const answer = await ask(`/api/sessions?${question}`);
      sessions.push(...answer.sessions);
      cursor = answer.nextCursor;
    }
    return { sessions, nextCursor: cursor };
  }

  #show(sessions, nextCursor) {
    const open = new Set([...this.#rows.querySelectorAll("details[open]")].map(({ dataset }) => dataset.client));
    const focused = document.activeElement?.closest?.("#sessions details")?.dataset.client;
    this.#rows.replaceChildren(...sessions.map((session) => sessionRow(session, open)));
    if (focused !== undefined) {
      [...this.#rows.querySelectorAll("details")].find(({ dataset }) => dataset.client === focused)?.firstElementChild.focus();
    }
    this.#more.hidden = !nextCursor;
    const connected = sessions.filter((session) => session.connected).length;
    const { find } = address.read();
    const none = find ? `The client ${find} has no session.` : "Nobody has a session.";
    setText(this.#about, sessions.length ? `${connected} of ${sessions.length}${nextCursor ? "+" : ""} connected` : none);
  }
}

function sessionRow(session, open) {
  const cell = (label, ...content) => {
    // A telephone has no room for what is not there.
    const made = element("td", { className: content[0] === NONE ? "none" : "" }, element("div", {}, ...content));
    made.dataset.label = label;
    return made;
  };
  const { clientId, user, peer, protocolVersion, connected, since, queuedMessages, queuedBytes, inFlight, dropped } = session;
  const now = Date.now();
  const about = [protocolVersion && `MQTT ${protocolVersion}`, user, peer].filter(Boolean).join(" · ");
  const head = element("th", { scope: "row" }, element("div", { textContent: clientId }), element("div", { className: "about", textContent: about }));
  const state = `${connected ? "Connected" : "Away"}${since ? `, ${format.age(Date.parse(since), now)}` : ""}`;
  const until = !connected && session.expiresAt ? `until ${format.time(Date.parse(session.expiresAt), Date.parse(session.expiresAt) - now)}` : "";
  const item = element(
    "tr",
    {},
    head,
    cell("State", element("span", { className: "dot", ariaHidden: "true" }), state, element("span", { className: "about", textContent: until })),
    cell("Subscriptions", subscriptions(session, open)),
    cell("Waiting", queuedMessages ? `${format.value(queuedMessages)}, ${format.bytes(queuedBytes)}` : NONE),
    cell("In flight", inFlight ? format.value(inFlight) : NONE),
    cell("Dropped", dropped ? format.value(dropped) : NONE),
  );
  item.dataset.state = connected ? "ready" : "away";
  return item;
}

function subscriptions({ clientId, subscriptions: count, filters = [] }, open) {
  if (!count) return NONE;
  const list = element("ul", {}, ...filters.map((filter) => element("li", { textContent: filter })));
  const details = element("details", {}, element("summary", { textContent: String(count) }), list);
  details.dataset.client = clientId;
  details.open = open.has(clientId);
  return details;
}
