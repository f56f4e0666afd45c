//! A transaction while it is being written.

use super::code::{Code, NATIONAL_ID, ORGANISATION_NUMBER};
use super::hospital::hospitals;
use super::identifier::Sex;
use super::patient::Patient;
use jiff::{Timestamp, tz::TimeZone};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// How new resources of a visit get their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// `PUT` with an id of the hospital's own: nothing depends on the server.
    Put,
    /// `POST` with a `urn:uuid` as full URL, which the server resolves, as most record systems send.
    Post,
}

/// One transaction of one hospital about one patient.
pub(super) struct Draft<'a> {
    pub hospital: usize,
    pub style: Style,
    pub rng: &'a mut ChaCha8Rng,
    pub zone: &'a TimeZone,
    patient: String,
    entries: Vec<Value>,
    serial: u32,
    visit: String,
}

impl<'a> Draft<'a> {
    pub fn new(hospital: usize, style: Style, seed: u64, patient: &Patient, zone: &'a TimeZone, rng: &'a mut ChaCha8Rng) -> Self {
        let patient = format!("p{seed:x}-{:06}", patient.number);
        Draft { hospital, style, rng, zone, patient, entries: Vec::with_capacity(8), serial: 0, visit: String::new() }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Drops what is beyond `resources` entries. Entries refer to earlier ones only, so what is left is whole.
    pub fn truncate(&mut self, resources: usize) {
        self.entries.truncate(resources);
    }

    /// Names of what follows are made from this visit's number.
    pub fn begin_visit(&mut self, number: u32) {
        self.visit = format!("{}-{number:04}", self.patient);
        self.serial = 0;
    }

    /// `{"reference": "Patient/..."}`.
    pub fn subject(&self) -> Value {
        json!({"reference": format!("Patient/{}", self.patient)})
    }

    /// The reference text of a resource that each patient has one of, such as the Condition.
    pub fn own(&self, resource_type: &str) -> String {
        format!("{resource_type}/{}", self.patient)
    }

    /// Adds a resource that each patient has one of, under its fixed id.
    pub fn put_own(&mut self, resource: Value) {
        let id = self.patient.clone();
        self.put(resource, &id);
    }

    /// Adds a resource under an id that the hospital gives; returns its reference.
    pub fn put(&mut self, mut resource: Value, id: &str) -> String {
        let url = format!("{}/{id}", type_of(&resource));
        if let Some(object) = resource.as_object_mut() {
            object.shift_insert(1, "id".into(), id.into());
        }
        self.entries.push(json!({"resource": resource, "request": {"method": "PUT", "url": url}}));
        url
    }

    /// Adds a resource of this visit; returns the text by which others of this transaction refer to it.
    pub fn add(&mut self, resource: Value) -> String {
        self.serial += 1;
        match self.style {
            Style::Put => {
                let id = format!("{}-{}", self.visit, self.serial);
                self.put(resource, &id)
            }
            Style::Post => {
                let url = uuid(self.rng);
                let request = json!({"method": "POST", "url": type_of(&resource)});
                self.entries.push(json!({"fullUrl": url, "resource": resource, "request": request}));
                url
            }
        }
    }

    /// A dateTime with the offset of Norway at that instant.
    pub fn time(&self, at: Timestamp) -> String {
        at.to_zoned(self.zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }

    /// A date in Norway.
    pub fn date(&self, at: Timestamp) -> String {
        at.to_zoned(self.zone.clone()).date().to_string()
    }

    /// The hospital as a logical reference: the feed keeps no Organization resources.
    pub fn organisation(&self) -> Value {
        let hospital = &hospitals()[self.hospital]; // an index of this slice, by construction
        json!({"identifier": {"system": ORGANISATION_NUMBER, "value": hospital.orgnr}, "display": hospital.name})
    }

    /// The Patient resource. Its name is a number: no synthetic patient can be mistaken for a person.
    pub fn patient(&self, patient: &Patient) -> Value {
        let test_data =
            json!({"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HTEST", "display": "test health data"});
        json!({
            "resourceType": "Patient",
            "meta": {"tag": [test_data]},
            "identifier": [{"use": "official", "system": NATIONAL_ID, "value": patient.national_id}],
            "active": true,
            "name": [{"use": "anonymous", "family": "Syntetisk", "given": [format!("Nummer {:06}", patient.number)]}],
            "gender": if patient.sex == Sex::Female { "female" } else { "male" },
            "birthDate": patient.born.to_string(),
            "address": [{"use": "home", "city": patient.municipality, "postalCode": patient.postal_code, "country": "NO"}],
            "managingOrganization": self.organisation(),
        })
    }

    /// An Encounter that ended; returns its reference.
    pub fn encounter(&mut self, inpatient: bool, kind: Code, reason: Code, from: Timestamp, until: Timestamp) -> String {
        let (class, display) = if inpatient { ("IMP", "inpatient encounter") } else { ("AMB", "ambulatory") };
        let resource = json!({
            "resourceType": "Encounter",
            "status": "finished",
            "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": class, "display": display},
            "type": [kind.concept()],
            "subject": self.subject(),
            "period": {"start": self.time(from), "end": self.time(until)},
            "reasonCode": [reason.concept()],
            "serviceProvider": self.organisation(),
        });
        self.add(resource)
    }

    /// The transaction as JSON bytes.
    pub fn finish(self) -> Vec<u8> {
        bundle(self.entries)
    }
}

/// A transaction Bundle of these entries, as JSON bytes.
pub(super) fn bundle(entries: Vec<Value>) -> Vec<u8> {
    json!({"resourceType": "Bundle", "type": "transaction", "entry": entries}).to_string().into_bytes()
}

fn type_of(resource: &Value) -> String {
    resource.get("resourceType").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn uuid(rng: &mut ChaCha8Rng) -> String {
    let bits: u128 = (rng.random::<u128>() & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}"); // 32 ASCII characters, so the cuts below are in range
    format!("urn:uuid:{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
