//! The small database of the fuzzer: what is in it, its permits, and what changes outside each.

use super::{ask, one};
use dugnad::access::{Principal, Role};
use dugnad::cli::local::Local;
use dugnad::query::PERSON_LIST;
use dugnad_kernel::clock::ManualClock;
use dugnad_kernel::database::{Handling, Interaction, WriteRequest};
use dugnad_kernel::ids::Commit;
use dugnad_kernel::permit::PersonList;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};
use std::sync::Arc;

const HOLDERS: [&str; 3] = ["Nord", "Sør", "Vest"];
/// The persons who are inside every permit, and all.
const INSIDE: usize = 6;
const PERSONS: usize = 10;
/// Outside every pseudonymised permit: they have opted out.
const OUT: [usize; 2] = [7, 8];
/// Outside them too: an address is protected.
const PROTECTED: usize = 9;
/// Numbers that can be national identifiers and, with 80 added to their month, nobody's.
const NUMBERS: [&str; 2] = ["13872190036", "13872190117"];

/// Resource types, and their tables.
const TYPES: [(&str, &str); 8] = [
    ("Patient", "patient"),
    ("Encounter", "encounter"),
    ("Condition", "condition"),
    ("Observation", "observation"),
    ("Procedure", "procedure"),
    ("MedicationAdministration", "medication_administration"),
    ("Immunization", "immunization"),
    ("Consent", "consent"),
];
const BEHIND_TREATMENT: [&str; 3] = ["procedure", "medication_administration", "immunization"];
const ORDINARY: [&str; 5] = ["C50", "I10", "123", "7.5", "2026-03-01"];
const STRANGE: [&str; 6] = ["not a number", "", "\u{1F4A5}", "-", "9999999999999999999999", "'; --"];

pub struct World {
    pub local: Local,
    _dir: tempfile::TempDir,
    cases: usize,
}

/// A permit, who uses it, and what is outside it.
pub struct Case {
    pub id: String,
    pub permit: Value,
    pub who: Principal,
    kind: Kind,
    tables: Vec<String>,
    /// Whether columns that are not granted change: rows then begin anew, and are in another order.
    pub order_may_change: bool,
}

/// One permit of each kind shares a database.
pub const KINDS: [Kind; 7] = [Kind::Study, Kind::Criteria, Kind::Frozen, Kind::Listed, Kind::Register, Kind::Ehds, Kind::Care];

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Study,
    Criteria,
    /// Whoever met the criteria when it was decided.
    Frozen,
    /// Persons who were named.
    Listed,
    Register,
    Ehds,
    Care,
}

fn reference(person: usize) -> Value {
    json!({"reference": format!("Patient/p{person}")})
}

fn code(random: &mut StdRng, strange: bool) -> &'static str {
    if strange && random.random_bool(0.5) { one::<&str>(&STRANGE, random) } else { one::<&str>(&ORDINARY, random) }
}

/// A resource about a person. `strange`: with values on which expressions fail.
fn resource(kind: &str, id: &str, person: usize, random: &mut StdRng, strange: bool) -> Value {
    let text = match code(random, strange) {
        // By this code persons are in a population.
        "C50" if kind == "Condition" && person >= INSIDE => "J45",
        text => text,
    };
    let coded = json!({"coding": [{"system": "urn:s", "code": text, "display": code(random, strange)}]});
    let day =
        if strange { one(&["0001-01-01", "9999-12-31", "1970-01-01"], random) } else { one(&["2026-03-01", "2025-11-21", "1961"], random) };
    let value = if strange { *one(&[1e300, -0.0, 0.0, 1e-300], random) } else { f64::from(random.random_range(0..50)) / 2.0 };
    let mut resource = json!({"resourceType": kind, "id": id});
    let more = match kind {
        "Patient" => {
            json!({"gender": one(&["female", "male", "other"], random), "birthDate": day, "address": [{"city": text, "postalCode": "0450"}]})
        }
        "Encounter" => json!({"status": "finished", "class": {"code": "IMP"}, "subject": reference(person), "period": {"start": day}}),
        "Condition" => json!({"code": coded, "subject": reference(person), "onsetDateTime": day}),
        "Observation" => {
            json!({"status": "final", "code": coded, "subject": reference(person), "effectiveDateTime": day, "valueQuantity": {"value": value, "unit": text}})
        }
        "Procedure" => json!({"status": "completed", "code": coded, "subject": reference(person), "performedDateTime": day}),
        "MedicationAdministration" => {
            json!({"status": "completed", "medicationCodeableConcept": coded, "subject": reference(person), "effectiveDateTime": day})
        }
        "Immunization" => json!({"status": "completed", "vaccineCode": coded, "patient": reference(person), "occurrenceDateTime": day}),
        _ => {
            json!({"status": "active", "scope": {"coding": [{"code": "treatment"}]}, "category": [{"coding": [{"code": "research"}], "text": text}], "patient": reference(person), "dateTime": day, "policyRule": {"text": "a rule"}})
        }
    };
    for (member, value) in more.as_object().unwrap() {
        resource[member] = value.clone();
    }
    // An empty string is no FHIR value.
    without_empty(&mut resource);
    resource
}

