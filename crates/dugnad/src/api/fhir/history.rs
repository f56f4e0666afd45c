//! History of a resource, of a type and of all that a hospital has (FHIR R4, section 3.1.0.12): pages of one commit, newest first.

use super::reading::Found;
use crate::api::answer::BundleWriter;
use crate::api::auth::Hospital;
use crate::api::interaction;
use crate::api::search::link::{self, Owner, PAGE, Pin};
use crate::api::work::{Access, Read};
use crate::api::{ApiError, App};
use crate::limits::{DEFAULT_SEARCH_COUNT, MAX_ANSWER_BYTES, PAGE_LINK_VALID};
use dugnad_kernel::access::Act;
use dugnad_kernel::database::{Bounds, HistoryPage, Span, VersionCursor, Written};
use dugnad_kernel::fhir::definitions::resource_types;
use dugnad_kernel::fhir::issue::IssueType;
use dugnad_kernel::ids::{Commit, HolderId, PatientOrdinal, ResourceOrdinal};
use dugnad_kernel::limits::{MAX_SEARCH_PAGE, SEARCH_TIME};
use dugnad_kernel::search::execute::Cursor;
use dugnad_kernel::search::parse;
use dugnad_kernel::search::query::Moments;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::time::Instant;

/// Whose history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Of {
    /// `/fhir/_history`
    System,
    /// `/fhir/Patient/_history`
    Type(String),
    /// `/fhir/Patient/1/_history`
    Instance(String, String),
}

impl Of {
    fn path(&self) -> String {
        match self {
            Of::System => "/fhir/_history".to_owned(),
            Of::Type(kind) => format!("/fhir/{kind}/_history"),
            Of::Instance(kind, id) => format!("/fhir/{kind}/{id}/_history"),
        }
    }

    /// What reading it is: of one resource, or of all that were written.
    fn act(&self) -> Act {
        if matches!(self, Of::Instance(..)) { Act::Read } else { Act::Search }
    }

    fn types(&self) -> Vec<String> {
        match self {
            Of::System => resource_types().map(str::to_owned).collect(),
            Of::Type(kind) | Of::Instance(kind, _) => vec![kind.clone()],
        }
    }
}

/// What is asked of a history.
struct Asked {
    parameters: Vec<(String, String)>,
    page: Option<String>,
    count: usize,
    since: Option<Moments>,
    at: Option<Moments>,
}

impl Asked {
    /// Reads the parameters. What is not known is left out, or refused if the client is strict.
    fn read(query: &str, strict: bool) -> Result<Self, ApiError> {
        let wrong = |name: &str, what: &str| ApiError::bad_request(IssueType::Value, what).at(format!("http.{name}"));
        let mut parameters = parse::pairs(query).map_err(|refusal| ApiError { issues: vec![refusal.into()], ..wrong("", "") })?;
        let page = parameters.iter().position(|(name, _)| name == PAGE).map(|at| parameters.remove(at).1);
        let mut asked = Self { parameters: Vec::new(), page, count: DEFAULT_SEARCH_COUNT, since: None, at: None };
        for (name, text) in parameters {
            let moments = || {
                let what = "expected an instant or a date, such as 2026-01-31T12:00:00Z";
                Moments::parse(&text.replace(' ', "+")).ok_or_else(|| wrong(&name, what))
            };
            match name.as_str() {
                "_count" => {
                    let count = text.parse().ok().filter(|count| *count > 0);
                    let count: usize = count.ok_or_else(|| wrong("_count", "expected a number of versions from 1 on, such as 50"))?;
                    asked.count = count.min(MAX_SEARCH_PAGE);
                }
                "_since" => asked.since = Some(moments()?),
                "_at" => asked.at = Some(moments()?),
                "_format" | "_pretty" => {}
                _ if strict => return Err(wrong(&name, "a history takes _count, _since and _at; leave the others out")),
                _ => continue,
            }
            asked.parameters.push((name, text));
        }
        Ok(asked)
    }

