//! Libraries of SQL on FHIR: a SQLQuery, which is asked, and a SQLView, which is a table that queries and other views name.
//! What a Library says; who may use it is decided by the permit.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// Where a Library may hold its SQL as plain text.
const SQL_TEXT: [&str; 2] =
    ["http://hl7.org/fhir/uv/sql-on-fhir/StructureDefinition/sql-text", "https://sql-on-fhir.org/ig/StructureDefinition/sql-text"];

/// What is not right in a Library: the element, and what to write there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {what}")]
pub struct LibraryError {
    /// The element, as a path.
    pub at: String,
    /// What is wrong.
    pub what: String,
}

fn wrong(at: &str, what: impl Into<String>) -> LibraryError {
    LibraryError { at: format!("Library{at}"), what: what.into() }
}

/// Which of the two a Library is (SQL on FHIR, `LibraryTypesCodes`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LibraryKind {
    /// `sql-query`.
    Query,
    /// `sql-view`.
    View,
}

/// A parameter that a query declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// Its name, as in `:name`.
    pub name: String,
    /// Its type in FHIR, such as `string` or `date`.
    pub data_type: String,
}

/// What a Library says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlLibrary {
    /// Query or view. A Library without a type is taken for a query.
    pub kind: LibraryKind,
    /// The name of a view's table: `Library.name` in lower case.
    pub table: Option<String>,
    /// Its canonical URL.
    pub url: Option<String>,
    /// Its business version.
    pub version: Option<String>,
    /// Its SQL, as it is written.
    pub sql: String,
    /// Its parameters.
    pub parameters: Vec<Declared>,
    /// What it depends on: the name in its SQL, and the canonical URL of a ViewDefinition or a SQLView.
    pub depends_on: Vec<(String, String)>,
}

impl SqlLibrary {
    /// Reads a Library's JSON.
    pub fn parse(json: &[u8]) -> Result<Self, LibraryError> {
        let document: Document = serde_json::from_slice(json).map_err(|e| wrong("", e.to_string()))?;
        if document.resource_type != "Library" {
            return Err(wrong(".resourceType", "this must be a resource of type Library"));
        }
        let kind = kind(&document)?;
        let table = document.name.as_deref().filter(|_| kind == LibraryKind::View).map(str::to_lowercase);
        if kind == LibraryKind::View {
            if !table.as_deref().is_some_and(is_sql_name) {
                return Err(wrong(".name", "the name of a SQLView is the name of its table: a letter, then letters, digits or _"));
            }
            if !document.parameter.is_empty() {
                return Err(wrong(".parameter", "a SQLView has no parameters; a SQLQuery may have them"));
            }
        }
        let parameters = document.parameter.iter().enumerate().map(|(i, parameter)| {
            let name = parameter.name.clone().ok_or_else(|| wrong(&format!(".parameter[{i}]"), "a parameter needs a name"))?;
            Ok(Declared { name, data_type: parameter.data_type.clone().unwrap_or_else(|| "string".to_owned()) })
        });
        Ok(Self {
            kind,
            table,
            sql: written(&document)?,
            parameters: parameters.collect::<Result<_, _>>()?,
            depends_on: dependencies(&document)?,
            url: document.url,
            version: document.version,
        })
    }

    /// Whether a canonical reference, with or without `|version`, is to this Library.
    pub fn is(&self, canonical: &str) -> bool {
        let (url, version) = canonical.split_once('|').map_or((canonical, None), |(url, version)| (url, Some(version)));
        self.url.as_deref() == Some(url) && (version.is_none() || self.version.as_deref() == version)
    }
}

/// SQL on FHIR's `sql-name`.
fn is_sql_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn kind(document: &Document) -> Result<LibraryKind, LibraryError> {
    let Some(concept) = &document.kind else { return Ok(LibraryKind::Query) };
    let codes = concept.coding.iter().filter_map(|c| c.code.as_deref());
    let known = |code: &str| match code {
        "sql-query" => Some(LibraryKind::Query),
        "sql-view" => Some(LibraryKind::View),
        _ => None,
    };
    codes.into_iter().find_map(known).ok_or_else(|| wrong(".type", "the type of a Library that holds SQL is sql-query or sql-view"))
}

/// The SQL of the first content that is SQL: its `sql-text`, or its data.
fn written(document: &Document) -> Result<String, LibraryError> {
    let is_sql = |c: &&Attachment| c.content_type.as_deref().is_some_and(|t| t.starts_with("application/sql"));
    let missing = || wrong(".content", "a query has content of type application/sql");
    let content = document.content.iter().find(is_sql).ok_or_else(missing)?;
    if let Some(text) = content.extension.iter().find(|e| SQL_TEXT.contains(&e.url.as_str())).and_then(|e| e.value.clone()) {
        return Ok(text);
    }
    let data = content.data.as_deref().and_then(|data| STANDARD.decode(data).ok());
    let text = data.and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| wrong(".content.data", "the SQL must be UTF-8 in base64"))
}

