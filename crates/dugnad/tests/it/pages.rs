//! The pages of people: the patient's own, and the public register.

use crate::process::live_permit;
use crate::support::{Answer, Server};
use axum::body::Body;
use axum::http::Request;
use dugnad::access::Role;
use dugnad_kernel::audit::Proof;
use serde_json::{Value, json};

/// A visit of somebody who is signed in, or of nobody.
#[derive(Default)]
pub struct Visit {
    pub cookie: String,
    pub csrf: String,
}

async fn post(server: &Server, path: &str, cookie: &str, form: &str, site: &str) -> Answer {
    let request = Request::post(path)
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("Cookie", cookie)
        .header("Sec-Fetch-Site", site)
        .body(Body::from(form.to_owned()));
    server.send(request.unwrap()).await
}

async fn open(server: &Server, path: &str, cookie: &str) -> Answer {
    server.send(Request::get(path).header("Cookie", cookie).body(Body::empty()).unwrap()).await
}

fn html(answer: &Answer) -> String {
    String::from_utf8(answer.body.clone()).unwrap()
}

/// Signs in with a token, as the page does; a visit of nobody if that is refused.
pub async fn sign_in(server: &Server, token: &str) -> Visit {
    let answer = post(server, "/me/sign-in", "", &format!("token={token}"), "same-origin").await;
    let Some(set) = answer.header("set-cookie") else { return Visit::default() };
    assert!(set.contains("; HttpOnly; SameSite=Strict") && !set.contains(token), "{set}");
    let cookie = set.split(';').next().unwrap().to_owned();
    let page = html(&open(server, "/me", &cookie).await.expect(200));
    let csrf = page.split("name=\"csrf\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    Visit { csrf: csrf.to_owned(), cookie }
}

/// Kari is a patient of two hospitals, with a study's consent at one; an authority may read under `live`.
async fn scene() -> (Server, String) {
    let server = Server::open();
    for (hospital, id) in [("Haukeland", "kari"), ("Ullevål", "k-7")] {
        let hospital = server.hospital(hospital);
        let patient = json!({"resourceType": "Patient", "id": id, "gender": "female",
            "identifier": [{"system": "urn:oid:2.16.578.1.12.4.1.4.1", "value": "13116900216"}]});
        hospital.put(&format!("/fhir/Patient/{id}"), &patient).await.expect(201);
        let observation = json!({"resourceType": "Observation", "id": "o1", "status": "final", "code": {"coding": [{"code": "718-7"}]},
            "subject": {"reference": format!("Patient/{id}")}});
        hospital.put("/fhir/Observation/o1", &observation).await.expect(201);
    }
    let haukeland = server.hospital("Haukeland");
    for (path, resource) in [
        ("ResearchStudy/s", json!({"resourceType": "ResearchStudy", "id": "s", "status": "active", "title": "Hearts & <b>lungs</b>"})),
        (
            "Consent/c1",
            json!({"resourceType": "Consent", "id": "c1", "status": "active", "scope": {"coding": [{"code": "research"}]},
            "category": [{"coding": [{"code": "study"}]}], "patient": {"reference": "Patient/kari"}, "dateTime": "2026-01-05",
            "policyRule": {"coding": [{"code": "2.0"}]}}),
        ),
        (
            "ResearchSubject/r1",
            json!({"resourceType": "ResearchSubject", "id": "r1", "status": "on-study", "study": {"reference": "ResearchStudy/s"},
            "individual": {"reference": "Patient/kari"}, "consent": {"reference": "Consent/c1"}}),
        ),
    ] {
        haukeland.put(&format!("/fhir/{path}"), &resource).await.expect(201);
    }
    let mut permit = live_permit(server.local.clock.now(), &["patient", "observation"]);
    permit["delivery"] = "remote".into();
    permit["provision"]["opt_out"] = true.into();
    permit["purpose"] = "<script>alert(1)</script>".into();
    server.local.database.put_document("permit", "live", &permit.to_string()).unwrap();
    let organisation = json!({"id": "niph", "name": "An Institute", "public_body": true, "users": ["authority"], "verified": "by law"});
    server.local.database.put_document("organisation", "niph", &organisation.to_string()).unwrap();
    server.local.tokens.bind("kari", Some(("Haukeland", "kari"))).unwrap();
    let token = server.token(Role::Patient, "kari", None);
    (server, token)
}

async fn persons_seen(server: &Server) -> Value {
    let token = server.token(Role::Authority, "authority", None);
    let body = json!({"permit": "live", "sql": "SELECT count(DISTINCT patient_key) AS n FROM observation", "format": "json"}).to_string();
    let request = Request::post("/sql").header("Authorization", format!("Bearer {token}")).header("Content-Type", "application/json");
    server.send(request.body(Body::from(body)).unwrap()).await.expect(200).json()[0]["n"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patient_sees_who_read_their_data_and_what_stands() {
    let (server, token) = scene().await;
    assert_eq!(persons_seen(&server).await, 1);
    let visit = sign_in(&server, &token).await;
    let page = html(&open(&server, "/me", &visit.cookie).await.expect(200));
    for shown in ["An Institute", "authority", "measurements and findings", "/public-register/permits/live", "You have not opted out."] {
        assert!(page.contains(shown), "{shown} in {page}");
    }
    assert!(page.contains("Hearts &amp; &lt;b&gt;lungs&lt;/b&gt;") && page.contains("version 2.0") && page.contains("given 2026-01-05"));
    assert!(
        page.contains("&lt;script&gt;") && !page.contains("<script") && !page.contains("style=\""),
        "nothing inline, nothing of others"
    );
    // It says what the interface for programs says.
    let request = Request::get("/audit/persons/me").header("Authorization", format!("Bearer {token}")).body(Body::empty()).unwrap();
    let told = server.send(request).await.expect(200).json();
    let of_authority = told["accesses"].as_array().unwrap().iter().find(|access| access["user"] == "authority").unwrap().clone();
    assert_eq!(of_authority["organisation"], "An Institute");
    let entry = of_authority["entry"].as_u64().unwrap();
    assert!(page.contains(&format!("/me/accesses/{entry}\"")));
    // One's own looks are on it, as one's own.
    assert!(html(&open(&server, "/me", &visit.cookie).await).contains("<b>You</b>"));

    let detail = open(&server, &format!("/me/accesses/{entry}"), &visit.cookie).await.expect(200);
    let proof_path = format!("/me/accesses/{entry}/proof");
    let proof = loop {
        let answer = open(&server, &proof_path, &visit.cookie).await;
        if answer.status == 200 {
            break answer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert!(html(&detail).contains("An Institute"));
    assert_eq!(proof.header("content-disposition"), Some(format!("attachment; filename=\"proof-{entry}.json\"").as_str()));
    let key = server.local.audit.verifier_key().clone();
    serde_json::from_slice::<Proof>(&proof.body).unwrap().verify(&key).unwrap();
    assert!(html(&open(&server, &format!("/me/accesses/{entry}"), &visit.cookie).await).contains(&key.to_string()));
    // The same with the command, and not with one byte changed.
    let file = server.dir().join("proof.json");
    let check = |key: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dugnad"));
        command.args(["audit", "check"]).arg(&file).args(["--key", key]).output().unwrap()
    };
    std::fs::write(&file, &proof.body).unwrap();
    let said = check(&key.to_string());
    assert!(said.status.success() && String::from_utf8_lossy(&said.stdout).contains("\"authority\""), "{said:?}");
    std::fs::write(&file, html(&proof).replace("authority", "authoritx")).unwrap();
    assert_eq!(check(&key.to_string()).status.code(), Some(1));
    // An entry that is not about her does not exist.
    open(&server, "/me/accesses/0", &visit.cookie).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patient_opts_out_and_takes_it_back() {
    let (server, token) = scene().await;
    let visit = sign_in(&server, &token).await;
    let opt = |how: &'static str| {
        let form = format!("opt={how}&csrf={}", visit.csrf);
        let (server, cookie) = (&server, visit.cookie.clone());
        async move { post(server, "/me/opt-out", &cookie, &form, "same-origin").await.expect(303) }
    };
    assert_eq!(persons_seen(&server).await, 1);
    opt("out").await;
    assert_eq!(persons_seen(&server).await, 0, "both Patients are she, and it holds from the next question on");
    let page = html(&open(&server, "/me", &visit.cookie).await);
    assert!(page.contains("You have opted out.") && page.contains("Take the opt-out back") && page.contains("Opt-out of secondary use"));
    opt("in").await;
    assert_eq!(persons_seen(&server).await, 1);
    // A hospital's record is the hospital's to take back.
    let consent = json!({"resourceType": "Consent", "id": "h", "status": "active", "scope": {"coding": [{"code": "patient-privacy"}]},
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTOUT"}]}],
        "patient": {"reference": "Patient/k-7"}, "policyRule": {"coding": [{"code": "OPTOUT"}]}});
    server.hospital("Ullevål").put("/fhir/Consent/h", &consent).await.expect(201);
    assert!(html(&open(&server, "/me", &visit.cookie).await).contains("You are opted out by a hospital’s record."));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_patient_signs_in_and_only_their_own_page_sends_forms() {
    let (server, token) = scene().await;
    for path in ["/me", "/me/accesses/1", "/me/accesses/1/proof"] {
        let answer = open(&server, path, "dugnad_me=guessed").await.expect(303);
        assert_eq!(answer.header("location"), Some("/me/sign-in"));
    }
    let page = open(&server, "/me/sign-in", "").await.expect(200);
    assert!(html(&page).contains("<label for=\"token\">") && page.header("cache-control") == Some("no-store"));
    assert!(page.header("content-security-policy").unwrap().contains("form-action 'self'"));
    let hospital = server.hospital("Haukeland").token;
    for (token, site, status) in
        [("dgn_wrong", "same-origin", 403), ("", "same-origin", 403), (&hospital, "same-origin", 403), (&token, "cross-site", 403)]
    {
        let answer = post(&server, "/me/sign-in", "", &format!("token={token}"), site).await.expect(status);
        assert_eq!(answer.header("set-cookie"), None);
    }
    let visit = sign_in(&server, &token).await;
    let good = format!("opt=out&csrf={}", visit.csrf);
    for (cookie, form, site, status) in [
        (visit.cookie.as_str(), "opt=out", "same-origin", 403),
        (&visit.cookie, "opt=out&csrf=guessed", "same-origin", 403),
        (&visit.cookie, &good, "cross-site", 403),
        (&visit.cookie, &good, "same-site", 403),
        ("", &good, "same-origin", 303),
    ] {
        post(&server, "/me/opt-out", cookie, form, site).await.expect(status);
    }
    assert!(html(&open(&server, "/me", &visit.cookie).await).contains("You have not opted out."));
    let large = format!("opt=out&csrf={}", "x".repeat(5_000));
    post(&server, "/me/opt-out", &visit.cookie, &large, "same-origin").await.expect(413);
    // Signing out ends this session; a token that is revoked, every one.
    let other = sign_in(&server, &token).await;
    post(&server, "/me/sign-out", &visit.cookie, "", "same-origin").await.expect(303);
    open(&server, "/me", &visit.cookie).await.expect(303);
    open(&server, "/me", &other.cookie).await.expect(200);
    server.local.tokens.revoke("kari").unwrap();
    open(&server, "/me", &other.cookie).await.expect(303);
    // A patient whose token is bound to nobody is told so.
    let stranger = server.token(Role::Patient, "somebody", None);
    let visit = sign_in(&server, &stranger).await;
    assert!(html(&open(&server, "/me", &visit.cookie).await.expect(200)).contains("not bound to a patient"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_register_can_be_read_by_people() {
    let people = crate::people::People::meet().await;
    people.granted(&crate::people::content()).await;
    let refused = people.apply(&crate::people::content()).await;
    people.post("anne", &format!("/applications/{refused}/submit"), &Value::Null).await.expect(200);
    let page = html(&people.server.get("/public-register").await.expect(200));
    assert!(page.contains("Pharma AS") && page.contains("Which treatment helps whom") && page.contains("/public-register/permits/p1"));
    let of_permit = html(&people.server.get("/public-register/permits/p1").await.expect(200));
    for shown in ["Pharma AS", "Proportionate", "birth_date (year)", "from 10 March 2026 until 10 March 2028", "ehds permit"] {
        assert!(of_permit.contains(shown), "{shown} in {of_permit}");
    }
    let of_application = html(&people.server.get(&format!("/public-register/applications/{refused}")).await.expect(200));
    assert!(of_application.contains("submitted") && of_application.contains("To be decided before"));
    for person in ["anne", "cato", "dag"] {
        assert!(![&page, &of_permit, &of_application].iter().any(|page| page.contains(person)), "no natural person is named");
    }
    people.server.get("/public-register/applications").await.expect(200);
    people.server.get("/public-register/drafts").await.expect(404);
    people.server.get("/public-register/permits/none").await.expect(404);
}
