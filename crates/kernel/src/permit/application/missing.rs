//! What an application lacks: completeness, which is looked at by machine first and by a person then.

use super::content::{Content, RequestedTable};
use crate::permit::basis::Basis;
use crate::permit::deadline::{MAX_PERMIT_YEARS, later};
use crate::permit::organisation::Organisation;
use crate::permit::purpose::ProhibitedUse;
use jiff::ToSpan;
use serde::{Deserialize, Serialize};

/// Something that is missing, or that cannot be as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Missing {
    /// Where, as a path.
    pub field: String,
    /// What to write.
    pub what: String,
}

/// The list under construction.
#[derive(Default)]
struct List(Vec<Missing>);

impl List {
    fn add(&mut self, field: impl Into<String>, what: impl Into<String>) {
        self.0.push(Missing { field: field.into(), what: what.into() });
    }

    fn text(&mut self, field: impl Into<String>, text: &str, what: &str) {
        if text.trim().is_empty() {
            self.add(field, what);
        }
    }
}

/// What `content`, an application of `organisation`, lacks; empty if a permit could be made of it.
pub fn missing(content: &Content, organisation: &Organisation) -> Vec<Missing> {
    let mut list = List::default();
    general(content, &mut list);
    if content.basis.is_ehds() {
        ehds(content, organisation, &mut list);
    }
    approvals(content, &mut list);
    for table in &content.tables {
        table_reasons(table, &mut list);
    }
    choices(content, &mut list);
    list.0
}

fn general(content: &Content, list: &mut List) {
    list.text("title", &content.title, "say in a line what it is");
    list.text("purpose", &content.purpose, "say what the data are to be used for, and what benefit is expected (Art. 67(2))");
    if content.users.is_empty() {
        list.add("users", "name the persons who would have access (Art. 67(2))");
    }
    if content.tables.is_empty() {
        list.add("tables", "name the tables and columns that are needed");
    }
}

fn ehds(content: &Content, organisation: &Organisation, list: &mut List) {
    if content.purposes.is_empty() {
        list.add("purposes", "name at least one purpose of Art. 53(1)");
    }
    for purpose in content.purposes.iter().filter(|p| !organisation.may_pursue(**p)) {
        list.add(
            "purposes",
            format!("point ({}) of Art. 53(1) is for public sector bodies only (Art. 53(2)); take it out", purpose.point()),
        );
    }
    for question in ProhibitedUse::ALL {
        let field = || format!("prohibited_uses.{}", question.name());
        match content.prohibited_uses.get(&question) {
            None => list.add(field(), format!("answer: {}", question.question())),
            Some(answer) => list.text(format!("{}.explanation", field()), &answer.explanation, "explain the answer"),
        }
    }
    list.text("safeguards", &content.safeguards, "describe the safeguards against misuse and re-identification (Art. 67(2))");
}

fn approvals(content: &Content, list: &mut List) {
    for kind in content.basis.approvals() {
        let given = content.approvals.iter().any(|a| a.kind == *kind && !a.by.trim().is_empty() && !a.reference.trim().is_empty());
        if !given {
            list.add("approvals", format!("the basis {} rests on an approval of the kind {}; name it", content.basis, kind.name()));
        }
    }
}

/// Data minimisation: every column and every transform with its reason.
fn table_reasons(table: &RequestedTable, list: &mut List) {
    let at = |rest: &str| format!("tables.{}{rest}", table.table);
    if table.columns.iter().all(|columns| columns.names.is_empty()) {
        list.add(at(".columns"), "name the columns that are needed");
    }
    for columns in &table.columns {
        let names = columns.names.join(",");
        list.text(at(&format!(".{names}.justification")), &columns.justification, "say why the column is needed");
        list.text(at(&format!(".{names}.transform_justification")), &columns.transform_justification, "say why nothing coarser would do");
    }
}

fn choices(content: &Content, list: &mut List) {
    match &content.population {
        None => list.add("population", "say whose rows are needed, and why"),
        Some(population) => list.text("population.justification", &population.justification, "say why fewer persons would not do"),
    }
    match &content.cadence {
        None => list.add("cadence", "say how current the rows must be, and why"),
        Some(cadence) => list.text("cadence.justification", &cadence.justification, "say why a slower cadence would not do"),
    }
    if content.delivery.is_none() {
        list.add("delivery", "say where rows are to be shown: enclave or remote");
    }
    if content.basis == Basis::TrialProtocol && content.blinding.is_none() {
        list.add("blinding", "say whether the readers are blinded: \"open\", or which columns and rows tell the arm");
    }
    match (content.valid_from, content.valid_until) {
        (Some(from), Some(until)) if content.basis.is_ehds() && until > later(from, MAX_PERMIT_YEARS.years()) => {
            list.add("valid_until", format!("a permit is granted for at most {MAX_PERMIT_YEARS} years (Art. 68(12))"));
        }
        (Some(_), Some(_)) => {}
        _ => list.add("valid_until", "say from when until when, with valid_from and valid_until"),
    }
}
