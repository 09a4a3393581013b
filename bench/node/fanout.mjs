// A plain fan-out with `ws`: each line of the publisher to each client. The peer of bench/run's fanout-ws scenarios.
import { createInterface } from 'node:readline';
import { createServer } from 'node:net';
import { WebSocketServer } from 'ws';

const port = Number(process.argv[2]);
const clients = new WebSocketServer({ host: '127.0.0.1', port, perMessageDeflate: false, backlog: 4096 });

createServer((publisher) => {
  createInterface({ input: publisher }).on('line', (event) => {
    const data = Buffer.from(event);
    for (const client of clients.clients) client.send(data, { binary: false });
  });
}).listen(port + 1, '127.0.0.1');
