//! What is asked, about patients, codes and names that are there.

use crate::cli::CliError;
use dugnad_kernel::database::{Database, Holder, Page};
use dugnad_kernel::search::query::Search;
use serde_json::Value;
use std::collections::BTreeSet;

/// How many resources the questions are taken from.
const SAMPLE: usize = 500;

/// A question in many forms.
pub struct Question {
    /// Its name in figures.
    pub name: &'static str,
    /// What it is in the table.
    pub said: &'static str,
    /// Resource types and query strings.
    pub asked: Vec<(&'static str, String)>,
}

/// All questions.
pub fn questions(database: &Database, holder: &Holder) -> Result<Vec<Question>, CliError> {
    let patients = sample(database, holder, "Patient")?;
    let observations = sample(database, holder, "Observation")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let encoded = |text: &str| text.replace('%', "%25").replace(' ', "%20").replace('|', "%7C").replace('&', "%26").replace('+', "%2B");
    let codes: BTreeSet<String> =
        observations.iter().map(|o| encoded(&text(&o["code"]["coding"][0]["code"]))).filter(|c| !c.is_empty()).collect();
    let names: BTreeSet<String> = patients.iter().map(|p| text(&p["name"][0]["family"]).chars().take(4).collect()).collect();
    let pairs: Vec<(String, String)> = observations
        .iter()
        .filter_map(|o| {
            Some((
                o["subject"]["reference"].as_str()?.strip_prefix("Patient/")?.to_owned(),
                encoded(o["code"]["coding"][0]["code"].as_str()?),
            ))
        })
        .collect();
    let date =
        observations.get(observations.len() / 2).and_then(|o| o["effectiveDateTime"].as_str()).and_then(|d| d.get(..10)).unwrap_or("2020");
    let identifiers = patients.iter().map(|p| &p["identifier"][0]).filter(|i| i["value"].is_string());
    let of = |name, said, resource_type, texts: Vec<String>| Question {
        name,
        said,
        asked: texts.into_iter().map(|t| (resource_type, t)).collect(),
    };
    let each = |list: &BTreeSet<String>, make: &dyn Fn(&str) -> String| list.iter().map(|item| make(item)).collect::<Vec<_>>();
    let of_patient = |make: &dyn Fn(&str, &str) -> String| pairs.iter().map(|(patient, code)| make(patient, code)).collect::<Vec<_>>();
    Ok(vec![
        of(
            "patient_code",
            "patient & code & _sort=-date & _count=20",
            "Observation",
            of_patient(&|p, c| format!("patient={p}&code={c}&_sort=-date&_count=20")),
        ),
        of("code_date", "code & date=ge & _count=20", "Observation", each(&codes, &|c| format!("code={c}&date=ge{date}&_count=20"))),
        of(
            "identifier",
            "identifier",
            "Patient",
            identifiers.map(|i| format!("identifier={}%7C{}", encoded(&text(&i["system"])), encoded(&text(&i["value"])))).collect(),
        ),
        of("name", "the beginning of a name & _count=20", "Patient", each(&names, &|n| format!("name={}&_count=20", encoded(n)))),
        of(
            "chain",
            "subject:Patient.name & _count=20",
            "Observation",
            each(&names, &|n| format!("subject:Patient.name={}&_count=20", encoded(n))),
        ),
        of(
            "has",
            "_has:Observation:patient:code & _count=20",
            "Patient",
            each(&codes, &|c| format!("_has:Observation:patient:code={c}&_count=20")),
        ),
        of(
            "include",
            "patient & _include & _count=20",
            "Observation",
            of_patient(&|p, _| format!("patient={p}&_include=Observation:subject&_count=20")),
        ),
        of("total", "the number of a code's", "Observation", each(&codes, &|c| format!("code={c}&_summary=count"))),
    ])
}

/// Some resources of a type.
pub fn sample(database: &Database, holder: &Holder, resource_type: &'static str) -> Result<Vec<Value>, CliError> {
    let page = Page { at: None, after: None, count: SAMPLE };
    let found = database.search(holder.id, &Search::all(resource_type), page).map_err(CliError::failed)?;
    let versions = database.found(holder.id, resource_type, &found.hits).map_err(CliError::failed)?;
    Ok(versions.into_iter().filter_map(|v| serde_json::from_slice(&v?.json?).ok()).collect())
}
