//! Numbers and dates with their prefixes (FHIR R4, section 3.1.1.4.5).

use super::super::query::{Comparison, Moments, Number, Prefix};
use super::Refusal;
use jiff::Timestamp;

/// Takes the prefix off; `eq` if there is none.
fn prefixed(text: &str) -> (Prefix, &str) {
    let prefix = match text.get(..2) {
        Some("eq") => Prefix::Equal,
        Some("ne") => Prefix::NotEqual,
        Some("gt") => Prefix::Greater,
        Some("lt") => Prefix::Less,
        Some("ge") => Prefix::GreaterOrEqual,
        Some("le") => Prefix::LessOrEqual,
        Some("sa") => Prefix::StartsAfter,
        Some("eb") => Prefix::EndsBefore,
        Some("ap") => Prefix::Approximately,
        _ => return (Prefix::Equal, text),
    };
    (prefix, text.get(2..).unwrap_or_default())
}

/// `ge5.40`, `1e2`.
pub(super) fn number(text: &str) -> Result<Comparison<Number>, Refusal> {
    let (prefix, digits) = prefixed(text);
    let value = Number::parse(digits).ok_or_else(|| {
        Refusal::value("expected a decimal such as `5.40` or `1e-3`, after one of eq, ne, gt, lt, ge, le, sa, eb, ap or none")
    })?;
    Ok(Comparison { prefix, value: if prefix == Prefix::Approximately { value.approximately() } else { value } })
}

/// `ge2026-03`, `2026-03-14T09:26:53+01:00`. A `+` that was not encoded has become a blank.
pub(super) fn date(text: &str, now: Timestamp) -> Result<Comparison<Moments>, Refusal> {
    let (prefix, date) = prefixed(text);
    let value = Moments::parse(&date.replace(' ', "+")).ok_or_else(|| {
        let what = "expected a date such as `2026`, `2026-03`, `2026-03-14`, `2026-03-14T09:26Z` or `2026-03-14T09:26:53%2B01:00`, after one \
                    of eq, ne, gt, lt, ge, le, sa, eb, ap or none";
        Refusal::value(what)
    })?;
    Ok(Comparison { prefix, value: if prefix == Prefix::Approximately { value.approximately(now.as_microsecond()) } else { value } })
}
