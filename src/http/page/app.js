// Wires the parts. Events are taken in as they arrive; everything visible changes in one
// animation frame, so a thousand events a second cost no more drawing than one.

import * as address from "./address.js";
import { Detail } from "./detail.js";
import { DeviceList } from "./devices.js";
import { byId, setText } from "./dom.js";
import { Feed } from "./feed.js";
import { Devices } from "./model.js";
import { Refused } from "./refused.js";
import { State } from "./state.js";
import { signedIn } from "./sign_in.js";
import { connect } from "./stream.js";
import { Tabs } from "./tabs.js";

const STATES = { connecting: "Connecting", live: "Live", reconnecting: "Reconnecting", stopped: "Disconnected" };
const REASONS = {
  retention: "they are older than what the bridge keeps",
  damage: "the bridge cannot read them any more",
  "unknown-epoch": "the bridge's journal is not the one this page was reading",
};

const LIST_EVERY = 250;
const KNOWN_EVERY = 5000;
const KNOWN = "/api/devices?limit=500";

// Nothing is asked for by somebody whom the bridge does not know.
await signedIn().catch(() => {});

const devices = new Devices();
const detail = new Detail();
const feed = new Feed();
let chosen = null;

function choose(name) {
  chosen = devices.all.get(name);
  detail.show(chosen);
}

// The device of the address as soon as it is known, until then whichever there is.
function follow() {
  const { device } = address.read();
  const found = devices.all.has(device) ? device : chosen ? null : devices.all.keys().next().value;
  if (!found || found === chosen?.name) return;
  choose(found);
  if (!device) address.write({ device: found }, false);
}

const list = new DeviceList((name) => {
  address.write({ device: name });
  choose(name);
});
const refused = new Refused();
new State(() => refused.reload());
const tabs = new Tabs(byId("tabs"), (name) => (byId("pause").hidden = name !== "events"));
addEventListener("popstate", () => {
  follow();
  detail.follow();
  tabs.follow();
});

let arrived = 0;
let measured = performance.now();

function showRate() {
  const now = performance.now();
  setText(byId("rate"), String(Math.round((arrived * 1000) / (now - measured))));
  arrived = 0;
  measured = now;
}

// Devices that have said nothing since the page is open, and who is connected. The page works without.
async function know(url) {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(KNOWN_EVERY) });
    if (!answer.ok) return;
    (await answer.json()).devices.forEach((device) => devices.know(device));
    follow();
  } catch {
    // Asked again soon.
  }
}

// Of many devices, the one of the address may not be on the first page.
async function knowWanted() {
  const { device } = address.read();
  if (!device || devices.all.has(device)) return;
  try {
    const answer = await fetch(`/api/devices/${encodeURIComponent(device)}`, { signal: AbortSignal.timeout(KNOWN_EVERY) });
    if (answer.ok) devices.know(await answer.json());
    follow();
  } catch {
    // Shown once it says something.
  }
}

let listed = 0;

function frame() {
  const now = Date.now();
  if (now - listed > LIST_EVERY) {
    listed = now;
    list.draw(devices.all, chosen, now);
  }
  detail.draw(now);
  feed.draw(now);
  requestAnimationFrame(frame);
}

connect({
  state(state) {
    byId("state").dataset.state = state;
    setText(byId("state-text"), STATES[state]);
  },
  event(event) {
    arrived += 1;
    const device = devices.take(event);
    feed.take(event);
    // Where the device was forgotten to make room, and came back.
    if (chosen && chosen !== device && chosen.name === device.name) choose(device.name);
    else if (!chosen || device.name === address.read().device) follow();
    detail.changed(device);
  },
  gap({ reason }) {
    byId("notice").hidden = false;
    setText(byId("notice-text"), `Some events are missing here: ${REASONS[reason] ?? reason}. The next ones follow.`);
  },
});

byId("notice-close").addEventListener("click", () => (byId("notice").hidden = true));
addEventListener("keydown", (event) => {
  const isTyping = event.target.closest?.("input, select");
  if (event.key === "p" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) feed.toggle();
});
setInterval(showRate, 1000);
know(`${KNOWN}&metrics=true`).then(knowWanted);
setInterval(() => know(KNOWN), KNOWN_EVERY);
requestAnimationFrame(frame);
