//! The full grid: who may call what, and how much they see. Every route of the API, called by each kind of caller, with the outcome
//! in `grid.txt`: the status and, after a colon, how many rows, resources or entries the answer holds.
//!
//! A route that is not in [`calls`] fails the test, and so does an outcome that is not the one in the file. After a change that is
//! meant, `DUGNAD_GOLDEN=write cargo test grid` writes the file anew; read its difference.

mod calls;

use crate::support::{Answer, Server};
use crate::views::permit;
use axum::body::Body;
use axum::http::Request;
use calls::{Call, calls};
use dugnad::access::Role;
use dugnad::api::{Peer, Settings};
use dugnad::web;
use dugnad_kernel::clock::{Clock, ManualClock};
use futures::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// Who calls.
#[derive(Clone, Copy)]
pub(super) struct Caller {
    name: &'static str,
    role: Option<Role>,
    /// The permit that they name.
    permit: &'static str,
    /// Whether the session is inside the secure processing environment.
    inside: bool,
}

const fn reader(basis: &'static str) -> Caller {
    Caller { name: basis, role: Some(Role::Company), permit: basis, inside: true }
}

/// When everything here happens, and from when on the permits hold.
const START: &str = "2026-03-10T09:00:00Z";

/// The permit that whoever has none names.
const SOMEBODYS: &str = "ehds_permit";

const CALLERS: [Caller; 17] = [
    Caller { name: "nobody", role: None, permit: SOMEBODYS, inside: true },
    Caller { name: "stranger", role: None, permit: SOMEBODYS, inside: true },
    Caller { name: "patient", role: Some(Role::Patient), permit: SOMEBODYS, inside: true },
    Caller { name: "Vest", role: Some(Role::Hospital), permit: "care", inside: true },
    Caller { name: "Nord", role: Some(Role::Hospital), permit: "care", inside: true },
    Caller { name: "without", role: Some(Role::Company), permit: SOMEBODYS, inside: true },
    reader("ehds_permit"),
    Caller { name: "ehds_permit", role: Some(Role::Company), permit: "ehds_permit", inside: false },
    reader("ehds_request"),
    reader("statutory_register"),
    reader("trial_protocol"),
    reader("direct_access"),
    reader("inspection"),
    Caller { name: "revoked", role: Some(Role::Company), permit: "revoked", inside: true },
    Caller { name: "applicant", role: Some(Role::Company), permit: SOMEBODYS, inside: true },
    Caller { name: "colleague", role: Some(Role::Company), permit: SOMEBODYS, inside: true },
    Caller { name: "centre", role: Some(Role::Centre), permit: SOMEBODYS, inside: true },
];

const HEADS: &str = "\
nobody      no token                            trial       reader under trial_protocol, blinded, inside
stranger    a token that is not known           direct      reader under direct_access, inside
patient     bound to the Patient p1 of Nord     inspect     reader under inspection, inside
Vest        a hospital without these patients   revoked     reader whose ehds_permit was revoked
Nord        the hospital of these patients      applic      who applied
without     a company without a permit          colleag     of the applicant's organisation
permit      reader under ehds_permit, inside,   centre      a person of the centre who did not assess it
            who asked for a release and an export
outside     the same from outside
request     reader under ehds_request, inside
register    reader under statutory_register, inside
";

const COLUMNS: [&str; 17] = [
    "nobody", "stranger", "patient", "Vest", "Nord", "without", "permit", "outside", "request", "register", "trial", "direct", "inspect",
    "revoked", "applic", "colleag", "centre",
];

/// A server with one of everything, and the ids of what has no name of its own.
pub(super) struct Scene {
    server: Server,
    tokens: BTreeMap<&'static str, String>,
    pub application: String,
    pub release: String,
    pub export: String,
    pub export_file: String,
    /// Nord's export of resources.
    pub bulk: String,
    /// An access to the data of p1.
    pub access: u64,
    /// How many entries of the log are signed.
    pub signed: u64,
}

/// Two persons of the centre who prepare the scene.
const ASSESSOR: &str = "assessor";
const DECIDER: &str = "decider";

