//! Permits: legal basis, tables, columns, population, cadence, delivery. Types and pure decisions.
//!
//! A permit is a document of kind `permit` in the journal. [`Permit::parse`] is the only way from its JSON to a [`Permit`],
//! so every `Permit` keeps the rules of its legal basis ([`Basis::rules`]). Applications, opt-outs and versions of
//! consent are documents of their own kinds; a permit does not name them.
//!
//! How a permit comes about, is extended and is revoked ([`application`], [`hearing`], within the clocks of [`deadline`]), what of it
//! is public ([`register`]), and how a result leaves ([`release`]) are here too: state machines whose acts are pure functions of
//! document, actor and time.

pub mod application;
mod basis;
pub mod deadline;
mod document;
pub mod hearing;
pub mod organisation;
mod person_list;
pub mod procedure;
pub mod purpose;
pub mod register;
pub mod release;
#[cfg(test)]
mod tests;

pub use basis::{Basis, Cadence, Delivery, OptOut, PopulationKind, Rules};
pub use document::{
    BlindedColumns, BlindedRows, Blinding, Columns, Decision, Document, Limits, Population, Provision, Status, StudyReference, TableGrant,
    Tables, Transform,
};
pub use person_list::{PersonList, PersonName};

use crate::ids::Commit;
use crate::limits::{MAX_BLINDED, MAX_PERMIT_BYTES, MAX_PERMIT_ITEMS, MAX_PERMIT_TEXT_BYTES};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// The id under which a hospital asks for its own patients; no document may take it.
pub const CARE: &str = "care";

/// Why a document is no permit: the caller's fault, in each case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PermitError {
    /// It is not JSON of the right shape.
    #[error("the permit cannot be read: {0}")]
    Form(String),
    /// A field's content cannot be.
    #[error("permit `{permit}`, {field}: {what}")]
    Field {
        /// Which permit.
        permit: String,
        /// Which field, as a path.
        field: String,
        /// What is wrong, and what to write instead.
        what: String,
    },
    /// The legal basis does not allow it.
    #[error("permit `{permit}`, {field}: the legal basis {basis} {what}")]
    Basis {
        /// Which permit.
        permit: String,
        /// Which field.
        field: &'static str,
        /// Which basis.
        basis: Basis,
        /// What it does not allow, and what it does.
        what: String,
    },
}

/// A permit that keeps the rules of its legal basis.
#[derive(Clone, Debug, PartialEq)]
pub struct Permit {
    document: Document,
}

impl Permit {
    /// Reads a permit's JSON and checks it. A `care` permit is none: it follows from a hospital's token ([`Permit::care`]).
    pub fn parse(json: &str) -> Result<Self, PermitError> {
        if json.len() > MAX_PERMIT_BYTES {
            return Err(PermitError::Form(format!("it has {} bytes, more than {MAX_PERMIT_BYTES}", json.len())));
        }
        let document: Document = serde_json::from_str(json).map_err(|error| PermitError::Form(error.to_string()))?;
        Self::new(document)
    }

    /// Checks a document.
    pub fn new(document: Document) -> Result<Self, PermitError> {
        check_texts(&document)?;
        check_tables(&document)?;
        check_population(&document)?;
        check_blinding(&document)?;
        check_limits(&document)?;
        check_times(&document)?;
        check_basis(&document)?;
        Ok(Self { document })
    }

    /// The implicit permit of a hospital (`holder`) over its own patients, for `user`, whose token names that holder.
    pub fn care(holder: &str, user: &str) -> Self {
        Self {
            document: Document {
                id: CARE.to_owned(),
                basis: Basis::Care,
                applicant: holder.to_owned(),
                users: vec![user.to_owned()],
                purpose: "Care of the hospital's own patients".to_owned(),
                provision: None,
                tables: Tables::All,
                population: Population::OwnPatients { holder: holder.to_owned() },
                cadence: Cadence::Live,
                cadence_reason: None,
                delivery: Delivery::Remote,
                blinding: None,
                limits: None,
                valid_from: Timestamp::MIN,
                valid_until: Timestamp::MAX,
                decision: Decision { by: holder.to_owned(), at: Timestamp::MIN, reasons: "The hospital treats them".to_owned() },
                status: Status::Active,
            },
        }
    }

