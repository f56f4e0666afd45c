"""fhirpy against a hospital's FHIR endpoint: python fhirpy_client.py URL TOKEN. Fails with what is not as it should be."""

import sys

from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import OperationOutcome, ResourceNotFound

url, token = sys.argv[1:]
client = SyncFHIRClient(url, authorization=f"Bearer {token}")
SYSTEM = "urn:example:fhirpy"

# Create, read, update, patch.
patient = client.resource(
    "Patient",
    name=[{"family": "Fhirpy", "given": ["Test"]}],
    gender="female",
    birthDate="1950-05-17",
    identifier=[{"system": SYSTEM, "value": "1"}],
)
patient.save()
assert patient.id and patient["meta"]["versionId"]
read = client.get("Patient", patient.id)
assert read["birthDate"] == "1950-05-17"
patient["gender"] = "male"
patient.save()
assert client.reference("Patient", patient.id).to_resource()["gender"] == "male"
patient.patch(active=True)
assert client.get("Patient", patient.id)["active"] is True
patient.refresh()
assert patient["active"] is True and patient["gender"] == "male"

# Found at once, by each parameter that there is.
found = client.resources("Patient").search(identifier=f"{SYSTEM}|1", gender="male", birthdate__ge="1950", name__exact="Fhirpy")
assert [p.id for p in found.fetch()] == [patient.id]
assert found.count() == 1 and found.first().id == patient.id and found.get().id == patient.id

# Several pages, sorted; included resources.
for day in range(1, 26):
    client.resource(
        "Observation",
        status="final",
        code={"coding": [{"system": SYSTEM, "code": "test"}]},
        subject=patient.to_reference(),
        effectiveDateTime=f"2026-01-{day:02}",
        valueQuantity={"value": day / 10, "unit": "mg", "system": "http://unitsofmeasure.org", "code": "mg"},
    ).save()
observations = client.resources("Observation").search(code=f"{SYSTEM}|test", patient=patient.id).sort("-date").limit(10)
days = [o["effectiveDateTime"] for o in observations.fetch_all()]
assert days == [f"2026-01-{day:02}" for day in range(25, 0, -1)], days
assert len(client.resources("Observation").search(code="test", value_quantity__gt="2|http://unitsofmeasure.org|mg").fetch_all()) == 5
bundle = observations.include("Observation", "subject").fetch_raw()
kinds = [entry["resource"]["resourceType"] for entry in bundle["entry"]]
assert kinds.count("Patient") == 1 and kinds.count("Observation") == 10
with_observation = client.resources("Patient").has("Observation", "patient", code=f"{SYSTEM}|test")
assert [p.id for p in with_observation.fetch()] == [patient.id]
assert client.resources("Patient").search(_id=patient.id).elements("gender").first().get("birthDate") is None

# What is conditional.
same, created = client.resources("Patient").search(identifier=f"{SYSTEM}|1").get_or_create(
    client.resource("Patient", identifier=[{"system": SYSTEM, "value": "1"}])
)
assert not created and same.id == patient.id
updated, created = client.resources("Patient").search(identifier=f"{SYSTEM}|1").update(
    client.resource("Patient", identifier=[{"system": SYSTEM, "value": "1"}], gender="other")
)
assert not created and updated["gender"] == "other"
assert client.resources("Patient").search(identifier=f"{SYSTEM}|1").patch(gender="female")["gender"] == "female"

# Operations, and a transaction.
everything = client.execute(f"Patient/{patient.id}/$everything", method="get")
assert sum(entry["resource"]["resourceType"] == "Observation" for entry in everything["entry"]) == 25
bundle = client.resource(
    "Bundle",
    type="transaction",
    entry=[
        {
            "fullUrl": "urn:uuid:8f6f6a2e-0b2f-4d5c-9a38-5d2f6d5c1a01",
            "resource": {"resourceType": "Encounter", "status": "finished", "class": {"code": "AMB"}, "subject": patient.to_reference()},
            "request": {"method": "POST", "url": "Encounter"},
        },
        {
            "resource": {
                "resourceType": "Procedure",
                "id": "fhirpy-1",
                "status": "completed",
                "subject": patient.to_reference(),
                "encounter": {"reference": "urn:uuid:8f6f6a2e-0b2f-4d5c-9a38-5d2f6d5c1a01"},
            },
            "request": {"method": "PUT", "url": "Procedure/fhirpy-1"},
        },
    ],
)
bundle.save()
encounter = client.get("Procedure", "fhirpy-1")["encounter"]
assert client.reference(reference=encounter["reference"]).to_resource()["subject"]["reference"] == f"Patient/{patient.id}"

# What is wrong, and what is gone.
try:
    client.resource("Patient", gender="unknown-code").save()
    raise AssertionError("a wrong code was taken")
except OperationOutcome as refused:
    assert refused.resource["issue"][0]["expression"] == ["Patient.gender"], refused.resource
client.delete("Procedure", "fhirpy-1")
for gone in ("fhirpy-1", "never-there"):
    try:
        client.get("Procedure", gone)
        raise AssertionError(f"{gone} was read")
    except (ResourceNotFound, OperationOutcome):
        pass
print("fhirpy: all as it should be")
