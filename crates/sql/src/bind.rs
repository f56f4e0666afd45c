//! The parameters of a stored query: `:name` in its SQL, replaced by literals before the question is asked.

use crate::dialect::QuestionDialect;
use crate::error::QueryError;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use std::collections::BTreeMap;

/// The SQL with each `:name` that `literals` has replaced by its literal. What stands in a string, a quoted name or a comment is
/// left alone, as is a `:name` that is not declared: the planner refuses it.
pub fn bind(sql: &str, literals: &BTreeMap<String, String>) -> Result<String, QueryError> {
    let dialect = QuestionDialect::new();
    let tokens = Tokenizer::new(&dialect, sql).with_unescape(false).tokenize();
    let tokens = tokens.map_err(|e| QueryError::Refused(format!("the SQL cannot be read: {e}")))?;
    let mut bound = String::with_capacity(sql.len());
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let literal = match (&token, tokens.peek()) {
            (Token::Colon, Some(Token::Word(word))) if word.quote_style.is_none() => literals.get(&word.value),
            (Token::Placeholder(name), _) => name.strip_prefix(':').and_then(|name| literals.get(name)),
            _ => None,
        };
        match literal {
            Some(literal) => {
                bound.push_str(literal);
                if token == Token::Colon {
                    tokens.next();
                }
            }
            None => bound.push_str(&token.to_string()),
        }
    }
    Ok(bound)
}
