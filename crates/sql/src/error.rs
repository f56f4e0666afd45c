//! Why there is no answer, in words for the one who asked. DataFusion's own messages may quote values of the data, and
//! name things that a user has never heard of; so a message that comes out of a running query is replaced by a fixed
//! sentence, and one that comes out of planning, where no data has been read, is cleaned.

use crate::limits::MAX_SQL_NESTING;
use crate::{CATALOG, SCHEMA};
use datafusion::arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The permit is unknown, not this user's, not valid now: all the same to the caller.
    #[error("there is no permit `{0}` that you may use now; `GET /permits` lists yours")]
    NoPermit(String),
    /// The statement is not one that a permit answers.
    #[error("{0}")]
    Refused(String),
    /// The commit that was asked for is not there (yet), or is before the permit's start.
    #[error("{0}")]
    Commit(String),
    /// Too long, too much memory.
    #[error("{0}")]
    Limit(String),
    /// The permit was revoked, or has expired, while the answer was being given.
    #[error("the permit `{0}` no longer holds: it was revoked or has expired; what came before is not a whole answer")]
    Revoked(String),
    /// Somebody stopped it.
    #[error("{0}")]
    Cancelled(String),
    /// Too many questions are waiting; try again later (503 with Retry-After).
    #[error("too many questions are waiting; ask again in {retry_after_s} s")]
    Busy {
        /// Seconds.
        retry_after_s: u64,
    },
    /// The audit log cannot be written, so nothing is read.
    #[error("{0}")]
    Audit(String),
    /// Our fault.
    #[error("the query failed: {0}")]
    Internal(String),
}

/// How long a cleaned message may be, in characters.
const MESSAGE_LENGTH: usize = 600;

impl QueryError {
    /// What goes wrong before anything has been read. Its message may quote the question, and the permit's own tables.
    pub fn planning(error: DataFusionError) -> Self {
        match error {
            DataFusionError::SQL(error, _) => Self::Refused(syntax(*error)),
            DataFusionError::Plan(message) => Self::Refused(clean(&message)),
            DataFusionError::SchemaError(error, _) => Self::Refused(clean(&schema(&error))),
            DataFusionError::NotImplemented(message) => Self::Refused(format!("not supported: {}", clean(&message))),
            DataFusionError::Diagnostic(diagnostic, error) => {
                let at = diagnostic.span.map(|s| s.start).filter(|s| s.line > 0);
                match (Self::planning(*error), at) {
                    (Self::Refused(message), Some(at)) if !message.contains("at line") => {
                        Self::Refused(format!("{message} (at line {}, column {})", at.line, at.column))
                    }
                    (error, _) => error,
                }
            }
            DataFusionError::Context(_, error) => Self::planning(*error),
            DataFusionError::Collection(errors) => {
                errors.into_iter().next().map_or_else(|| Self::running(DataFusionError::Internal(String::new())), Self::planning)
            }
            other => Self::running(other),
        }
    }

    /// The error of an answer's stream.
    pub fn of_stream(error: DataFusionError) -> Self {
        Self::running(error)
    }

    /// What goes wrong while rows are being read: nothing of DataFusion's message is passed on.
    pub fn running(error: DataFusionError) -> Self {
        match error {
            DataFusionError::External(error) => match error.downcast::<QueryError>() {
                Ok(error) => *error,
                Err(_) => Self::Internal("a part of the engine failed".to_owned()),
            },
            DataFusionError::ResourcesExhausted(_) => Self::memory(),
            DataFusionError::ArrowError(error, _) => Self::Refused(arrow(&error).to_owned()),
            DataFusionError::Execution(_) => Self::Refused(VALUE.to_owned()),
            DataFusionError::NotImplemented(_) => Self::Refused("an operation is not supported for these types".to_owned()),
            DataFusionError::Context(_, error) | DataFusionError::Diagnostic(_, error) => Self::running(*error),
            DataFusionError::Shared(error) => Self::shared(&error),
            DataFusionError::Collection(errors) => {
                errors.into_iter().next().map_or_else(|| Self::Internal("the engine failed".to_owned()), Self::running)
            }
            DataFusionError::ExecutionJoin(_) => Self::Internal("the engine stopped".to_owned()),
            _ => Self::Internal("the engine cannot run this statement; please report its SQL".to_owned()),
        }
    }