    /// What it says.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.document.id
    }

    /// Its legal basis.
    pub fn basis(&self) -> Basis {
        self.document.basis
    }

    /// Whose rows it opens.
    pub fn population(&self) -> &Population {
        &self.document.population
    }

    /// The same permit over the list that its decision made at this commit; over another population it is the same.
    #[must_use]
    pub fn frozen_at(mut self, at: Commit) -> Self {
        if let Population::Frozen { commit, .. } | Population::Listed { commit } = &mut self.document.population {
            *commit = Some(at);
        }
        self
    }

    /// How current its answers are.
    pub fn cadence(&self) -> Cadence {
        self.document.cadence
    }

    /// Whether `user` may use it at `now`: named in it, active, and from `valid_from` up to but not including `valid_until`.
    /// (Where the delivery is `enclave`, the session must be inside the SPE too: [`Permit::reachable`].)
    pub fn usable_by(&self, user: &str, now: Timestamp) -> bool {
        let document = &self.document;
        document.users.iter().any(|name| name == user)
            && document.status == Status::Active
            && document.valid_from <= now
            && now < document.valid_until
    }

    /// Whether a session may use it from where it is.
    pub fn reachable(&self, inside_spe: bool) -> bool {
        inside_spe || self.document.delivery == Delivery::Remote
    }

    /// Whether its rows carry the hospitals' own identifiers; otherwise every key is a pseudonym of this permit.
    pub fn identified(&self) -> bool {
        self.basis().rules().identified
    }

    /// Whether it gives statistics only: cells under disclosure control, never rows.
    pub fn statistics_only(&self) -> bool {
        self.basis().rules().statistics_only
    }

    /// How a column is shown; `None` if it does not exist under this permit.
    pub fn covers(&self, table: &str, column: &str) -> Option<Transform> {
        match &self.document.tables {
            Tables::All => Some(Transform::Keep),
            Tables::List(grants) => grants.iter().find(|grant| grant.table == table)?.covers(column),
        }
    }

    /// Whether anything of a table exists under this permit.
    pub fn covers_table(&self, table: &str) -> bool {
        match &self.document.tables {
            Tables::All => true,
            Tables::List(grants) => grants.iter().any(|grant| grant.table == table),
        }
    }
}

fn field(document: &Document, field: impl Into<String>, what: impl Into<String>) -> PermitError {
    PermitError::Field { permit: document.id.clone(), field: field.into(), what: what.into() }
}

/// Ids are path segments and appear in headers and logs.
pub(crate) fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
}

/// Tables and columns are SQL names that need no quotes.
fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text.len() <= 63
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn check_texts(document: &Document) -> Result<(), PermitError> {
    if !is_id(&document.id) {
        return Err(field(document, "id", "write 1 to 64 of the characters A-Z a-z 0-9 - . _"));
    }
    if document.id == CARE {
        return Err(field(document, "id", "`care` stands for a hospital's own patients; choose another"));
    }
    let texts = [
        ("applicant", document.applicant.as_str()),
        ("purpose", &document.purpose),
        ("decision.by", &document.decision.by),
        ("decision.reasons", &document.decision.reasons),
    ];
    for (name, text) in texts {
        if text.trim().is_empty() || text.len() > MAX_PERMIT_TEXT_BYTES {
            return Err(field(document, name, format!("write something, at most {MAX_PERMIT_TEXT_BYTES} bytes")));
        }
    }
    if document.users.is_empty() || document.users.len() > MAX_PERMIT_ITEMS {
        return Err(field(document, "users", format!("name at least one user, and at most {MAX_PERMIT_ITEMS}")));
    }
    if document.users.iter().any(|user| user.trim().is_empty()) {
        return Err(field(document, "users", "a user has no name"));
    }
    check_distinct(document, "users", document.users.iter().map(String::as_str))
}

fn check_distinct<'a>(document: &Document, name: &str, items: impl Iterator<Item = &'a str>) -> Result<(), PermitError> {
    let mut seen = BTreeSet::new();
    for item in items {
        if !seen.insert(item) {
            return Err(field(document, name, format!("`{item}` is named twice")));
        }
    }
    Ok(())
}

