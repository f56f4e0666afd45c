//! Request headers and parameters that mean something, parsed once.

use super::Settings;
use super::error::ApiError;
use crate::limits::MAX_IDEMPOTENCY_KEY_BYTES;
use crate::query::format::Format;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use dugnad_kernel::database::Handling;
use dugnad_kernel::fhir::issue::IssueType;
use dugnad_kernel::fhir::patch::{Format as PatchFormat, JSON_PATCH, MERGE_PATCH};
use dugnad_kernel::ids::{Commit, Timeline};
use jiff::Timestamp;

/// The commit that an answer shows or a write made.
pub const DUGNAD_COMMIT: HeaderName = HeaderName::from_static("dugnad-commit");
/// The epoch that a statistic was computed on.
pub const DUGNAD_EPOCH: HeaderName = HeaderName::from_static("dugnad-epoch");
/// What disclosure control did to a statistic: the method, its parameters, and how much is not shown, in bands.
pub const DUGNAD_DISCLOSURE: HeaderName = HeaderName::from_static("dugnad-disclosure");
/// The id of a question, by which it can be stopped.
pub const DUGNAD_QUERY: HeaderName = HeaderName::from_static("dugnad-query");
/// The oldest commit that a reader accepts.
pub const DUGNAD_MIN_COMMIT: HeaderName = HeaderName::from_static("dugnad-min-commit");
/// Which history of commits a number is of: another one after each restore.
pub const DUGNAD_TIMELINE: HeaderName = HeaderName::from_static("dugnad-timeline");
/// Says that a write had been taken before under its `Idempotency-Key`.
pub const DUGNAD_REPLAYED: HeaderName = HeaderName::from_static("dugnad-replayed");
/// Under which key a write may be repeated.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// FHIR's conditional create.
pub const IF_NONE_EXIST: HeaderName = HeaderName::from_static("if-none-exist");
/// RFC 7240.
pub const PREFER: HeaderName = HeaderName::from_static("prefer");

/// `Prefer: return=...` (FHIR R4, 3.1.0.1.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// No body.
    Minimal,
    /// The resource as it is now.
    Representation,
    /// An OperationOutcome.
    OperationOutcome,
}

/// What a client prefers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preferences {
    /// What a write answers with.
    pub answer: Option<Return>,
    /// What becomes of references that match nothing, and of search parameters that are not known; each has a default of its own.
    pub handling: Option<Handling>,
}

impl Preferences {
    /// Reads all `Prefer` headers. Unknown preferences are ignored, as RFC 7240 says.
    pub fn parse(headers: &HeaderMap) -> Self {
        let mut preferences = Self::default();
        let values = headers.get_all(PREFER).iter().filter_map(|v| v.to_str().ok());
        for preference in values.flat_map(|v| v.split([',', ';'])) {
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            match (name.trim().to_ascii_lowercase().as_str(), value.trim().trim_matches('"')) {
                ("return", "minimal") => preferences.answer = Some(Return::Minimal),
                ("return", "representation") => preferences.answer = Some(Return::Representation),
                ("return", "OperationOutcome") => preferences.answer = Some(Return::OperationOutcome),
                ("handling", "lenient") => preferences.handling = Some(Handling::Lenient),
                ("handling", "strict") => preferences.handling = Some(Handling::Strict),
                _ => {}
            }
        }
        preferences
    }
}

/// The text of a header.
pub fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, ApiError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let wrong =
        |_| ApiError::bad_request(IssueType::Value, format!("the header {name} holds other than visible ASCII")).at(format!("http.{name}"));
    value.to_str().map(|v| Some(v.trim())).map_err(wrong)
}

