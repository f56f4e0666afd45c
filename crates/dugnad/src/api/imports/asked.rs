//! What an import is asked: Parameters.

use super::NDJSON;
use crate::api::outgoing::{Prefix, refusal};
use crate::api::parameters::{Parameters, unsupported};
use crate::api::{ApiError, interaction};
use crate::limits::MAX_IMPORT_FILES;
use dugnad_kernel::fhir::issue::IssueType;

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// What its lines are, as the client says.
    pub resource_type: String,
    /// Where it is; empty: the body of the request.
    pub url: String,
}

/// What is asked.
#[derive(Debug)]
pub struct Asked {
    pub inputs: Vec<Input>,
}

impl Asked {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong, or the first address that the server may not call.
    pub fn read(mut asked: Parameters, allowed: &[Prefix]) -> Result<Self, ApiError> {
        let format = asked.text(&["inputFormat"])?;
        if format.is_some_and(|format| !matches!(format.as_str(), NDJSON | "application/ndjson" | "ndjson")) {
            return Err(unsupported("inputFormat", "is application/fhir+ndjson"));
        }
        asked.text(&["inputSource"])?; // where they come from, for people
        for mut storage in asked.parts("storageDetail")? {
            let kind = storage.text(&["type"])?;
            if kind.is_some_and(|kind| kind != "https") {
                return Err(unsupported("storageDetail.type", "is https"));
            }
            storage.finish()?;
        }
        let mut inputs = Vec::new();
        for mut input in asked.parts("input")? {
            let missing = |name: &str| {
                ApiError::bad_request(IssueType::Required, format!("each input needs its {name}"))
                    .at("Parameters.parameter.where(name='input')")
            };
            let resource_type = interaction::known_type(&input.text(&["type"])?.ok_or_else(|| missing("type"))?)?;
            let url = input.text(&["url"])?.ok_or_else(|| missing("url"))?;
            input.finish()?;
            if let Some(what) = refusal(allowed, &url) {
                return Err(ApiError::forbidden(what).at("Parameters.parameter.where(name='input').part.where(name='url')"));
            }
            inputs.push(Input { resource_type, url });
        }
        asked.finish()?;
        if inputs.is_empty() || inputs.len() > MAX_IMPORT_FILES {
            let what = format!("an import has 1 to {MAX_IMPORT_FILES} inputs");
            return Err(ApiError::bad_request(IssueType::Required, what).at("Parameters.parameter.where(name='input')"));
        }
        Ok(Self { inputs })
    }
}
