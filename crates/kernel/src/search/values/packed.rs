//! Values as one text: ASCII numbers, tags and the texts themselves, so that it is UTF-8 and a live table keeps it as a string.

use super::{UnitOf, Value};
use crate::fhir::definitions;
use crate::hash::HashMap;
use crate::search::parameters;
use crate::search::query::Moments;
use std::sync::LazyLock;

/// Resource types by their number in the packed form, which is their place in R4's list.
static TYPES: LazyLock<(Vec<&'static str>, HashMap<&'static str, u64>)> = LazyLock::new(|| numbered(definitions::resource_types()));

/// Code systems that are packed as a number: those that value sets of R4 are bound to, and those that hospitals send most.
static SYSTEMS: LazyLock<(Vec<&'static str>, HashMap<&'static str, u64>)> = LazyLock::new(|| {
    let common = [
        "http://loinc.org",
        "http://snomed.info/sct",
        "http://unitsofmeasure.org",
        "http://www.nlm.nih.gov/research/umls/rxnorm",
        "http://hl7.org/fhir/sid/cvx",
        "http://hl7.org/fhir/sid/icd-10",
        "http://www.whocc.no/atc",
        "urn:ietf:rfc:3986",
        "urn:oid:2.16.578.1.12.4.1.4.1",
        "urn:oid:2.16.578.1.12.4.1.4.2",
        "urn:oid:2.16.578.1.12.4.1.1.7110",
        "http://terminology.hl7.org/CodeSystem/observation-category",
        "http://terminology.hl7.org/CodeSystem/condition-category",
        "http://terminology.hl7.org/CodeSystem/condition-clinical",
        "http://terminology.hl7.org/CodeSystem/condition-ver-status",
        "http://terminology.hl7.org/CodeSystem/v2-0203",
        "http://terminology.hl7.org/CodeSystem/v3-ActCode",
        "http://terminology.hl7.org/CodeSystem/v3-ParticipationType",
        "http://terminology.hl7.org/CodeSystem/v3-ActReason",
    ];
    numbered(common.into_iter().chain(parameters::bound_systems()))
});

fn numbered(texts: impl Iterator<Item = &'static str>) -> (Vec<&'static str>, HashMap<&'static str, u64>) {
    let (mut list, mut numbers) = (Vec::new(), HashMap::default());
    for text in texts {
        numbers.entry(text).or_insert_with(|| {
            list.push(text);
            list.len() as u64 - 1
        });
    }
    (list, numbers)
}

/// Packs the values of one resource, parameter by parameter in the order of their numbers.
pub struct Packer {
    /// For each parameter with values: its number, and where they are in `body`.
    directory: Vec<(usize, usize, usize)>,
    body: String,
    /// Where the values of the present parameter begin.
    from: usize,
}

impl Default for Packer {
    fn default() -> Self {
        Self { directory: Vec::with_capacity(32), body: String::with_capacity(512), from: 0 } // most resources fit
    }
}

impl Packer {
    /// Adds a value to the present parameter.
    pub fn push(&mut self, value: &Value<'_>) {
        put_value(value, &mut self.body);
    }

