//! Query strings and the separators inside values: `&`, `=` and percent-encoding (as the web's forms write them), then `,`, `|`
//! and `$`, each of which `\` makes an ordinary character (FHIR R4, section 3.1.1.3).

use super::Refusal;
use crate::fhir::criteria::percent_decoded;
use crate::limits::MAX_SEARCH_PARAMETERS;
use std::borrow::Cow;

/// The names and values of a query string or of the body of a form, decoded, in their order.
///
/// # Errors
/// Percent-encoding that is not valid, and more than [`MAX_SEARCH_PARAMETERS`].
pub fn pairs(query: &str) -> Result<Vec<(String, String)>, Refusal> {
    let mut pairs = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        if pairs.len() == MAX_SEARCH_PARAMETERS {
            let what = format!("more than {MAX_SEARCH_PARAMETERS} parameters; join values of one parameter with commas, or ask twice");
            return Err(Refusal::costly(what));
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        pairs.push((decode(name)?, decode(value)?));
    }
    Ok(pairs)
}

fn decode(text: &str) -> Result<String, Refusal> {
    let wrong =
        || Refusal::value("the percent-encoding of the query is not valid: `%` is followed by two hexadecimal digits, all in UTF-8");
    percent_decoded(text).map(Cow::into_owned).ok_or_else(wrong)
}

/// Encodes a name or a value so that [`pairs`] reads it again.
pub fn encode(text: &str, out: &mut String) {
    for b in text.bytes() {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b',' | b'/' | b'*' => out.push(char::from(b)),
            _ => {
                out.push('%');
                let digit = |d: u8| char::from_digit(u32::from(d), 16).unwrap_or('0').to_ascii_uppercase();
                out.extend([digit(b >> 4), digit(b & 15)]);
            }
        }
    }
}

/// The parts between separators that no `\` stands before; escapes stay in them.
pub(super) fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut from, mut escaped) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        if c == separator && !escaped {
            parts.push(text.get(from..at).unwrap_or_default());
            from = at + c.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    parts.push(text.get(from..).unwrap_or_default());
    parts
}

/// The text without its escapes.
pub(super) fn unescape(text: &str) -> Result<Cow<'_, str>, Refusal> {
    if !text.contains('\\') {
        return Ok(Cow::Borrowed(text));
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        plain.push(match c {
            '\\' => match rest.next() {
                Some(escaped @ (',' | '|' | '$' | '\\')) => escaped,
                _ => return Err(Refusal::value(r"`\` stands only before `,`, `|`, `$` and `\`; write `\\` for the character itself")),
            },
            c => c,
        });
    }
    Ok(Cow::Owned(plain))
}
