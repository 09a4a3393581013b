// An issuer that signs whatever it is told to. Prints `listening` and its address; then, for each line of input, an
// object, one line of output: {"rotate": ALG} makes a key and prints its name, {"sign": CLAIMS, "kid": NAME} prints a
// token. Ends with its input.
import { createInterface } from 'node:readline';
import { OAuth2Server } from 'oauth2-mock-server';

const server = new OAuth2Server();
await server.start(0, '127.0.0.1');
server.issuer.url = `http://127.0.0.1:${server.address().port}`;
console.log(`listening ${server.issuer.url}`);
for await (const line of createInterface({ input: process.stdin })) {
  const { rotate, sign, kid } = JSON.parse(line);
  if (rotate) {
    const { kid } = await server.issuer.keys.generate(rotate);
    console.log(kid);
  } else {
    const scopesOrTransform = (header, payload) => {
      for (const [name, value] of Object.entries(sign)) {
        if (value === null) delete payload[name];
        else payload[name] = value;
      }
    };
    console.log(await server.issuer.buildToken({ kid, scopesOrTransform }));
  }
}
await server.stop();