/// `W/"3"` or `"3"` -> 3.
pub fn parse_etag(etag: &str) -> Option<u64> {
    let etag = etag.trim();
    etag.strip_prefix("W/").unwrap_or(etag).strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

/// The ETag of a version: `W/"3"`.
pub fn etag(version: u64) -> String {
    format!("W/\"{version}\"")
}

/// `If-Match`.
pub fn if_match(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = text(headers, &header::IF_MATCH)? else { return Ok(None) };
    let wrong = "If-Match must be one version such as W/\"3\", the ETag that a read or the last write answered";
    parse_etag(value).map(Some).ok_or_else(|| ApiError::bad_request(IssueType::Value, wrong).at("http.If-Match"))
}

/// Whether `If-None-Match` names `version`: the client has it already.
fn has_already(headers: &HeaderMap, version: u64) -> bool {
    let Some(value) = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()) else { return false };
    value.split(',').any(|etag| etag.trim() == "*" || parse_etag(etag) == Some(version))
}

/// Whether the client has `version`, last changed then, already: by `If-None-Match`, or else by `If-Modified-Since` (RFC 9110, 13.1.3).
pub fn is_unchanged(headers: &HeaderMap, version: u64, changed: Timestamp) -> bool {
    if headers.contains_key(header::IF_NONE_MATCH) {
        return has_already(headers, version);
    }
    let since = headers.get(header::IF_MODIFIED_SINCE).and_then(|v| v.to_str().ok());
    let since = since.and_then(|since| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(since).ok());
    since.is_some_and(|since| changed.as_second() <= since.as_second())
}

/// `If-None-Exist`: the criteria, without a leading `?`.
pub fn if_none_exist(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    Ok(text(headers, &IF_NONE_EXIST)?.map(|v| v.trim_start_matches('?').to_owned()))
}

/// `Idempotency-Key`.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(key) = text(headers, &IDEMPOTENCY_KEY)? else { return Ok(None) };
    if key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY_BYTES {
        let what = format!("Idempotency-Key must have 1 to {MAX_IDEMPOTENCY_KEY_BYTES} characters, such as a UUID or a SHA-256");
        return Err(ApiError::bad_request(IssueType::Value, what).at("http.Idempotency-Key"));
    }
    Ok(Some(key.to_owned()))
}

/// `Dugnad-Min-Commit`.
pub fn min_commit(headers: &HeaderMap) -> Result<Option<Commit>, ApiError> {
    let Some(value) = text(headers, &DUGNAD_MIN_COMMIT)? else { return Ok(None) };
    let wrong = "Dugnad-Min-Commit must be a commit number, as Dugnad-Commit of a write answered it";
    let commit = value.parse().map_err(|_| ApiError::bad_request(IssueType::Value, wrong).at("http.Dugnad-Min-Commit"))?;
    Ok(Some(Commit(commit)))
}

/// `Dugnad-Timeline`.
pub fn timeline(headers: &HeaderMap) -> Result<Option<Timeline>, ApiError> {
    let Some(value) = text(headers, &DUGNAD_TIMELINE)? else { return Ok(None) };
    let wrong = "Dugnad-Timeline must be 16 hexadecimal digits, as an answer with a Dugnad-Commit gave it";
    Timeline::parse(value).map(Some).ok_or_else(|| ApiError::bad_request(IssueType::Value, wrong).at("http.Dugnad-Timeline"))
}

/// The media type of a header without its parameters, in lower case; its `charset`, if any.
pub fn media_type(value: &str) -> (String, Option<String>) {
    let mut parts = value.split(';');
    let essence = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let charset = parts.find_map(|p| {
        let (name, value) = p.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"').to_ascii_lowercase())
    });
    (essence, charset)
}

fn unsupported(what: impl Into<String>, place: &str) -> ApiError {
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, IssueType::NotSupported, what).at(place)
}

/// Refuses bodies that are not UTF-8 JSON without a content coding (415).
pub fn require_json_body(headers: &HeaderMap) -> Result<(), ApiError> {
    let essence = body_type(headers)?;
    if is_json_type(&essence) {
        return Ok(());
    }
    let got = if essence.is_empty() { "none" } else { "another" };
    let what = format!("the body must be JSON and say so: Content-Type: application/fhir+json (or application/json); {got} was given");
    Err(unsupported(what, "http.Content-Type"))
}

