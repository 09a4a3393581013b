// Wires the parts. Events are taken in as they arrive; everything visible changes in one
// animation frame, so a thousand events a second cost no more drawing than one.

import { Detail } from "./detail.js";
import { DeviceList } from "./devices.js";
import { byId, setText } from "./dom.js";
import { Feed } from "./feed.js";
import { Devices } from "./model.js";
import { connect } from "./stream.js";

const STATES = { connecting: "Connecting", live: "Live", reconnecting: "Reconnecting", stopped: "Disconnected" };
const REASONS = {
  retention: "they are older than what the bridge keeps",
  damage: "the bridge cannot read them any more",
  "unknown-epoch": "the bridge's journal is not the one this page was reading",
};

const LIST_EVERY = 250;
const KNOWN_EVERY = 5000;
const KNOWN = "/api/devices?limit=500";

const devices = new Devices();
const detail = new Detail();
const feed = new Feed();
let chosen = null;

function choose(name) {
  chosen = devices.all.get(name);
  detail.show(chosen);
}

const list = new DeviceList(choose);

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
    if (!chosen && devices.all.size) choose(devices.all.keys().next().value);
  } catch {
    // Asked again soon.
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
    // Also where the device was forgotten to make room, and came back.
    if (!chosen || (chosen !== device && chosen.name === device.name)) choose(device.name);
    else detail.changed(device);
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
know(`${KNOWN}&metrics=true`);
setInterval(() => know(KNOWN), KNOWN_EVERY);
requestAnimationFrame(frame);
