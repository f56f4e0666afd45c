//! What a database is to its users: a map of versions by commit. It knows nothing of journals, segments or threads.
//!
//! The rules are those of FHIR R4, section 3.1.0 (http.html), and of the documentation of `Database`; the rows are what the
//! built-in views make of each version, on its own.

use super::erasure;
use super::request::{Request, Sent, What, full_url};
use super::rows::{self, Table};
use super::story::Id;
use dugnad_kernel::fhir::definitions::is_resource_type;
use dugnad_kernel::ids::HolderId;
use dugnad_kernel::views::View;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Names of code systems.
pub struct System;

impl System {
    pub const IDENTIFIER: &str = "urn:numbers";
    /// Of identifiers that are URIs themselves (FHIR R4, 2.24.0.6).
    const URI: &str = "urn:ietf:rfc:3986";
}

/// Holder, resource type or kind of document, id.
pub type Name = (u16, String, String);

/// A version of a resource or document.
#[derive(Clone, Debug)]
pub struct Version {
    pub number: u64,
    pub commit: u64,
    pub time: Timestamp,
    /// With id and meta; `None`: deleted.
    pub content: Option<Value>,
    /// Table and row.
    pub rows: Vec<(String, String)>,
}

/// The state after the operations so far.
#[derive(Clone, Debug)]
pub struct Model {
    pub clock: Timestamp,
    pub holders: Vec<String>,
    /// The time of each commit, from 1.
    pub commits: Vec<Timestamp>,
    pub resources: BTreeMap<Name, Vec<Version>>,
    keys: HashMap<(u16, String), u64>,
    /// Ids that the server drew.
    drawn: Vec<Name>,
    /// The built-in tables and those of registered views.
    pub tables: Vec<Arc<Table>>,
    /// Who was erased: the holder's name, the Patient's id, the commit.
    pub erased: BTreeMap<(String, String), u64>,
}

/// What a write must come to.
#[derive(Clone, Debug)]
pub enum Expected {
    Refused(u16),
    /// The key has been used for this commit.
    Replayed(u64),
    Done(Done),
}

/// What a write does.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Status, id and version of each entry.
    pub entries: Vec<(u16, String, u64)>,
    /// Type, id and content without meta; `None`: deleted.
    pub changes: Vec<(&'static str, String, Option<Value>)>,
}

/// What will be done to the resource of an entry.
struct Plan {
    id: String,
    does: Does,
}

#[derive(PartialEq, Eq)]
enum Does {
    Put,
    Delete,
    Nothing,
}

/// Why a transaction is refused: the status.
type Refusal = u16;

impl Model {
    pub fn new(clock: Timestamp) -> Self {
        let (holders, commits, resources) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self {
            clock,
            holders,
            commits,
            resources,
            keys: HashMap::new(),
            drawn: Vec::new(),
            tables: rows::builtin(),
            erased: BTreeMap::new(),
        }
    }

    pub fn newest(&self) -> u64 {
        self.commits.len() as u64
    }

    /// The state at an older commit, with the holders that there were.
    pub fn at(&self, commit: u64, holders: Vec<String>) -> Self {
        let mut model = Self { holders, ..self.clone() };
        model.commits.truncate(usize::try_from(commit).unwrap());
        model.resources.values_mut().for_each(|versions| versions.retain(|v| v.commit <= commit));
        model.resources.retain(|_, versions| !versions.is_empty());
        model.keys.retain(|_, of| *of <= commit);
        model.erased.retain(|_, by| *by <= commit);
        model
    }

    /// When a commit that is made now is made: time does not go back.
    pub fn now(&self) -> Timestamp {
        self.commits.last().map_or(self.clock, |last| self.clock.max(*last))
    }

    /// One of the registered holders.
    pub fn holder(&self, n: u8) -> HolderId {
        HolderId(u16::from(n) % self.holders.len() as u16 + 1)
    }