fn without_empty(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(without_empty);
            members.retain(|_, v| !is_empty(v));
        }
        Value::Array(items) => {
            items.iter_mut().for_each(without_empty);
            items.retain(|v| !is_empty(v));
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_str() == Some("") || value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The clock stands still: `now()` is the time of the newest commit, which anybody may make.
        let clock = Arc::new(ManualClock::new("2026-11-21T12:00:00Z".parse().unwrap()));
        let local = Local::open_with(dir.path(), None, clock, None).unwrap();
        let world = Self { local, _dir: dir, cases: 0 };
        for holder in HOLDERS {
            world.local.database.register_holder(holder).unwrap();
            world.put(
                holder,
                &json!({"resourceType": "ResearchStudy", "id": "s", "status": "active", "title": format!("Study at {holder}")}),
            );
        }
        let mut fixed: StdRng = rand::SeedableRng::seed_from_u64(0);
        for person in 0..PERSONS {
            world.admit(person, &mut fixed);
        }
        world
    }

    fn admit(&self, person: usize, random: &mut StdRng) {
        let holder = HOLDERS[person % 3];
        for (kind, _) in TYPES {
            let many = if kind == "Patient" { 1 } else { 3 };
            for n in 0..many {
                let id = if kind == "Patient" { format!("p{person}") } else { format!("{}-{person}-{n}", kind.to_lowercase()) };
                let mut resource = resource(kind, &id, person, random, false);
                if kind == "Condition" && n == 0 {
                    resource["code"]["coding"][0]["code"] = json!(if person < INSIDE { "C50" } else { "I10" });
                }
                if kind == "Patient" && person == PROTECTED {
                    resource["meta"] = json!({"security": [{"code": "R"}]});
                }
                self.put(holder, &resource);
            }
        }
        if person < INSIDE {
            self.put(
                holder,
                &json!({"resourceType": "ResearchSubject", "id": format!("rs{person}"), "status": "on-study", "study": {"reference": "ResearchStudy/s"}, "individual": reference(person)}),
            );
        }
        if OUT.contains(&person) {
            self.write(holder, Interaction::OptOut { patient: format!("p{person}"), out: true });
        }
    }

    /// The number of a person.
    fn patient(&self, person: usize) -> u32 {
        let holder = self.local.database.holder(HOLDERS[person % 3]).unwrap();
        self.local.database.patient(holder.id, &format!("p{person}")).unwrap().unwrap().0
    }

    fn write(&self, holder: &str, interaction: Interaction) {
        let holder = self.local.database.holder(holder).unwrap().id;
        let request = WriteRequest { holder, interaction, handling: Handling::Strict, idempotency_key: None };
        self.local.database.write(request).unwrap();
    }

    fn put(&self, holder: &str, resource: &Value) {
        let text = |member: &str| resource[member].as_str().unwrap().to_owned();
        let body = resource.to_string().into_bytes();
        self.write(holder, Interaction::Update { resource_type: text("resourceType"), id: text("id"), body, if_match: None });
    }

    /// The columns of the tables that exist under a permit: table, column, type.
    pub async fn columns(&self, case: &Case) -> Vec<(String, String, String)> {
        let sql = "SELECT table_name, column_name, data_type FROM information_schema.columns";
        let (body, refused) = ask(self, case, sql).await;
        assert_eq!(refused, None);
        let column = |line: &str| {
            let mut cells = line.trim().split(',').map(str::to_owned);
            (cells.next().unwrap(), cells.next().unwrap(), cells.next().unwrap())
        };
        String::from_utf8(body).unwrap().lines().skip(1).map(column).collect()
    }

    /// A permit.
    pub fn case(&mut self, round: usize, random: &mut StdRng) -> Case {
        let kind = KINDS[round % KINDS.len()];
        self.cases += 1;
        let id = if kind == Kind::Care { "care".to_owned() } else { format!("permit-{}", self.cases) };
        let names =
            ["patient", "encounter", "condition", "observation", "procedure", "medication_administration", "treatment", "research_study"];
        let mut tables: Vec<String> = names.iter().filter(|_| random.random_bool(0.5)).map(|t| (*t).to_owned()).collect();
        if !tables.contains(&"observation".to_owned()) {
            tables.push("observation".to_owned());
        }
        let order_may_change = kind != Kind::Care && random.random_bool(0.25);
        let grant = |table: &String| {
            let mut all: Vec<String> = match self.local.database.snapshot().table(table) {
                Some(found) => found.schema().columns.iter().map(|c| c.name.clone()).collect(),
                None => ["patient_key", "kind", "code", "code_system", "code_display", "started", "holder"].map(str::to_owned).to_vec(),
            };
            if order_may_change || random.random_bool(0.6) {
                all.retain(|column| random.random_bool(0.7) || column == "patient_key" || column == "resource_id");
                all.retain(|column| column != "value");
            }
            let mut grant = json!({"table": table, "columns": all});
            if table == "patient" && all.contains(&"birth_date".to_owned()) && random.random_bool(0.5) {
                grant["transforms"] = json!({"birth_date": "year"});
            }
            grant
        };
        let grants: Vec<Value> = tables.iter().map(grant).collect();
        let commit = self.local.database.snapshot().commit();
        let permit = permit(&id, kind, grants, commit);
        let role = if kind == Kind::Care { Role::Hospital } else { Role::Authority };
        let holder = (kind == Kind::Care).then(|| HOLDERS[0].to_owned());
        if kind != Kind::Care {
            self.local.database.put_document("permit", &id, &permit.to_string()).unwrap();
        }
        if matches!(kind, Kind::Frozen | Kind::Listed) {
            // One of them has opted out.
            let inside = (0..INSIDE).chain([OUT[0]]).map(|person| self.patient(person)).collect();
            self.local.database.put_document(PERSON_LIST, &id, &PersonList::new(commit, inside).to_json().unwrap()).unwrap();
        }
        let who = Principal { inside_spe: true, ..Principal::new("reader", role, holder) };
        Case { id, permit, who, kind, tables, order_may_change }
    }

    /// Changes what is outside a permit; what it did.
    pub fn change_outside(&self, case: &Case, random: &mut StdRng) -> Vec<String> {
        (0..random.random_range(3..12)).filter_map(|n| self.change(case, n, random)).collect()
    }

    fn change(&self, case: &Case, n: usize, random: &mut StdRng) -> Option<String> {
        let (kind, table) = *one(&TYPES, random);
        let inside = random.random_range(0..INSIDE);
        let behind = case.tables.iter().any(|t| t == "treatment") && BEHIND_TREATMENT.contains(&table);
        let granted = behind || case.tables.iter().any(|t| t == table);
        let outside = match case.kind {
            Kind::Study | Kind::Criteria | Kind::Frozen | Kind::Listed => random.random_range(INSIDE..PERSONS),
            Kind::Register | Kind::Ehds => *one(&[OUT[0], OUT[1], PROTECTED], random),
            // Persons of the other hospitals.
            Kind::Care => *one(&[1, 2, 4, 5, 7, 8], random),
        };
        match random.random_range(0..6) {
            0 if case.kind != Kind::Care => {
                let mut labelled = resource("Observation", &format!("labelled{}", n % 3), inside, random, true);
                labelled["meta"] = json!({"security": [{"code": one(&["R", "V"], random)}]});
                self.put(HOLDERS[inside % 3], &labelled);
                Some(format!("a labelled record: {labelled}"))
            }
            1 if case.kind != Kind::Care => {
                let mut of_two = resource("Observation", &format!("of-two{}", n % 3), inside, random, true);
                of_two["focus"] = json!([reference((inside + 3) % PERSONS)]);
                self.put(HOLDERS[inside % 3], &of_two);
                Some(format!("a record about two persons: {of_two}"))
            }
            2 if case.kind != Kind::Care && !granted && kind != "Patient" && !(case.kind == Kind::Criteria && kind == "Condition") => {
                let other = resource(kind, &format!("{}-{inside}-{}", kind.to_lowercase(), n % 4), inside, random, true);
                self.put(HOLDERS[inside % 3], &other);
                Some(format!("a table that is not granted: {other}"))
            }
            3 if case.order_may_change => {
                // The column `value` is not granted, and nothing else of the row changes.
                let id = format!("observation-{inside}-{}", n % 3);
                let holder = self.local.database.holder(HOLDERS[inside % 3]).unwrap().id;
                let stored = self.local.database.read(holder, "Observation", &id).unwrap()?.json?;
                let mut changed: Value = serde_json::from_slice(&stored).unwrap();
                changed["valueQuantity"]["value"] = json!(random.random_range(0..1_000_000));
                changed.as_object_mut().unwrap().remove("meta");
                self.put(HOLDERS[inside % 3], &changed);
                Some(format!("a column that is not granted: {changed}"))
            }
            4 if matches!(case.kind, Kind::Study | Kind::Criteria | Kind::Frozen | Kind::Listed | Kind::Care) && outside != PROTECTED => {
                let mut patient = resource("Patient", &format!("p{outside}"), outside, random, true);
                patient["identifier"] = json!([{"system": "urn:oid:2.16.578.1.12.4.1.4.1", "value": one(&NUMBERS, random)}]);
                // Two of those outside may become one person.
                self.put(HOLDERS[outside % 3], &patient);
                Some(format!("who is who outside: {patient}"))
            }
            _ => self.change_person(case, outside, kind, n, random),
        }
    }

    /// A record of somebody outside: new, changed or deleted.
    fn change_person(&self, case: &Case, person: usize, kind: &str, n: usize, random: &mut StdRng) -> Option<String> {
        // Whoever was one person with somebody who is out is out too, and in again when that ends.
        if kind == "Patient" && OUT.contains(&person) && matches!(case.kind, Kind::Register | Kind::Ehds) {
            return None;
        }
        let holder = HOLDERS[person % 3];
        let id = if kind == "Patient" { format!("p{person}") } else { format!("{}-{person}-{}", kind.to_lowercase(), n % 6) };
        if random.random_bool(0.2) && kind != "Patient" {
            self.write(holder, Interaction::Delete { resource_type: kind.to_owned(), id: id.clone(), if_match: None });
            return Some(format!("deleted {kind}/{id} of {holder}"));
        }
        let mut changed = resource(kind, &id, person, random, true);
        if kind == "Patient" && person == PROTECTED {
            changed["meta"] = json!({"security": [{"code": "V"}]});
        }
        if case.kind == Kind::Criteria && kind == "Condition" {
            changed["code"]["coding"][0]["code"] = json!("J45");
        }
        self.put(holder, &changed);
        Some(format!("a record outside, of {holder}: {changed}"))
    }
}

