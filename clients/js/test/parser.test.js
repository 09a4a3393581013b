// The format of Server-Sent Events, by the WHATWG text, cut at every place.

import assert from "node:assert/strict";
import { test } from "node:test";

import { SseParser } from "../src/sse-parser.js";

const TEXT = [
  "\uFEFF: comment\n\n",
  "data: one\nid: a-1\n\n",
  "data:two\r\ndata: lines\r\n\r\n",
  "event: gap\rdata:  spaces\r\r",
  "id\ndata\n\n",
  "event: nothing\n\n",
  "id: with\0null\nretry: 12x\nretry: 2500\nunknown: field\ndata: {\"ü\":\"…\"}\n\n",
  "data: never ended",
].join("");

const WANTED = [
  { event: "message", data: "one", id: "a-1" },
  { event: "message", data: "two\nlines", id: "a-1" },
  { event: "gap", data: " spaces", id: "a-1" },
  { event: "message", data: "", id: "" },
  { event: "message", data: '{"ü":"…"}', id: "" },
];

test("fields, line ends, ids and comments, wherever chunks end", () => {
  for (let size = 1; size <= TEXT.length; size += 1) {
    const parser = new SseParser();
    const messages = [];
    for (let at = 0; at < TEXT.length; at += size) messages.push(...parser.feed(TEXT.slice(at, at + size)));
    assert.deepEqual(messages, WANTED, `chunks of ${size}`);
    assert.equal(parser.retry, 2500);
  }
});
