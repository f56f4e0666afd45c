//! What is wrong with a request, as FHIR's OperationOutcome says it.

use serde::Serialize;

/// OperationOutcome.issue.severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The request was refused.
    Error,
    /// The request was taken, but something about it deserves a look.
    Warning,
    /// For the reader's information.
    Information,
}

/// OperationOutcome.issue.code (<http://hl7.org/fhir/R4/valueset-issue-type.html>), those that Dugnad uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IssueType {
    /// Not well-formed, or an element that the definitions do not know.
    Structure,
    /// A required element is missing.
    Required,
    /// A value does not have the form that its type demands.
    Value,
    /// A rule is broken.
    Invariant,
    /// A code is not of the value set that it must be of.
    CodeInvalid,
    /// Content that no rule allows.
    Invalid,
    /// The interaction or parameter is not supported.
    NotSupported,
    /// What is referred to is not there.
    NotFound,
    /// It was there and has been deleted.
    Deleted,
    /// More than one resource matches a criterion that must match one.
    MultipleMatches,
    /// Somebody else changed it first.
    Conflict,
    /// Too large or too many.
    TooCostly,
    /// Not allowed, or not known who asks.
    Forbidden,
    /// No valid token.
    Login,
    /// Too busy; come back later.
    Throttled,
    /// Our fault.
    Exception,
    /// Nothing wrong.
    Informational,
}

/// One problem: what, where, and what to do. Never a patient's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Issue {
    /// How bad it is.
    pub severity: Severity,
    /// Of which kind.
    pub code: IssueType,
    /// What is wrong and what to do about it.
    pub diagnostics: String,
    /// Where: a FHIRPath from the root of what was sent, such as `Bundle.entry[3].resource.birthDate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
}

impl Issue {
    /// An error at a place.
    pub fn error(code: IssueType, at: impl Into<String>, diagnostics: impl Into<String>) -> Self {
        Self { severity: Severity::Error, code, diagnostics: diagnostics.into(), expression: Some(at.into()) }
    }

    /// A warning at a place.
    pub fn warning(code: IssueType, at: impl Into<String>, diagnostics: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, at, diagnostics) }
    }

    /// The same issue, found inside something that stands at `prefix`: `Patient.birthDate` in `Bundle.entry[3].resource`
    /// becomes `Bundle.entry[3].resource.birthDate`.
    #[must_use]
    pub fn within(mut self, prefix: &str) -> Self {
        self.expression = Some(match self.expression.as_deref().and_then(|e| e.split_once('.')) {
            Some((_, rest)) => format!("{prefix}.{rest}"),
            None => prefix.to_owned(),
        });
        self
    }
}

/// The OperationOutcome resource for `issues`.
pub fn operation_outcome(issues: &[Issue]) -> serde_json::Value {
    let issue: Vec<serde_json::Value> = issues
        .iter()
        .map(|i| {
            let mut json = serde_json::json!({"severity": i.severity, "code": i.code, "diagnostics": i.diagnostics});
            if let Some(at) = &i.expression {
                json["expression"] = serde_json::json!([at]);
            }
            json
        })
        .collect();
    serde_json::json!({"resourceType": "OperationOutcome", "issue": issue})
}
