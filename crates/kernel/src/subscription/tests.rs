use super::notification::{Event, Kind, Sender};
use super::*;
use crate::database::{Change, Changed, Method, StoredVersion, Written};
use crate::fhir::json;
use crate::ids::Commit;
use bumpalo::Bump;
use serde_json::json as of;

fn subscription(criteria: &str, channel: serde_json::Value) -> serde_json::Value {
    of!({"resourceType": "Subscription", "status": "requested", "reason": "a test", "criteria": criteria, "channel": channel})
}

fn read(resource: &serde_json::Value) -> Result<Subscription, String> {
    let arena = Bump::new();
    let text = resource.to_string();
    let value = json::parse(text.as_bytes(), &arena).map_err(|e| e.to_string())?;
    assert_eq!(check(&value).len(), usize::from(Subscription::read(&value).is_err()));
    Subscription::read(&value).map_err(|issue| format!("{}: {}", issue.expression.unwrap_or_default(), issue.diagnostics))
}

fn holds(subscription: &Subscription, resource: &serde_json::Value) -> bool {
    let arena = Bump::new();
    let text = resource.to_string();
    json::parse(text.as_bytes(), &arena).is_ok_and(|resource| subscription.conditions.hold(&resource))
}

fn topic(filters: &[&str], content: &str) -> serde_json::Value {
    let extension = |name: &str, key: &str, value: serde_json::Value| of!({"url": format!("{BACKPORT}{name}"), key: value});
    let mut resource = subscription(
        &topic_of("Observation"),
        of!({"type": "rest-hook", "endpoint": "https://a.example/x", "payload": "application/fhir+json",
            "_payload": {"extension": [extension("backport-payload-content", "valueCode", content.into())]},
            "extension": [extension("backport-max-count", "valuePositiveInt", 7.into())]}),
    );
    resource["meta"] = of!({"profile": [format!("{BACKPORT}backport-subscription")]});
    let filters: Vec<_> = filters.iter().map(|filter| extension("backport-filter-criteria", "valueString", (*filter).into())).collect();
    resource["_criteria"] = of!({"extension": filters});
    resource
}

#[test]
fn r4s_own_form() {
    let channel = of!({"type": "rest-hook", "endpoint": "https://a.example/x", "header": ["Authorization: Bearer x", "X-A:1"]});
    let read_of = |criteria: &str, channel: &serde_json::Value| read(&subscription(criteria, channel.clone()));
    let plain = read_of("Observation?code=http://loinc.org%7C1,2&status=final", &channel);
    let Ok(plain) = plain else { panic!("{plain:?}") };
    assert_eq!((plain.content, plain.deletions, &plain.form), (Content::Empty, false, &Form::Resource));
    assert_eq!(plain.headers, [("Authorization".to_owned(), "Bearer x".to_owned()), ("X-A".to_owned(), "1".to_owned())]);
    let observation =
        |code: &str, status: &str| of!({"resourceType": "Observation", "status": status, "code": {"coding": [{"code": code}]}});
    assert!(holds(&plain, &observation("2", "final")));
    assert!(!holds(&plain, &observation("2", "amended")) && !holds(&plain, &observation("3", "final")));
    let mut with_payload = channel.clone();
    with_payload["payload"] = "application/fhir+json".into();
    assert_eq!(
        read_of("Patient?_id=1,2", &with_payload).map(|s| (s.content, s.resource_type)),
        Ok((Content::FullResource, "Patient".into()))
    );
    assert!(read_of("Patient?", &channel).is_ok_and(|all| all.conditions.is_empty()));
    assert!(read_of("Patient", &of!({"type": "rest-hook"})).is_ok_and(|all| all.endpoint.is_none()));
}