fn check_tables(document: &Document) -> Result<(), PermitError> {
    let Tables::List(grants) = &document.tables else { return Ok(()) };
    if grants.is_empty() || grants.len() > MAX_PERMIT_ITEMS {
        return Err(field(document, "tables", format!("name at least one table, and at most {MAX_PERMIT_ITEMS}")));
    }
    check_distinct(document, "tables", grants.iter().map(|grant| grant.table.as_str()))?;
    grants.iter().try_for_each(|grant| check_grant(document, grant))
}

fn check_grant(document: &Document, grant: &TableGrant) -> Result<(), PermitError> {
    let path = |rest: &str| format!("tables.{}{rest}", grant.table);
    let not_a_name = |name: &str| format!("`{name}` is no name of a table or column (a-z, 0-9, _)");
    if !is_name(&grant.table) {
        return Err(field(document, "tables", not_a_name(&grant.table)));
    }
    if let Columns::List(columns) = &grant.columns {
        if columns.is_empty() || columns.len() > MAX_PERMIT_ITEMS {
            return Err(field(
                document,
                path(".columns"),
                format!("name at least one column, and at most {MAX_PERMIT_ITEMS}, or write \"all\""),
            ));
        }
        if let Some(wrong) = columns.iter().find(|column| !is_name(column)) {
            return Err(field(document, path(".columns"), not_a_name(wrong)));
        }
        check_distinct(document, &path(".columns"), columns.iter().map(String::as_str))?;
        if let Some(other) = grant.transforms.keys().find(|column| !columns.contains(column)) {
            return Err(field(document, path(".transforms"), format!("`{other}` is not among the columns")));
        }
    }
    for (column, transform) in &grant.transforms {
        if !is_name(column) {
            return Err(field(document, path(".transforms"), not_a_name(column)));
        }
        let problem = match transform {
            Transform::Band(width) if *width < 2 => "a band is at least 2 wide; `keep` leaves the values as they are",
            Transform::Generalise(0) => "a code is generalised to a prefix of at least 1 character; leave the column out instead",
            _ => continue,
        };
        return Err(field(document, path(&format!(".transforms.{column}")), problem));
    }
    Ok(())
}

fn check_population(document: &Document) -> Result<(), PermitError> {
    match &document.population {
        Population::Everyone => Ok(()),
        Population::OwnPatients { holder } if holder.trim().is_empty() => Err(field(document, "population", "the holder has no name")),
        Population::OwnPatients { .. } => Ok(()),
        Population::Criteria(formula) => formula.problem().map_or(Ok(()), |what| Err(field(document, "population.criteria", what))),
        Population::Frozen { criteria, .. } => {
            criteria.problem().map_or(Ok(()), |what| Err(field(document, "population.frozen.criteria", what)))
        }
        Population::Listed { .. } => Ok(()),
        Population::StudySubjects { studies, consent_versions } => {
            let versions = consent_versions.iter().flatten();
            if consent_versions.as_ref().is_some_and(|v| v.is_empty() || v.len() > MAX_BLINDED) || versions.clone().any(|v| v.is_empty()) {
                let what = format!("name at least one version of consent, and at most {MAX_BLINDED}; leave it out if any will do");
                return Err(field(document, "population.consent_versions", what));
            }
            if studies.is_empty() || studies.len() > MAX_PERMIT_ITEMS {
                return Err(field(
                    document,
                    "population.studies",
                    format!("name at least one ResearchStudy, and at most {MAX_PERMIT_ITEMS}"),
                ));
            }
            let wrong = studies.iter().find(|study| study.holder.trim().is_empty() || !is_id(&study.id));
            wrong.map_or(Ok(()), |study| {
                Err(field(document, "population.studies", format!("`{}` of `{}` is no ResearchStudy of a holder", study.id, study.holder)))
            })
        }
    }
}

