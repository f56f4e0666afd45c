//! A searchset, put together as bytes: stored resources are copied as they are, and parsed only where a part is cut out.

use crate::api::ApiError;
use bumpalo::Bump;
use dugnad_kernel::fhir::issue::{Issue, operation_outcome};
use dugnad_kernel::fhir::json;
use dugnad_kernel::fhir::subset::Subset;
use std::collections::HashSet;

/// Why a resource is in the answer (`Bundle.entry.search.mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It matches.
    Match,
    /// It was asked to come along.
    Include,
}

/// A link of a page: its relation and its address.
pub type Link = (&'static str, String);

/// The entries of a page, under construction.
pub struct Entries {
    base: String,
    out: Vec<u8>,
    there: HashSet<(String, String)>,
    matches: usize,
}

impl Entries {
    /// None yet; `base` is the address of `/fhir`.
    pub fn new(base: &str) -> Self {
        Self { base: base.to_owned(), out: Vec::new(), there: HashSet::new(), matches: 0 }
    }

    /// How large they are, in bytes.
    pub fn bytes(&self) -> usize {
        self.out.len()
    }

    /// How many resources they hold.
    pub fn resources(&self) -> usize {
        self.there.len()
    }

    /// How many of them match.
    pub fn matches(&self) -> usize {
        self.matches
    }

    /// Adds a resource, or the part of it that is wanted; not again if it is there.
    ///
    /// # Errors
    /// The stored resource cannot be parsed.
    pub fn add(&mut self, mode: Mode, resource_type: &str, id: &str, stored: &[u8], subset: Option<&Subset>) -> Result<(), ApiError> {
        if !self.there.insert((resource_type.to_owned(), id.to_owned())) {
            return Ok(());
        }
        self.matches += usize::from(mode == Mode::Match);
        self.out.extend_from_slice(if self.out.is_empty() { b"{\"fullUrl\":" } else { b",{\"fullUrl\":" });
        json::write_string(&format!("{}/{resource_type}/{id}", self.base), &mut self.out);
        self.out.extend_from_slice(b",\"resource\":");
        match subset {
            None => self.out.extend_from_slice(stored),
            Some(subset) => write_part(stored, subset, &mut self.out)?,
        }
        self.out.extend_from_slice(match mode {
            Mode::Match => b",\"search\":{\"mode\":\"match\"}}",
            Mode::Include => b",\"search\":{\"mode\":\"include\"}}",
        });
        Ok(())
    }

    /// Adds what there is to say about the search itself.
    pub fn add_outcome(&mut self, issues: &[Issue]) {
        if !self.out.is_empty() {
            self.out.push(b',');
        }
        let entry = serde_json::json!({"resource": operation_outcome(issues), "search": {"mode": "outcome"}});
        self.out.extend_from_slice(entry.to_string().as_bytes());
    }

    /// The Bundle.
    pub fn finish(self, total: Option<u64>, links: &[Link]) -> Vec<u8> {
        let mut bundle = b"{\"resourceType\":\"Bundle\",\"type\":\"searchset\"".to_vec();
        if let Some(total) = total {
            bundle.extend_from_slice(format!(",\"total\":{total}").as_bytes());
        }
        let links: Vec<_> = links.iter().map(|(relation, url)| serde_json::json!({"relation": relation, "url": url})).collect();
        bundle.extend_from_slice(format!(",\"link\":{}", serde_json::Value::Array(links)).as_bytes());
        if !self.out.is_empty() {
            bundle.extend_from_slice(b",\"entry\":[");
            bundle.extend_from_slice(&self.out);
            bundle.push(b']');
        }
        bundle.push(b'}');
        bundle
    }
}

/// The part of a stored resource that is wanted.
///
/// # Errors
/// The stored resource cannot be parsed.
pub fn write_part(stored: &[u8], subset: &Subset, out: &mut Vec<u8>) -> Result<(), ApiError> {
    let arena = Bump::new();
    let resource = json::parse(stored, &arena).map_err(|e| ApiError::internal(&format!("a stored resource: {e}")))?;
    subset.write(&resource, out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_bytes_are_copied_and_nothing_is_there_twice() -> Result<(), ApiError> {
        let mut entries = Entries::new("http://here/fhir");
        entries.add(Mode::Match, "Patient", "1", b"{\"a\":1.10}", None)?;
        entries.add(Mode::Include, "Patient", "1", b"{\"a\":1.10}", None)?;
        entries.add(Mode::Include, "Group", "1", b"{}", None)?;
        entries.add_outcome(&[]);
        assert_eq!(entries.resources(), 2);
        let bundle = entries.finish(Some(1), &[("self", "http://here/fhir/Patient".to_owned())]);
        let expected = r#"{"resourceType":"Bundle","type":"searchset","total":1,"link":[{"relation":"self","url":"http://here/fhir/Patient"}],"entry":[{"fullUrl":"http://here/fhir/Patient/1","resource":{"a":1.10},"search":{"mode":"match"}},{"fullUrl":"http://here/fhir/Group/1","resource":{},"search":{"mode":"include"}},{"resource":{"resourceType":"OperationOutcome","issue":[]},"search":{"mode":"outcome"}}]}"#;
        assert_eq!(String::from_utf8_lossy(&bundle), expected);
        Ok(())
    }

    #[test]
    fn a_part_says_that_it_is_one() -> Result<(), ApiError> {
        let mut entries = Entries::new("");
        entries.add(
            Mode::Match,
            "Basic",
            "1",
            br#"{"resourceType":"Basic","id":"1","code":{},"created":"2026"}"#,
            Some(&Subset::Elements(vec![])),
        )?;
        let text = String::from_utf8_lossy(&entries.finish(None, &[])).into_owned();
        assert!(text.contains("SUBSETTED") && !text.contains("created"), "{text}");
        Ok(())
    }
}
