//! A write of a story as it is sent: what its small numbers mean is looked up in the model.

use super::model::{Model, System};
use super::story::{Draft, Entry, Flaw, Id, IfMatch, KINDS, Reference, Write};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dugnad_kernel::database::{Handling, Interaction, WriteRequest};
use dugnad_kernel::fhir::patch::Format;
use dugnad_kernel::ids::HolderId;
use serde_json::{Value, json};

/// A write with its ids and bodies.
#[derive(Clone, Debug)]
pub struct Request {
    pub holder: HolderId,
    pub key: Option<String>,
    pub lenient: bool,
    pub transaction: bool,
    pub entries: Vec<Sent>,
}

/// An entry as it is sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub kind: &'static str,
    pub what: What,
    /// What is sent, references as they are sent.
    pub body: Option<Value>,
    /// Whether the body is to be refused.
    pub invalid: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Create { if_none_exist: Option<String> },
    Update { id: String, if_match: Option<u64> },
    UpdateMatching { identifier: String },
    Patch { id: String, if_match: Option<u64>, mark: String },
    Delete { id: String, if_match: Option<u64> },
    DeleteMatching { identifier: String },
}

/// The fullUrl of an entry.
pub fn full_url(entry: usize) -> String {
    format!("urn:uuid:0191a7a0-0000-7000-8000-{entry:012}")
}

/// Numbers that can be national identifiers and, with 80 added to their month, nobody's.
const NUMBERS: [&str; 3] = ["13872190036", "13872190117", "13872190389"];

/// Their system: fødselsnummer.
pub const NATIONAL: &str = "urn:oid:2.16.578.1.12.4.1.4.1";

/// What every mark begins with.
pub const MARK: &str = "mark-";

/// A fullUrl that no entry has.
const NOWHERE: &str = "urn:uuid:0191a7a0-0000-7000-8000-999999999999";

impl Request {
    pub fn of(write: &Write, model: &Model) -> Self {
        let holder = model.holder(write.holder);
        let entries = write.entries.iter().filter_map(|entry| Sent::of(entry, write, holder, model)).collect();
        let key = write.key.map(|key| format!("key-{key}"));
        Self { holder, key, lenient: write.lenient, transaction: write.transaction, entries }
    }

    /// As the database takes it.
    pub fn write(&self) -> WriteRequest {
        let interaction = match self.entries.as_slice() {
            [one] if !self.transaction => one.interaction(),
            entries => Interaction::Transaction { body: bundle(entries) },
        };
        let handling = if self.lenient { Handling::Lenient } else { Handling::Strict };
        WriteRequest { holder: self.holder, interaction, handling, idempotency_key: self.key.clone() }
    }
}

impl Sent {
    /// `None`: there is nothing to send again.
    fn of(entry: &Entry, write: &Write, holder: HolderId, model: &Model) -> Option<Self> {
        let kind_of = |kind: u8| KINDS[usize::from(kind)];
        let invalid = matches!(entry.draft(), Some(Draft { flaw: Flaw::Invalid, .. }));
        let body = entry.draft().map(|draft| draft.body(write, holder, model));
        let kind = entry.draft().map(|draft| kind_of(draft.kind));
        Some(match entry {
            Entry::Create { if_none_exist, .. } => {
                Self { kind: kind?, what: What::Create { if_none_exist: if_none_exist.map(identifier) }, body, invalid }
            }
            Entry::Update { id, if_match, .. } => {
                let id = model.id(holder, kind?, *id);
                let if_match = version(*if_match, holder, kind?, &id, model);
                let body = body.map(|body| with_id(body, &id));
                Self { kind: kind?, what: What::Update { id, if_match }, body, invalid }
            }
            Entry::UpdateMatching { identifier: wanted, id, .. } => {
                let body = body.map(|body| id.map_or(body.clone(), |id| with_id(body, &model.id(holder, KINDS[0], Id::Chosen(id)))));
                Self { kind: kind?, what: What::UpdateMatching { identifier: identifier(*wanted) }, body, invalid }
            }
            Entry::Again { resource } => {
                let (kind, id, content) = model.current(holder, *resource)?;
                Self { kind, what: What::Update { id, if_match: None }, body: Some(content), invalid: false }
            }
            Entry::Patch { kind, id, mark: n, if_match } => {
                let id = model.id(holder, kind_of(*kind), *id);
                let if_match = version(*if_match, holder, kind_of(*kind), &id, model);
                Self { kind: kind_of(*kind), what: What::Patch { id, if_match, mark: mark(*n) }, body: None, invalid: false }
            }
            Entry::Delete { kind, id, if_match } => {
                let id = model.id(holder, kind_of(*kind), *id);
                let if_match = version(*if_match, holder, kind_of(*kind), &id, model);
                Self { kind: kind_of(*kind), what: What::Delete { id, if_match }, body: None, invalid: false }
            }
            Entry::DeleteMatching { kind, identifier: wanted } => {
                Self { kind: kind_of(*kind), what: What::DeleteMatching { identifier: identifier(*wanted) }, body: None, invalid: false }
            }
        })
    }