    /// The commits that are asked for, as of one.
    fn span(&self, app: &App, commit: Commit) -> Result<Span, ApiError> {
        let before = |at_us: i64| -> Result<Commit, ApiError> {
            let at = Timestamp::from_microsecond(at_us.saturating_sub(1)).unwrap_or(Timestamp::MIN);
            Ok(app.database().commit_at(at)?)
        };
        let from = self.since.map_or(Ok(Commit(0)), |since| before(since.low).map(|last| Commit(last.0 + 1)))?;
        let until = self.at.map_or(Ok(commit), |at| before(at.high).map(|last| last.min(commit)))?;
        let current_after = self.at.map(|at| before(at.low.saturating_add(1))).transpose()?;
        Ok(Span { from, until, current_after })
    }
}

/// Who asks for a history, and how it is told.
pub struct Historian<'h> {
    /// The hospital.
    pub hospital: &'h Hospital,
    /// The address of `/fhir` as the client knows it.
    pub base: &'h str,
    /// Whether parameters that are not known are refused.
    pub strict: bool,
    /// The commit to read at, where that is not the newest: inside a transaction.
    pub commit: Option<Commit>,
}

impl Historian<'_> {
    /// One page, on the record. Blocks.
    pub fn read(&self, app: &App, of: &Of, query: &str) -> Result<Found, ApiError> {
        let asked = Asked::read(query, self.strict)?;
        let path = of.path();
        if let Of::Type(kind) | Of::Instance(kind, _) = of {
            self.hospital.require(app, of.act(), kind, &format!("GET {path}"))?;
        }
        let owner = Owner { who: &self.hospital.who, timeline: app.database().timeline(), path: &path, parameters: &asked.parameters };
        let pin = asked.page.as_deref().map(|page| link::open(app.page_key(), &owner, page, app.now())).transpose()?;
        let further = if pin.is_some() { " (further page)" } else { "" };
        let tables = of.types().into_iter().filter(|kind| self.hospital.reaches(of.act(), kind)).collect();
        let access = Access { who: self.hospital.who.clone(), interface: "fhir", request: format!("GET {path}{further}"), tables };
        let commit = pin.as_ref().map(|pin| pin.commit).or(self.commit);
        app.read_about_at(&access, commit, |commit| {
            let pages = Pages { app, base: self.base, owner: &owner, asked: &asked, commit };
            let start = pin.unwrap_or(Pin { commit, total: None, kind: 0, cursor: Vec::new() });
            match pages.page(self.hospital, of, &start) {
                Ok((body, rows, patients)) => {
                    let found = Found { commit, version: None, body };
                    Ok(Read { found: Ok(found), rows, patients: Some(patients) })
                }
                // Absence is an answer, not a failure of the access.
                Err(error) if error.status.is_client_error() => Ok(Read { found: Err(error), rows: 0, patients: None }),
                Err(error) => Err(error),
            }
        })?
    }
}

struct Pages<'p> {
    app: &'p App,
    base: &'p str,
    owner: &'p Owner<'p>,
    asked: &'p Asked,
    commit: Commit,
}

