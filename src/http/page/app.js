// Wires the parts. Events are taken in as they arrive; everything visible changes in one
// animation frame, so a thousand events a second cost no more drawing than one.

import * as address from "./address.js";
import { ask } from "./api.js";
import { colours } from "./colours.js";
import { Commands } from "./commands.js";
import { Detail } from "./detail.js";
import { DeviceState } from "./device.js";
import { DeviceList } from "./devices.js";
import { byId, setText } from "./dom.js";
import { Feed } from "./feed.js";
import * as format from "./format.js";
import { Keys } from "./keys.js";
import { Devices } from "./model.js";
import { Refused } from "./refused.js";
import { Sessions } from "./sessions.js";
import { Sparks } from "./spark.js";
import { State } from "./state.js";
import { signedIn } from "./sign_in.js";
import { watch } from "./stream.js";
import { Traffic } from "./traffic.js";
import { Views } from "./views.js";

const STATES = { connecting: "Connecting", open: "Live", waiting: "Reconnecting", closed: "Disconnected" };
const LIGHTS = { connecting: "connecting", open: "live", waiting: "reconnecting", closed: "stopped" };
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
const deviceState = new DeviceState();
const commands = new Commands();
const feed = new Feed();
const sparks = new Sparks(colours());
const list = new DeviceList(sparks);
const refused = new Refused();
const sessions = new Sessions();
const traffic = new Traffic();
new State((isKept) => refused.reload(isKept));

let wanted = ""; // The device of the address.
let chosen = null; // It, once something is known of it.

const views = new Views((view) => {
  const { device } = address.read();
  const name = view === "device" ? device : "";
  if (name !== wanted) leave(name);
  list.follow();
  feed.follow(view === "events");
  sessions.follow(view === "sessions");
  traffic.follow(view === "health");
  detail.follow();
  document.title = [name || (view === "fleet" ? "" : byId(`view-${view}`).querySelector("h2").textContent), "synap-mqtt"].filter(Boolean).join(" · ");
});

// From one device to another, or to none.
function leave(name) {
  wanted = name;
  chosen = null;
  detail.show(null);
  if (!name) {
    deviceState.hide();
    commands.hide();
    return;
  }
  setText(byId("detail-title"), name);
  setText(byId("detail-about"), "Nothing is known of this device yet.");
  deviceState.show(name);
  commands.show(name);
  choose();
  if (!chosen) knowWanted(name);
}

// Shows the device of the address as soon as it is known, and anew where it was forgotten to make room, and came back.
function choose() {
  const device = devices.all.get(wanted);
  if (!device || device === chosen) return;
  chosen = device;
  detail.show(chosen);
}

// Devices that have said nothing since the page is open, and who is connected. The page works without.
async function know(url) {
  try {
    (await ask(url, KNOWN_EVERY)).devices.forEach((device) => devices.know(device));
    choose();
  } catch {
    // Asked again soon.
  }
}

// Of many devices, this one may not be on the first page.
async function knowWanted(name) {
  try {
    devices.know(await ask(`/api/devices/${encodeURIComponent(name)}`, KNOWN_EVERY));
    choose();
  } catch {
    // Shown once it says something.
  }
}

let arrived = 0;
let measured = performance.now();

function showFigures() {
  const now = performance.now();
  setText(byId("rate"), format.value(Math.round((arrived * 1000) / (now - measured))));
  arrived = 0;
  measured = now;
  const known = [...devices.all.values()];
  setText(byId("tile-devices"), format.value(known.length));
  setText(byId("tile-online"), format.value(known.filter(({ online }) => online).length));
}

function tell(text) {
  byId("notice").hidden = false;
  setText(byId("notice-text"), text);
}

let listed = 0;

function frame() {
  const now = Date.now();
  const view = address.view();
  if (view === "fleet") {
    if (now - listed > LIST_EVERY) {
      listed = now;
      list.draw(devices.all, now);
    }
    sparks.draw(now);
  } else if (view === "device") {
    detail.draw(now);
    deviceState.draw();
  } else if (view === "events") feed.draw(now);
  requestAnimationFrame(frame);
}

watch(
  {},
  {
    state(state) {
      byId("state").dataset.state = LIGHTS[state];
      setText(byId("state-text"), STATES[state]);
    },
    event(event) {
      arrived += 1;
      const device = devices.take(event);
      feed.take(event);
      list.changed(device);
      if (device.name !== wanted) return;
      choose();
      detail.changed(device);
      deviceState.take(event, device.name);
      commands.take(event, device.name);
    },
    gap({ reason, count }) {
      if (reason === "slow") arrived += count ?? 0;
      else tell(`Some events are missing here: ${REASONS[reason] ?? reason}. The next ones follow.`);
    },
    // Who must say who they are are asked for a key.
    refused: (error) => error.status === 401 || tell(error.message),
  },
);

document.addEventListener("theme", () => sparks.repaint(colours()));
byId("notice-close").addEventListener("click", () => (byId("notice").hidden = true));
new Keys(views, () => feed.toggle());
views.follow();
setInterval(showFigures, 1000);
know(`${KNOWN}&metrics=true`);
setInterval(() => document.hidden || know(KNOWN), KNOWN_EVERY);
requestAnimationFrame(frame);
