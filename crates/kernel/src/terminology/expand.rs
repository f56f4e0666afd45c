//! Which codes a value set has (R4, section 4.9.11: the value set expansion).
//!
//! A value set that cannot be expanded as a whole is refused, and the error names what is missing: an expansion that lacks codes
//! would answer "no" where nobody knows.

use super::value_set::{Filter, Part};
use super::{CodeSystem, Concept, Source, Text, ValueSet};
use crate::hash::HashMap;
use crate::limits::{MAX_EXPANSION, MAX_REGEX_BYTES, MAX_VALUE_SET_DEPTH};
use regex::{Regex, RegexBuilder};

/// A code of a value set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The URL of its code system, without a version.
    pub system: Text,
    /// The code.
    pub code: Text,
    /// What it means; empty if nothing is said.
    pub display: Text,
}

/// Why a value set cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// A value set that it is made of is not known.
    #[error("the value set {0} is not known here; write it as a ValueSet first")]
    UnknownValueSet(String),
    /// A code system that it takes codes from is not known.
    #[error("the code system {0} is not known here, or not in that version; write it as a CodeSystem with its concepts first")]
    UnknownCodeSystem(String),
    /// A code system that it takes all codes from is here in part only.
    #[error("of the code system {0} only a part is here, so that nobody knows all codes of the value set")]
    IncompleteCodeSystem(String),
    /// The table of the program leaves codes out that are not HL7's.
    #[error("the value set {0} has codes of others, which do not come with this program; write the ValueSet with its codes")]
    Elsewhere(String),
    /// A filter that is not understood.
    #[error(
        "the filter `{property} {operator}` is not supported: concept and code with =, is-a, descendent-of, is-not-a, in, not-in and regex are, and parent ="
    )]
    Filter {
        /// ValueSet.compose.include.filter.property
        property: String,
        /// ValueSet.compose.include.filter.op
        operator: String,
    },
    /// A part that says nothing, or names codes without a code system.
    #[error("a part of the value set {0} names neither a code system nor a value set")]
    Nothing(String),
    /// A value set that is part of itself, or nests too deep.
    #[error("value sets nest deeper than {MAX_VALUE_SET_DEPTH} levels at {0}; is one part of itself?")]
    TooDeep(String),
    /// Too many codes.
    #[error("the value set has more than {MAX_EXPANSION} codes; narrow it by a filter")]
    TooLarge,
}

/// All codes of a value set, each once, in the order of its definition.
pub fn expand(set: &ValueSet, source: &dyn Source) -> Result<Vec<Member>, ExpandError> {
    expand_within(set, source, MAX_VALUE_SET_DEPTH).map(|members| members.list)
}

/// Codes in order, and where each is.
#[derive(Default)]
struct Members {
    list: Vec<Member>,
    at: HashMap<(Text, Text), usize>,
}

impl Members {
    fn insert(&mut self, member: Member) -> Result<(), ExpandError> {
        let key = (member.system.clone(), member.code.clone());
        if let Some(at) = self.at.get(&key).copied() {
            if let Some(known) = self.list.get_mut(at).filter(|known| known.display.is_empty()) {
                known.display = member.display;
            }
            return Ok(());
        }
        if self.list.len() >= MAX_EXPANSION {
            return Err(ExpandError::TooLarge);
        }
        self.at.insert(key, self.list.len());
        self.list.push(member);
        Ok(())
    }

    fn has(&self, member: &Member) -> bool {
        self.at.contains_key(&(member.system.clone(), member.code.clone()))
    }
}

fn expand_within(set: &ValueSet, source: &dyn Source, depth: usize) -> Result<Members, ExpandError> {
    let depth = depth.checked_sub(1).ok_or_else(|| ExpandError::TooDeep(set.url.to_string()))?;
    let mut included = Members::default();
    for part in &set.include {
        for member in members(set, part, source, depth)? {
            included.insert(member)?;
        }
    }
    let mut excluded = Members::default();
    for part in &set.exclude {
        for member in members(set, part, source, depth)? {
            excluded.insert(member)?;
        }
    }
    if excluded.list.is_empty() {
        return Ok(included);
    }
    let mut left = Members::default();
    for member in included.list.into_iter().filter(|member| !excluded.has(member)) {
        left.insert(member)?;
    }
    Ok(left)
}