#[test]
fn what_cannot_be_judged_is_refused_by_name() {
    let channel = of!({"type": "rest-hook"});
    for (criteria, named) in [
        ("Observation?shoe-size=4", "`shoe-size`"),
        ("Observation?patient.name=x", "`patient.name`"),
        ("Observation?_has:Provenance:target:_id=1", "_has"),
        ("Observation?_lastUpdated=gt2020", "`_lastUpdated`"),
        ("Observation?code:in=http://a", "`code:in`"),
        ("Observation?_count=3", "`_count`"),
        ("Patience?name=x", "not a resource type"),
        ("name=x", "not a resource type"),
        ("Patient?name=%zz", "percent-encoding"),
        ("http://example.org/topic", "not a resource type"),
        ("urn:dugnad:topic:Patience", "urn:dugnad:topic:Observation"),
    ] {
        let refused = read(&subscription(criteria, channel.clone())).err().unwrap_or_default();
        assert!(refused.starts_with("Subscription.criteria: ") && refused.contains(named), "{criteria}: {refused}");
    }
    for (channel, place) in [
        (of!({"type": "websocket"}), "channel.type"),
        (of!({"type": "rest-hook", "payload": "application/fhir+xml"}), "channel.payload"),
        (of!({"type": "rest-hook", "endpoint": "ftp://a"}), "channel.endpoint"),
        (of!({"type": "rest-hook", "endpoint": "https://a\r\nb"}), "channel.endpoint"),
        (of!({"type": "rest-hook", "header": ["Host: b"]}), "channel.header"),
        (of!({"type": "rest-hook", "header": ["A: b\r\nC: d"]}), "channel.header"),
        (of!({"type": "rest-hook", "header": ["no colon"]}), "channel.header"),
    ] {
        let refused = read(&subscription("Patient?", channel)).err().unwrap_or_default();
        assert!(refused.starts_with(&format!("Subscription.{place}: ")), "{refused}");
    }
    // Who does not want it active may keep what they have.
    let mut off = subscription("Observation?shoe-size=4", channel);
    off["status"] = "off".into();
    let (arena, text) = (Bump::new(), off.to_string());
    assert!(json::parse(text.as_bytes(), &arena).is_ok_and(|off| check(&off).is_empty()));
}

#[test]
fn the_form_of_topics() {
    let read_ok = read(&topic(&["Observation?status=final", "?code=a,b"], "id-only"));
    let Ok(subscription) = read_ok else { panic!("{read_ok:?}") };
    assert_eq!((subscription.content, subscription.deletions, subscription.max_count()), (Content::IdOnly, true, 7));
    let observation =
        |code: &str, status: &str| of!({"resourceType": "Observation", "status": status, "code": {"coding": [{"code": code}]}});
    assert!(holds(&subscription, &observation("b", "final")) && !holds(&subscription, &observation("b", "amended")));
    assert!(!holds(&subscription, &observation("c", "final")), "all filters have to hold");
    assert!(read(&topic(&["Patient?_id=1"], "empty")).is_err_and(|e| e.contains("a search of Observation")));
    assert!(read(&topic(&[], "everything")).is_err_and(|e| e.contains("backport-payload-content")));
    assert!(read(&topic(&["?_sort=date"], "empty")).is_err_and(|e| e.contains("`_sort`")));
}

#[test]
fn heartbeats_have_a_period_within_bounds() {
    let beating = |period: serde_json::Value| {
        let mut resource = topic(&[], "empty");
        let extension = of!({"url": format!("{BACKPORT}backport-heartbeat-period"), "valueUnsignedInt": period});
        resource["channel"]["extension"].as_array_mut().into_iter().for_each(|all| all.push(extension.clone()));
        read(&resource).map(|subscription| subscription.heartbeat().map(|period| period.as_secs()))
    };
    assert_eq!((beating(10.into()), beating(86_400.into())), (Ok(Some(10)), Ok(Some(86_400))));
    assert_eq!(read(&topic(&[], "empty")).map(|subscription| subscription.heartbeat()), Ok(None));
    for wrong in [of!(0), of!(9), of!(86_401), of!("10")] {
        assert!(beating(wrong).is_err_and(|e| e.starts_with("Subscription.channel: ") && e.contains("backport-heartbeat-period")));
    }
}