    fn shared(error: &DataFusionError) -> Self {
        match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => Self::memory(),
            DataFusionError::ArrowError(error, _) => Self::Refused(arrow(error).to_owned()),
            DataFusionError::Execution(_) => Self::Refused(VALUE.to_owned()),
            _ => Self::Internal("a part of the engine failed".to_owned()),
        }
    }

    /// The question needs more memory than one may use.
    pub fn memory() -> Self {
        Self::Limit("the question needs more memory than one may use under this permit; ask for fewer rows or groups".to_owned())
    }

    /// The answer has more rows than one may have.
    pub fn rows(limit: u64) -> Self {
        Self::Limit(format!("the answer has more than the {limit} rows that one may have under this permit; ask for fewer"))
    }

    /// The question has taken as long as one may.
    pub fn time(limit: std::time::Duration) -> Self {
        Self::Limit(format!("the question took longer than the {} s that one may take; ask for less at a time", limit.as_secs_f64()))
    }

    /// A word for the audit log: which kind it is, without the message.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoPermit(_) => "no permit",
            Self::Refused(_) => "refused",
            Self::Commit(_) => "commit",
            Self::Limit(_) => "limit",
            Self::Revoked(_) => "revoked",
            Self::Cancelled(_) => "cancelled",
            Self::Busy { .. } => "busy",
            Self::Audit(_) => "audit",
            Self::Internal(_) => "failed",
        }
    }
}

impl From<QueryError> for DataFusionError {
    fn from(error: QueryError) -> Self {
        DataFusionError::External(Box::new(error))
    }
}

const VALUE: &str = "an expression failed on a value that its function does not accept; check its arguments, or use TRY_CAST";

fn arrow(error: &ArrowError) -> &'static str {
    match error {
        ArrowError::CastError(_) | ArrowError::ParseError(_) => {
            "a value cannot be converted to the type that the question asks for; TRY_CAST gives NULL for such values"
        }
        ArrowError::DivideByZero => "a division by zero; NULLIF(x, 0) gives NULL instead",
        ArrowError::ArithmeticOverflow(_) => "a number became too large for its type; CAST its operands to DOUBLE",
        _ => VALUE,
    }
}

fn syntax(error: ParserError) -> String {
    match error {
        ParserError::RecursionLimitExceeded => {
            format!(
                "the question nests too deeply to be read; at most {MAX_SQL_NESTING} levels are, and fewer where something is missing inside"
            )
        }
        ParserError::ParserError(message) | ParserError::TokenizerError(message) => {
            format!("the SQL cannot be read: {}", clean(&message.replace(" at Line: ", " at line ").replace(", Column: ", ", column ")))
        }
    }
}

fn schema(error: &SchemaError) -> String {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let names: Vec<String> = valid_fields.iter().map(datafusion::common::Column::quoted_flat_name).collect();
            let have = if names.is_empty() { String::new() } else { format!("; there are {}", names.join(", ")) };
            format!("there is no column {}{have}", field.quoted_flat_name())
        }
        other => other.to_string(),
    }
}

/// DataFusion's message in this database's words. A table that the permit does not hold is answered alike whether it
/// exists elsewhere or not.
fn clean(message: &str) -> String {
    let unknown = message.strip_prefix("table '").and_then(|rest| rest.strip_suffix("' not found"));
    if let Some(table) = unknown {
        let name = table.strip_prefix(&format!("{CATALOG}.{SCHEMA}.")).unwrap_or(table);
        let name = name.strip_prefix(&format!("{CATALOG}.")).unwrap_or(name);
        return format!("there is no table {name} under this permit; SHOW TABLES lists those there are");
    }
    let function = message.strip_prefix("Invalid function '").and_then(|rest| rest.split('\'').next());
    if let Some(function) = function {
        return format!("there is no function {function}");
    }
    let message = message.strip_prefix("Error during planning: ").unwrap_or(message);
    let text: String = message.chars().take(MESSAGE_LENGTH).collect();
    if text.len() < message.len() { format!("{text} ...") } else { text }
}
