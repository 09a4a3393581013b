// Checked by the compiler alone: that the types say what the sources do, and what a program writes is right by them.

import type * as api from "../index.js";
import * as source from "../src/index.js";

const stated: typeof api.MqttStream = source.MqttStream;
const client = new stated("http://127.0.0.1:8080", { token: async (refused) => (refused ? "new" : "old") });

export async function use() {
  const subscription = client.subscribe({ topics: ["devices/#"], mode: "latest", rate: 10, snapshot: true, onGap: ({ reason, count }) => void [reason, count] });
  for await (const event of subscription) {
    const name: string = event.type;
    if (name) subscription.setFilters({ devices: [name] });
  }
  // @ts-expect-error there is no such mode
  client.subscribe({ mode: "exactly-once" });
  // @ts-expect-error a publication has a topic
  await client.publish({ payload: 1 });
  try {
    const { completion } = await client.command("pump-7", { payload: { speed: 3 } });
    return completion?.answer;
  } catch (error) {
    if (error instanceof source.ProblemError && error.commandId) return client.commandById("pump-7", error.commandId);
    throw error;
  }
}