/// Whether the client will ask later for what takes long (`Prefer: respond-async`, RFC 7240).
pub fn is_asynchronous(headers: &HeaderMap) -> bool {
    headers.get_all(PREFER).iter().any(|value| value.to_str().is_ok_and(|value| value.contains("respond-async")))
}

/// Refuses whoever wants at once what takes long. `what` names it: `an export`.
pub fn require_asynchronous(headers: &HeaderMap, what: &str) -> Result<(), ApiError> {
    if is_asynchronous(headers) {
        return Ok(());
    }
    let what = format!("{what} is answered later: ask with the header `Prefer: respond-async`");
    Err(ApiError::bad_request(IssueType::Required, what).at("http.Prefer"))
}

/// The form of a patch; anything but a JSON Patch, a JSON Merge Patch or a FHIR resource in JSON is refused (415).
pub fn patch_format(headers: &HeaderMap) -> Result<PatchFormat, ApiError> {
    let what = "a patch is a JSON Patch (Content-Type: application/json-patch+json), a FHIRPath Patch in JSON (application/fhir+json), or a \
                JSON Merge Patch (application/merge-patch+json)";
    match body_type(headers)?.as_str() {
        JSON_PATCH => Ok(PatchFormat::JsonPatch),
        MERGE_PATCH => Ok(PatchFormat::MergePatch),
        "application/json" => Ok(PatchFormat::Json),
        essence if is_json_type(essence) => Ok(PatchFormat::Resource),
        _ => Err(unsupported(what, "http.Content-Type")),
    }
}

/// Whether a media type is one of FHIR's in JSON.
pub fn is_json_type(essence: &str) -> bool {
    matches!(essence, "application/fhir+json" | "application/json" | "application/json+fhir" | "text/json")
}

/// The media type of a body without a content coding; JSON must be UTF-8 (else 415). What is sent in gzip has been unpacked before.
pub fn body_type(headers: &HeaderMap) -> Result<String, ApiError> {
    if let Some(coding) = headers.get(header::CONTENT_ENCODING)
        && coding.as_bytes() != b"identity"
    {
        return Err(unsupported(
            "of content codings only gzip is taken; send the body as it is, or with Content-Encoding: gzip",
            "http.Content-Encoding",
        ));
    }
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let (essence, charset) = media_type(value);
    match charset.as_deref() {
        None | Some("utf-8" | "utf8" | "us-ascii") => Ok(essence),
        _ if !is_json_type(&essence) && essence != JSON_PATCH => Ok(essence),
        Some(_) => Err(unsupported("JSON is sent in UTF-8 (RFC 8259, FHIR R4 2.6.2); no other charset is taken", "http.Content-Type")),
    }
}

/// Refuses bodies that are not a form (415).
pub fn require_form(headers: &HeaderMap) -> Result<(), ApiError> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if media_type(value).0 == "application/x-www-form-urlencoded" {
        return Ok(());
    }
    let what = "a search by POST sends its parameters as a form: Content-Type: application/x-www-form-urlencoded";
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, IssueType::NotSupported, what).at("http.Content-Type"))
}

/// The address of `/fhir` as clients know it.
pub fn base(headers: &HeaderMap, settings: &Settings) -> String {
    format!("{}/fhir", origin(headers, settings))
}

/// The address of the server as clients know it: the one that the operator says, else the host that this client has asked.
pub fn origin(headers: &HeaderMap, settings: &Settings) -> String {
    if let Some(public) = &settings.public_url {
        return public.trim_end_matches('/').to_owned();
    }
    let host = headers.get(header::HOST).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let plain = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b));
    format!("{}://{}", if settings.is_https() { "https" } else { "http" }, if plain { host } else { "localhost" })
}

/// The same where it must not be what a stranger says: as the operator says, or the host that was asked if that is this machine.
pub fn sure_origin(headers: &HeaderMap, settings: &Settings) -> Option<String> {
    let origin = origin(headers, settings);
    let host = origin.split_once("://").map_or("", |(_, host)| host);
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(host, |(name, _)| name);
    let is_sure = settings.public_url.is_some() || matches!(name, "localhost" | "127.0.0.1" | "[::1]");
    is_sure.then_some(origin)
}

