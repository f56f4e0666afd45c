//! SMART scopes of backend services (SMART App Launch 2.x, "Scopes and Launch Context"): which interactions on which types, and on
//! which of their resources.
//!
//! `system/Observation.rs?category=laboratory`: letters of `cruds` for create, read (a version and the history of a resource too),
//! update (patch too), delete and search (history of a type and of the system too). The forms of version 1, `.read`, `.write` and
//! `.*`, mean `rs`, `cud` and `cruds`. The part after `?` is held against each resource by what conditional interactions use
//! ([`Conditions`]); what cannot be decided on the resource itself is refused when the scope is read, never ignored.

use crate::fhir::definitions;
use crate::fhir::json::{self, Value};
use crate::limits::{MAX_SCOPE_ALTERNATIVES, MAX_SCOPE_BYTES, MAX_SCOPES};
use crate::search::conditions::Conditions;
use crate::search::parameters::Known;
use crate::search::parse;
use crate::search::query::Criterion;
use bumpalo::Bump;
use std::fmt;

#[cfg(test)]
mod tests;

/// What somebody does with resources of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// `c`
    Create,
    /// `r`: a resource, its versions and their history.
    Read,
    /// `u`: replace or patch it; make it under an id of the caller's.
    Update,
    /// `d`
    Delete,
    /// `s`: find resources by what they hold; the history of a type and of the system.
    Search,
}

impl Act {
    /// All of them, in the order of `cruds`.
    pub const ALL: [Act; 5] = [Act::Create, Act::Read, Act::Update, Act::Delete, Act::Search];

    /// Its letter.
    pub fn letter(self) -> char {
        match self {
            Act::Create => 'c',
            Act::Read => 'r',
            Act::Update => 'u',
            Act::Delete => 'd',
            Act::Search => 's',
        }
    }
}

/// A set of [`Act`]s: a bit for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Acts(u8);

impl Acts {
    fn of(act: Act) -> Self {
        Self(1 << act as u8)
    }

    /// The letters after the dot.
    fn parse(text: &str) -> Option<Self> {
        let letters = match text {
            "read" => "rs",
            "write" => "cud",
            "*" => "cruds",
            letters => letters,
        };
        let mut order = Act::ALL.into_iter();
        let mut acts = Self(0);
        for letter in letters.chars() {
            acts.0 |= Self::of(order.find(|act| act.letter() == letter)?).0;
        }
        (acts.0 != 0).then_some(acts)
    }

    fn has(self, act: Act) -> bool {
        self.0 & Self::of(act).0 != 0
    }
}

/// One scope.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Scope {
    /// `None`: every type.
    resource_type: Option<&'static str>,
    acts: Acts,
    /// Names and values after `?`; none: every resource.
    pairs: Vec<(String, String)>,
    conditions: Conditions,
}

/// Why scopes cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// One of them is wrong.
    #[error("the scope `{scope}` cannot be given: {what}")]
    Wrong {
        /// It, cut if it is long.
        scope: String,
        /// What is wrong, and what to do.
        what: String,
    },
    /// All of them together are wrong.
    #[error("{0}")]
    All(String),
}

/// What of the resources of a type an act reaches.
#[derive(Clone, Debug)]
pub enum Reach<'s> {
    /// None.
    Nothing,
    /// All.
    Everything,
    /// Those that meet one of these.
    Part(Vec<&'s Conditions>),
}