    /// What an [`Id`] stands for. One that has not been drawn yet is one that is chosen.
    pub fn id(&self, holder: HolderId, kind: &str, id: Id) -> String {
        let n = match id {
            Id::Chosen(n) => n,
            Id::Drawn(n) => {
                let drawn: Vec<&Name> = self.drawn.iter().filter(|(h, k, _)| *h == holder.0 && k == kind).collect();
                match drawn.get(usize::from(n) % drawn.len().max(1)) {
                    Some((.., id)) => return id.clone(),
                    None => n % 4,
                }
            }
        };
        char::from(b'a' + n).to_string()
    }

    /// The number of the newest version, 0 if there is none.
    pub fn newest_version(&self, holder: HolderId, kind: &str, id: &str) -> u64 {
        let name = (holder.0, kind.to_owned(), id.to_owned());
        self.resources.get(&name).and_then(|versions| versions.last()).map_or(0, |v| v.number)
    }

    fn content(&self, holder: HolderId, kind: &str, id: &str) -> Option<&Value> {
        let name = (holder.0, kind.to_owned(), id.to_owned());
        self.current_of(&name)
    }

    /// The content of the newest version, if anybody sees it.
    fn current_of(&self, name: &Name) -> Option<&Value> {
        let newest = self.resources.get(name)?.last()?;
        newest.content.as_ref().filter(|_| !erasure::hides(self, name, newest))
    }

    /// One of the holder's current resources.
    pub fn current(&self, holder: HolderId, n: u8) -> Option<(&'static str, String, Value)> {
        let mine = self.resources.iter().filter(|((h, ..), _)| *h == holder.0);
        let current: Vec<_> = mine.filter_map(|(name, _)| Some((name, self.current_of(name)?))).collect();
        let ((_, kind, id), content) = current.get(usize::from(n) % current.len().max(1))?;
        let kind = super::story::KINDS.into_iter().find(|k| k == kind)?;
        Some((kind, id.clone(), (*content).clone()))
    }

    /// The ids of the current resources with an identifier.
    fn matching(&self, holder: HolderId, kind: &str, identifier: &str) -> Vec<String> {
        let of_kind = self.resources.iter().filter(|((h, k, _), _)| *h == holder.0 && k == kind);
        let has = |name: &Name| self.current_of(name).is_some_and(|c| has_identifier(c, identifier));
        of_kind.filter(|(name, _)| has(name)).map(|((.., id), _)| id.clone()).collect()
    }

    /// What a write must come to. `drawn` are the ids that the server drew, by entry.
    pub fn expect(&self, request: &Request, drawn: &dyn Fn(usize) -> String) -> Expected {
        if let Some(commit) = request.key.as_ref().and_then(|key| self.keys.get(&(request.holder.0, key.clone()))) {
            return Expected::Replayed(*commit);
        }
        self.done(request, drawn).map_or_else(Expected::Refused, Expected::Done)
    }

    fn done(&self, request: &Request, drawn: &dyn Fn(usize) -> String) -> Result<Done, Refusal> {
        if request.transaction && repeated(request.entries.iter().filter_map(target)) {
            return Err(400);
        }
        if request.entries.iter().any(|entry| entry.invalid) {
            return Err(422);
        }
        let plans = self.plans(request, drawn)?;
        let changed = |(sent, plan): (&Sent, &Plan)| (plan.does != Does::Nothing).then(|| (sent.kind, plan.id.clone()));
        if repeated(request.entries.iter().zip(&plans).filter_map(changed)) {
            return Err(400);
        }
        let mut done = Done::default();
        for (sent, plan) in request.entries.iter().zip(&plans) {
            let before = self.newest_version(request.holder, sent.kind, &plan.id);
            let current = self.content(request.holder, sent.kind, &plan.id);
            let patched = match (&sent.what, current) {
                (What::Patch { mark, .. }, Some(current)) => Some(with_mark(current.clone(), mark)),
                _ => None,
            };
            let (status, change) = match (&plan.does, patched.as_ref().or(sent.body.as_ref())) {
                (Does::Put, Some(body)) => {
                    let mut body = body.clone();
                    body["id"] = plan.id.as_str().into();
                    self.resolve(&mut body, request, &plans)?;
                    if erasure::is_about_erased(self, request.holder.0, sent.kind, &plan.id, &body) {
                        return Err(410);
                    }
                    let status = if current.is_some() { 200 } else { 201 };
                    let same = current.is_some_and(|current| without_meta(current) == without_meta(&body));
                    (status, (!same).then_some(Some(without_meta(&body))))
                }
                (Does::Delete, _) => (204, Some(None)),
                _ => (200, None),
            };
            done.entries.push((status, plan.id.clone(), before));
            done.changes.extend(change.map(|content| (sent.kind, plan.id.clone(), content)));
        }
        for (sent, (_, id, version)) in request.entries.iter().zip(&mut done.entries) {
            *version += u64::from(done.changes.iter().any(|(kind, changed, _)| *kind == sent.kind && changed == id));
        }
        Ok(done)
    }