    /// Adds an element of a composite: the values of each component.
    pub(super) fn push_tuple(&mut self, components: &[Vec<Value<'_>>]) {
        let mut inner = String::new();
        put_number(components.len() as u64, &mut inner);
        for values in components {
            let mut of = String::new();
            values.iter().for_each(|value| put_value(value, &mut of));
            put_text(&of, &mut inner);
        }
        self.body.push('(');
        put_text(&inner, &mut self.body);
    }

    /// What was pushed since the last call are the values of this parameter. The same values are kept once.
    pub fn end(&mut self, number: usize) {
        let values = self.body.get(self.from..).unwrap_or_default();
        if values.is_empty() {
            return;
        }
        let len = values.len();
        let same = |(_, at, other): &&(usize, usize, usize)| *other == len && self.body.get(*at..at + other) == Some(values);
        if let Some((_, at, _)) = self.directory.iter().find(same) {
            self.directory.push((number, *at, len));
            self.body.truncate(self.from);
        } else {
            self.directory.push((number, self.from, len));
            self.from = self.body.len();
        }
    }

    /// The packed text.
    pub fn finish(self) -> String {
        let mut out = String::with_capacity(self.body.len() + self.directory.len() * 5 + 2);
        put_number(self.directory.len() as u64, &mut out);
        let mut before = 0;
        for (number, at, len) in &self.directory {
            put_number((number - before) as u64, &mut out);
            put_number(*at as u64, &mut out);
            put_number(*len as u64, &mut out);
            before = *number;
        }
        out.push_str(&self.body);
        out
    }
}

/// A number, six bits a character, the low ones first; a character from `@` on says that more follow.
fn put_number(mut number: u64, out: &mut String) {
    while number >= 0x40 {
        out.push(char::from(0x40 | (number & 0x3f) as u8));
        number >>= 6;
    }
    out.push(char::from(number as u8));
}

fn put_text(text: &str, out: &mut String) {
    put_number(text.len() as u64, out);
    out.push_str(text);
}

/// A system: 0 for none, 1 and its text, or 2 + its number among the known ones.
fn put_system(system: &str, out: &mut String) {
    if system.is_empty() {
        return put_number(0, out);
    }
    match SYSTEMS.1.get(system) {
        Some(number) => put_number(number + 2, out),
        None => {
            put_number(1, out);
            put_text(system, out);
        }
    }
}

fn put_unit(unit: &UnitOf<'_>, out: &mut String) {
    put_system(unit.system, out);
    put_text(unit.code, out);
    // Most are the same as the code.
    put_text(if unit.unit == unit.code { "" } else { unit.unit }, out);
}

fn put_value(value: &Value<'_>, out: &mut String) {
    match value {
        Value::Token { system, code } => {
            out.push('c');
            put_system(system, out);
            put_text(code, out);
        }
        Value::OfType { system, code, value } => {
            out.push('o');
            put_system(system, out);
            put_text(code, out);
            put_text(value, out);
        }
        Value::Text(text) => tagged('t', text, out),
        Value::String(text) => tagged('s', text, out),
        Value::Url(text) => tagged('u', text, out),
        Value::Uri(text) => tagged('i', text, out),
        Value::Number(text) => tagged('n', text, out),
        Value::Reference { resource_type, id } => match TYPES.1.get(resource_type) {
            Some(number) => {
                out.push('r');
                put_number(*number, out);
                put_text(id, out);
            }
            None => tagged('u', &format!("{resource_type}/{id}"), out),
        },
        Value::Logical { system, value } => {
            out.push('l');
            put_system(system, out);
            put_text(value, out);
        }
        Value::Date(moments) => put_moments(moments, out),
        Value::Quantity { comparator, value, unit } => {
            out.push('q');
            put_text(comparator, out);
            put_text(value, out);
            put_unit(unit, out);
        }
        Value::Range { low, high, unit } => {
            out.push('-');
            put_text(low, out);
            put_text(high, out);
            put_unit(unit, out);
        }
        Value::Place(latitude, longitude) => {
            out.push('p');
            put_text(latitude, out);
            put_text(longitude, out);
        }
        Value::Tuple(tuple) => tagged('(', tuple.0, out),
    }
}

fn tagged(tag: char, text: &str, out: &mut String) {
    out.push(tag);
    put_text(text, out);
}

/// `d` with beginning and length, `a` after a beginning, `b` before an end, `e` always: microseconds, signed in zigzag form.
fn put_moments(moments: &Moments, out: &mut String) {
    let signed = |n: i64| ((n << 1) ^ (n >> 63)) as u64;
    match (moments.low, moments.high) {
        (i64::MIN, i64::MAX) => out.push('e'),
        (low, i64::MAX) => {
            out.push('a');
            put_number(signed(low), out);
        }
        (i64::MIN, high) => {
            out.push('b');
            put_number(signed(high), out);
        }
        (low, high) => {
            out.push('d');
            put_number(signed(low), out);
            put_number(high.wrapping_sub(low) as u64, out);
        }
    }
}

/// The packed values of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed<'a>(&'a str);

impl<'a> Packed<'a> {
    /// What [`Packer::finish`] has made. Anything else has no values, or fewer.
    pub fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// The values of the parameter of that number.
    pub fn values(self, number: usize) -> Values<'a> {
        self.find(number).unwrap_or_default()
    }

