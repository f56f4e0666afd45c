//! `PUT /permits/{id}`: granting, changing and revoking.

use crate::process::live_permit;
use crate::support::{Answer, Server};
use axum::body::Body;
use axum::http::Request;
use dugnad::access::Role;
use serde_json::{Value, json};

struct Centre {
    server: Server,
    token: String,
    authority: String,
}

impl Centre {
    fn open() -> Self {
        let server = Server::open();
        let (token, authority) = (server.token(Role::Centre, "centre", None), server.token(Role::Authority, "authority", None));
        Self { server, token, authority }
    }

    async fn send(&self, token: &str, method: &str, path: &str, body: &Value) -> Answer {
        let request = Request::builder().method(method).uri(path).header("Content-Type", "application/json");
        let request = request.header("Authorization", format!("Bearer {token}")).body(Body::from(body.to_string()));
        self.server.send(request.unwrap()).await
    }

    async fn put(&self, path: &str, permit: &Value) -> Answer {
        self.send(&self.token, "PUT", path, permit).await
    }

    async fn ask(&self) -> Answer {
        self.send(&self.authority, "POST", "/sql", &json!({"permit": "live", "sql": "SELECT count(*) AS n FROM patient"})).await
    }

    fn permit(&self) -> Value {
        let mut permit = live_permit(self.server.local.clock.now(), &["patient"]);
        permit["delivery"] = "remote".into();
        permit
    }
}

#[tokio::test]
async fn a_permit_holds_from_its_commit_until_it_is_revoked() {
    let centre = Centre::open();
    centre.ask().await.expect(404);
    let granted = centre.put("/permits/live", &centre.permit()).await.expect(200);
    assert_eq!((granted.header("dugnad-commit"), &granted.json()["id"]), (Some("1"), &json!("live")));
    assert_eq!(granted.header("dugnad-timeline"), Some(centre.server.local.database.timeline().to_string().as_str()));
    assert_eq!(centre.ask().await.expect(200).json(), json!([{"n": 0}]));
    let mut other = centre.permit();
    other["tables"][0]["table"] = "observation".into();
    assert_eq!(centre.put("/permits/live", &other).await.expect(200).json()["commit"], 2);
    centre.ask().await.expect(400);
    let mut revoked = centre.permit();
    revoked["status"] = "revoked".into();
    centre.put("/permits/live", &revoked).await.expect(200);
    centre.ask().await.expect(404);
    let entries = centre.server.local.audit.entries(0, 1_000).unwrap();
    let decisions: Vec<_> = entries.iter().filter(|(_, e)| e.interface.as_deref() == Some("permits")).collect();
    let outcomes: Vec<_> = decisions.iter().map(|(_, e)| (e.commit, e.outcome.as_deref())).collect();
    assert_eq!(outcomes, [(Some(1), Some("granted")), (Some(2), Some("granted")), (Some(3), Some("revoked"))]);
    assert_eq!(centre.server.local.database.history(dugnad_kernel::ids::HolderId::CENTRE, "permit", "live").unwrap().len(), 3);
}

/// A permit was written first, and only then was the log found to have failed: the decision held, and nobody could see by whom.
#[tokio::test]
async fn without_a_log_no_permit_is_granted() {
    let centre = Centre::open();
    centre.server.local.audit.close();
    centre.send(&centre.authority, "GET", "/permits", &json!({})).await.expect(503);
    centre.put("/permits/live", &centre.permit()).await.expect(503);
    assert_eq!(centre.server.local.database.snapshot().commit().0, 0, "nothing was written");
}

#[tokio::test]
async fn what_is_no_decision_of_the_centre_is_refused() {
    let centre = Centre::open();
    centre.send(&centre.authority, "PUT", "/permits/live", &centre.permit()).await.expect(403);
    centre.put("/permits/another", &centre.permit()).await.expect(400);
    centre.put("/permits/live", &json!({"id": "live"})).await.expect(400);
    let mut by_another = centre.permit();
    by_another["decision"]["by"] = "somebody".into();
    let refused = centre.put("/permits/live", &by_another).await.expect(400);
    assert_eq!(refused.json()["errors"][0]["at"], "permit.decision.by");
    let mut not_allowed = centre.permit();
    not_allowed["basis"] = "ehds_request".into();
    centre.put("/permits/live", &not_allowed).await.expect(400);
    assert_eq!(centre.server.local.database.snapshot().commit().0, 0, "nothing was written");
}

/// One person of the centre could record a permit whose basis says that the centre decides: who proposes cannot decide.
#[tokio::test]
async fn one_person_records_no_permit_that_two_decide_on() {
    let centre = Centre::open();
    let mut proposed = centre.permit();
    proposed["basis"] = "ehds_permit".into();
    proposed["delivery"] = "enclave".into();
    proposed.as_object_mut().unwrap().remove("provision");
    let refused = centre.put("/permits/live", &proposed).await.expect(403).json();
    assert!(refused["detail"].as_str().unwrap().contains("who proposes cannot decide"), "{refused}");
    assert_eq!(centre.server.local.database.snapshot().commit().0, 0, "nothing was written");
    let entries = centre.server.local.audit.entries(0, 1_000).unwrap();
    assert!(entries.iter().any(|(_, e)| e.act == dugnad_kernel::audit::Act::Refusal && e.interface.as_deref() == Some("permits")));
}
