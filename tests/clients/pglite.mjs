// PostgreSQL as WebAssembly with the community-licensed TimescaleDB, at a port of 127.0.0.1; takes
// one session at a time. package.json says whose build goes by the name of pglite.
import { PGlite } from '@electric-sql/pglite';
import { timescaledb } from '@electric-sql/pglite/timescaledb';
import { PGLiteSocketServer } from '@electric-sql/pglite-socket';

// A simple query in the wire protocol.
function query(text) {
  const body = Buffer.from(`${text}\0`);
  const head = Buffer.alloc(5);
  head.write('Q');
  head.writeInt32BE(4 + body.length, 1);
  return new Uint8Array(Buffer.concat([head, body]));
}

const db = await PGlite.create({ extensions: { timescaledb } });
await db.exec('create extension timescaledb');
// There is one backend for all sessions, and what one has left would be in the way of the next.
const exclusively = db.runExclusive.bind(db);
db.runExclusive = (session) =>
  exclusively(async () => {
    await db.execProtocolRaw(query('discard all'));
    await db.execProtocolRaw(query('set search_path = public'));
    return session();
  });
const server = new PGLiteSocketServer({ db, port: 0, host: '127.0.0.1' });
server.addEventListener('listening', ({ detail }) => console.log(`listening ${detail.port}`));
await server.start();
// Ends with whoever started it.
process.stdin.on('end', () => process.exit(0)).resume();
