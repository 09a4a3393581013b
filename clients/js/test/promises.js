// What a stream of the real bridge promises over either transport: nothing missing, nothing twice, whatever is cut.

import assert from "node:assert/strict";
import { test } from "node:test";

import { eventually, publish, range } from "./support.js";
import { BACKOFF, hall } from "./hall.js";

/** @param {"sse" | "websocket"} transport */
export function keepsItsPromises(transport) {
  const at = hall();

  test("cuts and kills lose nothing and repeat nothing", async () => {
    const topic = `cuts/${transport}`;
    const { subscription, heard, states, open } = at.listen({ transport, topics: [topic] });
    await open();
    await publish(at.direct, topic, 0, 20);
    await eventually("all before the cut", () => heard.length === 20);
    at.proxy.cut();
    await publish(at.direct, topic, 20, 40);
    at.proxy.restore();
    await eventually("all of the cut", () => heard.length === 40);
    await at.restart();
    await publish(at.direct, topic, 40, 60);
    at.proxy.target = at.bridge.url;
    await eventually("all behind the restart", () => heard.length >= 60);
    assert.deepEqual(heard, range(0, 60));
    assert.ok(states.filter((state) => state === "open").length >= 3, states.join());
    subscription.close();
    await subscription.closed;
    assert.equal(subscription.state, "closed");
  });

  test("a connection on which nothing is heard is given up", async () => {
    const topic = `silence/${transport}`;
    const causes = [];
    const onState = (state, cause) => state === "waiting" && causes.push(cause.name);
    const { subscription, heard, open } = at.listen({ transport, topics: [topic], silence: 400, onState });
    await open();
    const before = at.proxy.accepted;
    at.proxy.stall();
    await publish(at.direct, topic, 0, 3);
    await eventually("another attempt", () => at.proxy.accepted > before);
    at.proxy.flow();
    await eventually("what was said meanwhile", () => heard.length === 3);
    assert.ok(causes.includes("SilenceError"), causes.join());
    subscription.close();
  });

  test("iteration is as slow as its reader, and ends when it is left", async () => {
    const topic = `slow/${transport}`;
    const subscription = at.client.subscribe({ transport, topics: [topic], window: 10, backoff: BACKOFF });
    const numbers = [];
    const first = subscription[Symbol.asyncIterator]().next();
    await eventually("an open stream", () => subscription.state === "open");
    await publish(at.direct, topic, 0, 50);
    numbers.push((await first).value.data.number);
    for await (const event of subscription) {
      numbers.push(event.data.number);
      if (numbers.length === 50) break;
    }
    assert.deepEqual(numbers, range(0, 50));
    assert.equal(subscription.state, "closed");
    await subscription.closed;
  });

  test("a snapshot, then changes", async () => {
    const topic = `snapshot/${transport}`;
    await publish(at.direct, topic, 0, 5);
    const order = [];
    const { subscription, heard } = at.listen({ transport, topics: [`${topic}/#`], snapshot: true, onSnapshot: ({ events }) => order.push(events) });
    await eventually("the snapshot's end", () => order.length === 1);
    assert.deepEqual([heard, order], [[4], [1]]);
    await publish(at.direct, topic, 5, 7);
    await eventually("changes", () => heard.length === 3);
    assert.deepEqual(heard, [4, 5, 6]);
    subscription.close();
  });

  test("filters change between two events", async () => {
    const [one, two] = [`filters/${transport}/one`, `filters/${transport}/two`];
    const { subscription, heard, open } = at.listen({ transport, topics: [one] });
    await open();
    const connections = at.proxy.accepted;
    await publish(at.direct, one, 0, 3);
    await eventually("the first", () => heard.length === 3);
    subscription.setFilters({ topics: [two] });
    await publish(at.direct, two, 100, 101);
    // What was published to the other topic in this moment may be past the change or before it: it is heard or not.
    await eventually("the other topic", async () => {
      await publish(at.direct, two, 101, 102);
      return heard.includes(101);
    });
    const length = heard.length;
    await publish(at.direct, one, 3, 5);
    await publish(at.direct, two, 200, 201);
    await eventually("only the other topic", () => heard.includes(200));
    assert.ok(!heard.slice(length).some((number) => number < 100), heard.join());
    assert.equal(at.proxy.accepted - connections, transport === "websocket" ? 0 : 1);
    subscription.close();
  });

  test("nothing is lost or repeated where filters change all the time", async () => {
    const topic = `changing/${transport}`;
    const { subscription, heard, open } = at.listen({ transport, topics: [`${topic}/#`] });
    await open();
    const publishing = publish(at.direct, `${topic}/one`, 0, 60);
    // Both match.
    for (let change = 1; change <= 20; change += 1) {
      subscription.setFilters({ topics: [change % 2 ? `${topic}/+` : `${topic}/#`] });
      await eventually("some more", () => heard.length >= change * 2);
    }
    await publishing;
    await eventually("all", () => heard.length >= 60);
    assert.deepEqual(heard, range(0, 60));
    subscription.close();
  });

  test("an id of another journal is a reset", async () => {
    const resets = [];
    const { subscription } = at.listen({ transport, after: "00000001-5", onReset: (gap) => resets.push(gap) });
    await eventually("the reset", () => resets.length === 1);
    assert.equal(resets[0].reason, "unknown-epoch");
    subscription.close();
  });

  test("what cannot be right is told, and not tried again", async () => {
    const { subscription } = at.listen({ transport, topics: ["not/#/a filter"] });
    await assert.rejects(subscription.closed, (error) => error.name === "ProblemError" && error.status === 400);
    assert.equal(subscription.state, "closed");
  });
}
