// Drives Chromium from a test: JSON commands on standard input, one JSON answer a line.
//   {"open": url}                  opens a page
//   {"listen": url}                an EventSource of the page's own keeps each message's data in `heard`
//   {"evaluate": expression}       the expression's value in the page
//   {"screenshot": path}           keeps a picture of the whole page
//   {"press": key}                 a key, where the focus is
//   {"click": selector}            a click on the first that matches
//   {"select": [selector, value]}  chooses an option
//   {"fill": [selector, text]}     text of a field
//   {"back": true}                 one step back in the page's history
//   {"show": {width, height, dark}}  another window, light or dark
//   {"offline": true}              the network is gone, or back
//   {"frozen": true}               the page sleeps as one that nobody sees, or wakes
//   {"faults": true}               what axe-core finds wrong for people who cannot see, or not well
//   {"heap": true}                 bytes that scripts hold, behind a garbage collection
// Errors of scripts, violations of the page's policy and requests to other hosts are told on standard error.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
const debug = await page.context().newCDPSession(page);
page.on("pageerror", (error) => console.error(`page error: ${error.message}`));
page.on("console", (message) => {
  if (message.text().includes("Content Security Policy")) console.error(`page error: ${message.text()}`);
});
page.on("request", (request) => {
  const { hostname, protocol } = new URL(request.url());
  if (protocol.startsWith("http") && hostname !== "127.0.0.1") console.error(`page error: a request to ${request.url()}`);
});
const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const commands = {
  open: async (url) => void (await page.goto(url, { waitUntil: "domcontentloaded" })),
  listen: (url) =>
    page.evaluate((url) => {
      window.heard = [];
      window.opened = 0;
      const source = new EventSource(url);
      source.onopen = () => (window.opened += 1);
      source.onmessage = (message) => window.heard.push(JSON.parse(message.data));
      window.source = source;
    }, url),
  evaluate: (expression) => page.evaluate(expression),
  press: (key) => page.keyboard.press(key),
  click: (selector) => page.click(selector),
  select: async ([selector, value]) => void (await page.selectOption(selector, value)),
  fill: ([selector, text]) => page.fill(selector, text),
  back: async () => void (await page.goBack()),
  show: async ({ width, height, dark }) => {
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme: dark ? "dark" : "light" });
  },
  offline: (isOffline) => page.context().setOffline(isOffline),
  frozen: (isFrozen) => debug.send("Page.setWebLifecycleState", { state: isFrozen ? "frozen" : "active" }),
  faults: async () => {
    await page.evaluate(`window.axe ?? (() => { ${axe} })()`);
    const { violations } = await page.evaluate("axe.run()");
    return violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`));
  },
  heap: async () => {
    await debug.send("HeapProfiler.collectGarbage");
    return (await debug.send("Runtime.getHeapUsage")).usedSize;
  },
  screenshot: async (path) => void (await page.screenshot({ path, fullPage: true })),
};

for await (const line of createInterface({ input: process.stdin })) {
  const [[name, argument]] = Object.entries(JSON.parse(line));
  try {
    console.log(JSON.stringify({ value: (await commands[name](argument)) ?? null }));
  } catch (error) {
    console.log(JSON.stringify({ error: error.message }));
  }
}
await browser.close();
