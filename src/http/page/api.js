// What the page asks the bridge: through the client library where there is more to it than a question. Who looks at the
// page is asked once the bridge wants to know.

import { MqttStream, ProblemError } from "./client/index.js";
import { credentials, signedIn } from "./sign_in.js";

const PATIENCE = 15_000;

export const bridge = new MqttStream(new URL("/", location.href), {
  token: async (refused) => {
    if (refused) await signedIn();
    return credentials();
  },
});

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
  let answer = await send(path, patience);
  if (answer.status === 401) {
    await signedIn();
    answer = await send(path, patience);
  }
  if (answer.ok) return answer;
  throw new ProblemError(answer.status, await answer.json().catch(() => ({})));
}

async function send(path, patience) {
  const key = await credentials();
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  return fetch(path, { headers, signal: AbortSignal.timeout(patience) });
}