/// Refuses clients that accept no JSON (406). `_format` wins over `Accept`.
pub fn require_json_accepted(headers: &HeaderMap, query: Option<&str>) -> Result<(), ApiError> {
    require_json_format(headers, parameter(query, "_format").as_deref())
}

/// The same with a `_format` that has been read already.
pub fn require_json_format(headers: &HeaderMap, format: Option<&str>) -> Result<(), ApiError> {
    let format = format.map(|f| f.replace(' ', "+")); // an unescaped + of a query is a blank
    let accepted = match &format {
        Some(format) => is_json(format),
        None => match headers.get(header::ACCEPT).map(HeaderValue::to_str) {
            None => true,
            Some(Ok(accept)) => accept.trim().is_empty() || accept.split(',').any(is_json),
            Some(Err(_)) => false,
        },
    };
    let what = "FHIR is spoken in JSON here, not in XML or another format: Accept: application/fhir+json, or _format=json";
    if accepted { Ok(()) } else { Err(ApiError::new(StatusCode::NOT_ACCEPTABLE, IssueType::NotSupported, what).at("http.Accept")) }
}

/// Whether FHIR's JSON is asked for by its name, not by a range that it is in.
pub fn accepts_fhir_json(headers: &HeaderMap) -> bool {
    accepted(headers, is_json_type)
}

/// Whether FHIR's XML is asked for by its name.
pub fn accepts_fhir_xml(headers: &HeaderMap) -> bool {
    accepted(headers, |essence| essence == "application/fhir+xml")
}

fn accepted(headers: &HeaderMap, which: impl Fn(&str) -> bool) -> bool {
    let ranges = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
    ranges.map(|range| media_type(range).0).any(|essence| which(&essence))
}

fn is_json(range: &str) -> bool {
    let refused = range.split(';').skip(1).any(|p| matches!(p.trim().strip_prefix("q="), Some("0" | "0.0" | "0.00" | "0.000")));
    let essence = media_type(range).0;
    !refused
        && matches!(
            essence.as_str(),
            "json" | "*/*" | "application/*" | "application/json" | "application/fhir+json" | "application/json+fhir" | "text/json"
        )
}

/// The first of an `Accept` header's media types that rows can be written in; JSON where any will do.
pub fn accepted_format(headers: &HeaderMap) -> Result<Format, ApiError> {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("*/*");
    let found = accept.split(',').find_map(|range| match media_type(range).0.as_str() {
        "" | "*/*" | "application/*" => Some(Format::Json),
        "text/*" => Some(Format::Csv),
        "application/ndjson" | "application/jsonl" => Some(Format::Ndjson),
        essence => Format::ALL.into_iter().find(|f| media_type(f.content_type()).0 == essence),
    });
    let what =
        "none of the media types in Accept is spoken here; /openapi.json lists those of POST /sql, and \"format\" in the body names one";
    found.ok_or_else(|| ApiError::new(StatusCode::NOT_ACCEPTABLE, IssueType::NotSupported, what).at("http.Accept"))
}

/// A parameter of a query string, percent-decoded; the first of that name.
pub fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(n, _)| *n == name).map(|(_, value)| percent_decode(value, true)).next()
}

/// Decodes `%41`, and `+` as a blank in queries. What is not UTF-8 becomes U+FFFD and so matches nothing.
pub fn percent_decode(text: &str, in_query: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escape = if byte == b'%' { text.get(at + 1..at + 3) } else { None };
        let decoded = escape.filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit())).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match decoded {
            Some(decoded) => {
                out.push(decoded);
                at += 3;
            }
            None => {
                out.push(if byte == b'+' && in_query { b' ' } else { byte });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// `Last-Modified`: RFC 9110, in GMT.
pub fn http_date(at: Timestamp) -> String {
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).unwrap_or_default()
}

/// A header value of text that is ASCII by construction (numbers, ids, dates); anything else is left out as empty.
pub fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests;
