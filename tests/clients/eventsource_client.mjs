// Drives the npm package `eventsource` from a test: prints `open` at each connection, then the
// data of each message, a line each.
import { EventSource } from "eventsource";

const source = new EventSource(process.argv[2]);
source.onopen = () => console.log("open");
source.onmessage = (message) => console.log(JSON.stringify({ id: message.lastEventId, data: JSON.parse(message.data) }));
