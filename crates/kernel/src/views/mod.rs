//! SQL on FHIR 2.0 ViewDefinitions: compiled once, run on one resource at a time.
//!
//! A view is row-local: its rows depend on one version of one resource and on nothing else.

mod about;
pub mod builtin;
mod compile;
pub mod render;
mod run;

#[cfg(test)]
mod tests;

use crate::fhir::json::Value;
use crate::fhirpath::Expression;
use bumpalo::Bump;

pub use about::About;

/// The type of a column, from `column.type` (or inferred; `String` where nothing is known).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// boolean
    Boolean,
    /// integer, integer64, positiveInt, unsignedInt
    Integer,
    /// decimal
    Decimal,
    /// code, uri, url, canonical, oid: few distinct values, dictionary-encoded in a live table
    Code,
    /// string, markdown, id, base64Binary, and whatever else
    String,
    /// date
    Date,
    /// dateTime, instant
    DateTime,
    /// time
    Time,
    /// What `getResourceKey()` and `getReferenceKey()` return: a key of a resource of this type (`None`: of any type).
    Key(Option<&'static str>),
}

/// A column of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name: `[a-zA-Z][a-zA-Z0-9_]*`.
    pub name: String,
    /// The type of its cells.
    pub column_type: ColumnType,
    /// Whether a cell is a list (`collection: true`).
    pub collection: bool,
    /// `column.description`.
    pub description: String,
    /// Whether it is the key of the patient that the resource is about.
    pub subject: bool,
}

/// A cell of a row, borrowed from the resource.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    /// No value.
    Null,
    /// A boolean.
    Boolean(bool),
    /// An integer.
    Integer(i64),
    /// A decimal, its text kept.
    Decimal(&'a str),
    /// Text, and dates and times as FHIR writes them.
    String(&'a str),
    /// A key of a resource.
    Key {
        /// Its type.
        resource_type: &'a str,
        /// Its logical id.
        id: &'a str,
    },
    /// A list, of a column that is a collection.
    List(&'a [Cell<'a>]),
    /// An element that is no primitive (allowed where no type is declared): its JSON.
    Element(Value<'a>),
}

/// Why a ViewDefinition cannot be used, or why it failed on a resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// The definition is wrong.
    #[error("{at}: {what}")]
    Definition {
        /// Where, such as `ViewDefinition.select[0].column[2].path`.
        at: String,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// A resource gives a column more than one value though it is not a collection, or an expression failed on it.
    #[error("column {column}: {what}")]
    Evaluation {
        /// The column, or the `where`/`forEach` that failed.
        column: String,
        /// What happened, without the resource's values.
        what: String,
    },
}

/// A compiled ViewDefinition.
#[derive(Debug)]
pub struct View {
    name: String,
    resource_type: &'static str,
    columns: Vec<Column>,
    /// For each column whether nothing is declared or known of its type, so that a cell is whatever the element is.
    untyped: Vec<bool>,
    conditions: Vec<Condition>,
    root: Select,
}

/// A `where` of the view.
#[derive(Debug)]
struct Condition {
    at: String,
    path: Expression,
}

/// A `select`: the rows of each of its foci, joined with those of its parts.
#[derive(Debug)]
struct Select {
    at: String,
    foci: Foci,
    columns: Vec<ColumnPath>,
    parts: Vec<Part>,
}

/// Which elements a select makes rows of.
#[derive(Debug)]
enum Foci {
    /// The one that the select around it is at.
    Same,
    /// `forEach`
    Each(Expression),
    /// `forEachOrNull`
    EachOrNull(Expression),
    /// `repeat`
    Repeat(Vec<Expression>),
}

/// What is joined to the columns of a select.
#[derive(Debug)]
enum Part {
    /// A nested select.
    Select(Select),
    /// `unionAll`: the rows of each, one after the other, all into the same columns.
    Union(Vec<Select>),
}

/// How a column's cell is computed.
#[derive(Debug)]
struct ColumnPath {
    /// The position of the column in the view.
    position: usize,
    path: Expression,
}

impl View {
    /// Compiles a ViewDefinition; whatever it uses that is not supported is refused here, by name.
    pub fn compile(definition: &serde_json::Value) -> Result<View, ViewError> {
        compile::view(definition)
    }

    /// `ViewDefinition.name`, or "" where it has none.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The resource type that it reads.
    pub fn resource_type(&self) -> &str {
        self.resource_type
    }

    /// Its columns, in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Whom its rows are about.
    pub fn about(&self) -> About {
        match self.columns.iter().position(|c| c.subject) {
            Some(position) => About::Patient(position),
            None if about::nobody(self.resource_type) => About::Nobody,
            None => About::Somebody,
        }
    }

    /// The rows of one resource; none if it is of another type or a `where` says no. `row` is called once per row.
    pub fn run<'a>(&self, resource: Value<'a>, arena: &'a Bump, row: &mut dyn FnMut(&[Cell<'a>])) -> Result<(), ViewError> {
        run::run(self, resource, arena, row)
    }
}

/// Whether a resource, or an element directly in it, has a `modifierExtension`. Such an extension may turn the meaning
/// around, and none is known here, so that the resource must not be read as if it were not there (FHIR R4, section 2.4.2).
pub fn has_modifier_extension(resource: &Value<'_>) -> bool {
    let has = |value: &Value<'_>| value.members().iter().any(|(name, _)| *name == "modifierExtension");
    has(resource) || resource.members().iter().any(|(_, value)| has(value) || value.items().iter().any(has))
}
