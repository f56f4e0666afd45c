//! FHIRPath: expressions compiled once and evaluated over one resource at a time.
//!
//! The subset that ViewDefinitions and search parameters use (HL7 FHIRPath N1 and the functions that FHIR R4 and
//! SQL on FHIR 2.0 add). A result is a function of the resource only: what depends on the clock, on other resources
//! or on a terminology service is refused when the expression is compiled, by name and position.
//!
//! Where this differs from the specification, because no type information goes along with an element:
//! - An element is of the type that its choice variant names (`valueQuantity`), or of any type that its JSON can be.
//! - Two strings of unknown type that both look like dates are compared as dates.
//! - A primitive element with extensions but no value is reached by `element.extension(...)` only.

mod code;
mod compile;
mod decimal;
mod evaluate;
mod infer;
mod item;
mod lexer;
mod parser;
mod presence;
mod syntax;
mod temporal;
pub mod types;

#[cfg(test)]
mod tests;

use crate::fhir::json::Value;
use bumpalo::Bump;
use code::Code;
use evaluate::{Break, Root, Scope};
use std::ops::ControlFlow;

pub use infer::ResultType;
pub use item::Item;
pub use syntax::Literal;

/// Why an expression cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {at}: {what}")]
pub struct CompileError {
    /// Where in the expression, in characters from 1.
    pub at: usize,
    /// What is wrong, and what would be right.
    pub what: String,
}

/// Why an expression failed on a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {at} of the expression: {what}")]
pub struct EvaluationError {
    /// Where in the expression, in characters from 1; 0 for the expression as a whole.
    pub at: usize,
    /// What is wrong; never a value of the resource.
    pub what: &'static str,
}

/// The constants that an expression may name as `%name`.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    constants: Vec<(String, Literal)>,
}

impl Environment {
    /// Adds a constant.
    pub fn define(&mut self, name: &str, value: Literal) {
        self.constants.push((name.to_owned(), value));
    }

    /// The constant of that name.
    pub fn get(&self, name: &str) -> Option<&Literal> {
        self.constants.iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }
}

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Expression {
    code: Code,
    uses_row_index: bool,
}

/// What an expression is evaluated on.
#[derive(Clone, Copy)]
pub struct Focus<'a> {
    /// `%resource`
    pub resource: Value<'a>,
    /// `%context`, and `$this` to begin with; `None` is the empty collection.
    pub context: Option<Item<'a>>,
    /// `%rowIndex`
    pub row_index: i64,
    /// Where computed strings go.
    pub arena: &'a Bump,
}

impl<'a> Focus<'a> {
    /// A whole resource.
    pub fn resource(resource: Value<'a>, arena: &'a Bump) -> Self {
        Focus { resource, context: Some(Item::element(resource)), row_index: 0, arena }
    }
}

impl Expression {
    /// Compiles an expression. Whatever it uses that is not supported is refused by its name and position.
    pub fn compile(text: &str, environment: &Environment) -> Result<Expression, CompileError> {
        let (code, uses_row_index) = compile::compile(&parser::parse(text)?, environment)?;
        Ok(Expression { code, uses_row_index })
    }

    /// Whether it uses `%rowIndex`.
    pub fn uses_row_index(&self) -> bool {
        self.uses_row_index
    }

    /// What is known of its result without a resource.
    pub fn result_type(&self) -> ResultType {
        infer::result(&self.code)
    }

    /// The elements that it steps into first, by name.
    pub fn elements(&self) -> Vec<&str> {
        let mut found = Vec::new();
        presence::elements(&self.code, &mut found);
        found
    }

    /// Whether it can be false on an element of which `present` says which parts it has (`None`: nobody knows). Where it cannot, it
    /// need not be evaluated.
    pub fn can_fail(&self, present: &dyn Fn(&str) -> Option<bool>) -> bool {
        !matches!(presence::known(&self.code, present), presence::Known::True | presence::Known::Empty)
    }

    /// As a condition: nothing where it cannot be known, or is about nothing.
    pub fn truth(&self, focus: &Focus<'_>) -> Result<Option<bool>, EvaluationError> {
        let root = Root::new(focus);
        self.code.truth(&Scope::new(&root), 0)
    }

    /// Calls `sink` with each item of the result, in order, until it breaks.
    pub fn each<'a>(&self, focus: &Focus<'a>, sink: &mut dyn FnMut(Item<'a>) -> ControlFlow<()>) -> Result<(), EvaluationError> {
        let root = Root::new(focus);
        match self.code.each(&Scope::new(&root), &mut |item| sink(item).map_break(|()| Break::Stop)) {
            ControlFlow::Break(Break::Failed(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// The only item of the result. More than one is an error.
    pub fn single<'a>(&self, focus: &Focus<'a>) -> Result<Option<Item<'a>>, EvaluationError> {
        let root = Root::new(focus);
        self.code.single(&Scope::new(&root), 0)
    }

    /// The items of the result.
    pub fn items<'a>(&self, focus: &Focus<'a>) -> Result<bumpalo::collections::Vec<'a, Item<'a>>, EvaluationError> {
        let mut items = bumpalo::collections::Vec::new_in(focus.arena);
        self.each(focus, &mut |item| {
            items.push(item);
            ControlFlow::Continue(())
        })?;
        Ok(items)
    }
}
