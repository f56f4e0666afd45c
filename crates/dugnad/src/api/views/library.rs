//! A SQLQuery: a Library whose content is SQL, and the values of its parameters.
//!
//! Values are written into the SQL as literals of their declared types, so that the audit log holds the question as it was asked.

use super::parameters::{Parameters, unsupported};
use super::run::quoted;
use crate::api::ApiError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dugnad_kernel::fhir::issue::IssueType;
use dugnad_sql::bind;
use serde_json::Value;
use std::collections::BTreeMap;

/// Where a Library may hold its SQL as plain text.
const SQL_TEXT: [&str; 2] =
    ["http://hl7.org/fhir/uv/sql-on-fhir/StructureDefinition/sql-text", "https://sql-on-fhir.org/ig/StructureDefinition/sql-text"];

/// The SQL of a Library with the values of its parameters in it.
pub fn sql(library: &[u8], parameters: &mut Parameters) -> Result<String, ApiError> {
    let wrong = |at: &str, what: String| ApiError::bad_request(IssueType::Invalid, what).at(format!("Library{at}"));
    let library: Value = serde_json::from_slice(library).map_err(|e| wrong("", e.to_string()))?;
    let text = written(&library)?;
    let mut given: BTreeMap<String, String> = BTreeMap::new();
    if let Some(values) = parameters.resource(&["parameters"])? {
        given.extend(Parameters::read(None, &values)?.rest()?);
    }
    let mut literals = BTreeMap::new();
    for (i, parameter) in library.get("parameter").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let member = |name: &str| parameter.get(name).and_then(Value::as_str);
        let name = member("name").ok_or_else(|| wrong(&format!(".parameter[{i}]"), "a parameter needs a name".to_owned()))?;
        let value = given.remove(name).ok_or_else(|| unsupported(name, "of the query has no value; give it in `parameters`"))?;
        let literal = literal(member("type").unwrap_or("string"), &value);
        let literal = literal.ok_or_else(|| unsupported(name, "does not have the form of its declared type"))?;
        literals.insert(name.to_owned(), literal);
    }
    if let Some(name) = given.keys().next() {
        return Err(unsupported(name, "is not declared in Library.parameter"));
    }
    Ok(bind::bind(&text, &literals)?)
}

/// The SQL of the first content that is SQL: its `sql-text`, or its data.
fn written(library: &Value) -> Result<String, ApiError> {
    let contents = library.get("content").and_then(Value::as_array).into_iter().flatten();
    let is_sql = |c: &&Value| c.get("contentType").and_then(Value::as_str).is_some_and(|t| t.starts_with("application/sql"));
    let missing = || ApiError::bad_request(IssueType::Required, "a query has content of type application/sql").at("Library.content");
    let content = contents.into_iter().find(is_sql).ok_or_else(missing)?;
    let extensions = content.get("extension").and_then(Value::as_array).into_iter().flatten();
    let is_text = |e: &&Value| e.get("url").and_then(Value::as_str).is_some_and(|url| SQL_TEXT.contains(&url));
    if let Some(text) = extensions.into_iter().find(is_text).and_then(|e| e.get("valueString")).and_then(Value::as_str) {
        return Ok(text.to_owned());
    }
    let data = content.get("data").and_then(Value::as_str).and_then(|data| STANDARD.decode(data).ok());
    let text = data.and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| ApiError::bad_request(IssueType::Value, "the SQL must be UTF-8 in base64").at("Library.content.data"))
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
    use serde_json::json;

    fn asked(sql: &str, parameters: &Value, values: &Value) -> Result<String, ApiError> {
        let library = json!({"resourceType": "Library", "parameter": parameters, "content": [{"contentType": "application/sql", "data": STANDARD.encode(sql)}]});
        let body = json!({"resourceType": "Parameters", "parameter": [{"name": "parameters", "resource": {"resourceType": "Parameters", "parameter": values}}]});
        super::sql(library.to_string().as_bytes(), &mut Parameters::read(None, body.to_string().as_bytes())?)
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
