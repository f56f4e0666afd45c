//! `encode()` and `decode()` (FHIRPath 2.0, section 5.6.13).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// How text is encoded.
#[derive(Clone, Copy)]
pub(in crate::fhirpath) enum Coding {
    Hex,
    Base64,
    /// With `-` and `_` in place of `+` and `/` (RFC 4648, section 5).
    UrlBase64,
}

/// The coding of that name.
pub(in crate::fhirpath) fn coding(name: &str) -> Option<Coding> {
    Some(match name {
        "hex" => Coding::Hex,
        "base64" => Coding::Base64,
        "urlbase64" => Coding::UrlBase64,
        _ => return None,
    })
}

impl Coding {
    pub(super) fn encode(self, text: &str) -> String {
        match self {
            Coding::Hex => text.bytes().map(|b| format!("{b:02x}")).collect(),
            Coding::Base64 => STANDARD.encode(text),
            Coding::UrlBase64 => URL_SAFE.encode(text),
        }
    }

    /// `None` for what is not encoded so, or is no text.
    pub(super) fn decode(self, text: &str) -> Option<String> {
        let bytes = match self {
            Coding::Hex => hex(text)?,
            Coding::Base64 => STANDARD.decode(text).ok()?,
            Coding::UrlBase64 => URL_SAFE.decode(text).ok()?,
        };
        String::from_utf8(bytes).ok()
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: &u8| char::from(*b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let pair = |pair: &[u8]| if let [high, low] = pair { Some(digit(high)? << 4 | digit(low)?) } else { None };
    text.as_bytes().chunks(2).map(pair).collect()
}
