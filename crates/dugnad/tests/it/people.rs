//! People of two companies and of the centre, who apply, decide and release.

use crate::support::{Answer, Server};
use axum::body::Body;
use axum::http::Request;
use dugnad::access::Role;
use dugnad::api::Peer;
use dugnad_kernel::clock::ManualClock;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

pub struct People {
    pub server: Server,
    pub clock: Arc<ManualClock>,
    tokens: BTreeMap<&'static str, String>,
}

/// When the stories begin: a Tuesday.
pub const START: &str = "2026-03-10T09:00:00Z";

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

impl People {
    /// Anne and Berit are of `pharma`, Rolf of `rival`; Cato, Dag and Erik are of the centre, but Erik belongs to `pharma` too. Nora
    /// belongs to nobody.
    pub async fn meet() -> Self {
        let clock = Arc::new(ManualClock::new(at(START)));
        let server = Server::open_at(Arc::clone(&clock) as Arc<dyn dugnad_kernel::clock::Clock>);
        let roles = [
            ("anne", Role::Company),
            ("berit", Role::Company),
            ("rolf", Role::Company),
            ("nora", Role::Company),
            ("cato", Role::Centre),
            ("dag", Role::Centre),
            ("erik", Role::Centre),
        ];
        let tokens = roles.into_iter().map(|(user, role)| (user, server.token(role, user, None))).collect();
        let people = Self { server, clock, tokens };
        let pharma = json!({"id": "pharma", "name": "Pharma AS", "public_body": false, "users": ["anne", "berit", "erik"], "verified": "register of entities"});
        let rival = json!({"id": "rival", "name": "Rival AS", "public_body": false, "users": ["rolf"]});
        people.send("cato", "PUT", "/organisations/pharma", &pharma).await.expect(200);
        people.send("cato", "PUT", "/organisations/rival", &rival).await.expect(200);
        people
    }

    /// After a restart of the server.
    pub fn restarted(self) -> Self {
        let clock = Arc::clone(&self.clock) as Arc<dyn dugnad_kernel::clock::Clock>;
        Self { server: self.server.restarted(clock), ..self }
    }

    /// A request of `user`, or of nobody if the name is empty, from inside the environment.
    pub async fn send(&self, user: &str, method: &str, path: &str, body: &Value) -> Answer {
        self.request(user, method, path, body, Some(IpAddr::V4(Ipv4Addr::LOCALHOST))).await
    }

    /// The same from outside.
    pub async fn send_from_outside(&self, user: &str, method: &str, path: &str, body: &Value) -> Answer {
        self.request(user, method, path, body, None).await
    }

    async fn request(&self, user: &str, method: &str, path: &str, body: &Value, from: Option<IpAddr>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !user.is_empty() {
            request = request.header("Authorization", format!("Bearer {}", self.tokens[user]));
        }
        let body = if body.is_null() {
            Body::empty()
        } else {
            request = request.header("Content-Type", "application/json");
            Body::from(body.to_string())
        };
        let mut request = request.body(body).unwrap();
        if let Some(ip) = from {
            request.extensions_mut().insert(Peer(SocketAddr::new(ip, 1)));
        }
        self.server.send(request).await
    }

    pub async fn get(&self, user: &str, path: &str) -> Answer {
        self.send(user, "GET", path, &Value::Null).await
    }

    pub async fn post(&self, user: &str, path: &str, body: &Value) -> Answer {
        self.send(user, "POST", path, body).await
    }

    /// An application of Anne's; its id.
    pub async fn apply(&self, content: &Value) -> String {
        let opened = self.post("anne", "/applications", content).await.expect(200).json();
        opened["id"].as_str().unwrap().to_owned()
    }

    /// A permit `p1` of Anne's, from an application, over `tables` with these columns as they are.
    pub async fn granted(&self, content: &Value) {
        let id = self.apply(content).await;
        for (user, act, body) in [
            ("anne", "submit", Value::Null),
            ("cato", "complete", json!({})),
            ("cato", "assess", json!({"grant": true, "reasons": "Necessary"})),
            ("dag", "decide", json!({"grant": true, "reasons": "Proportionate", "permit": "p1"})),
        ] {
            self.post(user, &format!("/applications/{id}/{act}"), &body).await.expect(200);
        }
    }
}

/// A complete application for an EHDS permit.
pub fn content() -> Value {
    let uses = ["detrimental_decisions", "discrimination", "marketing", "harmful_products", "unethical_use"];
    let answers: Map<String, Value> =
        uses.iter().map(|u| ((*u).to_owned(), json!({"intended": false, "explanation": "Ruled out by contract"}))).collect();
    let columns = |names: Value, transform: &str| json!({"names": names, "transform": transform, "justification": "Effects differ by it", "transform_justification": "Coarser hides them"});
    json!({
        "basis": "ehds_permit", "title": "Effect of treatment", "users": ["anne"], "purpose": "Which treatment helps whom",
        "purposes": ["research"], "prohibited_uses": answers, "safeguards": "Two-factor login",
        "tables": [{"table": "patient", "columns": [columns(json!(["patient_key", "gender"]), "keep"), columns(json!(["birth_date"]), "year")]}],
        "population": {"value": "everyone", "justification": "Rare outcomes"},
        "cadence": {"value": "live", "justification": "Safety signals"},
        "delivery": "enclave", "valid_from": START, "valid_until": "2028-03-10T00:00:00Z",
    })
}
