// Who looks at this page: whoever has a session of the pod, which the browser sends by itself, or an API key, which is
// kept for this tab alone. Where the bridge must know and does not, a dialog says how to get in.

import { element } from "./dom.js";

const STORED = "synap-mqtt.key";

let key = sessionStorage.getItem(STORED) ?? "";
let asking = null;

// The key, where there is one; while somebody is typing it, it is waited for.
export async function credentials() {
  await asking;
  return key || undefined;
}

const whoAmI = () => fetch("/api/caller", key ? { headers: { Authorization: `Bearer ${key}` } } : {});

function keep(value) {
  key = value;
  if (key) sessionStorage.setItem(STORED, key);
  else sessionStorage.removeItem(STORED);
}

// Comes when the bridge knows who looks, or does not ask.
export async function signedIn() {
  const answer = await whoAmI();
  if (answer.status === 200) return show(await answer.json());
  // Anything else may pass; the stream tells.
  if (answer.status !== 401 && answer.status !== 403) return;
  asking ??= ask(await problemOf(answer)).finally(() => (asking = null));
  await asking;
}

async function problemOf(answer) {
  try {
    return (await answer.json()).detail;
  } catch {
    return "";
  }
}

async function ways() {
  try {
    const answer = await fetch("/api/sign-in");
    return answer.ok ? await answer.json() : {};
  } catch {
    return {};
  }
}

// Says who looks, with a way out where that is a key.
function show({ kind, name }) {
  document.getElementById("caller")?.remove();
  if (kind === "anyone") return;
  const line = element("p", { id: "caller", className: "state" }, name);
  if (key) {
    const out = element("button", { type: "button", textContent: "Sign out" });
    out.addEventListener("click", () => {
      keep("");
      location.reload();
    });
    line.append(out);
  }
  document.querySelector("header .states").prepend(line);
}

async function ask(problem) {
  const { apiKeys, tokens, loginUrl } = await ways();
  const said = element("p", { className: "about", role: "alert", textContent: key ? problem : "" });
  const input = element("input", { type: "password", autocomplete: "off", required: true, spellcheck: false });
  const label = element("label", {}, apiKeys || !tokens ? "API key " : "Access token ", input);
  const form = element("form", {}, label, element("button", { textContent: "Continue" }));
  const dialog = element("dialog", { className: "sign-in" });
  dialog.append(element("h2", { textContent: "Sign in" }));
  dialog.append(element("p", {}, "This bridge shows a pod's events only to those whom the pod knows."));
  if (loginUrl) {
    const back = `${loginUrl.includes("?") ? "&" : "?"}return_to=${encodeURIComponent(location.href)}`;
    dialog.append(element("p", {}, element("a", { href: loginUrl + back }, "Sign in to the pod")));
  }
  dialog.append(form, said);
  if (apiKeys) {
    const command = "synap-mqtt apikey create NAME --allow stream:read --allow events:read --allow admin";
    dialog.append(element("p", {}, "The bridge's operator makes a key with"), element("pre", {}, command));
  }
  document.body.append(dialog);
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  dialog.showModal();
  input.focus();
  await new Promise((resolve) => form.addEventListener("submit", (event) => enter(event, input, said, resolve)));
  dialog.remove();
}

async function enter(event, input, said, resolve) {
  event.preventDefault();
  const before = key;
  keep(input.value.trim());
  const answer = await whoAmI();
  if (answer.status === 200) {
    show(await answer.json());
    return resolve();
  }
  said.textContent = await problemOf(answer);
  keep(before);
  input.select();
}