    fn interaction(&self) -> Interaction {
        let resource_type = self.kind.to_owned();
        let body = self.body.as_ref().map(|body| body.to_string().into_bytes()).unwrap_or_default();
        match self.what.clone() {
            What::Create { if_none_exist } => {
                Interaction::Create { resource_type, body, if_none_exist: if_none_exist.map(|value| criteria(&value)) }
            }
            What::Update { id, if_match } => Interaction::Update { resource_type, id, body, if_match },
            What::UpdateMatching { identifier } => Interaction::UpdateMatching { resource_type, query: criteria(&identifier), body },
            What::Patch { id, if_match, mark } => {
                let body = patch(&mark).to_string().into_bytes();
                Interaction::Patch { resource_type, id, format: Format::JsonPatch, body, if_match }
            }
            What::Delete { id, if_match } => Interaction::Delete { resource_type, id, if_match },
            What::DeleteMatching { .. } => unreachable!("a story deletes by criteria in transactions only"),
        }
    }

    fn request(&self) -> Value {
        let kind = self.kind;
        let request = match &self.what {
            What::Create { if_none_exist } => {
                json!({"method": "POST", "url": kind, "ifNoneExist": if_none_exist.as_deref().map(criteria)})
            }
            What::Update { id, if_match } => json!({"method": "PUT", "url": format!("{kind}/{id}"), "ifMatch": if_match.map(tag)}),
            What::UpdateMatching { identifier } => json!({"method": "PUT", "url": format!("{kind}?{}", criteria(identifier))}),
            What::Patch { id, if_match, .. } => json!({"method": "PATCH", "url": format!("{kind}/{id}"), "ifMatch": if_match.map(tag)}),
            What::Delete { id, if_match } => json!({"method": "DELETE", "url": format!("{kind}/{id}"), "ifMatch": if_match.map(tag)}),
            What::DeleteMatching { identifier } => json!({"method": "DELETE", "url": format!("{kind}?{}", criteria(identifier))}),
        };
        without_nulls(request)
    }

    /// What an entry of a Bundle holds: a patch is a Binary there.
    fn resource(&self) -> Option<Value> {
        let What::Patch { mark, .. } = &self.what else { return self.body.clone() };
        let data = STANDARD.encode(patch(mark).to_string());
        Some(json!({"resourceType": "Binary", "contentType": "application/json-patch+json", "data": data}))
    }
}

/// Replaces the mark of a resource.
fn patch(mark: &str) -> Value {
    json!([{"op": "replace", "path": "/extension/0/valueString", "value": mark}])
}

fn bundle(entries: &[Sent]) -> Vec<u8> {
    let entry = |(i, sent): (usize, &Sent)| {
        without_nulls(json!({"fullUrl": sent.body.as_ref().map(|_| full_url(i)), "resource": sent.resource(), "request": sent.request()}))
    };
    let entries: Vec<Value> = entries.iter().enumerate().map(entry).collect();
    json!({"resourceType": "Bundle", "type": "transaction", "entry": entries}).to_string().into_bytes()
}

fn tag(version: u64) -> String {
    format!("W/\"{version}\"")
}

fn identifier(n: u8) -> String {
    format!("number-{n}")
}

fn criteria(identifier: &str) -> String {
    format!("identifier={}|{identifier}", System::IDENTIFIER)
}

fn version(if_match: IfMatch, holder: HolderId, kind: &str, id: &str, model: &Model) -> Option<u64> {
    let current = model.newest_version(holder, kind, id);
    match if_match {
        IfMatch::Absent => None,
        IfMatch::Current => Some(current.max(1)),
        IfMatch::Other => Some(current + 1),
    }
}

fn with_id(mut body: Value, id: &str) -> Value {
    body["id"] = id.into();
    body
}

fn without_nulls(mut value: Value) -> Value {
    value.as_object_mut().unwrap().retain(|_, member| !member.is_null());
    value
}

/// What stands in one resource only.
fn mark(n: u32) -> String {
    format!("{MARK}{n:08x}")
}

impl Draft {
    fn linked(&self, holder: HolderId, model: &Model) -> Option<Value> {
        let link = |id: &Id| json!({"other": {"reference": format!("Patient/{}", model.id(holder, "Patient", *id))}, "type": "seealso"});
        (!self.links.is_empty()).then(|| self.links.iter().map(link).collect())
    }

