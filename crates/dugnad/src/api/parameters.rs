//! What an operation is asked: FHIR's Parameters, from a body, an address or both.
//!
//! Each operation takes what it knows; whatever is left over at the end is refused by name, so that nothing that was asked for is
//! left out in silence.

use crate::api::ApiError;
use crate::api::headers::{percent_decode, require_json_format};
use axum::http::{HeaderMap, StatusCode};
use bumpalo::Bump;
use dugnad_kernel::fhir::issue::IssueType;
use dugnad_kernel::fhir::json::{self, Value};

/// The parameters of one request.
#[derive(Debug, Default)]
pub struct Parameters(Vec<(String, Given)>);

/// A parameter's value.
#[derive(Debug)]
enum Given {
    /// A primitive, or the `reference` of a Reference.
    Text(String),
    /// The JSON of another data type, such as a Coding.
    Element(Vec<u8>),
    /// A resource's JSON, its digits kept.
    Resource(Vec<u8>),
    /// Named parts.
    Parts(Parameters),
}

impl Parameters {
    /// Those of an address and of a body, which is a Parameters resource or empty.
    pub fn read(query: Option<&str>, body: &[u8]) -> Result<Self, ApiError> {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let text = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(name, true), Given::Text(percent_decode(value, true)))
        };
        let mut parameters = Self(pairs.map(text).collect());
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(parameters);
        }
        let arena = Bump::new();
        let wrong = |e: json::JsonError| ApiError::bad_request(IssueType::Structure, e.to_string()).at("Parameters");
        let resource = json::parse(body, &arena).map_err(wrong)?;
        if resource.str("resourceType") != Some("Parameters") {
            let what = "the body must be a resource of type Parameters";
            return Err(ApiError::bad_request(IssueType::Structure, what).at("Parameters"));
        }
        parameters.0.extend(listed(&resource, "parameter", "Parameters")?);
        Ok(parameters)
    }

    fn take(&mut self, name: &str) -> Option<Given> {
        let at = self.0.iter().position(|(n, _)| n == name)?;
        Some(self.0.remove(at).1)
    }

    /// A primitive or a reference that may be given once; under any of the names that editions of the standard have for it.
    pub fn text(&mut self, names: &[&str]) -> Result<Option<String>, ApiError> {
        let mut found = None;
        for name in names {
            while let Some(given) = self.take(name) {
                let Given::Text(text) = given else { return Err(misshapen(name, "a primitive or a Reference was expected")) };
                if found.replace(text).is_some() {
                    return Err(misshapen(name, "it may be given once"));
                }
            }
        }
        Ok(found)
    }

    /// A primitive or a reference that may be given several times.
    pub fn texts(&mut self, name: &str) -> Result<Vec<String>, ApiError> {
        let mut found = Vec::new();
        while let Some(given) = self.take(name) {
            let Given::Text(text) = given else { return Err(misshapen(name, "a primitive or a Reference was expected")) };
            found.push(text);
        }
        Ok(found)
    }

    /// Takes what every request may say of its answer, `_format` and `_pretty`; refuses clients that accept no JSON (406). `_format`
    /// wins over `Accept`.
    pub fn require_json_accepted(&mut self, headers: &HeaderMap) -> Result<(), ApiError> {
        self.text(&["_pretty"])?;
        require_json_format(headers, self.text(&["_format"])?.as_deref())
    }

    /// A whole number.
    pub fn number(&mut self, name: &str) -> Result<Option<u64>, ApiError> {
        let text = self.text(&[name])?;
        text.map(|t| t.parse().map_err(|_| misshapen(name, "a whole number that is not negative was expected"))).transpose()
    }

    /// A resource that may be given once.
    pub fn resource(&mut self, names: &[&str]) -> Result<Option<Vec<u8>>, ApiError> {
        let mut found = None;
        for name in names {
            for resource in self.resources(name)? {
                if found.replace(resource).is_some() {
                    return Err(misshapen(name, "it may be given once"));
                }
            }
        }
        Ok(found)
    }

    /// Resources.
    pub fn resources(&mut self, name: &str) -> Result<Vec<Vec<u8>>, ApiError> {
        let mut found = Vec::new();
        while let Some(given) = self.take(name) {
            let Given::Resource(resource) = given else { return Err(misshapen(name, "a resource was expected")) };
            found.push(resource);
        }
        Ok(found)
    }

    /// A value of a data type that is an object, such as a Coding, as JSON; it may be given once.
    pub fn element(&mut self, name: &str) -> Result<Option<Vec<u8>>, ApiError> {
        let mut found = None;
        while let Some(given) = self.take(name) {
            let Given::Element(element) = given else { return Err(misshapen(name, "a data type such as a Coding was expected")) };
            if found.replace(element).is_some() {
                return Err(misshapen(name, "it may be given once"));
            }
        }
        Ok(found)
    }

    /// Parameters that consist of parts.
    pub fn parts(&mut self, name: &str) -> Result<Vec<Parameters>, ApiError> {
        let mut found = Vec::new();
        while let Some(given) = self.take(name) {
            let Given::Parts(parts) = given else { return Err(misshapen(name, "parts were expected")) };
            found.push(parts);
        }
        Ok(found)
    }

    /// All that are left, as texts by name: the values of a query's own parameters.
    pub fn rest(self) -> Result<Vec<(String, String)>, ApiError> {
        let text = |(name, given): (String, Given)| match given {
            Given::Text(text) => Ok((name, text)),
            Given::Element(_) | Given::Resource(_) | Given::Parts(_) => Err(misshapen(&name, "a primitive was expected")),
        };
        self.0.into_iter().map(text).collect()
    }

    /// Refuses what nobody has taken.
    pub fn finish(&self) -> Result<(), ApiError> {
        let Some((name, _)) = self.0.first() else { return Ok(()) };
        let shown: String = name.chars().filter(|c| c.is_ascii_graphic()).take(64).collect();
        Err(unsupported(&shown, "is not supported here; leave it out"))
    }
}

