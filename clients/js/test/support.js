// The real bridge as a process, and a proxy that cuts. `SYNAP_MQTT` is the program.

import { spawn } from "node:child_process";
import { webcrypto } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const PROGRAM = process.env.SYNAP_MQTT ?? new URL("../../../target/debug/synap-mqtt", import.meta.url).pathname;
const DEADLINE = 60_000;

// Debian 12 has Node.js 18, which lacks this one thing.
globalThis.crypto ??= webcrypto;

/** Asks until the answer is true, and returns it. */
export async function eventually(what, ask) {
  for (const end = Date.now() + DEADLINE; ; ) {
    const answer = await ask();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A bridge with data of its own, on ports that the system chose. */
export class Bridge {
  static async start(config = "") {
    const bridge = new Bridge();
    bridge.home = await mkdtemp(join(process.env.SYNAP_TEST_TMP ?? tmpdir(), "mqtt-stream-"));
    const file = [
      `data_dir = ${JSON.stringify(join(bridge.home, "data"))}`,
      '[http]\nbind = "127.0.0.1:0"',
      '[[listener]]\nbind = "127.0.0.1:0"',
      "[presence]\nevents = false",
      config,
    ];
    await writeFile(join(bridge.home, "synap-mqtt.toml"), file.join("\n"));
    await bridge.run();
    return bridge;
  }

  async run() {
    const options = { cwd: this.home, stdio: ["ignore", "pipe", "ignore"] };
    this.process = spawn(PROGRAM, ["--config", join(this.home, "synap-mqtt.toml")], options);
    const lines = createInterface({ input: this.process.stdout });
    this.url = await new Promise((resolve, reject) => {
      lines.on("line", (line) => {
        const address = /listening http (\S+)/.exec(line)?.[1];
        if (address) resolve(`http://${address}`);
      });
      this.process.on("exit", (code) => reject(new Error(`the bridge has ended with ${code}`)));
    });
    await eventually("readiness", async () => (await fetch(`${this.url}/readyz`).catch(() => null))?.ok);
  }

  /** Ends it as a power cut would. */
  async kill() {
    const gone = new Promise((resolve) => this.process.once("exit", resolve));
    this.process.kill("SIGKILL");
    await gone;
  }

  async stop() {
    await this.kill();
    await rm(this.home, { recursive: true, force: true });
  }
}

/** Stands where the bridge always is, and cuts or stalls on request. */
export class Proxy {
  #connections = new Set();
  #refuses = false;
  #stalls = false;
  accepted = 0;

  static async to(url) {
    const proxy = new Proxy();
    proxy.target = url;
    proxy.server = createServer((socket) => proxy.#accept(socket));
    await new Promise((resolve) => proxy.server.listen(0, "127.0.0.1", resolve));
    proxy.url = `http://127.0.0.1:${proxy.server.address().port}`;
    return proxy;
  }

  #accept(socket) {
    this.accepted += 1;
    if (this.#refuses) return socket.destroy();
    const { hostname, port } = new URL(this.target);
    const other = connect(Number(port), hostname);
    const pair = [socket, other];
    this.#connections.add(pair);
    const end = () => {
      for (const one of pair) one.destroy();
      this.#connections.delete(pair);
    };
    for (const [from, to] of [pair, [other, socket]]) {
      from.on("data", (data) => this.#stalls || to.write(data));
      for (const name of ["error", "close"]) from.on(name, end);
    }
  }

  cut() {
    this.#refuses = true;
    for (const pair of this.#connections) for (const one of pair) one.destroy();
  }

  restore() {
    this.#refuses = false;
  }

  /** Whatever is said is lost, and nobody is told: as a network that is gone. */
  stall() {
    this.#stalls = true;
  }

  /** New connections pass; those that were stalled stay as they are. */
  flow() {
    for (const pair of this.#connections) for (const one of pair) one.removeAllListeners("data").resume();
    this.#stalls = false;
  }

  close() {
    this.cut();
    this.server.close();
  }
}

/** Publishes `{ number }` to a topic, one after the other. */
export async function publish(client, topic, from, to) {
  for (let number = from; number < to; number += 1) await client.publish({ topic, payload: { number } });
}

export const range = (from, to) => Array.from({ length: to - from }, (_, at) => from + at);