fn check_blinding(document: &Document) -> Result<(), PermitError> {
    let Some(blinding) = &document.blinding else { return Ok(()) };
    if document.population.kind() != PopulationKind::StudySubjects {
        return Err(field(document, "blinding", "only the reader of a study can be blinded; leave it out"));
    }
    let Blinding::Blinded { columns, rows } = blinding else { return Ok(()) };
    let count = columns.iter().map(|c| c.columns.len()).sum::<usize>() + rows.iter().map(|r| r.codes.len()).sum::<usize>();
    if count == 0 || count > MAX_BLINDED {
        return Err(field(
            document,
            "blinding.blinded",
            format!("name what is hidden: columns or rows, and at most {MAX_BLINDED} of them"),
        ));
    }
    let names = columns.iter().flat_map(|c| c.columns.iter().chain([&c.table])).chain(rows.iter().flat_map(|r| [&r.table, &r.column]));
    if let Some(wrong) = names.into_iter().find(|name| !is_name(name)) {
        return Err(field(document, "blinding.blinded", format!("`{wrong}` is no name of a table or column (a-z, 0-9, _)")));
    }
    Ok(())
}

fn check_limits(document: &Document) -> Result<(), PermitError> {
    let Some(limits) = &document.limits else { return Ok(()) };
    if limits.time_s == Some(0) || limits.memory_mib == Some(0) || limits.rows == Some(0) {
        return Err(field(document, "limits", "a limit of 0 answers nothing; revoke the permit instead"));
    }
    Ok(())
}

fn check_times(document: &Document) -> Result<(), PermitError> {
    if document.valid_until <= document.valid_from {
        return Err(field(document, "valid_until", "it must be after valid_from"));
    }
    if let Some(retention) = document.provision.as_ref().and_then(|provision| provision.retention.as_ref())
        && !retention.parse::<jiff::Span>().is_ok_and(|span| span.is_positive())
    {
        return Err(field(document, "provision.retention", "write a positive ISO 8601 duration, such as P10Y"));
    }
    Ok(())
}

/// The grid: what the legal basis allows at all.
fn check_basis(document: &Document) -> Result<(), PermitError> {
    let rules = document.basis.rules();
    let refuse = |field, what: String| Err(PermitError::Basis { permit: document.id.clone(), field, basis: document.basis, what });
    if !rules.by_document {
        return refuse("basis", "needs no permit: it follows from the hospital's token".to_owned());
    }
    if matches!(document.tables, Tables::All) && !rules.all_tables {
        return refuse("tables", "opens named tables only; list them".to_owned());
    }
    if !rules.populations.contains(&document.population.kind()) {
        return refuse("population", format!("does not cover {}; it may cover {}", document.population.kind(), list(rules.populations)));
    }
    if !rules.cadences.contains(&document.cadence) {
        return refuse("cadence", format!("cannot be {}; it may be {}", document.cadence, list(rules.cadences)));
    }
    if !rules.deliveries.contains(&document.delivery) {
        return refuse("delivery", format!("cannot deliver {}; it may deliver {}", document.delivery, list(rules.deliveries)));
    }
    let versions = matches!(document.population, Population::StudySubjects { consent_versions: Some(_), .. });
    if rules.consent_versions && matches!(document.population, Population::StudySubjects { .. }) && !versions {
        return refuse("population.consent_versions", "needs a consent that allows it; name its versions".to_owned());
    }
    let justified = document.cadence_reason.as_ref().is_some_and(|reason| !reason.trim().is_empty());
    if document.cadence == Cadence::Live && rules.live_is_justified && !justified {
        return refuse("cadence_reason", "needs a reason for the cadence live, which gives exact dates of arrival".to_owned());
    }
    match &document.provision {
        None if rules.provision => refuse("provision", "rests on a legal provision; name it".to_owned()),
        Some(provision) if provision.law.trim().is_empty() => refuse("provision.law", "rests on a legal provision; name it".to_owned()),
        Some(provision) if rules.retention && provision.retention.is_none() => {
            refuse("provision.retention", "says how long rows are kept; write an ISO 8601 duration, such as P10Y".to_owned())
        }
        Some(_) if !rules.provision => refuse("provision", "rests on the decision, not on a provision; leave it out".to_owned()),
        _ => Ok(()),
    }
}

fn list(items: &[impl std::fmt::Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
