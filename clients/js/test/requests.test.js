// Publishing and commands: done once, whatever becomes of the answer.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { MqttStream, ProblemError } from "../src/index.js";
import { Bridge, eventually } from "./support.js";

let bridge;
let client;

before(async () => {
  bridge = await Bridge.start();
  client = new MqttStream(bridge.url);
});

after(() => bridge.stop());

/** A server that answers with `answer(request, count)`: status, headers, body. */
async function pretend(answer) {
  const requests = [];
  const server = createServer((request, response) => {
    requests.push(request);
    const [status, headers, body] = answer(request, requests.length);
    if (status === 0) return request.socket.destroy();
    response.writeHead(status, { "Content-Type": "application/json", ...headers }).end(JSON.stringify(body));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${server.address().port}`, requests, close: () => server.close() };
}

test("a publication is an event, and with its key published once", async () => {
  const publication = { topic: "devices/pump-7/commands", payload: { speed: 3 }, qos: 2, properties: { contentType: "application/json" } };
  const first = await client.publish(publication, { idempotencyKey: "key-1" });
  const again = await client.publish(publication, { idempotencyKey: "key-1" });
  assert.deepEqual([first.duplicate, again.duplicate, again.eventId], [false, true, first.eventId]);
  const stored = await (await fetch(`${bridge.url}/api/events/${first.eventId}`)).json();
  assert.deepEqual(stored.data, { speed: 3 });
  await assert.rejects(client.publish({ topic: "other" }, { idempotencyKey: "key-1" }), (error) => error.status === 422);
});

test("a refusal says what is wrong", async () => {
  await assert.rejects(client.publish({ topic: "a/+/b" }), (error) => {
    assert.ok(error instanceof ProblemError);
    assert.match(error.message, /topic/);
    return error.status === 400 && !error.isTransient;
  });
});

test("a lost answer is asked for again with the same key", async () => {
  const server = await pretend((_, count) => [[0], [503, { "Retry-After": "0" }, {}], [200, {}, { eventId: "e", lastEventId: "1-1", duplicate: true }]][count - 1]);
  const { duplicate } = await new MqttStream(server.url).publish({ topic: "a" });
  const keys = new Set(server.requests.map(({ headers }) => headers["idempotency-key"]));
  assert.deepEqual([duplicate, server.requests.length, keys.size], [true, 3, 1]);
  server.close();
});

test("credentials that are refused are asked for again, once", async () => {
  const server = await pretend(({ headers }) => (headers.authorization === "Bearer new" ? [200, {}, { eventId: "e" }] : [401, {}, { detail: "expired" }]));
  const asked = [];
  const token = (refused) => (asked.push(refused), refused ? "new" : "old");
  await new MqttStream(server.url, { token }).publish({ topic: "a" });
  assert.deepEqual(asked, [false, true]);
  await assert.rejects(new MqttStream(server.url, { token: "old" }).publish({ topic: "a" }), /expired/);
  const { closed } = new MqttStream(server.url, { token: "old" }).subscribe({ onEvent: () => {} });
  await assert.rejects(closed, (error) => error.status === 401);
  server.close();
});

test("a command without an answer in time names itself, and is not sent twice", async () => {
  const server = await pretend(({ url, method }) => {
    if (method === "POST") return [504, {}, { status: 504, detail: "the device has not answered", commandId: "c-1" }];
    return [200, {}, { id: "c-1", state: "completed", completion: { answer: { ok: true } }, url }];
  });
  const commands = new MqttStream(`${server.url}/pod`);
  const error = await commands.command("pump 7", { payload: { speed: 3 }, wait: 1 }).catch((error) => error);
  assert.deepEqual([error.status, error.commandId, server.requests.length], [504, "c-1", 1]);
  assert.equal(server.requests[0].url, "/pod/api/devices/pump%207/commands");
  const { completion } = await commands.commandById("pump 7", error.commandId);
  assert.deepEqual(completion.answer, { ok: true });
  server.close();
});

test("a device answers", async () => {
  const asked = client.command("pump-7", { payload: { speed: 3 }, wait: 30 });
  const [{ id, responseTopic }] = await eventually("the command", async () => {
    const commands = await client.commands("pump-7");
    return commands.length && commands;
  });
  // In the device's place: the answer has the command's id.
  await client.publish({ topic: responseTopic, payload: { ok: true }, properties: { correlationData: btoa(id) } });
  const { state, completion } = await asked;
  assert.deepEqual([state, completion.answer], ["completed", { ok: true }]);
  assert.deepEqual((await client.commandById("pump-7", id)).completion.answer, { ok: true });
  const late = await client.command("nobody", { payload: 1, wait: 0 });
  assert.equal(late.state, "waiting");
  await assert.rejects(client.command("nobody", { payload: 2, wait: 1 }), (error) => error.status === 504 && error.commandId !== undefined);
});
