// A bridge, a proxy in front of it, and a client on either side of that, for the tests of one file.

import { after, before } from "node:test";

import { MqttStream } from "../src/index.js";
import { Bridge, eventually, Proxy } from "./support.js";

export const BACKOFF = { base: 20, cap: 200 };

const { default: WebSocket } = globalThis.WebSocket ? { default: undefined } : await import("ws");

/** They are there when the first test begins. */
export function hall() {
  const at = {
    /** A subscription through the proxy that keeps what it hears. */
    listen(options) {
      const heard = [];
      const states = [];
      const subscription = at.client.subscribe({
        backoff: BACKOFF,
        onEvent: (event) => void heard.push(event.data.number),
        onState: (state) => states.push(state),
        ...options,
      });
      return { subscription, heard, states, open: () => eventually("an open stream", () => subscription.state === "open") };
    },

    /** Kills the bridge and starts it again; the proxy leads to the old port until it is told. */
    async restart() {
      await at.bridge.kill();
      await at.bridge.run();
      at.direct = new MqttStream(at.bridge.url);
    },
  };
  before(async () => {
    at.bridge = await Bridge.start();
    at.proxy = await Proxy.to(at.bridge.url);
    at.client = new MqttStream(at.proxy.url, { ...(WebSocket && { WebSocket }) });
    at.direct = new MqttStream(at.bridge.url);
  });
  after(async () => {
    at.proxy.close();
    await at.bridge.stop();
  });
  return at;
}
