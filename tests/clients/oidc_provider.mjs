// An OpenID provider that programs get access tokens of: `resource` says whether as a JWT, and signed with which
// algorithm, or opaque. Argument: the audience. Prints `listening` and its address; ends with whoever started it.
import { createServer } from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import Provider from 'oidc-provider';

const [audience] = process.argv.slice(2);
const key = (kind, options, alg) => ({
  ...generateKeyPairSync(kind, options).privateKey.export({ format: 'jwk' }),
  kid: alg,
  alg,
  use: 'sig',
});
const keys = [
  key('rsa', { modulusLength: 2048 }, 'RS256'),
  key('ec', { namedCurve: 'P-256' }, 'ES256'),
  key('ed25519', {}, 'EdDSA'),
];
const client = (client_id) => ({
  client_id,
  client_secret: `secret of ${client_id}`,
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
});
const scope = 'stream:read events:read publish admin other';
const http = createServer();
http.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${http.address().port}`;
  const provider = new Provider(issuer, {
    clients: ['owner', 'guest', 'stranger', 'bridge'].map(client),
    jwks: { keys },
    scopes: scope.split(' '),
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, resource) => {
          const format = new URL(resource).pathname;
          return format === 'opaque'
            ? { scope, audience, accessTokenFormat: 'opaque' }
            : { scope, audience, accessTokenFormat: 'jwt', jwt: { sign: { alg: format } } };
        },
      },
    },
    ttl: { ClientCredentials: 600 },
  });
  http.on('request', provider.callback());
  console.log(`listening ${issuer}`);
});
process.stdin.on('end', () => process.exit(0)).resume();
