//! Which codes an element takes: its binding to a value set (R4, section 4.1.5).
//!
//! A required binding is checked on every write; an extensible one gives warnings where somebody asks for them (`$validate`). Where
//! HL7's value set names all its codes, they are looked up in a table. Where it is a rule of somebody else (media types, languages,
//! currencies), the form of a code is checked; where it is another organisation's content, nothing is, and [`Rule::Unchecked`] says why.

use super::definitions::hash;
use crate::limits::MAX_CODES_NAMED;
use crate::terminology::{Member, Source, builtin::builtin, canonical, expand};
use std::sync::OnceLock;

#[cfg(test)]
mod tests;

/// How strong a binding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// A code must be of the value set.
    Required,
    /// A code should be of the value set, if one of it applies.
    Extensible,
}

/// A binding.
#[derive(Debug)]
pub struct Binding {
    /// How strong it is.
    pub strength: Strength,
    /// The value set: its canonical URL.
    pub value_set: &'static str,
    rule: OnceLock<Rule>,
}

/// What a code must be.
#[derive(Debug)]
pub enum Rule {
    /// One of these.
    Codes(CodeSet),
    /// A media type (RFC 6838), or one of the formats `xml`, `json` and `ttl` (R4, CapabilityStatement.format).
    MediaType,
    /// A language tag that is well-formed (RFC 5646, section 2.1).
    Language,
    /// Three capital letters (ISO 4217).
    Currency,
    /// Nothing is checked, because of this.
    Unchecked(String),
}

impl Binding {
    pub(super) fn new(strength: Strength, value_set: &'static str) -> Self {
        Self { strength, value_set, rule: OnceLock::new() }
    }

    /// What a code must be. The value set is expanded when somebody first asks.
    pub fn rule(&self) -> &Rule {
        self.rule.get_or_init(|| Rule::of(self.value_set))
    }
}

impl Rule {
    fn of(value_set: &str) -> Rule {
        match canonical(value_set).0 {
            "http://hl7.org/fhir/ValueSet/mimetypes" | "http://www.rfc-editor.org/bcp/bcp13.txt" => return Rule::MediaType,
            "http://hl7.org/fhir/ValueSet/all-languages" => return Rule::Language,
            "http://hl7.org/fhir/ValueSet/currencies" => return Rule::Currency,
            _ => {}
        }
        let Some(set) = builtin().value_set(value_set) else {
            return Rule::Unchecked("HL7's R4 definitions do not have this value set".to_owned());
        };
        match expand(&set, builtin()) {
            Ok(members) => Rule::Codes(CodeSet::new(members)),
            Err(error) => Rule::Unchecked(error.to_string()),
        }
    }

    /// Whether a code without a code system (an element of type `code`) passes.
    pub fn accepts(&self, code: &str) -> bool {
        match self {
            Rule::Codes(codes) => codes.has_code(code),
            Rule::MediaType => is_media_type(code),
            Rule::Language => is_language(code),
            Rule::Currency => code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase()),
            Rule::Unchecked(_) => true,
        }
    }

    /// Whether a Coding passes.
    pub fn accepts_coding(&self, system: Option<&str>, code: &str) -> bool {
        match self {
            Rule::Codes(codes) => system.is_some_and(|system| codes.has(system, code)),
            Rule::Language => system != Some("urn:ietf:bcp:47") || is_language(code),
            _ => true,
        }
    }

    /// What is expected in place of a code that does not pass, to be read after "expected".
    pub fn expected(&self, instead_of: &str) -> String {
        match self {
            Rule::Codes(codes) => codes.expected(instead_of),
            Rule::MediaType => "a media type such as `application/pdf`".to_owned(),
            Rule::Language => "a language tag (BCP 47) such as `nb` or `nb-NO`".to_owned(),
            Rule::Currency => "a currency code (ISO 4217) of three capital letters such as `NOK`".to_owned(),
            Rule::Unchecked(_) => "a code".to_owned(),
        }
    }
}

/// The codes of a value set, found by one hash and mostly one comparison.
#[derive(Debug)]
pub struct CodeSet {
    members: Vec<Member>,
    /// Open addressing: 1 + index in `members`; 0 is free.
    slots: Box<[u16]>,
}