impl Pages<'_> {
    /// The Bundle, how many versions are in it, and whom they are about.
    fn page(&self, hospital: &Hospital, of: &Of, start: &Pin) -> Result<(Vec<u8>, u64, Vec<PatientOrdinal>), ApiError> {
        let holder = self.app.database().holder(&hospital.holder).map(|holder| holder.id);
        let (mut versions, next) = match holder {
            Some(holder) => self.versions(holder, of, &start.cursor)?,
            None => (Vec::new(), None), // a hospital that has never written
        };
        versions.retain(|written| hospital.admits(of.act(), &written.resource_type, written.version.json.as_deref()));
        let whole = of.types().iter().all(|kind| hospital.reaches_all(of.act(), kind));
        let nothing = matches!(of, Of::Instance(..)) && versions.is_empty() && start.cursor.is_empty();
        if nothing && (!whole || !self.is_there(holder, of)?) {
            return Err(interaction::absent());
        }
        let first = start.cursor.is_empty();
        let total = start.total.or_else(|| self.total(of, &versions, first, next.is_some()).filter(|_| whole || first && next.is_none()));
        let mut bundle = BundleWriter::history(total, &self.links(start, total, next));
        let mut patients = BTreeSet::new();
        for written in &versions {
            bundle.version(self.base, written);
            let json = written.version.json.as_deref();
            if let Some(holder) = holder {
                patients.extend(self.app.database().patients_named(holder, &written.resource_type, &written.id, json)?);
            }
        }
        Ok((bundle.finish(), versions.len() as u64, patients.into_iter().collect()))
    }

    fn versions(&self, holder: HolderId, of: &Of, cursor: &[u8]) -> Result<(Vec<Written>, Option<Vec<u8>>), ApiError> {
        let span = self.asked.span(self.app, self.commit)?;
        let bounds = Bounds { count: self.asked.count, bytes: MAX_ANSWER_BYTES, until: Instant::now() + SEARCH_TIME };
        let database = self.app.database();
        if let Of::Instance(kind, id) = of {
            let after = pair(cursor).map(|(version, sequence)| VersionCursor { version, sequence: sequence as i64 });
            let HistoryPage { versions, next } = database.versions_of(holder, kind, id, span, after, bounds)?;
            return Ok((versions, next.map(|c| [c.version.to_le_bytes(), c.sequence.to_le_bytes()].concat())));
        }
        let kind = if let Of::Type(kind) = of { Some(kind.as_str()) } else { None };
        let after = pair(cursor).map(|(commit, resource)| Cursor { commit: Commit(commit), resource: ResourceOrdinal(resource) });
        let HistoryPage { versions, next } = database.written(&database.snapshot(), holder, kind, span, after, bounds)?;
        Ok((versions, next.map(|c| [c.commit.0.to_le_bytes(), c.resource.0.to_le_bytes()].concat())))
    }

    /// How many versions there are in all, where that is known: of one resource, or where all are on the page.
    fn total(&self, of: &Of, versions: &[Written], first: bool, more: bool) -> Option<u64> {
        match of {
            _ if first && !more => Some(versions.len() as u64),
            Of::Instance(..) if first && self.asked.since.is_none() && self.asked.at.is_none() => {
                versions.first().map(|v| v.version.version)
            }
            _ => None,
        }
    }

    /// Whether the resource has any version, though none is in the span.
    fn is_there(&self, holder: Option<HolderId>, of: &Of) -> Result<bool, ApiError> {
        match (holder, of) {
            (Some(holder), Of::Instance(kind, id)) => Ok(self.app.database().read_at(holder, kind, id, self.commit)?.is_some()),
            _ => Ok(false),
        }
    }

    fn links(&self, start: &Pin, total: Option<u64>, next: Option<Vec<u8>>) -> Vec<(&'static str, String)> {
        let sealed = |cursor: Vec<u8>| {
            let pin = Pin { commit: self.commit, total, kind: 0, cursor };
            link::seal(self.app.page_key(), self.owner, &pin, self.app.now() + PAGE_LINK_VALID)
        };
        let address = |page: Option<&str>| link::address(self.base, self.owner.path, &self.asked.parameters, page);
        let mut links = vec![("self", address(self.asked.page.as_deref()))];
        if !start.cursor.is_empty() || next.is_some() {
            links.push(("first", address(Some(&sealed(Vec::new())))));
        }
        links.extend(next.map(|cursor| ("next", address(Some(&sealed(cursor))))));
        links
    }
}

/// Two numbers of 8 bytes, little-endian; none: from the beginning.
fn pair(bytes: &[u8]) -> Option<(u64, u64)> {
    let (first, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*first), u64::from_le_bytes(*rest.first_chunk()?)))
}