    /// Which resource each entry is about. Criteria see what was there before the transaction, and those of creations what its
    /// deletions leave of that.
    fn plans(&self, request: &Request, drawn: &dyn Fn(usize) -> String) -> Result<Vec<Plan>, Refusal> {
        let mut plans: BTreeMap<usize, Plan> = BTreeMap::new();
        let deletes = |entry: &(usize, &Sent)| matches!(entry.1.what, What::Delete { .. } | What::DeleteMatching { .. });
        let (first, then): (Vec<_>, Vec<_>) = request.entries.iter().enumerate().partition(deletes);
        for (i, sent) in first.into_iter().chain(then) {
            let exists = |id: &str| self.content(request.holder, sent.kind, id).is_some();
            let deleted = |id: &str| {
                let gone = |(n, plan): (&usize, &Plan)| plan.does == Does::Delete && request.entries[*n].kind == sent.kind && plan.id == id;
                matches!(sent.what, What::Create { .. }) && plans.iter().any(gone)
            };
            let single = |identifier: &str| {
                let found = self.matching(request.holder, sent.kind, identifier);
                match found.iter().filter(|id| !deleted(id.as_str())).collect::<Vec<_>>().as_slice() {
                    [] => Ok(None),
                    [one] => Ok(Some((*one).clone())),
                    _ => Err::<_, Refusal>(412),
                }
            };
            let (id, does) = match &sent.what {
                What::Create { if_none_exist: None } => (drawn(i), Does::Put),
                What::Create { if_none_exist: Some(identifier) } => {
                    let earlier = (0..i).find(|e| request.entries[*e].what == sent.what && request.entries[*e].kind == sent.kind);
                    match (single(identifier)?, earlier) {
                        (Some(id), _) => (id, Does::Nothing),
                        (None, Some(earlier)) => (plans[&earlier].id.clone(), Does::Nothing),
                        (None, None) => (drawn(i), Does::Put),
                    }
                }
                What::Update { id, if_match } => {
                    self.check(*if_match, request.holder, sent.kind, id)?;
                    (id.clone(), Does::Put)
                }
                What::UpdateMatching { identifier } => {
                    let given = sent.body.as_ref().and_then(|body| body["id"].as_str());
                    match (single(identifier)?, given) {
                        (Some(id), Some(given)) if id != given => return Err(400),
                        (Some(id), _) => (id, Does::Put),
                        (None, Some(given)) => (given.to_owned(), Does::Put),
                        (None, None) => (drawn(i), Does::Put),
                    }
                }
                What::Patch { id, if_match, .. } => {
                    if !exists(id) {
                        return Err(404);
                    }
                    self.check(*if_match, request.holder, sent.kind, id)?;
                    (id.clone(), Does::Put)
                }
                What::Delete { id, if_match } => {
                    self.check(*if_match, request.holder, sent.kind, id)?;
                    (id.clone(), if exists(id) { Does::Delete } else { Does::Nothing })
                }
                What::DeleteMatching { identifier } => match single(identifier)? {
                    Some(id) => (id, Does::Delete),
                    None => (drawn(i), Does::Nothing),
                },
            };
            plans.insert(i, Plan { id, does });
        }
        Ok(plans.into_values().collect())
    }