    /// The resource without an id.
    fn body(&self, write: &Write, holder: HolderId, model: &Model) -> Value {
        let v = usize::from(self.variant);
        let one = |of: &[&'static str]| of[v % of.len()];
        let reference = |to: &Reference, kind: &'static str| json!({"reference": to.text(kind, write, holder, model)});
        let subject = || reference(&self.subject, "Patient");
        let encounter = self.encounter.as_ref().map(|to| reference(to, "Encounter"));
        let coding = json!({"coding": [{"system": "urn:codes", "code": format!("c{}", v % 5), "display": format!("Æ {}", v % 2)}]});
        let at = one(&["2026-03-01T08:30:00+01:00", "2026-03", "2025", "2026-07-01", "2026-03-29T01:30:00.123Z"]);
        let identifiers = self.identifier.map(|n| json!({"system": System::IDENTIFIER, "value": identifier(n)}));
        let mark = mark(self.mark);
        // obs-7: an Observation with a value has no component of its own code.
        let part = json!({"coding": [{"system": "urn:part", "code": one(&["a", "b"])}]});
        let mut body = match KINDS[usize::from(self.kind)] {
            "Patient" => json!({
                "gender": (v % 3 != 0).then_some(one(&["female", "male", "other"])), "birthDate": one(&["1970-02-03", "1980", "1990-07"]),
                "address": (v % 2 == 0).then(|| json!([{"city": format!("By {mark}"), "postalCode": "0301"}])),
                "link": self.linked(holder, model),
                "deceasedDateTime": (v % 7 == 0).then_some(at), "active": (v % 4 == 0).then_some(v % 8 == 0),
                "generalPractitioner": self.encounter.as_ref().map(|to| json!([reference(to, "Practitioner")])),
            }),
            "Encounter" => json!({
                "status": one(&["planned", "finished"]), "class": {"system": "urn:class", "code": one(&["IMP", "AMB"])},
                "subject": subject(), "type": (v % 3 == 0).then(|| json!([coding])), "period": {"start": at},
            }),
            "Condition" => json!({"subject": subject(), "encounter": encounter, "code": coding, "onsetDateTime": at}),
            "Observation" => json!({
                "status": "final", "code": coding, "subject": (v % 9 != 0).then(subject), "encounter": encounter,
                "effectiveDateTime": at, "valueInteger": (v % 4 == 0).then_some(v),
                "valueQuantity": (v % 4 == 1).then(|| json!({"value": v as f64 / 8.0, "unit": "mm", "system": "http://unitsofmeasure.org", "code": "mm"})),
                "valueString": (v % 4 == 2).then(|| format!("text {mark} {}", "long enough for a string of its own ".repeat(v % 3))),
                "component": (v % 6 == 0).then(|| json!([{"code": part, "valueInteger": v}, {"code": part, "valueString": "b"}])),
            }),
            _ => json!({"active": v % 2 == 0}),
        };
        let number = self.number.filter(|_| self.kind == 0).map(|n| json!({"system": NATIONAL, "value": NUMBERS[usize::from(n)]}));
        let identifiers: Vec<Value> = identifiers.into_iter().chain(number).collect();
        body["identifier"] = if identifiers.is_empty() { Value::Null } else { identifiers.into() };
        body["extension"] = json!([{"url": "urn:mark", "valueString": mark}]);
        match self.flaw {
            Flaw::None => {}
            Flaw::Modifier => body["modifierExtension"] = json!([{"url": "urn:unknown", "valueBoolean": true}]),
            Flaw::Invalid => body["implicitRules"] = json!(7),
        }
        let mut whole = json!({"resourceType": KINDS[usize::from(self.kind)]});
        whole.as_object_mut().unwrap().append(body.as_object_mut().unwrap());
        without_nulls(whole)
    }
}

impl Reference {
    fn text(&self, kind: &'static str, write: &Write, holder: HolderId, model: &Model) -> String {
        match self {
            // Outside of a transaction there is no entry to mean.
            Self::Entry(entry) if write.transaction => full_url(usize::from(*entry) % write.entries.len()),
            Self::Entry(entry) => format!("{kind}/{}", model.id(holder, kind, Id::Chosen(*entry % 4))),
            Self::Literal(id) => format!("{kind}/{}", model.id(holder, kind, *id)),
            Self::Conditional(n) => format!("{kind}?{}", criteria(&identifier(*n))),
            Self::Nowhere => NOWHERE.to_owned(),
            Self::Absolute => format!("https://elsewhere.example/fhir/{kind}/a"),
        }
    }
}