fn permit(id: &str, kind: Kind, tables: Vec<Value>, commit: Commit) -> Value {
    let c50 = json!({"rows": {"table": "condition", "where": {"in": {"column": "code", "codes": ["C50"]}}}});
    let studies: Vec<Value> = HOLDERS.iter().map(|holder| json!({"holder": holder, "id": "s"})).collect();
    let (basis, population) = match kind {
        Kind::Study => ("trial_protocol", json!({"study_subjects": {"studies": studies}})),
        Kind::Criteria => ("ehds_permit", json!({"criteria": c50})),
        Kind::Frozen => ("ehds_permit", json!({"frozen": {"criteria": c50, "commit": commit}})),
        Kind::Listed => ("ehds_permit", json!({"listed": {"commit": commit}})),
        Kind::Register => ("statutory_register", json!("everyone")),
        Kind::Ehds | Kind::Care => ("ehds_permit", json!("everyone")),
    };
    let mut permit = json!({
        "id": id, "basis": basis, "applicant": "somebody", "users": ["reader"], "purpose": "to test", "tables": tables,
        "population": population, "cadence": "live", "cadence_reason": "because", "delivery": "enclave",
        "valid_from": "2020-01-01T00:00:00Z", "valid_until": "2090-01-01T00:00:00Z",
        "decision": {"by": "centre", "at": "2026-11-21T12:00:00Z", "reasons": "a test"}, "status": "active",
    });
    if kind == Kind::Register {
        permit["provision"] = json!({"law": "a law", "retention": "P1Y", "opt_out": true});
    }
    permit
}
