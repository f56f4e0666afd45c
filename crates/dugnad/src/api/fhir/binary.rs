//! Binary in its own content type (FHIR R4, section 2.40.4): what is written and read as it is, rather than in base64 in JSON.
//!
//! It is stored as the resource that it is: so its versions, its history and its holder are those of any other.

use crate::api::ApiError;
use crate::api::headers::{self, accepts_fhir_json, accepts_fhir_xml, body_type, is_json_type, parameter, text};
use axum::http::{HeaderMap, HeaderName, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bumpalo::Bump;
use dugnad_kernel::fhir::json::{self, write_string};

const KIND: &str = "Binary";

/// What the content is about: who may see that, may see it. A reference, such as `Patient/1`.
pub const SECURITY_CONTEXT: HeaderName = HeaderName::from_static("x-security-context");

/// A body that is the content of a Binary.
pub struct Raw {
    content_type: String,
    security_context: Option<String>,
}

impl Raw {
    /// None if the body is a resource in JSON, or of no Binary.
    pub fn of(resource_type: &str, headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        let essence = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).map(|v| headers::media_type(v).0).unwrap_or_default();
        if resource_type != KIND || essence.is_empty() || is_json_type(&essence) || essence == "application/fhir+xml" {
            return Ok(None);
        }
        body_type(headers)?;
        let content_type = text(headers, &header::CONTENT_TYPE)?.unwrap_or_default().to_owned();
        Ok(Some(Self { content_type, security_context: text(headers, &SECURITY_CONTEXT)?.map(str::to_owned) }))
    }

    /// The Binary that holds `content`.
    pub fn wrapped(&self, id: Option<&str>, content: &[u8]) -> Vec<u8> {
        let mut json = br#"{"resourceType":"Binary""#.to_vec();
        let mut member = |name: &str, text: &str| {
            json.push(b',');
            write_string(name, &mut json);
            json.push(b':');
            write_string(text, &mut json);
        };
        if let Some(id) = id {
            member("id", id);
        }
        member("contentType", &self.content_type);
        member("data", &STANDARD.encode(content));
        if let Some(reference) = &self.security_context {
            json.extend_from_slice(br#","securityContext":{"reference":"#);
            write_string(reference, &mut json);
            json.push(b'}');
        }
        json.push(b'}');
        json
    }
}

/// Whether a read of this type is to be answered with the content: unless FHIR's JSON is asked for.
pub fn wants_content(resource_type: &str, headers: &HeaderMap, query: Option<&str>) -> bool {
    let asks_for_fhir = parameter(query, "_format").is_some() || accepts_fhir_json(headers) || accepts_fhir_xml(headers);
    resource_type == KIND && !asks_for_fhir
}

/// The content of a stored Binary: its type, what its security context is, and its bytes.
pub struct Content {
    /// `contentType`.
    pub content_type: String,
    /// `securityContext.reference`.
    pub security_context: Option<String>,
    /// `data`, decoded.
    pub bytes: Vec<u8>,
}

impl Content {
    /// Reads it from the resource; none if its data are no base64 of R4, which takes white space too.
    pub fn of(stored: &[u8]) -> Option<Self> {
        let arena = Bump::new();
        let binary = json::parse(stored, &arena).ok()?;
        let data: String = binary.str("data").unwrap_or_default().split_ascii_whitespace().collect();
        let context = binary.get("securityContext").and_then(|context| context.str("reference"));
        Some(Self {
            content_type: binary.str("contentType").unwrap_or("application/octet-stream").to_owned(),
            security_context: context.map(str::to_owned),
            bytes: STANDARD.decode(data).ok()?,
        })
    }
}
