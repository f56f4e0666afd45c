//! `_include` and `_revinclude`: what comes along with the matches (FHIR R4, section 3.1.1.5.4).
//!
//! What the matches refer to, or what refers to them, step by step: what has come along counts for `:iterate` in the next step. A
//! resource comes once, so that circles end. Where a resource is read from, and how what refers to it is found, is the caller's.

use super::query::{Criterion, Include, Operand, Resources, Search, Test};
use super::values::references_of;
use crate::fhir::json;
use crate::limits::MAX_SEARCH_INCLUDED;
use bumpalo::Bump;
use std::collections::HashSet;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// A resource of the answer: its type, its logical id and its JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The resource type.
    pub resource_type: &'static str,
    /// The logical id.
    pub id: String,
    /// As it is stored.
    pub json: Vec<u8>,
}

/// Where resources come from: one holder's, at one commit.
pub trait Source {
    /// Why nothing can be read.
    type Error;

    /// The resource of that name.
    fn read(&self, resource_type: &'static str, id: &str) -> Result<Option<Resource>, Self::Error>;

    /// At most `most` resources that match.
    fn search(&self, search: &Search, most: usize) -> Result<Vec<Resource>, Self::Error>;
}

/// What comes along.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Included {
    /// Each once, and none of the matches.
    pub resources: Vec<Resource>,
    /// Whether there was more than [`MAX_SEARCH_INCLUDED`].
    pub more: bool,
}

/// Finds what comes along with `matches`.
///
/// # Errors
/// Those of the source.
pub fn included<S: Source>(source: &S, matches: &[Resource], include: &[Include]) -> Result<Included, S::Error> {
    let mut run = Run {
        source,
        there: matches.iter().map(|m| (m.resource_type, m.id.clone())).collect(),
        asked: HashSet::new(),
        found: Included::default(),
    };
    run.step(matches, include.iter())?;
    let mut from = 0;
    while from < run.found.resources.len() && !run.found.more {
        let newest = run.found.resources.get(from..).unwrap_or_default().to_vec();
        from = run.found.resources.len();
        run.step(&newest, include.iter().filter(|i| i.iterate))?;
    }
    Ok(run.found)
}

struct Run<'s, S> {
    source: &'s S,
    /// What is in the answer.
    there: HashSet<(&'static str, String)>,
    /// What was looked for, found or not.
    asked: HashSet<(String, String)>,
    found: Included,
}

impl<S: Source> Run<'_, S> {
    fn step<'i>(&mut self, from: &[Resource], include: impl Iterator<Item = &'i Include>) -> Result<(), S::Error> {
        for include in include {
            if include.reverse { self.reverse(from, include)? } else { self.forward(from, include)? }
        }
        Ok(())
    }

    /// What resources of the include's type refer to.
    fn forward(&mut self, from: &[Resource], include: &Include) -> Result<(), S::Error> {
        for resource in from.iter().filter(|r| r.resource_type == include.source) {
            let arena = Bump::new();
            let Ok(json) = json::parse(&resource.json, &arena) else { continue }; // it was parsed when it was written
            for (target, id) in references_of(&include.parameters, json) {
                let wanted = include.target.is_none_or(|wanted| wanted == target);
                if !wanted || !self.asked.insert((target.clone(), id.clone())) {
                    continue;
                }
                let Some(definition) = crate::fhir::definitions::resource_type(&target) else { continue };
                if let Some(found) = self.source.read(definition.name(), &id)? {
                    self.add(found);
                }
            }
        }
        Ok(())
    }

    /// What resources of the include's type refer to one of these.
    fn reverse(&mut self, to: &[Resource], include: &Include) -> Result<(), S::Error> {
        let mut targets = Resources::default();
        for resource in to.iter().filter(|r| include.target.is_none_or(|wanted| wanted == r.resource_type)) {
            targets.insert(resource.resource_type, &resource.id);
        }
        if targets.is_empty() {
            return Ok(());
        }
        let targets = Arc::new(targets);
        for &parameter in &include.parameters {
            let test = Test::Any(vec![Operand::Resources(Arc::clone(&targets))]);
            let criteria = vec![Criterion::Is { parameter, test }];
            let search = Search { criteria, ..Search::all(include.source) };
            for found in self.source.search(&search, MAX_SEARCH_INCLUDED + 1)? {
                self.add(found);
            }
        }
        Ok(())
    }

    fn add(&mut self, resource: Resource) {
        if self.there.contains(&(resource.resource_type, resource.id.clone())) {
            return;
        }
        if self.found.resources.len() == MAX_SEARCH_INCLUDED {
            self.found.more = true;
            return;
        }
        self.there.insert((resource.resource_type, resource.id.clone()));
        self.found.resources.push(resource);
    }
}