/// The codes of one part: what its code system gives, as far as all its value sets have it.
fn members(set: &ValueSet, part: &Part, source: &dyn Source, depth: usize) -> Result<Vec<Member>, ExpandError> {
    if part.elsewhere {
        return Err(ExpandError::Elsewhere(set.url.to_string()));
    }
    let mut sets = Vec::with_capacity(part.value_sets.len());
    for url in &part.value_sets {
        let inner = source.value_set(url).ok_or_else(|| ExpandError::UnknownValueSet(url.to_string()))?;
        sets.push(expand_within(&inner, source, depth)?);
    }
    let mut members = match (&part.system, sets.is_empty()) {
        (Some(system), _) => of_system(system, part, source)?,
        (None, false) => std::mem::take(&mut sets.swap_remove(0).list),
        (None, true) => return Err(ExpandError::Nothing(set.url.to_string())),
    };
    members.retain(|member| sets.iter().all(|set| set.has(member)));
    Ok(members)
}

fn of_system(canonical: &Text, part: &Part, source: &dyn Source) -> Result<Vec<Member>, ExpandError> {
    let url: Text = match canonical {
        Text::Borrowed(text) => super::canonical(text).0.into(),
        Text::Owned(text) => super::canonical(text).0.to_owned().into(),
    };
    let system = source.code_system(canonical);
    let named = |(code, display): &(Text, Text)| {
        let known = system.as_ref().and_then(|system| system.concept(code)).map(|concept| concept.display.clone());
        let display = if display.is_empty() { known.unwrap_or_default() } else { display.clone() };
        Member { system: url.clone(), code: code.clone(), display }
    };
    // Codes that are named need no code system, whose display they take if it is there.
    if let Some(codes) = part.codes.as_ref().filter(|_| part.filters.is_empty()) {
        return Ok(codes.iter().map(named).collect());
    }
    let system = system.as_ref().ok_or_else(|| ExpandError::UnknownCodeSystem(canonical.to_string()))?;
    if system.content == super::Content::Part {
        return Err(ExpandError::IncompleteCodeSystem(canonical.to_string()));
    }
    let tests = part.filters.iter().map(Test::new).collect::<Result<Vec<_>, _>>()?;
    let wanted = |concept: &&Concept| {
        part.codes.as_ref().is_none_or(|codes| codes.iter().any(|(code, _)| *code == concept.code))
            && tests.iter().all(|test| test.passes(system, concept))
    };
    let member = |concept: &Concept| Member { system: url.clone(), code: concept.code.clone(), display: concept.display.clone() };
    Ok(system.concepts().iter().filter(wanted).map(member).collect())
}

/// A filter that is understood.
enum Test<'f> {
    IsA { above: &'f str, itself: bool },
    IsNotA(&'f str),
    Parent(&'f str),
    Among { codes: Vec<&'f str>, wanted: bool },
    Pattern(Regex),
}

impl<'f> Test<'f> {
    fn new(filter: &'f Filter) -> Result<Self, ExpandError> {
        let value = &*filter.value;
        let among = |wanted| Test::Among { codes: value.split(',').map(str::trim).collect(), wanted };
        Ok(match (&*filter.property, &*filter.operator) {
            ("concept" | "code", "is-a") => Test::IsA { above: value, itself: true },
            ("concept" | "code", "descendent-of") => Test::IsA { above: value, itself: false },
            ("concept" | "code", "is-not-a") => Test::IsNotA(value),
            ("concept" | "code", "=") => Test::Among { codes: vec![value], wanted: true },
            ("concept" | "code", "in") => among(true),
            ("concept" | "code", "not-in") => among(false),
            ("parent", "=") => Test::Parent(value),
            ("concept" | "code", "regex") if let Some(pattern) = pattern(value) => Test::Pattern(pattern),
            (property, operator) => {
                return Err(ExpandError::Filter { property: property.to_owned(), operator: operator.to_owned() });
            }
        })
    }

    fn passes(&self, system: &CodeSystem, concept: &Concept) -> bool {
        match self {
            Test::IsA { above, itself } => system.is_a(concept, above) && (*itself || concept.code != **above),
            Test::IsNotA(above) => !system.is_a(concept, above),
            Test::Parent(code) => system.parents(concept).any(|parent| parent.code == **code),
            Test::Among { codes, wanted } => codes.contains(&&*concept.code) == *wanted,
            Test::Pattern(pattern) => pattern.is_match(&concept.code),
        }
    }
}

/// The whole code has to match.
fn pattern(text: &str) -> Option<Regex> {
    RegexBuilder::new(&format!("^(?:{text})$")).size_limit(MAX_REGEX_BYTES).build().ok()
}