fn misshapen(name: &str, what: &str) -> ApiError {
    ApiError::bad_request(IssueType::Value, format!("parameter {name}: {what}")).at(format!("Parameters.parameter.where(name='{name}')"))
}

/// 400 for a parameter that the standard has and that is not answered here.
pub fn unsupported(name: &str, what: &str) -> ApiError {
    let what = format!("the parameter {name} {what}");
    ApiError::new(StatusCode::BAD_REQUEST, IssueType::NotSupported, what).at(format!("Parameters.parameter.where(name='{name}')"))
}

fn listed(of: &Value<'_>, member: &str, at: &str) -> Result<Vec<(String, Given)>, ApiError> {
    let wrong = |i: usize, what: &str| ApiError::bad_request(IssueType::Structure, what).at(format!("{at}.{member}[{i}]"));
    let items = of.get(member).map_or(&[][..], |list| list.items());
    let mut found = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        let name = item.str("name").ok_or_else(|| wrong(i, "a parameter needs a name"))?;
        let value = item.members().iter().find(|(name, _)| name.starts_with("value")).map(|(_, value)| value);
        let given = match (item.get("resource"), value, item.get("part")) {
            (Some(resource), None, None) => {
                let mut bytes = Vec::new();
                resource.write(&mut bytes);
                Given::Resource(bytes)
            }
            (None, Some(value), None) => given_value(value),
            (None, None, Some(_)) => Given::Parts(Parameters(listed(item, "part", &format!("{at}.{member}[{i}]"))?)),
            _ => return Err(wrong(i, "a parameter has exactly one of value[x], resource and part")),
        };
        found.push((name.to_owned(), given));
    }
    Ok(found)
}

fn given_value(value: &Value<'_>) -> Given {
    text(value).map_or_else(
        || {
            let mut bytes = Vec::new();
            value.write(&mut bytes);
            Given::Element(bytes)
        },
        Given::Text,
    )
}

fn text(value: &Value<'_>) -> Option<String> {
    match value {
        Value::String(text) | Value::Number(text) => Some((*text).to_owned()),
        Value::Boolean(value) => Some(value.to_string()),
        other => other.str("reference").map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_a_body_are_read_alike() -> Result<(), ApiError> {
        let body = br#"{"resourceType":"Parameters","parameter":[{"name":"viewReference","valueReference":{"reference":"ViewDefinition/v"}},
            {"name":"resource","resource":{"resourceType":"Patient","x":1.10}},{"name":"subject","part":[{"name":"name","valueString":"a"}]}]}"#;
        let mut parameters = Parameters::read(Some("_limit=3&patient=Patient%2F1&patient=2"), body)?;
        assert_eq!(parameters.number("_limit")?, Some(3));
        assert_eq!(parameters.texts("patient")?, ["Patient/1", "2"]);
        assert_eq!(parameters.text(&["subjectReference", "viewReference"])?.as_deref(), Some("ViewDefinition/v"));
        assert_eq!(parameters.resources("resource")?, [br#"{"resourceType":"Patient","x":1.10}"#]);
        assert_eq!(parameters.parts("subject")?.len(), 1);
        parameters.finish()
    }

    #[test]
    fn what_nobody_takes_is_refused_by_name() -> Result<(), ApiError> {
        let left = Parameters::read(Some("source=s3://bucket"), b"")?.finish();
        assert!(left.is_err_and(|e| e.to_string().contains("source")));
        let mut twice = Parameters::read(Some("_format=csv&_format=json"), b"")?;
        assert!(twice.text(&["_format"]).is_err_and(|e| e.to_string().contains("once")));
        assert!(Parameters::read(None, br#"{"resourceType":"Patient"}"#).is_err());
        Ok(())
    }
}
