//! FHIR search as clients see it.

mod added;
mod conditions;
mod hostile;
mod pages;
mod parameters;
mod patients;
mod places;

use crate::support::{Answer, Hospital};
use serde_json::Value;

/// The resources of a searchset with that mode, as `Type/id`, in their order.
fn names(bundle: &Value, mode: &str) -> Vec<String> {
    let entries = bundle["entry"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of_mode = entries.iter().filter(|e| e["search"]["mode"] == mode);
    of_mode.map(|e| format!("{}/{}", e["resource"]["resourceType"].as_str().unwrap(), e["resource"]["id"].as_str().unwrap())).collect()
}

/// A search that is answered.
#[track_caller]
fn searchset(answer: Answer) -> Value {
    let bundle = answer.expect(200).json();
    assert_eq!((bundle["resourceType"].as_str(), bundle["type"].as_str()), (Some("Bundle"), Some("searchset")));
    bundle
}

/// The address of a link, without the server.
fn link(bundle: &Value, relation: &str) -> Option<String> {
    let links = bundle["link"].as_array().map(Vec::as_slice).unwrap_or_default();
    let url = links.iter().find(|l| l["relation"] == relation)?["url"].as_str()?;
    Some(url.strip_prefix("http://localhost").unwrap().to_owned())
}

impl Hospital<'_> {
    /// The ids of what matches, sorted.
    async fn ids(&self, path: &str) -> Vec<String> {
        let bundle = searchset(self.get(path).await);
        let mut ids: Vec<String> = names(&bundle, "match").iter().map(|n| n.split_once('/').unwrap().1.to_owned()).collect();
        ids.sort();
        ids
    }
}