    fn check(&self, if_match: Option<u64>, holder: HolderId, kind: &str, id: &str) -> Result<(), Refusal> {
        let current = self.content(holder, kind, id).map(|_| self.newest_version(holder, kind, id));
        if if_match.is_none_or(|wanted| current == Some(wanted)) { Ok(()) } else { Err(412) }
    }

    /// Resolves the references in a resource, wherever they stand.
    fn resolve(&self, value: &mut Value, request: &Request, plans: &[Plan]) -> Result<(), Refusal> {
        match value {
            Value::Array(items) => items.iter_mut().try_for_each(|item| self.resolve(item, request, plans)),
            Value::Object(members) => {
                if let Some(text) = members.get("reference").and_then(Value::as_str) {
                    *value = self.resolved(text, request, plans)?;
                    return Ok(());
                }
                members.values_mut().try_for_each(|member| self.resolve(member, request, plans))
            }
            _ => Ok(()),
        }
    }

    fn resolved(&self, text: &str, request: &Request, plans: &[Plan]) -> Result<Value, Refusal> {
        let literal = |kind: &str, id: &str| json!({"reference": format!("{kind}/{id}")});
        if request.transaction && text.starts_with("urn:uuid:") {
            let entry = request.entries.iter().enumerate().position(|(i, sent)| sent.body.is_some() && full_url(i) == text);
            return match entry {
                Some(entry) => Ok(literal(request.entries[entry].kind, &plans[entry].id)),
                None if request.lenient => Ok(json!({"identifier": {"system": System::URI, "value": text}})),
                None => Err(422),
            };
        }
        let Some((kind, identifier)) = text.split_once('?').and_then(|(kind, query)| Some((kind, query.rsplit_once('|')?.1))) else {
            return Ok(json!({"reference": text}));
        };
        assert!(is_resource_type(kind));
        let mut ids = self.matching(request.holder, kind, identifier);
        for (sent, plan) in request.entries.iter().zip(plans).filter(|(sent, plan)| sent.kind == kind && plan.does == Does::Put) {
            if sent.body.as_ref().is_some_and(|body| has_identifier(body, identifier)) && !ids.contains(&plan.id) {
                ids.push(plan.id.clone());
            }
        }
        match ids.as_slice() {
            [one] => Ok(literal(kind, one)),
            _ if request.lenient => Ok(json!({"type": kind, "identifier": {"system": System::IDENTIFIER, "value": identifier}})),
            _ => Err(412),
        }
    }

    /// Makes the commit of a write that has been done; none if it changed nothing.
    pub fn apply(&mut self, request: &Request, done: &Done) {
        if done.changes.is_empty() {
            return;
        }
        self.commit();
        if let Some(key) = &request.key {
            self.keys.insert((request.holder.0, key.clone()), self.newest());
        }
        for (kind, id, content) in &done.changes {
            let number = self.newest_version(request.holder, kind, id) + 1;
            let stamp = json!({"versionId": number.to_string(), "lastUpdated": format!("{:.6}", self.commits[self.commits.len() - 1])});
            let content = content.clone().map(|mut content| {
                content["meta"] = stamp;
                content
            });
            let rows = content.as_ref().map(|c| rows::of_resource(c, request.holder, &self.holders, &self.tables)).unwrap_or_default();
            self.add((request.holder.0, (*kind).to_owned(), id.clone()), content, rows);
        }
        for (i, sent) in request.entries.iter().enumerate() {
            let chosen = matches!(&sent.what, What::Update { .. } | What::Delete { .. });
            let name = (request.holder.0, sent.kind.to_owned(), done.entries[i].1.clone());
            if !chosen && name.2.len() == 36 && !self.drawn.contains(&name) && self.resources.contains_key(&name) {
                self.drawn.push(name);
            }
        }
    }

    /// Makes the commit of a document.
    pub fn put_document(&mut self, kind: &str, id: &str, content: Value) {
        self.commit();
        self.add((HolderId::CENTRE.0, kind.to_owned(), id.to_owned()), Some(content), Vec::new());
    }

