// MQTT.js with MQTT 5 enhanced authentication: SCRAM-SHA-256 (RFC 7677) with Node's own hashes.
import { createHash, createHmac, pbkdf2Sync, randomBytes } from "node:crypto";
import { parseArgs } from "node:util";
import mqtt from "mqtt";

const METHOD = "SCRAM-SHA-256";

const { values: options } = parseArgs({
  options: { port: { type: "string" }, user: { type: "string" }, password: { type: "string" } },
});
const hmac = (key, text) => createHmac("sha256", key).update(text).digest();
const step = (data) => ({ authenticationMethod: METHOD, authenticationData: Buffer.from(data) });

const first = `n=${options.user},r=${randomBytes(18).toString("base64")}`;
let expected;

function answer(challenge) {
  const { r, s, i } = Object.fromEntries(challenge.split(",").map((field) => [field[0], field.slice(2)]));
  const salted = pbkdf2Sync(options.password, Buffer.from(s, "base64"), Number(i), 32, "sha256");
  const message = `${first},${challenge},c=biws,r=${r}`;
  const clientKey = hmac(salted, "Client Key");
  const signature = hmac(createHash("sha256").update(clientKey).digest(), message);
  const proof = clientKey.map((byte, n) => byte ^ signature[n]);
  expected = `v=${hmac(hmac(salted, "Server Key"), message).toString("base64")}`;
  return `c=biws,r=${r},p=${proof.toString("base64")}`;
}

const client = mqtt.connect(`mqtt://127.0.0.1:${options.port}`, {
  protocolVersion: 5,
  reconnectPeriod: 0,
  properties: step(`n,,${first}`),
});
client.handleAuth = (packet, callback) =>
  callback(null, {
    cmd: "auth",
    reasonCode: 0x18,
    properties: step(answer(packet.properties.authenticationData.toString())),
  });
client.on("error", (error) => {
  console.log(`refused ${error.code}`);
  process.exitCode = 1;
});
client.on("connect", async (connack) => {
  if (connack.properties.authenticationData.toString() !== expected) throw new Error("not the server");
  console.log("the server is genuine");
  await client.publishAsync("scram", "x", { qos: 1 });
  console.log("acknowledged");
  await client.endAsync();
});
