//! Codes by definitions: value sets (`:in`, `:not-in`) and hierarchies (`:above`, `:below`).
//!
//! What cannot be looked up as a whole is refused: an empty answer would say that there is nothing, where nobody knows.

use super::execute::SearchError;
use super::query::{Codes, Concepts};
use crate::terminology::{ExpandError, Source, expand};

#[cfg(test)]
mod tests;

/// The codes of a definition.
///
/// # Errors
/// The definition is not known, needs others that are not, or has too many codes.
pub(super) fn codes(concepts: &Concepts, source: &dyn Source) -> Result<Codes, SearchError> {
    let unknown = |what: String| Err(SearchError::Terminology(what));
    match concepts {
        Concepts::In(canonical) => {
            let Some(set) = source.value_set(canonical) else {
                return Err(ExpandError::UnknownValueSet(canonical.clone()).into());
            };
            Ok(expand(&set, source)?.into_iter().map(|member| (member.system.into_owned(), member.code.into_owned())).collect())
        }
        Concepts::Below { system, code } => {
            let Some(of) = source.code_system(system) else { return unknown(missing(system)) };
            let Some(branch) = of.below(code) else { return unknown(no_code(system)) };
            let mut codes: Codes = branch.codes.iter().map(|code| (system.clone(), (*code).to_owned())).collect();
            branch.beginning.iter().for_each(|start| codes.add_beginning(system, start));
            Ok(codes)
        }
        Concepts::Above { system, code } => {
            let Some(of) = source.code_system(system) else { return unknown(missing(system)) };
            let Some(above) = of.above(code) else { return unknown(no_code(system)) };
            Ok(above.into_iter().map(|code| (system.clone(), code.to_owned())).collect())
        }
    }
}

fn missing(system: &str) -> String {
    format!("the code system {system} is not known here: write it as a CodeSystem with its concepts first")
}

fn no_code(system: &str) -> String {
    format!("the code system {system} does not have this code, so that nothing is known to be above or below it")
}

impl From<ExpandError> for SearchError {
    fn from(error: ExpandError) -> Self {
        match error {
            ExpandError::TooLarge => Self::TooCostly(error.to_string()),
            _ => Self::Terminology(error.to_string()),
        }
    }
}
