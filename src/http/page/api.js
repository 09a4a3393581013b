// What the page asks the bridge: through the client library where there is more to it than a question. A bridge that
// wants to know who asks gets the key that was given here, for as long as the tab is open.

import { MqttStream, ProblemError } from "./client/index.js";
import { byId, setText } from "./dom.js";

const KEY = "key";
const PATIENCE = 15_000;

const key = sessionStorage.getItem(KEY);

export const bridge = new MqttStream(new URL("/", location.href), key ? { token: key } : {});

// The JSON at a path; a refusal is a ProblemError.
export async function ask(path, patience = PATIENCE) {
  const answer = await get(path, patience);
  return answer.json();
}

export async function askText(path) {
  const answer = await get(path, PATIENCE);
  return answer.text();
}

async function get(path, patience) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const answer = await fetch(path, { headers, signal: AbortSignal.timeout(patience) });
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  const error = new ProblemError(answer.status, problem);
  if (answer.status === 401) wantKey(error);
  throw error;
}

// Shows the form for a key.
export function wantKey(error) {
  byId("key-form").hidden = false;
  setText(byId("key-about"), key ? `The key that was given is refused: ${error.message}.` : "");
}

byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, byId("key").value.trim());
  location.reload();
});
