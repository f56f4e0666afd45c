//! A SQLQuery as it is asked: its SQL with the values of its parameters, written in as literals of their declared types, so that
//! the audit log holds the question as it was asked.

use super::run::quoted;
use crate::api::ApiError;
use crate::api::parameters::{Parameters, unsupported};
use crate::query::library::{Declared, LibraryError};
use crate::query::published::PublishError;
use axum::http::StatusCode;
use dugnad_kernel::fhir::issue::IssueType;
use dugnad_sql::bind;
use std::collections::BTreeMap;

/// The SQL of a query with the values of its parameters, which are in the request's parameter `parameters`.
pub fn bound(sql: &str, declared: &[Declared], parameters: &mut Parameters) -> Result<String, ApiError> {
    let mut given: BTreeMap<String, String> = BTreeMap::new();
    if let Some(values) = parameters.resource(&["parameters"])? {
        given.extend(Parameters::read(None, &values)?.rest()?);
    }
    let mut literals = BTreeMap::new();
    for Declared { name, data_type } in declared {
        let value = given.remove(name).ok_or_else(|| unsupported(name, "of the query has no value; give it in `parameters`"))?;
        let literal = literal(data_type, &value);
        let literal = literal.ok_or_else(|| unsupported(name, "does not have the form of its declared type"))?;
        literals.insert(name.clone(), literal);
    }
    if let Some(name) = given.keys().next() {
        return Err(unsupported(name, "is not declared in Library.parameter"));
    }
    Ok(bind::bind(sql, &literals)?)
}

impl From<LibraryError> for ApiError {
    fn from(error: LibraryError) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, IssueType::Invalid, error.what).at(error.at)
    }
}

impl From<PublishError> for ApiError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Library(error) => error.into(),
            PublishError::Query(error) => error.into(),
            PublishError::Name(_) => Self::new(StatusCode::CONFLICT, IssueType::Conflict, error.to_string()).at("Library.name"),
        }
    }
}

/// A value as a literal of SQL; `None` if it does not have the form of its type.
fn literal(declared: &str, value: &str) -> Option<String> {
    match declared {
        "integer" | "positiveInt" | "unsignedInt" => value.parse::<i64>().ok().map(|n| format!("({n})")),
        "decimal" => value.parse::<f64>().ok().filter(|n| n.is_finite()).map(|n| format!("CAST('{n}' AS DOUBLE)")),
        "boolean" => value.parse::<bool>().ok().map(|b| b.to_string().to_uppercase()),
        "date" => value.parse::<jiff::civil::Date>().ok().map(|d| format!("DATE '{d}'")),
        "dateTime" | "instant" => value.parse::<jiff::Timestamp>().ok().map(|t| format!("CAST('{t}' AS TIMESTAMP WITH TIME ZONE)")),
        "string" | "code" | "id" | "uri" | "canonical" => Some(quoted(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn asked(sql: &str, declared: &Value, values: &Value) -> Result<String, ApiError> {
        let text = |parameter: &Value, member: &str| parameter[member].as_str().unwrap_or_default().to_owned();
        let declared: Vec<Declared> =
            declared.as_array().into_iter().flatten().map(|p| Declared { name: text(p, "name"), data_type: text(p, "type") }).collect();
        let body = json!({"resourceType": "Parameters", "parameter": [{"name": "parameters", "resource": {"resourceType": "Parameters", "parameter": values}}]});
        bound(sql, &declared, &mut Parameters::read(None, body.to_string().as_bytes())?)
    }

    #[test]
    fn values_are_literals_whatever_they_hold() -> Result<(), ApiError> {
        let declared = json!([{"name": "c", "type": "string"}, {"name": "n", "type": "integer"}]);
        let values = json!([{"name": "c", "valueString": "x' OR '1'='1"}, {"name": "n", "valueInteger": -3}]);
        assert_eq!(
            asked("SELECT ':c', x::TEXT FROM t WHERE code = :c AND n > :n;", &declared, &values)?,
            "SELECT ':c', x::TEXT FROM t WHERE code = 'x'' OR ''1''=''1' AND n > (-3);"
        );
        Ok(())
    }

    #[test]
    fn a_value_that_is_missing_undeclared_or_of_another_type_is_refused() {
        let declared = json!([{"name": "n", "type": "integer"}]);
        let said = |values: Value| asked("SELECT :n", &declared, &values).map_err(|e| e.to_string());
        assert!(said(json!([])).is_err_and(|e| e.contains("has no value")));
        assert!(said(json!([{"name": "n", "valueString": "1; DROP"}])).is_err_and(|e| e.contains("declared type")));
        assert!(
            said(json!([{"name": "n", "valueInteger": 1}, {"name": "m", "valueInteger": 1}])).is_err_and(|e| e.contains("not declared"))
        );
    }
}
