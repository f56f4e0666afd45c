// Access with a real identity provider (panva's oidc-provider) and assertions that jose signs: node identity_provider.js DUGNAD, DUGNAD being
// the program. The ways of docs/access.md: backend services, an access token on the API, the sign-in of a patient. Fails with what is not
// as it should be.
import assert from 'node:assert/strict';
import { spawn, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomUUID } from 'node:crypto';
import Provider from 'oidc-provider';
import { SignJWT, exportJWK, generateKeyPair } from 'jose';

const program = process.argv[2];
const free = () => new Promise((done) => {
  const taken = createServer().listen(0, '127.0.0.1', () => {
    const { port } = taken.address();
    taken.close(() => done(port));
  });
});
const ports = [await free(), await free()];
const [issuer, server] = ports.map((port) => `http://127.0.0.1:${port}`);
const audience = 'https://dugnad.example.no';
const data = mkdtempSync(join(tmpdir(), 'dugnad-try-'));
const ok = (what) => console.log(`ok  ${what}`);

// Who there is: a person of the centre, and a patient with a national number that is made for tests.
const national = '01817010055';
const accounts = { kari: { groups: ['hdab'] }, li: { pid: national } };
const signing = await generateKeyPair('RS256', { extractable: true });
const provider = new Provider(issuer, {
  jwks: { keys: [{ ...(await exportJWK(signing.privateKey)), kid: 'k1', alg: 'RS256', use: 'sig' }] },
  cookies: { keys: [randomUUID()] },
  clients: [
    { client_id: 'dugnad', token_endpoint_auth_method: 'none', redirect_uris: [`${server}/me/sign-in/return`], response_types: ['code'] },
    { client_id: 'kari', client_secret: 'secret', redirect_uris: [], response_types: [], grant_types: ['client_credentials'] },
  ],
  claims: { openid: ['sub', 'pid', 'groups'] },
  conformIdTokenClaims: false,
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...accounts[id] }) }),
  extraTokenClaims: (_, token) => ({ sub: token.clientId, ...accounts[token.clientId] }),
  features: {
    devInteractions: { enabled: true },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: (_, client) => (client.clientId === 'kari' ? audience : undefined),
      getResourceServerInfo: () => ({ scope: '', audience, accessTokenFormat: 'jwt', accessTokenTTL: 300, jwt: { sign: { alg: 'RS256' } } }),
    },
  },
});
const listening = createServer(provider.callback()).listen(ports[0], '127.0.0.1');

const config = join(data, 'dugnad.json');
writeFileSync(config, JSON.stringify({
  public_url: server,
  oidc: {
    issuer, client_id: 'dugnad', audience, user: 'sub',
    rules: [{ claim: 'groups', value: 'hdab', role: 'centre' }, { claim: 'pid', role: 'patient', system: 'urn:oid:2.16.578.1.12.4.1.4.1' }],
  },
}));
const database = join(data, 'db');
const dugnad = spawn(program, ['serve', '--data', database, '--listen', `127.0.0.1:${ports[1]}`, '--config', config], { stdio: ['ignore', 'ignore', 'inherit'] });

// A browser: it keeps cookies by host and follows redirects by hand.
function browser() {
  const jars = new Map();
  return async function go(url, init = {}) {
    const { origin } = new URL(url);
    const jar = jars.get(origin) ?? jars.set(origin, new Map()).get(origin);
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ');
    const answer = await fetch(url, { ...init, redirect: 'manual', headers: { ...init.headers, cookie } });
    for (const line of answer.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
      jar.set(name, value);
    }
    return answer;
  };
}

async function signIn(go, user) {
  let url = `${server}/me/sign-in/provider`;
  for (let step = 0; step < 20; step += 1) {
    const answer = await go(url);
    const next = answer.headers.get('location');
    if (next) { url = new URL(next, url).href; continue; }
    const page = await answer.text();
    if (url.startsWith(server)) return { answer, page };
    // A page of the provider: its form for signing in, or for consent.
    const action = new URL(/<form[^>]* action="([^"]+)"/.exec(page)[1], url).href;
    const prompt = /name="prompt" value="([^"]+)"/.exec(page)[1];
    const form = new URLSearchParams(prompt === 'login' ? { prompt, login: user, password: 'x' } : { prompt });
    const sent = await go(action, { method: 'POST', body: form });
    url = new URL(sent.headers.get('location'), action).href;
  }
  throw new Error('the sign-in goes in circles');
}

try {
  for (let tries = 0; ; tries += 1) {
    try { if ((await fetch(`${server}/healthz`)).ok) break; } catch { assert(tries < 200, 'the server does not start'); }
    await new Promise((done) => setTimeout(done, 100));
  }

  // Backend services.
  const { token_endpoint: endpoint } = await (await fetch(`${server}/fhir/.well-known/smart-configuration`)).json();
  for (const alg of ['RS384', 'ES384']) {
    const pair = await generateKeyPair(alg);
    const keys = join(data, `${alg}.json`);
    writeFileSync(keys, JSON.stringify({ keys: [{ ...(await exportJWK(pair.publicKey)), kid: alg, alg, use: 'sig' }] }));
    execFileSync(program, ['client', 'add', '--data', database, '--id', alg, '--holder', 'Haukeland', '--jwks', keys, '--scope', 'system/Patient.cruds']);
    const assertion = await new SignJWT({}).setProtectedHeader({ alg, kid: alg, typ: 'JWT' })
      .setIssuer(alg).setSubject(alg).setAudience(endpoint).setJti(randomUUID()).setExpirationTime('4m').sign(pair.privateKey);
    const body = new URLSearchParams({
      grant_type: 'client_credentials', scope: 'system/*.cruds', client_assertion: assertion,
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    });
    const given = await (await fetch(endpoint, { method: 'POST', body })).json();
    assert.equal(given.scope, 'system/Patient.cruds', JSON.stringify(given));
    const patient = { resourceType: 'Patient', id: 'p', identifier: [{ system: 'urn:oid:2.16.578.1.12.4.1.4.1', value: national }] };
    const headers = { authorization: `Bearer ${given.access_token}`, 'content-type': 'application/fhir+json' };
    assert((await fetch(`${server}/fhir/Patient/p`, { method: 'PUT', headers, body: JSON.stringify(patient) })).ok);
    assert.equal((await fetch(`${server}/fhir/Observation`, { headers })).status, 403);
    assert.equal((await fetch(endpoint, { method: 'POST', body })).status, 401);
    ok(`a backend service with ${alg}: a token, a write, a refusal outside its scopes, no replay`);
  }

  // An access token on the API.
  const asked = await fetch(`${issuer}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from('kari:secret').toString('base64')}` },
    body: new URLSearchParams({ grant_type: 'client_credentials' }),
  });
  const { access_token: token } = await asked.json();
  assert.equal(token.split('.').length, 3);
  assert.equal((await fetch(`${server}/metrics`, { headers: { authorization: `Bearer ${token}` } })).status, 200);
  assert.equal((await fetch(`${server}/metrics`, { headers: { authorization: `Bearer ${token}x` } })).status, 401);
  ok('an access token of the provider on the API');

  // A patient on /me.
  const go = browser();
  const { answer, page } = await signIn(go, 'li');
  assert.equal(answer.status, 200, page);
  const home = await go(`${server}/me`);
  assert.equal(home.status, 200);
  assert(!(await home.text()).includes('not bound'));
  ok('a patient signs in with the provider');
} finally {
  const ended = new Promise((done) => { dugnad.once('exit', done); });
  dugnad.kill();
  await ended;
  listening.close();
  listening.closeAllConnections();
  rmSync(data, { recursive: true, force: true });
}