fn dependencies(document: &Document) -> Result<Vec<(String, String)>, LibraryError> {
    let artifacts = document.related.iter().enumerate().filter(|(_, a)| a.kind.as_deref() == Some("depends-on"));
    let mut found = Vec::new();
    for (i, artifact) in artifacts {
        let at = |member: &str| format!(".relatedArtifact[{i}].{member}");
        let label = artifact.label.as_deref().filter(|label| is_sql_name(label));
        let label = label.ok_or_else(|| wrong(&at("label"), "the label is the name in the SQL: a letter, then letters, digits or _"))?;
        let resource = artifact.resource.clone();
        let resource = resource.ok_or_else(|| wrong(&at("resource"), "this must be the canonical URL of a ViewDefinition or a SQLView"))?;
        found.push((label.to_owned(), resource));
    }
    Ok(found)
}

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "resourceType", default)]
    resource_type: String,
    #[serde(rename = "type")]
    kind: Option<Concept>,
    name: Option<String>,
    url: Option<String>,
    version: Option<String>,
    #[serde(default)]
    content: Vec<Attachment>,
    #[serde(default)]
    parameter: Vec<Parameter>,
    #[serde(rename = "relatedArtifact", default)]
    related: Vec<Related>,
}

#[derive(Deserialize)]
struct Concept {
    #[serde(default)]
    coding: Vec<Coding>,
}

#[derive(Deserialize)]
struct Coding {
    code: Option<String>,
}

#[derive(Deserialize)]
struct Attachment {
    #[serde(rename = "contentType")]
    content_type: Option<String>,
    data: Option<String>,
    #[serde(default)]
    extension: Vec<Extension>,
}

#[derive(Deserialize)]
struct Extension {
    #[serde(default)]
    url: String,
    #[serde(rename = "valueString")]
    value: Option<String>,
}

#[derive(Deserialize)]
struct Parameter {
    name: Option<String>,
    #[serde(rename = "type")]
    data_type: Option<String>,
}

#[derive(Deserialize)]
struct Related {
    #[serde(rename = "type")]
    kind: Option<String>,
    label: Option<String>,
    resource: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn library(kind: &str, more: Value) -> Result<SqlLibrary, LibraryError> {
        let mut library = json!({
            "resourceType": "Library", "name": "Recent", "url": "https://example.org/Library/recent", "version": "2",
            "type": {"coding": [{"code": kind}]}, "content": [{"contentType": "application/sql", "data": STANDARD.encode("SELECT 1")}],
        });
        library.as_object_mut().into_iter().for_each(|l| l.extend(more.as_object().cloned().unwrap_or_default()));
        SqlLibrary::parse(library.to_string().as_bytes())
    }

    #[test]
    fn a_view_has_a_table_and_a_query_has_parameters() -> Result<(), LibraryError> {
        let related =
            json!({"relatedArtifact": [{"type": "depends-on", "label": "bp", "resource": "https://example.org/bp"}, {"type": "citation"}]});
        let view = library("sql-view", related)?;
        assert_eq!((view.kind, view.table.as_deref(), view.sql.as_str()), (LibraryKind::View, Some("recent"), "SELECT 1"));
        assert_eq!(view.depends_on, [("bp".to_owned(), "https://example.org/bp".to_owned())]);
        assert!(view.is("https://example.org/Library/recent") && view.is("https://example.org/Library/recent|2"));
        assert!(!view.is("https://example.org/Library/recent|1"));
        let query = library("sql-query", json!({"parameter": [{"name": "n", "type": "integer"}, {"name": "c"}]}))?;
        assert_eq!(query.table, None);
        assert_eq!(query.parameters.iter().map(|p| p.data_type.as_str()).collect::<Vec<_>>(), ["integer", "string"]);
        Ok(())
    }

    #[test]
    fn what_is_wrong_is_named_with_its_element() {
        for (kind, more, at) in [
            ("sql-view", json!({"name": "no name"}), "Library.name"),
            ("sql-view", json!({"parameter": [{"name": "n"}]}), "Library.parameter"),
            ("logic-library", json!({}), "Library.type"),
            ("sql-query", json!({"content": []}), "Library.content"),
            ("sql-query", json!({"content": [{"contentType": "application/sql", "data": "%"}]}), "Library.content.data"),
            ("sql-query", json!({"parameter": [{"type": "string"}]}), "Library.parameter[0]"),
            ("sql-view", json!({"relatedArtifact": [{"type": "depends-on", "resource": "x"}]}), "Library.relatedArtifact[0].label"),
            ("sql-view", json!({"relatedArtifact": [{"type": "depends-on", "label": "x"}]}), "Library.relatedArtifact[0].resource"),
        ] {
            assert_eq!(library(kind, more).map_err(|e| e.at).err().as_deref(), Some(at));
        }
    }
}
