//! Code systems and value sets: HL7's own as a table, what others have written, and the expansion of one by the other.
//!
//! What belongs here is what can be said of a code from definitions alone. Which element is bound to which value set is said in
//! `fhir`; which definitions a reader may use is for the caller to say (a [`Source`]).

pub mod builtin;
pub mod code_system;
pub mod expand;
pub mod value_set;
pub mod written;

#[cfg(test)]
mod tests;

pub use code_system::{CodeSystem, Concept, Content};
pub use expand::{ExpandError, Member, expand};
pub use value_set::ValueSet;

use std::borrow::Cow;
use std::sync::Arc;

/// A text of a table of the program, or of a definition that somebody wrote.
pub type Text = Cow<'static, str>;

/// Where code systems and value sets are found by their canonical URL (`http://...` or `http://...|version`).
pub trait Source {
    /// The code system of that URL.
    fn code_system(&self, canonical: &str) -> Option<Arc<CodeSystem>>;

    /// The value set of that URL.
    fn value_set(&self, canonical: &str) -> Option<Arc<ValueSet>>;
}

/// URL and version of a canonical.
pub fn canonical(text: &str) -> (&str, Option<&str>) {
    text.split_once('|').map_or((text, None), |(url, version)| (url, Some(version)))
}
