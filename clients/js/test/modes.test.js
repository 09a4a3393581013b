// What streams do beside resuming: another transport, replays, latest values, an end.

import assert from "node:assert/strict";
import { test } from "node:test";

import { hall } from "./hall.js";
import { eventually, publish, range } from "./support.js";

const at = hall();

test("one stream goes from transport to transport", async () => {
  const topic = "transports/both";
  const { subscription, heard, open } = at.listen({ topics: [topic] });
  await open();
  const publishing = publish(at.direct, topic, 0, 80);
  for (const count of [10, 25, 40, 55]) {
    await eventually(`${count} events`, () => heard.length >= count);
    subscription.setTransport(subscription.transport === "sse" ? "websocket" : "sse");
  }
  await publishing;
  await eventually("all", () => heard.length >= 80);
  assert.deepEqual(heard, range(0, 80));
  subscription.close();
});

test("a replay ends", async () => {
  const topic = "replay/all";
  const { lastEventId: first } = await at.direct.publish({ topic, payload: { number: 0 } });
  await publish(at.direct, topic, 1, 4);
  const { lastEventId: last } = await at.direct.publish({ topic, payload: { number: 4 } });
  const numbers = [];
  for await (const event of at.client.subscribe({ topics: [topic], after: first, until: last })) numbers.push(event.data.number);
  assert.deepEqual(numbers, range(1, 5));
});

test("latest values, at most so many a second", async () => {
  const { subscription, heard, open } = at.listen({ mode: "latest", rate: 1, topics: ["latest/one"] });
  await open();
  await publish(at.direct, "latest/one", 0, 100);
  await eventually("the newest", () => heard.at(-1) === 99);
  assert.ok(heard.length < 100, heard.join());
  subscription.close();
});

test("a stream ends with its signal", async () => {
  const abort = new AbortController();
  const { subscription, open } = at.listen({ signal: abort.signal });
  await open();
  abort.abort();
  await subscription.closed;
});
