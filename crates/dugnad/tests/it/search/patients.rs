//! Searches on synthetic patients of others' making, compared with a plain look at the resources.

use super::{link, names, searchset};
use crate::support::{Hospital, Server};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// A few bundles, written; all resources as they were stored.
async fn written(hospital: &Hospital<'_>) -> Option<Vec<Value>> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/fhir-r4/small"));
    if !folder.exists() {
        eprintln!("skipped: {} is absent", folder.display());
        return None;
    }
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort_by_key(|f| std::fs::metadata(f).unwrap().len());
    let mut all = Vec::new();
    for file in files.iter().take(6) {
        let headers = [("Prefer", "return=representation, handling=lenient")];
        let answer = hospital.send("POST", "/fhir", &headers, std::fs::read(file).unwrap()).await.expect(200).json();
        all.extend(answer["entry"].as_array().unwrap().iter().map(|e| e["resource"].clone()));
    }
    Some(all)
}

/// The values at a path of member names; arrays are gone through.
fn at<'v>(value: &'v Value, path: &[&str]) -> Vec<&'v Value> {
    match (value, path) {
        (Value::Array(items), _) => items.iter().flat_map(|item| at(item, path)).collect(),
        (value, []) => vec![value],
        (value, [name, rest @ ..]) => value.get(*name).map(|v| at(v, rest)).unwrap_or_default(),
    }
}

/// All pages of a search.
async fn all_pages(hospital: &Hospital<'_>, query: &str) -> Vec<String> {
    let (mut found, mut next) = (Vec::new(), Some(format!("/fhir/{query}")));
    while let Some(url) = next {
        let page = searchset(hospital.get(&url).await);
        found.extend(names(&page, "match"));
        next = link(&page, "next");
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_as_a_plain_look() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    let Some(all) = written(&hospital).await else { return };
    // Parameter, type, where its values stand.
    let paths: [(&str, &str, &[&str]); 9] = [
        ("code", "Observation", &["code", "coding", "code"]),
        ("status", "Observation", &["status"]),
        ("code", "Condition", &["code", "coding", "code"]),
        ("subject", "Condition", &["subject", "reference"]),
        ("encounter", "Observation", &["encounter", "reference"]),
        ("identifier", "Patient", &["identifier", "value"]),
        ("gender", "Patient", &["gender"]),
        ("class", "Encounter", &["class", "code"]),
        ("code", "Procedure", &["code", "coding", "code"]),
    ];
    let mut asked = 0;
    for (parameter, resource_type, path) in paths {
        let of_type: Vec<&Value> = all.iter().filter(|r| r["resourceType"] == resource_type).collect();
        let values: BTreeSet<&str> = of_type.iter().flat_map(|r| at(r, path)).filter_map(Value::as_str).collect();
        for value in values.into_iter().take(8) {
            let plain: BTreeSet<String> = of_type
                .iter()
                .filter(|r| at(r, path).iter().any(|v| *v == value))
                .map(|r| format!("{resource_type}/{}", r["id"].as_str().unwrap()))
                .collect();
            let query = format!("{resource_type}?{parameter}={}&_count=7", value.replace('|', "%7C").replace(' ', "+"));
            let found = all_pages(&hospital, &query).await;
            assert_eq!(found.iter().cloned().collect::<BTreeSet<_>>(), plain, "{query}");
            assert_eq!(found.len(), plain.len(), "each once: {query}");
            asked += 1;
        }
    }
    assert!(asked > 20, "{asked}");
    for resource_type in ["Patient", "Observation", "Encounter", "Condition"] {
        let plain = all.iter().filter(|r| r["resourceType"] == resource_type).count();
        let count = searchset(hospital.get(&format!("/fhir/{resource_type}?_summary=count")).await);
        assert_eq!(count["total"].as_u64(), Some(plain as u64), "{resource_type}");
    }
    let by_date = all_pages(&hospital, "Observation?_sort=-date&_count=50").await;
    let date = |name: &String| {
        let found = all.iter().find(|r| r["resourceType"] == "Observation" && name.ends_with(r["id"].as_str().unwrap())).unwrap();
        found["effectiveDateTime"].as_str().map(|d| d.parse::<jiff::Timestamp>().unwrap())
    };
    let dates: Vec<_> = by_date.iter().filter_map(date).collect();
    assert!(dates.len() > 50 && dates.is_sorted_by(|a, b| a >= b));
}