impl CodeSet {
    fn new(members: Vec<Member>) -> Self {
        let mut slots = vec![0_u16; (members.len() * 2).next_power_of_two()].into_boxed_slice();
        let mask = slots.len() - 1;
        for (member, index) in members.iter().zip(1_u16..) {
            let mut at = hash(member.code.as_bytes()) & mask;
            while slots.get(at).is_some_and(|slot| *slot != 0) {
                at = (at + 1) & mask;
            }
            if let Some(slot) = slots.get_mut(at) {
                *slot = index;
            }
        }
        Self { members, slots }
    }

    /// The members that have this code, in whatever code system.
    fn with_code<'s>(&'s self, code: &str) -> impl Iterator<Item = &'s Member> {
        let mask = self.slots.len() - 1;
        let start = hash(code.as_bytes());
        // Half of the slots are free, so this ends; the mask keeps the place inside.
        (0..self.slots.len())
            .map_while(move |step| self.slots.get((start + step) & mask).and_then(|slot| usize::from(*slot).checked_sub(1)))
            .filter_map(|index| self.members.get(index))
            .filter(move |member| member.code == code)
    }

    fn has_code(&self, code: &str) -> bool {
        self.with_code(code).next().is_some()
    }

    fn has(&self, system: &str, code: &str) -> bool {
        self.with_code(code).any(|member| member.system == system)
    }

    /// Whether it has codes of that code system.
    pub fn has_system(&self, system: &str) -> bool {
        self.members.iter().any(|member| member.system == system)
    }

    /// The codes.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    fn expected(&self, instead_of: &str) -> String {
        let quoted = |codes: &[&str]| codes.iter().map(|code| format!("`{code}`")).collect::<Vec<_>>().join(", ");
        let mut codes: Vec<&str> = self.members.iter().map(|member| &*member.code).collect();
        if codes.len() <= MAX_CODES_NAMED {
            return format!("one of {}", quoted(&codes));
        }
        let count = codes.len();
        codes.sort_by_cached_key(|code| distance(code, instead_of));
        codes.truncate(MAX_CODES_NAMED / 2);
        format!("one of its {count} codes, such as {}", quoted(&codes))
    }
}

/// How many letters differ (Levenshtein), case aside.
fn distance(a: &str, b: &str) -> usize {
    let fold = |text: &str| text.bytes().take(64).map(|b| b.to_ascii_lowercase()).collect::<Vec<_>>();
    let (a, b) = (fold(a), fold(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (y, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let here = (diagonal + usize::from(x != y)).min(*cell + 1).min(left + 1);
            diagonal = *cell;
            *cell = here;
            left = here;
        }
    }
    if b.is_empty() { a.len() } else { row.last().copied().unwrap_or_default() }
}

/// `type/subtype` with parameters (RFC 6838, section 4.2, and RFC 2045, section 5.1), or a format of FHIR by its short name.
fn is_media_type(text: &str) -> bool {
    let name = |name: &str| {
        name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    let (essence, parameters) = text.split_once(';').map_or((text, None), |(essence, rest)| (essence, Some(rest)));
    let is_parameter = |text: &str| text.split_once('=').is_some_and(|(key, value)| name(key.trim()) && !value.is_empty());
    match essence.trim_end().split_once('/') {
        Some((kind, sub)) => name(kind) && name(sub) && parameters.is_none_or(|all| all.split(';').all(is_parameter)),
        None => matches!(text, "xml" | "json" | "ttl"),
    }
}

/// The form of a language tag: a language of 2 to 8 letters (or `x`, `i`), then subtags of 1 to 8 letters and digits.
fn is_language(tag: &str) -> bool {
    let mut parts = tag.split('-');
    let first = parts.next().unwrap_or_default();
    let alone = first.len() >= 2;
    let private = matches!(first, "x" | "X" | "i" | "I");
    let mut rest = parts.peekable();
    (alone || private && rest.peek().is_some())
        && first.len() <= 8
        && first.bytes().all(|b| b.is_ascii_alphabetic())
        && rest.all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()))
}