    fn find(self, wanted: usize) -> Option<Values<'a>> {
        let mut rest = self.0;
        let (mut number, mut found) = (0, None);
        for _ in 0..take_number(&mut rest)? {
            number = take_number(&mut rest)?.saturating_add(number);
            let (at, len) = (take_number(&mut rest)?, take_number(&mut rest)?);
            if number == wanted as u64 {
                found = Some((at as usize, len as usize));
            }
        }
        let (at, len) = found?;
        rest.get(at..at.checked_add(len)?).map(Values)
    }
}

/// Values, read one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Values<'a>(&'a str);

impl<'a> Iterator for Values<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        let value = take_value(&mut self.0);
        if value.is_none() {
            self.0 = "";
        }
        value
    }
}

/// One element of a composite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple<'a>(&'a str);

impl<'a> Tuple<'a> {
    /// The values of each component, in order.
    pub fn components(self) -> impl Iterator<Item = Values<'a>> {
        let mut rest = self.0;
        let count = take_number(&mut rest).unwrap_or_default();
        (0..count).map_while(move |_| take_text(&mut rest).map(Values))
    }
}

fn take_number(rest: &mut &str) -> Option<u64> {
    let mut number = 0;
    for (at, byte) in rest.bytes().take(11).enumerate() {
        number |= u64::from(byte & 0x3f).checked_shl(6 * at as u32)?;
        if byte < 0x40 {
            *rest = rest.get(at + 1..)?;
            return Some(number);
        }
    }
    None
}

fn take_signed(rest: &mut &str) -> Option<i64> {
    let number = take_number(rest)?;
    Some((number >> 1) as i64 ^ -((number & 1) as i64))
}

fn take_text<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let len = usize::try_from(take_number(rest)?).ok()?;
    let (text, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(text)
}

fn take_system<'a>(rest: &mut &'a str) -> Option<&'a str> {
    match take_number(rest)? {
        0 => Some(""),
        1 => take_text(rest),
        number => SYSTEMS.0.get(usize::try_from(number - 2).ok()?).copied(),
    }
}

fn take_unit<'a>(rest: &mut &'a str) -> Option<UnitOf<'a>> {
    let (system, code, unit) = (take_system(rest)?, take_text(rest)?, take_text(rest)?);
    Some(UnitOf { system, code, unit: if unit.is_empty() { code } else { unit } })
}

fn take_value<'a>(rest: &mut &'a str) -> Option<Value<'a>> {
    let tag = rest.bytes().next()?;
    *rest = rest.get(1..)?;
    Some(match tag {
        b'c' => Value::Token { system: take_system(rest)?, code: take_text(rest)? },
        b'o' => Value::OfType { system: take_system(rest)?, code: take_text(rest)?, value: take_text(rest)? },
        b't' => Value::Text(take_text(rest)?),
        b's' => Value::String(take_text(rest)?),
        b'u' => Value::Url(take_text(rest)?),
        b'i' => Value::Uri(take_text(rest)?),
        b'n' => Value::Number(take_text(rest)?),
        b'r' => {
            let resource_type = TYPES.0.get(usize::try_from(take_number(rest)?).ok()?).copied()?;
            Value::Reference { resource_type, id: take_text(rest)? }
        }
        b'l' => Value::Logical { system: take_system(rest)?, value: take_text(rest)? },
        b'd' => {
            let low = take_signed(rest)?;
            Value::Date(Moments { low, high: low.wrapping_add(take_number(rest)? as i64) })
        }
        b'a' => Value::Date(Moments { low: take_signed(rest)?, high: i64::MAX }),
        b'b' => Value::Date(Moments { low: i64::MIN, high: take_signed(rest)? }),
        b'e' => Value::Date(Moments::ALWAYS),
        b'q' => Value::Quantity { comparator: take_text(rest)?, value: take_text(rest)?, unit: take_unit(rest)? },
        b'-' => Value::Range { low: take_text(rest)?, high: take_text(rest)?, unit: take_unit(rest)? },
        b'p' => Value::Place(take_text(rest)?, take_text(rest)?),
        b'(' => Value::Tuple(Tuple(take_text(rest)?)),
        _ => return None,
    })
}
