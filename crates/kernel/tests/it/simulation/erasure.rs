//! Whose versions nobody sees any more, and who is one person: by a search through everything.

use super::model::{Model, Name, Version};
use super::request::{MARK, NATIONAL};
use super::rows;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// By which erasure a version was taken away, or that it is about others, or about nobody.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    Nobody,
    Others,
    Erased(u64),
}

fn about(model: &Model, holder: u16, kind: &str, id: &str, content: Option<&Value>) -> About {
    let Some(name) = usize::from(holder).checked_sub(1).and_then(|n| model.holders.get(n)) else { return About::Others };
    let erased = |id: &str| model.erased.get(&(name.clone(), id.to_owned())).copied();
    if kind == "Patient" {
        return erased(id).map_or(About::Others, About::Erased);
    }
    let mut named = Vec::new();
    content.into_iter().for_each(|content| patients(content, &mut named));
    match named.iter().find_map(|id| erased(id)) {
        Some(commit) => About::Erased(commit),
        None if named.is_empty() => About::Nobody,
        None => About::Others,
    }
}

/// The Patients that a resource refers to.
fn patients(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.extend(text.strip_prefix("Patient/").map(str::to_owned)),
        Value::Array(items) => items.iter().for_each(|item| patients(item, found)),
        Value::Object(members) => members.values().for_each(|member| patients(member, found)),
        _ => {}
    }
}

/// Whether what is to be written is about somebody who was erased.
pub fn is_about_erased(model: &Model, holder: u16, kind: &str, id: &str, body: &Value) -> bool {
    matches!(about(model, holder, kind, id, Some(body)), About::Erased(_))
}

/// Whether nobody sees a version: it is about somebody who was erased, or about nobody while others of the resource are.
pub fn hides(model: &Model, name: &Name, version: &Version) -> bool {
    let (holder, kind, id) = name;
    if model.erased.is_empty() || *holder == 0 {
        return false;
    }
    match about(model, *holder, kind, id, version.content.as_ref()) {
        About::Others => false,
        About::Erased(_) => true,
        About::Nobody => model.resources[name].iter().any(|other| {
            let by = about(model, *holder, kind, id, other.content.as_ref());
            matches!(by, About::Erased(commit) if version.commit < commit)
        }),
    }
}

/// Rows of versions that nobody sees that name no erased Patient: they stand in tables until the purge has come to them.
pub fn lingering(model: &Model, commit: u64) -> BTreeMap<&str, Vec<&str>> {
    let mut tables: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, versions) in &model.resources {
        let standing = versions.iter().rev().find(|v| v.commit <= commit).filter(|v| hides(model, name, v));
        for (table, row) in standing.map(|v| v.rows.as_slice()).unwrap_or_default() {
            let view = model.tables.iter().find(|t| t.name == *table);
            let gone = |patient: &str| model.erased.contains_key(&(model.holders[usize::from(name.0) - 1].clone(), patient.to_owned()));
            if view.is_some_and(|view| !rows::patients(row, view, name.0).into_iter().any(gone)) {
                tables.entry(table).or_default().push(row);
            }
        }
    }
    tables
}

/// The marks that must be in no file once the purge is done.
pub fn marks_gone(model: &Model) -> BTreeSet<String> {
    let (mut gone, mut kept) = (BTreeSet::new(), BTreeSet::new());
    for (name, versions) in &model.resources {
        for version in versions {
            let Some(content) = &version.content else { continue };
            let mark = content["extension"][0]["valueString"].as_str().filter(|text| text.starts_with(MARK)).map(str::to_owned);
            (if hides(model, name, version) { &mut gone } else { &mut kept }).extend(mark);
        }
    }
    &gone - &kept
}

/// The Patients of each person at a commit, as `holder:Patient/id`, but for those who are alone.
pub fn persons(model: &Model, commit: u64) -> Vec<BTreeSet<String>> {
    let mut groups: Vec<BTreeSet<String>> = Vec::new();
    for ((holder, kind, id), versions) in model.resources.iter().filter(|((_, kind, _), _)| kind == "Patient") {
        let erased = model.erased.get(&(model.holders[usize::from(*holder) - 1].clone(), id.clone()));
        if erased.is_some_and(|by| *by <= commit) {
            continue;
        }
        let content = versions.iter().rev().find(|v| v.commit <= commit).and_then(|v| v.content.as_ref());
        let Some(content) = content else { continue };
        let named = |id: &str| format!("{holder}:{kind}/{id}");
        let mut group = BTreeSet::from([named(id)]);
        let numbers = content["identifier"].as_array().into_iter().flatten().filter(|i| i["system"] == NATIONAL);
        group.extend(numbers.map(|i| i["value"].as_str().unwrap().to_owned()));
        let links = content["link"].as_array().into_iter().flatten().filter_map(|link| link["other"]["reference"].as_str());
        group.extend(links.map(|reference| named(reference.strip_prefix("Patient/").unwrap())));
        let (mut joined, apart): (Vec<_>, Vec<_>) = groups.into_iter().partition(|other| !other.is_disjoint(&group));
        joined.push(group);
        groups = apart;
        groups.push(joined.into_iter().flatten().collect());
    }
    let alone = |group: &BTreeSet<String>| group.len() < 2;
    let only_patients = groups.into_iter().map(|group| group.into_iter().filter(|name| name.contains("Patient/")).collect());
    only_patients.filter(|group| !alone(group)).collect()
}