impl Scene {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::new(START.parse().unwrap()));
        let server = Server::open_at(clock as Arc<dyn Clock>);
        let mut tokens = BTreeMap::new();
        for caller in CALLERS.iter().filter(|caller| caller.inside) {
            let holder = (caller.role == Some(Role::Hospital)).then_some(caller.name);
            let token = caller.role.map_or_else(|| "dgn_unknown".to_owned(), |role| server.token(role, caller.name, holder));
            tokens.insert(caller.name, token);
        }
        for person in [ASSESSOR, DECIDER] {
            tokens.insert(person, server.token(Role::Centre, person, None));
        }
        tokens.remove("nobody");
        server.local.tokens.bind("patient", Some(("Nord", "p1"))).unwrap();
        let none = String::new;
        let mut scene = Self {
            server,
            tokens,
            application: none(),
            release: none(),
            export: none(),
            export_file: none(),
            bulk: none(),
            access: 0,
            signed: 0,
        };
        scene.treat().await;
        scene.decide().await;
        scene.publish().await;
        scene.ask().await;
        scene.signed().await;
        scene
    }

    /// Three patients at Nord: p1 and p2 in a study, p1 with a consent that allows direct access; an Observation of each.
    async fn treat(&self) {
        let mut resources = vec![
            json!({"resourceType": "ResearchStudy", "id": "s", "status": "active"}),
            json!({"resourceType": "Subscription", "id": "told", "status": "requested", "reason": "R", "criteria": "Observation?",
                   "channel": {"type": "rest-hook"}}),
            json!({"resourceType": "Consent", "id": "c1", "status": "active", "scope": {"coding": [{"code": "research"}]},
                   "category": [{"coding": [{"code": "study"}]}], "patient": {"reference": "Patient/p1"},
                   "policyRule": {"coding": [{"code": "2.0"}]}}),
        ];
        for (patient, consent) in [("p1", true), ("p2", false), ("p3", false)] {
            resources.push(json!({"resourceType": "Patient", "id": patient, "gender": "female", "birthDate": "1970-01-01"}));
            let mut subject = json!({"resourceType": "ResearchSubject", "id": format!("rs-{patient}"), "status": "on-study",
                "study": {"reference": "ResearchStudy/s"}, "individual": {"reference": format!("Patient/{patient}")}});
            if consent {
                subject["consent"] = json!({"reference": "Consent/c1"});
            }
            if patient != "p3" {
                resources.push(subject);
            }
            for (code, id) in [("BP", "bp"), ("KIT", "kit")] {
                resources.push(json!({"resourceType": "Observation", "id": format!("{id}-{patient}"), "status": "final",
                    "code": {"coding": [{"code": code}]}, "subject": {"reference": format!("Patient/{patient}")}}));
            }
        }
        for resource in resources {
            let path = format!("/fhir/{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
            self.by("Nord", "PUT", &path, &resource).await.expect(201);
        }
        let other = json!({"resourceType": "Patient", "id": "v1"});
        self.by("Vest", "PUT", "/fhir/Patient/v1", &other).await.expect(201);
    }

    async fn decide(&self) {
        let tables = ["patient", "observation", "bp"];
        let grant = |id: &str, basis: &str, population: Value, delivery: &str| {
            let mut permit = permit(id, id, basis, population, &tables[..if basis == "ehds_request" { 1 } else { 3 }]);
            permit["delivery"] = delivery.into();
            permit["valid_from"] = START.into();
            if basis == "ehds_request" {
                permit["cadence"] = "daily".into();
                permit.as_object_mut().unwrap().remove("cadence_reason");
            }
            if basis == "inspection" {
                permit["provision"] = json!({"law": "a mandate"});
            }
            permit
        };
        let subjects = json!({"study_subjects": {"studies": [{"holder": "Nord", "id": "s"}]}});
        let consenting = json!({"study_subjects": {"studies": [{"holder": "Nord", "id": "s"}], "consent_versions": ["2.0"]}});
        let mut trial = grant("trial_protocol", "trial_protocol", subjects, "enclave");
        trial["blinding"] = json!({"blinded": {"columns": [], "rows": [{"table": "observation", "column": "code", "codes": ["KIT"]}]}});
        let mut revoked = grant("revoked", "ehds_permit", json!("everyone"), "enclave");
        revoked["status"] = "revoked".into();
        for permit in [
            grant("ehds_permit", "ehds_permit", json!("everyone"), "enclave"),
            grant("ehds_request", "ehds_request", json!("everyone"), "remote"),
            grant("statutory_register", "statutory_register", json!("everyone"), "enclave"),
            trial,
            grant("direct_access", "direct_access", consenting, "enclave"),
            grant("inspection", "inspection", json!("everyone"), "enclave"),
            revoked,
        ] {
            let mut permit = permit;
            permit["decision"]["by"] = DECIDER.into();
            let id = permit["id"].as_str().unwrap().to_owned();
            // Permits of the EHDS bases come out of applications; how, people.rs tells.
            if permit["basis"].as_str().unwrap().starts_with("ehds") {
                self.server.local.database.put_document("permit", &id, &permit.to_string()).unwrap();
            } else {
                self.by(DECIDER, "PUT", &format!("/permits/{id}"), &permit).await.expect(200);
            }
        }
    }

    /// A view, a SQLView over it, organisations.
    async fn publish(&self) {
        self.by(DECIDER, "PUT", "/fhir/ViewDefinition/bp", &crate::views::bp()).await.expect(201);
        let path = "/fhir/ViewDefinition/bp/$viewdefinition-materialize";
        loop {
            let state = self.by(DECIDER, "GET", path, &Value::Null).await.expect(200).json();
            if state["parameter"].as_array().unwrap().iter().any(|p| p["name"] == "status" && p["valueCode"] == "fresh") {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        self.by(DECIDER, "PUT", "/fhir/Library/counted", &calls::library("counted")).await.expect(201);
        self.by(ASSESSOR, "PUT", "/cohorts/proposed", &calls::cohort()).await.expect(200);
        for (id, users) in [("pharma", vec!["applicant", "colleague"]), ("other", vec!["ehds_permit"])] {
            let organisation = json!({"id": id, "name": id, "public_body": false, "users": users, "verified": "a register"});
            self.by(DECIDER, "PUT", &format!("/organisations/{id}"), &organisation).await.expect(200);
        }
    }

    /// An application that was found complete, a release that waits for its decision, an export that is done.
    async fn ask(&mut self) {
        let mut content = crate::people::content();
        content["users"] = json!(["applicant"]);
        let opened = self.by("applicant", "POST", "/applications", &content).await.expect(200).json();
        self.application = opened["id"].as_str().unwrap().to_owned();
        self.by("applicant", "POST", &format!("/applications/{}/submit", self.application), &Value::Null).await.expect(200);
        self.by(ASSESSOR, "POST", &format!("/applications/{}/complete", self.application), &json!({})).await.expect(200);
        let release = self.by("ehds_permit", "POST", "/releases", &calls::release("ehds_permit")).await.expect(200).json();
        self.release = release["release"]["id"].as_str().unwrap().to_owned();
        let export = self.by("ehds_permit", "POST", "/fhir/$sql-export", &calls::export("ehds_permit")).await.expect(202);
        self.export = export.header("content-location").unwrap().rsplit('/').next().unwrap().to_owned();
        let status = format!("/fhir/$sql-export/{}", self.export);
        while self.by("ehds_permit", "GET", &status, &Value::Null).await.status.as_u16() == 202 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        let manifest = self.by("ehds_permit", "GET", &format!("{status}/result"), &Value::Null).await.expect(200);
        let bulk = self.by("Nord", "GET", "/fhir/$export", &Value::Null).await.expect(202);
        self.bulk = bulk.header("content-location").unwrap().rsplit('/').next().unwrap().to_owned();
        while self.by("Nord", "GET", &format!("/fhir/$export/{}", self.bulk), &Value::Null).await.status.as_u16() == 202 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        let manifest = String::from_utf8(manifest.body).unwrap();
        let file = manifest.split(&format!("{}/", self.export)).nth(1).and_then(|rest| rest.split('"').next());
        self.export_file = file.unwrap_or_else(|| panic!("no file in {manifest}")).to_owned();
    }

    /// Waits for a checkpoint that has an access to the data of p1.
    async fn signed(&mut self) {
        let read = self.by("patient", "GET", "/audit/persons/me", &Value::Null).await.expect(200).json();
        self.access = read["accesses"][0]["entry"].as_u64().unwrap();
        while self.signed <= self.access {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            let checkpoint = self.by("", "GET", "/audit/checkpoint", &Value::Null).await.expect(200).body;
            self.signed = String::from_utf8(checkpoint).unwrap().lines().nth(1).unwrap().parse().unwrap();
        }
    }

    async fn by(&self, user: &str, method: &str, path: &str, body: &Value) -> Answer {
        self.send(user, true, &Call::new(method, path, body.clone())).await
    }

    async fn send(&self, user: &str, inside: bool, call: &Call) -> Answer {
        let mut request = Request::builder().method(call.method.as_str()).uri(&call.path);
        if let Some(token) = self.tokens.get(user) {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if call.method == "GET" && call.path.ends_with("/$export") {
            request = request.header("Prefer", "respond-async");
        }
        let mut csrf = String::new();
        if call.path.starts_with("/me") {
            let visit = crate::pages::sign_in(&self.server, self.tokens.get(user).map_or("", String::as_str)).await;
            request = request.header("Sec-Fetch-Site", "same-origin").header("Cookie", visit.cookie);
            csrf = visit.csrf;
        }
        let body = match &call.body {
            Value::Null => Body::empty(),
            Value::String(text) => {
                let text = text.replace("CSRF", &csrf);
                let form = call.path.ends_with("/_search");
                request = request.header("Content-Type", if form { "application/x-www-form-urlencoded" } else { "text/plain" });
                Body::from(text)
            }
            json => {
                request = request.header("Content-Type", "application/json");
                Body::from(json.to_string())
            }
        };
        let mut request = request.body(body).unwrap();
        if inside {
            request.extensions_mut().insert(Peer(SocketAddr::from((Ipv4Addr::LOCALHOST, 1))));
        }
        self.server.send(request).await
    }
}

/// The status and, of what was answered, how much.
fn outcome(answer: &Answer) -> String {
    let status = answer.status.as_u16();
    let found = serde_json::from_slice::<Value>(&answer.body).ok().filter(|_| answer.status.is_success());
    let count = match &found {
        Some(Value::Array(rows)) => Some(rows.len()),
        Some(Value::Object(members)) => match members.get("resourceType").and_then(Value::as_str) {
            Some("Bundle") => Some(members.get("entry").and_then(Value::as_array).map_or(0, Vec::len)),
            Some(_) => None,
            None => members.values().find_map(Value::as_array).map(Vec::len).filter(|_| members.len() <= 2),
        },
        _ => None,
    };
    count.map_or_else(|| status.to_string(), |count| format!("{status}:{count}"))
}

/// Every route of the description, each with its calls.
async fn routes(scene: &Scene) -> Vec<(String, String)> {
    let described = scene.by("", "GET", "/openapi.json", &Value::Null).await.expect(200).json();
    let mut routes = Vec::new();
    // What reads comes before what changes.
    for method in ["get", "post", "put", "patch", "delete"] {
        for (path, operations) in described["paths"].as_object().unwrap() {
            if operations.get(method).is_some() {
                routes.push((method.to_uppercase(), path.clone()));
            }
        }
    }
    let app = scene.server.local.app(Settings::default());
    routes.extend(web::for_people(&app, false).all().iter().map(|(method, path)| (method.to_string(), (*path).to_owned())));
    // What ends something comes last.
    routes.sort_by_key(|(_, path)| path.ends_with("/withdraw"));
    routes
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_every_caller_as_it_is_written() {
    let mut lines: Vec<(String, Vec<String>)> = Vec::new();
    let scenes = join_all(CALLERS.iter().map(|_| Scene::new())).await;
    for (n, (caller, scene)) in CALLERS.iter().zip(&scenes).enumerate() {
        let mut line = 0;
        for (method, path) in routes(scene).await {
            for call in calls(&method, &path, scene, caller.name, caller.permit) {
                let answer = scene.send(caller.name, caller.inside, &call).await;
                assert_ne!(answer.status.as_u16(), 500, "{method} {path}: {}", String::from_utf8_lossy(&answer.body));
                if n == 0 {
                    lines.push((format!("{method:<6} {path} {}", call.note).trim_end().to_owned(), Vec::new()));
                }
                lines[line].1.push(outcome(&answer));
                line += 1;
            }
        }
    }
    let mut grid = format!("{HEADS}\n{:<62}", "");
    for column in COLUMNS {
        write!(grid, " {column:<8}").unwrap();
    }
    for (route, outcomes) in &lines {
        write!(grid.truncate_end(), "\n{route:<62}").unwrap();
        for outcome in outcomes {
            write!(grid, " {outcome:<8}").unwrap();
        }
    }
    grid.truncate_end().push('\n');
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/grid/grid.txt");
    if std::env::var("DUGNAD_GOLDEN").is_ok_and(|how| how == "write") {
        std::fs::write(&golden, &grid).unwrap();
    }
    let written = std::fs::read_to_string(&golden).unwrap_or_default();
    let (was, is): (Vec<&str>, Vec<&str>) = (written.lines().collect(), grid.lines().collect());
    let other: Vec<String> = is.iter().filter(|line| !was.contains(line)).map(|line| format!("is   {line}")).collect();
    let gone: Vec<String> = was.iter().filter(|line| !is.contains(line)).map(|line| format!("was  {line}")).collect();
    assert!(written == grid, "the grid has changed; see the module's first lines\n{}\n{}", gone.join("\n"), other.join("\n"));
}

trait TruncateEnd {
    fn truncate_end(&mut self) -> &mut Self;
}

impl TruncateEnd for String {
    /// Takes blanks from the end.
    fn truncate_end(&mut self) -> &mut Self {
        self.truncate(self.trim_end_matches(' ').len());
        self
    }
}
