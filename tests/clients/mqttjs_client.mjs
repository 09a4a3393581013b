// Drives MQTT.js from a test; the same commands and lines as paho_client.py.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import mqtt from "mqtt";

const AT_ONCE = 100;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    port: { type: "string" },
    url: { type: "string" },
    ca: { type: "string" },
    qos: { type: "string", default: "1" },
    version: { type: "string", default: "5" },
    id: { type: "string" },
    filter: { type: "string", default: "#" },
  },
});
const qos = Number(options.qos);
const client = await mqtt.connectAsync(options.url ?? `mqtt://127.0.0.1:${options.port}`, {
  protocolVersion: Number(options.version),
  ...(options.ca ? { ca: readFileSync(options.ca) } : {}),
  ...(options.id ? { clientId: options.id } : {}),
});

if (positionals[0] === "publish") {
  const waiting = [];
  for await (const line of createInterface({ input: process.stdin })) {
    const { topic, payload } = JSON.parse(line);
    waiting.push(client.publishAsync(topic, payload, { qos }));
    if (waiting.length % AT_ONCE === 0) await Promise.all(waiting.slice(-AT_ONCE));
  }
  await Promise.all(waiting);
  console.log(`acknowledged ${waiting.length}`);
  await client.endAsync();
} else {
  client.on("message", (topic, payload, packet) => {
    const { qos, retain } = packet;
    console.log(JSON.stringify({ topic, payload: payload.toString(), qos, retain }));
  });
  const [granted] = await client.subscribeAsync(options.filter, { qos });
  if (granted.qos > 2) throw new Error(`refused: ${granted.qos}`);
  console.log("subscribed");
}
