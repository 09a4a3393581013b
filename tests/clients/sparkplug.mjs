// A Sparkplug edge node with one device, its payloads made by `sparkplug-payload`. Says what it
// published, so that the test can compare; ends once all of it is acknowledged.
import { parseArgs } from "node:util";
import mqtt from "mqtt";
import sparkplug from "sparkplug-payload";

const { values: options } = parseArgs({ options: { port: { type: "string" } } });
const codec = sparkplug.get("spBv1.0");
const at = 1769860800000;
const properties = { unit: { type: "String", value: "°C" }, limits: { type: "PropertySet", value: { high: { type: "Int32", value: -5 } } } };
const birth = [
  { name: "Temperature", alias: 1, timestamp: at, type: "Double", value: 21.5, properties },
  { name: "Level", alias: 2, timestamp: at, type: "Int8", value: -7 },
  { name: "Total", alias: 3, timestamp: at, type: "UInt64", value: 18446744073709 },
  { name: "Offset", alias: 4, timestamp: at, type: "Int64", value: -3000000000 },
  { name: "Ratio", alias: 5, timestamp: at, type: "Float", value: 0.1 },
  { name: "Open", alias: 6, timestamp: at, type: "Boolean", value: true },
  { name: "Label", alias: 7, timestamp: at, type: "String", value: "a \"quoted\" one" },
  { name: "When", alias: 8, timestamp: at, type: "DateTime", value: at },
  { name: "Raw", alias: 9, timestamp: at, type: "Bytes", value: new Uint8Array([0, 255]) },
  { name: "Gone", alias: 10, timestamp: at, type: "Int32", value: null },
  { name: "Table", alias: 11, timestamp: at, type: "DataSet", value: { numOfColumns: 2, columns: ["n", "s"], types: ["Int32", "String"], rows: [[-1, "x"], [2, "y"]] } },
  {
    name: "Motor", alias: 12, timestamp: at, type: "Template",
    value: { isDefinition: false, templateRef: "motor", version: "1", metrics: [{ name: "RPM", type: "Int32", value: -3 }], parameters: [{ name: "p", type: "Int32", value: 4 }] },
  },
];
const data = [
  { alias: 1, timestamp: at + 1000, type: "Double", value: 22.5 },
  { alias: 2, timestamp: at + 1000, type: "Int8", value: -8 },
];
const node = "spBv1.0/plant/NBIRTH/edge";
const device = (kind) => `spBv1.0/plant/${kind}/edge/pump-7`;
const messages = [
  [node, { timestamp: at, seq: 0, metrics: [{ name: "bdSeq", type: "Int64", value: 0 }] }],
  [device("DBIRTH"), { timestamp: at, seq: 1, metrics: birth }],
  [device("DDATA"), { timestamp: at + 1000, seq: 2, metrics: data }],
  [device("DDEATH"), { timestamp: at + 2000, seq: 3, metrics: [] }],
  ["spBv1.0/plant/NDEATH/edge", { timestamp: at + 2000, metrics: [{ name: "bdSeq", type: "Int64", value: 0 }] }],
];

const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${options.port}`, { protocolVersion: 5 });
for (const [topic, payload] of messages) {
  await client.publishAsync(topic, Buffer.from(codec.encodePayload(payload)), { qos: 1 });
}
console.log(`acknowledged ${messages.length}`);
await client.endAsync();