/// The scopes of a client, or of a token of its.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    /// Reads scopes with blanks between them (RFC 6749, section 3.3).
    ///
    /// # Errors
    /// The first that is not a scope of a backend service, or that could not be enforced; or there are too many.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        if text.len() > MAX_SCOPE_BYTES {
            return Err(ScopeError::All(format!("the scopes are longer than {MAX_SCOPE_BYTES} bytes; ask for fewer")));
        }
        let all: Vec<&str> = text.split_ascii_whitespace().collect();
        if all.is_empty() {
            return Err(ScopeError::All("no scope is named; name some, such as `system/Observation.rs system/Patient.r`".to_owned()));
        }
        if all.len() > MAX_SCOPES {
            return Err(ScopeError::All(format!("more than {MAX_SCOPES} scopes; ask for fewer")));
        }
        Self::of(all.into_iter().map(Scope::parse).collect::<Result<_, _>>()?)
    }

    /// Joins what is about the same resources, leaves out what others cover, and bounds how many alternatives a search has to look at.
    fn of(all: Vec<Scope>) -> Result<Self, ScopeError> {
        let mut joined: Vec<Scope> = Vec::with_capacity(all.len());
        for scope in all {
            match joined.iter_mut().find(|other| other.resource_type == scope.resource_type && other.pairs == scope.pairs) {
                Some(other) => other.acts.0 |= scope.acts.0,
                None => joined.push(scope),
            }
        }
        let covered = |scope: &Scope| joined.iter().any(|other| other != scope && other.covers(scope));
        let mut kept: Vec<Scope> = joined.iter().filter(|scope| !covered(scope)).cloned().collect();
        if kept.len() > MAX_SCOPES {
            return Err(ScopeError::All(format!("the scopes come to more than {MAX_SCOPES}; ask for fewer")));
        }
        kept.sort_by_cached_key(Scope::to_string); // those of one meaning are equal, in whichever order they were asked for
        let scopes = Self(kept);
        for scope in &scopes.0 {
            let Some(name) = scope.resource_type else { continue };
            let of_type = scopes.0.iter().filter(|other| other.resource_type == Some(name) && !other.pairs.is_empty());
            let alternatives = of_type.map(|other| other.pairs.len()).fold(1, usize::saturating_mul);
            if alternatives > MAX_SCOPE_ALTERNATIVES {
                let what = format!("the scopes of {name} have too many conditions together; name values with commas between them");
                return Err(scope.wrong(what));
            }
        }
        Ok(scopes)
    }

    /// What of `self` lies within `given`: what a client that asks for `self` and may have `given` gets.
    ///
    /// # Errors
    /// Nothing does, or it is too much to hold.
    pub fn within(&self, given: &Scopes) -> Result<Scopes, ScopeError> {
        let mut common = Vec::new();
        for (one, other) in self.0.iter().flat_map(|one| given.0.iter().map(move |other| (one, other))) {
            common.extend(one.and(other)?);
        }
        if common.is_empty() {
            let what = format!("none of what is asked for is given to this client; it may have: {given}");
            return Err(ScopeError::All(what));
        }
        Self::of(common)
    }

    /// What of a type's resources an act reaches.
    ///
    /// Never a Subscription's: it goes on when a token has ended, tells of what no scope was asked about, and may hold a secret of whom
    /// it tells.
    pub fn reach(&self, act: Act, resource_type: &str) -> Reach<'_> {
        if resource_type == "Subscription" {
            return Reach::Nothing;
        }
        let mut part = Vec::new();
        for scope in self.0.iter().filter(|scope| scope.acts.has(act) && scope.resource_type.is_none_or(|name| name == resource_type)) {
            if scope.pairs.is_empty() {
                return Reach::Everything;
            }
            part.push(&scope.conditions);
        }
        if part.is_empty() { Reach::Nothing } else { Reach::Part(part) }
    }

    /// Whether an act reaches any resource of a type.
    pub fn reaches(&self, act: Act, resource_type: &str) -> bool {
        !matches!(self.reach(act, resource_type), Reach::Nothing)
    }

    /// Whether an act reaches this resource.
    pub fn admits(&self, act: Act, resource: &Value<'_>) -> bool {
        match resource.str("resourceType").map_or(Reach::Nothing, |name| self.reach(act, name)) {
            Reach::Nothing => false,
            Reach::Everything => true,
            Reach::Part(of) => of.iter().any(|conditions| conditions.hold(resource)),
        }
    }

    /// Whether an act reaches this version, as it is stored; of a deletion nobody can say which part it belonged to.
    pub fn admits_stored(&self, act: Act, resource_type: &str, stored: Option<&[u8]>) -> bool {
        match (self.reach(act, resource_type), stored) {
            (Reach::Nothing, _) | (Reach::Part(_), None) => false,
            (Reach::Everything, _) => true,
            (Reach::Part(of), Some(stored)) => {
                let arena = Bump::new();
                json::parse(stored, &arena).is_ok_and(|resource| of.iter().any(|conditions| conditions.hold(&resource)))
            }
        }
    }

    /// What a search has to ask for beside its own criteria, so that it finds what an act reaches; `None`: it reaches nothing.
    pub fn criteria(&self, act: Act, resource_type: &str) -> Option<Vec<Criterion>> {
        let of = match self.reach(act, resource_type) {
            Reach::Nothing => return None,
            Reach::Everything => return Some(Vec::new()),
            Reach::Part(of) => of,
        };
        // All of one or all of another: one of each of them, in every combination.
        let mut combined: Vec<Vec<Criterion>> = vec![Vec::new()];
        for conditions in of {
            let with = |so_far: &Vec<Criterion>| {
                let so_far = so_far.clone();
                conditions.criteria().iter().map(move |criterion| so_far.iter().cloned().chain([criterion.clone()]).collect())
            };
            combined = combined.iter().flat_map(with).collect();
        }
        let either = |mut of: Vec<Criterion>| if of.len() == 1 { of.pop() } else { Some(Criterion::Either(of)) };
        Some(combined.into_iter().filter_map(either).collect())
    }
}

