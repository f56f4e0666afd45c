//! Which category of a dimension a value falls into.

use super::Dimension;
use super::icd10::{CHAPTERS, NEOPLASM_BLOCKS, find};
use jiff::civil::Date;

/// Code systems whose codes are ICD-10: the Norwegian edition and HL7's URIs of the international one.
const ICD10_SYSTEMS: [&str; 3] = ["urn:oid:2.16.578.1.12.4.1.1.7110", "http://hl7.org/fhir/sid/icd-10", "urn:oid:2.16.840.1.113883.6.3"];

/// The category of [`Dimension::age_band`] of somebody born on `birth`, on the day `at`. A birth after that day is unknown.
pub fn age_band(dimension: &Dimension, birth: Option<Date>, at: Date) -> usize {
    let Some(birth) = birth.filter(|b| *b <= at) else { return dimension.unknown() };
    let had_birthday = (at.month(), at.day()) >= (birth.month(), birth.day());
    let age = at.year() - birth.year() - i16::from(!had_birthday);
    usize::from((age.max(0) as u16 / 10).min(9))
}

/// The category of [`Dimension::year`] of a calendar year.
pub fn year(dimension: &Dimension, year: Option<i16>) -> usize {
    let Some(year) = year else { return dimension.unknown() };
    let first = dimension.categories().get(1).and_then(|c| c.code.parse::<i16>().ok());
    match first {
        Some(first) if year < first => 0,
        _ => dimension.position_or_unknown(Some(&year.to_string())),
    }
}

/// The category of [`Dimension::icd10_chapter`] of a coded condition.
pub fn icd10_chapter(dimension: &Dimension, system: Option<&str>, code: Option<&str>) -> usize {
    icd10(system, code).and_then(|code| find(&CHAPTERS, code)).unwrap_or_else(|| dimension.unknown())
}

/// The category of [`Dimension::neoplasm_block`] of a coded condition.
pub fn neoplasm_block(dimension: &Dimension, system: Option<&str>, code: Option<&str>) -> usize {
    let Some(code) = icd10(system, code) else { return dimension.unknown() };
    match (find(&NEOPLASM_BLOCKS, code), find(&CHAPTERS, code)) {
        (Some(block), _) => block,
        (None, Some(_)) => dimension.position_or_unknown(Some("other")),
        (None, None) => dimension.unknown(),
    }
}

fn icd10<'a>(system: Option<&str>, code: Option<&'a str>) -> Option<&'a str> {
    system.filter(|s| ICD10_SYSTEMS.contains(s)).and(code)
}
