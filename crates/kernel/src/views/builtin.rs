//! The views that every Dugnad database has.

use super::View;

/// A built-in view and the name of its table.
#[derive(Debug)]
pub struct Builtin {
    /// The table: the resource in snake_case.
    pub table: &'static str,
    /// One sentence for the catalogue.
    pub description: &'static str,
    /// Compiled.
    pub view: View,
}

/// The built-in ViewDefinitions, compiled; `data/views/*.json`.
pub fn builtin_views() -> Vec<Builtin> {
    todo!()
}

/// `treatment`, the SQLView over them: its name and SQL.
pub const TREATMENT: (&str, &str) = ("treatment", "");

/// Whether an unknown `modifierExtension` keeps a resource out of the built-in views.
pub fn has_modifier_extension(_resource: &crate::fhir::json::Value<'_>) -> bool {
    todo!()
}