impl Scope {
    fn parse(text: &str) -> Result<Self, ScopeError> {
        let wrong = |what: &str| ScopeError::Wrong { scope: text.chars().take(200).collect(), what: what.to_owned() };
        let rest = match text.split_once('/') {
            Some(("system", rest)) => rest,
            Some(("patient" | "user", _)) => {
                return Err(wrong("it needs somebody who has signed in; a backend service asks for `system/` scopes"));
            }
            _ => return Err(wrong("only SMART scopes such as `system/Observation.rs` are given")),
        };
        let (head, query) = rest.split_once('?').map_or((rest, None), |(head, query)| (head, Some(query)));
        let (name, letters) = head.rsplit_once('.').ok_or_else(|| wrong("it names no interactions; write `.rs`, or any of `cruds`"))?;
        let acts = Acts::parse(letters);
        let acts = acts.ok_or_else(|| wrong("its interactions are letters of `cruds` in that order, or `read`, `write` or `*`"))?;
        let resource_type = match name {
            "*" => None,
            name => Some(definitions::resource_type(name).ok_or_else(|| wrong("it names no resource type of FHIR R4"))?.name()),
        };
        let Some(query) = query else {
            return Ok(Self { resource_type, acts, pairs: Vec::new(), conditions: Conditions::default() });
        };
        let Some(name) = resource_type else {
            return Err(wrong("a part of all types cannot be decided on; name the type before `?`"));
        };
        if matches!(letters, "read" | "write" | "*") {
            return Err(wrong("scopes of SMART 1 have no part after `?`; write the letters of SMART 2"));
        }
        let pairs = parse::pairs(query).map_err(|refusal| wrong(&crate::fhir::issue::Issue::from(refusal).diagnostics))?;
        Self::limited(name, acts, pairs).map_err(|what| wrong(&what))
    }

    /// A scope on a part of a type; the error says why that part cannot be decided on.
    fn limited(name: &'static str, acts: Acts, mut pairs: Vec<(String, String)>) -> Result<Self, String> {
        pairs.sort_unstable();
        pairs.dedup();
        let conditions = Conditions::parse(name, pairs.clone(), Known::standard()).map_err(|issue| issue.diagnostics)?;
        if conditions.is_empty() {
            return Err("there is nothing after `?`; leave it out, or name a search parameter".to_owned());
        }
        Ok(Self { resource_type: Some(name), acts, pairs, conditions })
    }

    fn wrong(&self, what: String) -> ScopeError {
        ScopeError::Wrong { scope: self.to_string(), what }
    }

    /// Whether all that `other` reaches is reached by this one too, as far as that shows without looking at values.
    fn covers(&self, other: &Scope) -> bool {
        let types = self.resource_type.is_none() || self.resource_type == other.resource_type;
        types && self.acts.0 | other.acts.0 == self.acts.0 && self.pairs.iter().all(|pair| other.pairs.contains(pair))
    }

    /// What both reach.
    fn and(&self, other: &Scope) -> Result<Option<Self>, ScopeError> {
        let acts = Acts(self.acts.0 & other.acts.0);
        let resource_type = match (self.resource_type, other.resource_type) {
            (Some(one), Some(other)) if one != other => return Ok(None),
            (one, other) => one.or(other),
        };
        if acts.0 == 0 {
            return Ok(None);
        }
        let pairs: Vec<(String, String)> = self.pairs.iter().chain(&other.pairs).cloned().collect();
        match resource_type.filter(|_| !pairs.is_empty()) {
            None => Ok(Some(Self { resource_type, acts, pairs, conditions: Conditions::default() })),
            Some(name) => Self::limited(name, acts, pairs).map(Some).map_err(|what| self.wrong(what)),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "system/{}.", self.resource_type.unwrap_or("*"))?;
        Act::ALL.into_iter().filter(|act| self.acts.has(*act)).try_for_each(|act| write!(f, "{}", act.letter()))?;
        for (n, (name, value)) in self.pairs.iter().enumerate() {
            let mut pair = String::new();
            parse::encode(name, &mut pair);
            pair.push('=');
            parse::encode(value, &mut pair);
            write!(f, "{}{pair}", if n == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

/// In the form that [`Scopes::parse`] reads, of SMART 2.
impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, scope) in self.0.iter().enumerate() {
            write!(f, "{}{scope}", if n == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}
