// SMART on FHIR's fhirclient against a hospital's FHIR endpoint: node fhirclient.js URL TOKEN. Fails with what is not as it should be.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const Client = createRequire(import.meta.url)('fhirclient/lib/Client').default;
const [serverUrl, token] = process.argv.slice(2);
const environment = { base64encode: btoa, base64decode: atob, getStorage: () => null };
const client = new Client(environment, { serverUrl, tokenResponse: { access_token: token } });
const system = 'urn:example:fhirclient';

const patient = await client.create({ resourceType: 'Patient', identifier: [{ system, value: '1' }], gender: 'female' });
assert.equal((await client.request(`Patient/${patient.id}`)).gender, 'female');
const updated = await client.update({ ...patient, gender: 'male' });
assert.equal(updated.meta.versionId === patient.meta.versionId, false);
const patched = await client.patch(`Patient/${patient.id}`, [{ op: 'add', path: '/active', value: true }]);
assert.equal(patched.active, true);

for (let n = 0; n < 12; n += 1) {
  await client.create({
    resourceType: 'Observation',
    status: 'final',
    code: { coding: [{ system, code: 'test' }] },
    subject: { reference: `Patient/${patient.id}` },
    valueQuantity: { value: n, unit: 'cm', system: 'http://unitsofmeasure.org', code: 'cm' },
  });
}
// All pages, their references followed.
const all = await client.request(`Observation?code=${system}|test&_count=5&_sort=-_lastUpdated`, { pageLimit: 0, flat: true, resolveReferences: 'subject' });
assert.equal(all.length, 12);
assert.ok(all.every((observation) => observation.subject.gender === 'male'));
assert.deepEqual(all.map((observation) => observation.valueQuantity.value), [11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
const references = await client.getReferences({ ...all[0], subject: { reference: `Patient/${patient.id}` } }, ['subject']);
assert.equal(Object.keys(references).length, 1);

await client.delete(`Patient/${patient.id}`).then(
  () => assert.rejects(client.request(`Patient/${patient.id}`), /410|deleted/i),
);
await assert.rejects(client.request('Patient/never-there'), /404|not found|no /i);
console.log('fhirclient: all as it should be');