#[test]
fn a_heartbeat_holds_nothing_and_more_events_are_linked() {
    let Ok(subscription) = read(&topic(&[], "empty")) else { panic!("a topic") };
    let topic = subscription.topic_canonical();
    let sender = Sender { base: "https://d.example/fhir", id: "s", topic, status: Status::Active, events: 9 };
    let bundle = |kind, next| {
        let bytes = sender.bundle(kind, Content::Empty, &[], next, Timestamp::UNIX_EPOCH, "u");
        let arena = Bump::new();
        let Ok(bundle) = json::parse(&bytes, &arena) else { panic!("{}", String::from_utf8_lossy(&bytes)) };
        assert!(crate::fhir::validate::validate(&bundle).is_empty(), "{}", String::from_utf8_lossy(&bytes));
        serde_json::from_slice::<serde_json::Value>(&bytes).unwrap_or_default()
    };
    let (beat, page) = (bundle(Kind::Heartbeat, None), bundle(Kind::QueryEvent, Some("https://d.example/fhir/x")));
    assert_eq!(beat["entry"].as_array().map(Vec::len), Some(1));
    assert!(beat.to_string().contains("heartbeat") && beat.get("link").is_none());
    assert_eq!(page["link"], of!([{"relation": "next", "url": "https://d.example/fhir/x"}]));
}

#[test]
fn a_notification_is_a_history_that_begins_with_its_status() {
    let Ok(subscription) = read(&topic(&[], "full-resource")) else { panic!("a topic") };
    let topic = subscription.topic_canonical();
    let sender = Sender { base: "https://d.example/fhir", id: "s", topic, status: Status::Active, events: 9 };
    let event = |number: u64, change: Change, json: Option<&[u8]>| {
        let version = StoredVersion {
            version: 2,
            commit: Commit(5),
            last_updated: Timestamp::UNIX_EPOCH,
            json: json.map(<[u8]>::to_vec),
            method: if json.is_some() { Method::Put } else { Method::Delete },
        };
        let written = Written { resource_type: "Observation".to_owned(), id: "o".to_owned(), version };
        Event { number, changed: Changed { change, written } }
    };
    let events =
        [event(7, Change::Created, Some(br#"{"resourceType":"Observation","valueDecimal":1.50}"#)), event(8, Change::Deleted, None)];
    let bundle =
        |content| String::from_utf8(sender.bundle(Kind::Event, content, &events, None, Timestamp::UNIX_EPOCH, "u")).unwrap_or_default();
    let (full, ids, empty) = (bundle(Content::FullResource), bundle(Content::IdOnly), bundle(Content::Empty));
    assert!(full.contains("1.50"), "digits stay");
    let parsed: serde_json::Value = serde_json::from_str(&full).unwrap_or_default();
    assert_eq!((&parsed["type"], &parsed["entry"][0]["request"]["url"]), (&of!("history"), &of!("Subscription/s/$status")));
    let methods: Vec<_> = (1..=2).map(|n| parsed["entry"][n]["request"]["method"].as_str().unwrap_or_default()).collect();
    assert_eq!(methods, ["PUT", "DELETE"]);
    assert!(parsed["entry"][2].get("resource").is_none());
    assert!(!ids.contains("valueDecimal") && ids.contains("https://d.example/fhir/Observation/o"));
    assert!(!empty.contains("Observation/o") && empty.contains("event-number"), "{empty}");
    let parameters = serde_json::from_str::<serde_json::Value>(&empty).unwrap_or_default()["entry"][0]["resource"]["parameter"].clone();
    let names: Vec<_> = parameters.as_array().into_iter().flatten().filter_map(|p| p["name"].as_str()).collect();
    let expected =
        ["subscription", "topic", "status", "type", "events-since-subscription-start", "notification-event", "notification-event"];
    assert_eq!(names, expected);
    for bytes in [full, ids, empty] {
        let arena = Bump::new();
        let Ok(bundle) = json::parse(bytes.as_bytes(), &arena) else { panic!("{bytes}") };
        let problems: Vec<_> = crate::fhir::validate::validate(&bundle).into_iter().map(|i| (i.expression, i.diagnostics)).collect();
        assert!(problems.is_empty() || bytes.contains("valueDecimal"), "{problems:?}");
    }
}
