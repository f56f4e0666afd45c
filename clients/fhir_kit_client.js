// fhir-kit-client against a hospital's FHIR endpoint: node fhir_kit_client.js URL TOKEN. Fails with what is not as it should be.
import assert from 'node:assert/strict';
import { Client } from 'fhir-kit-client';

const [baseUrl, bearerToken] = process.argv.slice(2);
const client = new Client({ baseUrl, bearerToken });
const system = 'urn:example:fhir-kit-client';

const statement = await client.capabilityStatement();
assert.equal(statement.fhirVersion, '4.0.1');

// Create, read, update, patch; versions.
const created = await client.create({
  resourceType: 'Patient',
  body: { resourceType: 'Patient', identifier: [{ system, value: '1' }], gender: 'female', name: [{ family: 'Kit' }] },
});
const { id } = created;
assert.equal((await client.read({ resourceType: 'Patient', id })).gender, 'female');
const { versionId } = created.meta;
const updated = await client.update({ resourceType: 'Patient', id, body: { ...created, gender: 'other' } });
assert.notEqual(updated.meta.versionId, versionId);
assert.equal((await client.vread({ resourceType: 'Patient', id, version: versionId })).gender, 'female');
const patched = await client.patch({ resourceType: 'Patient', id, jsonPatch: [{ op: 'replace', path: '/gender', value: 'male' }] });
assert.equal(patched.gender, 'male');
const again = await client.update({ resourceType: 'Patient', searchParams: { identifier: `${system}|1` }, body: { ...created, active: true } });
assert.equal(again.id, id);

// A batch and a transaction, and pages of what they wrote.
const observation = (day) => ({
  resourceType: 'Observation',
  status: 'final',
  code: { coding: [{ system, code: 'test' }] },
  subject: { reference: `Patient/${id}` },
  effectiveDateTime: `2026-02-${String(day).padStart(2, '0')}`,
});
const bundle = (type, days) => ({
  resourceType: 'Bundle',
  type,
  entry: days.map((day) => ({
    resource: { ...observation(day), id: `kit-${day}` },
    request: { method: 'PUT', url: `Observation/kit-${day}` },
  })),
});
const batch = await client.batch({ body: bundle('batch', [1, 2, 3]) });
assert.deepEqual(batch.entry.map((entry) => entry.response.status.slice(0, 3)), ['201', '201', '201']);
const transaction = await client.transaction({ body: bundle('transaction', [4, 5, 6, 7]) });
assert.equal(transaction.type, 'transaction-response');
const days = [];
let page = await client.search({ resourceType: 'Observation', searchParams: { code: `${system}|test`, _sort: 'date', _count: '3' } });
let pages = 0;
while (page) {
  pages += 1;
  days.push(...(page.entry ?? []).map((entry) => entry.resource.effectiveDateTime));
  page = await client.nextPage({ bundle: page });
}
assert.deepEqual([pages, days], [3, [1, 2, 3, 4, 5, 6, 7].map((day) => `2026-02-0${day}`)]);
const posted = await client.resourceSearch({
  resourceType: 'Patient',
  searchParams: { identifier: `${system}|1` },
  options: { postSearch: true },
});
assert.equal(posted.entry[0].resource.id, id);
const compartment = await client.compartmentSearch({ resourceType: 'Observation', compartment: { resourceType: 'Patient', id } });
assert.equal(compartment.entry.length, 7);

// Histories, an operation, a reference.
assert.equal((await client.resourceHistory({ resourceType: 'Patient', id })).entry.length, 4);
assert.ok((await client.typeHistory({ resourceType: 'Observation' })).entry.length >= 7);
assert.ok((await client.systemHistory()).entry.length >= 11);
const everything = await client.operation({ name: 'everything', resourceType: 'Patient', id, method: 'GET' });
assert.equal(everything.entry.filter((entry) => entry.resource.resourceType === 'Observation').length, 7);
const judged = await client.operation({ name: 'validate', resourceType: 'Patient', input: { resourceType: 'Patient', gender: 'nobody' } });
assert.ok(judged.issue.some((issue) => issue.severity === 'error'));
const resolved = await client.resolve({ reference: `Patient/${id}` });
assert.equal(resolved.id, id);

// What is gone, and what is wrong.
await client.delete({ resourceType: 'Observation', id: 'kit-1' });
await assert.rejects(client.read({ resourceType: 'Observation', id: 'kit-1' }), (error) => error.response.status === 410);
await assert.rejects(
  client.create({ resourceType: 'Patient', body: { resourceType: 'Patient', birthDate: 'yesterday' } }),
  (error) => error.response.data.resourceType === 'OperationOutcome' && error.response.data.issue[0].expression[0] === 'Patient.birthDate',
);
console.log('fhir-kit-client: all as it should be');
