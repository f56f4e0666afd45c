//! The SQL that questions are written in: sqlparser's generic dialect, less what no SELECT needs, and with an end to how
//! long the parser tries.
//!
//! The parser goes back and tries again where a phrase can be read in several ways. Nested (`CASE WHEN CASE WHEN ...`,
//! `CAST(CAST(...`, `POSITION(POSITION(...`) and with a mistake inside, each level doubles the work or worse, far below any
//! bound on nesting: 16 levels take 0.5 s, 50 would take for ever, and a parser cannot be interrupted. So it is given a
//! number of steps.

use crate::limits::MAX_PARSER_STEPS;
use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use std::any::TypeId;
use std::cell::Cell;

/// The dialect of one question.
#[derive(Debug)]
pub struct QuestionDialect {
    steps: Cell<u32>,
}

impl QuestionDialect {
    pub fn new() -> Self {
        Self { steps: Cell::new(MAX_PARSER_STEPS) }
    }
}

impl Dialect for QuestionDialect {
    /// Where the parser asks for a dialect by type, this one counts as the generic one.
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }

    /// Called for every expression that is begun. This error is the one that the parser does not try its way around.
    fn parse_prefix(&self, _parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        match self.steps.get().checked_sub(1) {
            Some(left) => {
                self.steps.set(left);
                None
            }
            None => Some(Err(ParserError::RecursionLimitExceeded)),
        }
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_'
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_left_associative_joins_without_parens(&self) -> bool {
        true
    }

    fn supports_window_function_null_treatment_arg(&self) -> bool {
        true
    }

    fn supports_window_clause_named_window_reference(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_select_wildcard_exclude(&self) -> bool {
        true
    }

    fn supports_select_wildcard_except(&self) -> bool {
        true
    }

    fn supports_select_wildcard_replace(&self) -> bool {
        true
    }

    fn supports_parens_around_table_factor(&self) -> bool {
        true
    }

    fn supports_values_as_table_factor(&self) -> bool {
        true
    }

    fn supports_explain_with_utility_options(&self) -> bool {
        true
    }

    fn allow_extract_custom(&self) -> bool {
        true
    }

    fn allow_extract_single_quotes(&self) -> bool {
        true
    }

    fn supports_interval_options(&self) -> bool {
        true
    }

    fn supports_nested_comments(&self) -> bool {
        true
    }

    fn supports_string_escape_constant(&self) -> bool {
        true
    }

    fn supports_array_typedef_with_brackets(&self) -> bool {
        true
    }
}