    /// Registers a view, or takes its place: its table answers every commit.
    pub fn register_view(&mut self, definition: &Value) {
        let view = View::compile(definition).unwrap();
        let table = Table { name: view.name().to_owned(), view, builtin: false };
        self.put_document("ViewDefinition", &table.name, definition.clone());
        self.remove_table(&table.name);
        let tables = [Arc::new(table)];
        for ((holder, kind, _), versions) in &mut self.resources {
            for version in versions.iter_mut().filter(|_| is_resource_type(kind)) {
                let Some(content) = &version.content else { continue };
                version.rows.extend(rows::of_resource(content, HolderId(*holder), &self.holders, &tables));
            }
        }
        self.tables.extend(tables);
    }

    /// Takes a registered view away; nothing happens if it is not there.
    pub fn remove_view(&mut self, name: &str) {
        if self.tables.iter().any(|t| t.name == name) {
            self.commit();
            self.add((HolderId::CENTRE.0, "ViewDefinition".to_owned(), name.to_owned()), None, Vec::new());
            self.remove_table(name);
        }
    }

    fn remove_table(&mut self, name: &str) {
        self.tables.retain(|t| t.name != name);
        self.resources.values_mut().flatten().for_each(|version| version.rows.retain(|(table, _)| table != name));
    }

    /// Takes in that a Patient is erased: one commit.
    pub fn erase(&mut self, persons: &[(String, String)]) {
        self.commit();
        let commit = self.newest();
        self.erased.extend(persons.iter().map(|person| (person.clone(), commit)));
    }

    fn commit(&mut self) {
        let now = self.now();
        self.commits.push(now);
    }

    fn add(&mut self, name: Name, content: Option<Value>, rows: Vec<(String, String)>) {
        let (commit, time) = (self.newest(), self.commits[self.commits.len() - 1]);
        let versions = self.resources.entry(name).or_default();
        versions.push(Version { number: versions.len() as u64 + 1, commit, time, content, rows });
    }

    /// The rows of all tables at a commit, sorted.
    pub fn rows(&self, commit: u64) -> BTreeMap<&str, Vec<&str>> {
        let mut tables: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, versions) in &self.resources {
            let visible = versions.iter().rev().find(|v| v.commit <= commit).filter(|v| !erasure::hides(self, name, v));
            for (table, row) in visible.map(|v| v.rows.as_slice()).unwrap_or_default() {
                tables.entry(table).or_default().push(row);
            }
        }
        tables.values_mut().for_each(|rows| rows.sort_unstable());
        tables
    }

    /// How many current resources and documents there are of each kind.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for name in self.resources.keys() {
            if self.current_of(name).is_some() {
                *counts.entry(name.1.clone()).or_default() += 1;
            }
        }
        counts
    }
}

/// What a PUT or DELETE is about; the same twice in a transaction is refused.
fn target(sent: &Sent) -> Option<(&'static str, String)> {
    match &sent.what {
        What::Create { .. } => None,
        What::Update { id, .. } | What::Patch { id, .. } | What::Delete { id, .. } => Some((sent.kind, id.clone())),
        What::UpdateMatching { identifier } | What::DeleteMatching { identifier } => Some((sent.kind, format!("?{identifier}"))),
    }
}

/// What a patch makes of a resource.
fn with_mark(mut content: Value, mark: &str) -> Value {
    content["extension"][0]["valueString"] = mark.into();
    content
}

fn repeated<T: Ord>(items: impl Iterator<Item = T>) -> bool {
    let mut all: Vec<T> = items.collect();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    all.len() < count
}

fn has_identifier(resource: &Value, value: &str) -> bool {
    resource["identifier"].as_array().is_some_and(|all| all.iter().any(|i| i["value"] == value))
}

fn without_meta(resource: &Value) -> Value {
    let mut resource = resource.clone();
    resource.as_object_mut().unwrap().shift_remove("meta");
    resource
}
