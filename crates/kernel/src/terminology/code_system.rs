//! A code system: its concepts, and which of them are below which.

use super::Text;
use crate::hash::HashMap;

/// How much of a code system its concepts are (CodeSystem.content).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// All of it: a code that is not in it does not exist.
    Complete,
    /// A part of it, or examples.
    Part,
}

/// A concept.
#[derive(Clone, Debug, PartialEq)]
pub struct Concept {
    /// Its code.
    pub code: Text,
    /// What it means; empty if nothing is said.
    pub display: Text,
    /// Whether codes that are not in the code system are below it if they begin with it (`C50.9` is below `C50`).
    pub stem: bool,
    /// The concepts directly above it, as places in [`CodeSystem::concepts`].
    parents: Vec<u32>,
}

/// A code system.
#[derive(Clone, Debug)]
pub struct CodeSystem {
    /// Its canonical URL.
    pub url: Text,
    /// Its version; empty if nothing is said.
    pub version: Text,
    /// Its title or name.
    pub title: Text,
    /// How much of it is here.
    pub content: Content,
    concepts: Vec<Concept>,
    by_code: HashMap<Text, u32>,
}

/// A concept and what is below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Branch<'s> {
    /// The codes that are known.
    pub codes: Vec<&'s str>,
    /// Whatever begins with one of these is in it too.
    pub beginning: Vec<&'s str>,
}

/// How one code stands to another (the outcome of `$subsumes`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subsumption {
    /// They are the same.
    Equivalent,
    /// The first is above the second.
    Subsumes,
    /// The first is below the second.
    SubsumedBy,
    /// Neither is above the other.
    NotSubsumed,
}

impl Subsumption {
    /// The code of <http://hl7.org/fhir/concept-subsumption-outcome>.
    pub fn code(self) -> &'static str {
        match self {
            Self::Equivalent => "equivalent",
            Self::Subsumes => "subsumes",
            Self::SubsumedBy => "subsumed-by",
            Self::NotSubsumed => "not-subsumed",
        }
    }
}

impl CodeSystem {
    /// A code system without concepts.
    pub fn new(url: Text, version: Text, title: Text, content: Content) -> Self {
        Self { url, version, title, content, concepts: Vec::new(), by_code: HashMap::default() }
    }

    /// Adds a concept below another one. A code that is there already gets one more parent.
    pub fn add(&mut self, code: Text, display: Text, parent: Option<u32>) -> u32 {
        let next = u32::try_from(self.concepts.len()).unwrap_or(u32::MAX);
        let at = *self.by_code.entry(code.clone()).or_insert(next);
        if at == next {
            self.concepts.push(Concept { code, display, stem: false, parents: Vec::new() });
        }
        if let (Some(parent), Some(concept)) = (parent, self.concepts.get_mut(at as usize))
            && !concept.parents.contains(&parent)
        {
            concept.parents.push(parent);
        }
        at
    }

    /// Says that codes which begin with this one are below it.
    pub(super) fn set_stem(&mut self, at: u32) {
        if let Some(concept) = self.concepts.get_mut(at as usize) {
            concept.stem = true;
        }
    }

    /// Where the concept of a code is.
    pub(super) fn place(&self, code: &str) -> Option<u32> {
        self.by_code.get(code).copied()
    }

    /// Says what a code means that was first named by its place only.
    pub(super) fn describe(&mut self, at: u32, display: Text) {
        if let Some(concept) = self.concepts.get_mut(at as usize)
            && concept.display.is_empty()
        {
            concept.display = display;
        }
    }

    /// All concepts, in the order of the definition.
    pub fn concepts(&self) -> &[Concept] {
        &self.concepts
    }

    /// The concept of that code. Codes are compared as they are, case included.
    pub fn concept(&self, code: &str) -> Option<&Concept> {
        self.by_code.get(code).and_then(|at| self.concepts.get(*at as usize))
    }

    /// The concepts directly above one.
    pub fn parents<'s>(&'s self, concept: &'s Concept) -> impl Iterator<Item = &'s Concept> {
        concept.parents.iter().filter_map(|at| self.concepts.get(*at as usize))
    }

    /// The concepts directly below the one of that code.
    pub fn children<'s>(&'s self, code: &str) -> impl Iterator<Item = &'s Concept> {
        let at = self.by_code.get(code).copied();
        self.concepts.iter().filter(move |concept| at.is_some_and(|at| concept.parents.contains(&at)))
    }

    /// Whether `concept` is the one of the code `above`, or below it.
    pub fn is_a(&self, concept: &Concept, above: &str) -> bool {
        // Everything above it, each once, so that a circle ends.
        let (mut found, mut next) = (concept.parents.clone(), 0);
        if concept.code == above {
            return true;
        }
        while let Some(ancestor) = found.get(next).and_then(|at| self.concepts.get(*at as usize)) {
            if ancestor.code == above {
                return true;
            }
            for parent in &ancestor.parents {
                if !found.contains(parent) {
                    found.push(*parent);
                }
            }
            next += 1;
        }
        false
    }

    /// The concept of a code; where codes are below what they begin with, the nearest one above it. The flag says whether it is the
    /// code itself.
    pub fn nearest(&self, code: &str) -> Option<(&Concept, bool)> {
        if let Some(concept) = self.concept(code) {
            return Some((concept, true));
        }
        let shorter = (1..code.len()).rev().filter_map(|end| code.get(..end));
        shorter.filter_map(|start| self.concept(start)).find(|concept| concept.stem).map(|concept| (concept, false))
    }

    /// A code and what is below it; nothing if the code is not one of the system's.
    pub fn below<'s>(&'s self, code: &'s str) -> Option<Branch<'s>> {
        let (concept, itself) = self.nearest(code)?;
        if !itself {
            return Some(Branch { codes: vec![code], beginning: vec![code] });
        }
        let below = || self.concepts.iter().filter(|c| self.is_a(c, &concept.code));
        Some(Branch { codes: below().map(|c| &*c.code).collect(), beginning: below().filter(|c| c.stem).map(|c| &*c.code).collect() })
    }

    /// A code and what is above it; nothing if the code is not one of the system's.
    pub fn above<'s>(&'s self, code: &'s str) -> Option<Vec<&'s str>> {
        let (concept, itself) = self.nearest(code)?;
        let mut codes: Vec<&str> = self.concepts.iter().filter(|c| self.is_a(concept, &c.code)).map(|c| &*c.code).collect();
        if !itself {
            // What is between the two by its letters: nobody knows whether it exists.
            codes.extend((concept.code.len() + 1..=code.len()).filter_map(|end| code.get(..end)));
        }
        Some(codes)
    }

    /// How code `a` stands to code `b`; nothing if one of them is not in the code system.
    pub fn subsumption(&self, a: &str, b: &str) -> Option<Subsumption> {
        let above = |a: &str, b: &str| self.above(b).map(|codes| codes.contains(&a));
        Some(match (above(a, b)?, above(b, a)?) {
            (true, true) => Subsumption::Equivalent,
            (true, false) => Subsumption::Subsumes,
            (false, true) => Subsumption::SubsumedBy,
            (false, false) => Subsumption::NotSubsumed,
        })
    }
}
