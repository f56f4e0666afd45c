//! Search as its specification says it (FHIR R4, section 3.1.1), on JSON, resource by resource, without packed values or indexes.
//! It knows the parameters that the stories use, and was written from the text, not from the code that it checks.

use super::story::{Ask, Sorted, What};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::Value;
use std::cmp::Ordering;

/// A current resource: its JSON, the commit that wrote it and when.
#[derive(Clone, Debug)]
pub struct Resource {
    pub json: Value,
    pub commit: u64,
    pub time_us: i64,
    /// In which order the resources were mentioned first.
    pub ordinal: u64,
}

/// Follows names, through arrays.
fn at<'j>(json: &'j Value, path: &str) -> Vec<&'j Value> {
    let mut found = vec![json];
    for name in path.split('.') {
        found = found.into_iter().filter_map(|v| v.get(name)).flat_map(|v| v.as_array().map_or(vec![v], |a| a.iter().collect())).collect();
    }
    found
}

fn text<'j>(json: &'j Value, name: &str) -> &'j str {
    json.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// System and code of everything that a token parameter means.
fn tokens(resource: &Value, parameter: &str) -> Vec<(String, String)> {
    let pair = |system: &str, code: &str| (system.to_owned(), code.to_owned());
    let codings = |path: &str| -> Vec<(String, String)> {
        at(resource, path).into_iter().map(|c| pair(text(c, "system"), text(c, "code"))).collect()
    };
    match parameter {
        "code" => codings("code.coding"),
        "combo-code" => [codings("code.coding"), codings("component.code.coding")].concat(),
        "_tag" => codings("meta.tag"),
        "identifier" => at(resource, "identifier").into_iter().map(|i| pair(text(i, "system"), text(i, "value"))).collect(),
        "_id" => vec![pair("", text(resource, "id"))],
        "gender" => {
            at(resource, "gender").iter().filter_map(|g| g.as_str()).map(|g| pair("http://hl7.org/fhir/administrative-gender", g)).collect()
        }
        other => panic!("{other}"),
    }
}

fn is_token(wanted: &str, (system, code): &(String, String)) -> bool {
    match wanted.split_once('|') {
        None => code == wanted,
        Some(("", wanted)) => system.is_empty() && code == wanted,
        Some((wanted, "")) => system == wanted,
        Some((s, c)) => system == s && code == c,
    }
}

fn strings(resource: &Value, parameter: &str) -> Vec<String> {
    let paths: &[&str] = match parameter {
        "name" => &["name.family", "name.given", "name.text"],
        "family" => &["name.family"],
        other => panic!("{other}"),
    };
    paths.iter().flat_map(|path| at(resource, path)).filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

/// Case and accents do not count. (Of the letters that the stories use.)
fn plain(text: &str) -> String {
    text.to_lowercase().replace('å', "a").replace('é', "e").replace('ü', "u")
}

/// What a date means: from its first instant to before the next one of its precision.
fn span(text: &str) -> (i64, i64) {
    let oslo = TimeZone::get("Europe/Oslo").unwrap();
    let day = |y: i16, m: i8, d: i8| Date::new(y, m, d).unwrap().to_zoned(oslo.clone()).unwrap().timestamp().as_microsecond();
    let parts: Vec<i16> = text.split(['-', 'T', ':', 'Z']).filter_map(|p| p.parse().ok()).collect();
    match parts[..] {
        [y] => (day(y, 1, 1), day(y + 1, 1, 1)),
        [y, 12] => (day(y, 12, 1), day(y + 1, 1, 1)),
        [y, m] => (day(y, m as i8, 1), day(y, m as i8 + 1, 1)),
        [y, m, d] => {
            let next = Date::new(y, m as i8, d as i8).unwrap().tomorrow().unwrap();
            (day(y, m as i8, d as i8), day(next.year(), next.month(), next.day()))
        }
        _ => {
            let from = text.parse::<jiff::Timestamp>().unwrap().as_microsecond();
            (from, from + 1_000_000)
        }
    }
}

fn spans(resource: &Resource, parameter: &str) -> Vec<(i64, i64)> {
    let of = |path: &str| at(&resource.json, path).into_iter().filter_map(|v| v.as_str()).map(span).collect::<Vec<_>>();
    match parameter {
        "birthdate" => of("birthDate"),
        "_lastUpdated" => vec![(resource.time_us, resource.time_us + 1)],
        "date" => {
            let mut found = of("effectiveDateTime");
            for period in at(&resource.json, "effectivePeriod") {
                let bound = |name: &str| period.get(name).and_then(Value::as_str).map(span);
                found.push((bound("start").map_or(i64::MIN, |s| s.0), bound("end").map_or(i64::MAX, |s| s.1)));
            }
            found
        }
        other => panic!("{other}"),
    }
}

/// Section 3.1.1.4.5: "the range of the search value" is `(from, to)`, "the range of the target value" is `(start, end)`.
fn is_date(prefix: &str, (from, to): (i64, i64), (start, end): (i64, i64)) -> bool {
    let fully_contains = start >= from && end <= to;
    let above_intersects = end > to;
    let below_intersects = start < from;
    match prefix {
        "eq" => fully_contains,
        "ne" => !fully_contains,
        "gt" => above_intersects,
        "lt" => below_intersects,
        "ge" => above_intersects || fully_contains,
        "le" => below_intersects || fully_contains,
        "sa" => start >= to,
        "eb" => end <= from,
        other => panic!("{other}"),
    }
}

/// Thousandths, so that tenths and their halves are whole.
pub fn thousandths(text: &str) -> i64 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    whole.parse::<i64>().unwrap() * 1_000 + format!("{fraction:0<3}").parse::<i64>().unwrap()
}

/// How many micrograms a unit is; none for what is no mass.
fn micrograms(unit: &str) -> Option<i64> {
    [("ug", 1), ("mg", 1_000), ("g", 1_000_000), ("kg", 1_000_000_000)].into_iter().find(|(code, _)| *code == unit).map(|(_, n)| n)
}

fn is_number(prefix: &str, wanted: &str, value: i64) -> bool {
    is_number_of(1, prefix, wanted, value)
}

/// The same where what is wanted is in units of `scale` times those of the value.
fn is_number_of(scale: i64, prefix: &str, wanted: &str, value: i64) -> bool {
    let exact = thousandths(wanted) * scale;
    let half = match wanted.split_once('.').map_or(0, |(_, f)| f.len()) {
        0 => 500,
        1 => 50,
        _ => 5,
    } * scale;
    let rounds_to_it = exact - half <= value && value < exact + half;
    match prefix {
        "eq" => rounds_to_it,
        "ne" => !rounds_to_it,
        "gt" | "sa" => value > exact,
        "lt" | "eb" => value < exact,
        "ge" => value >= exact,
        "le" => value <= exact,
        other => panic!("{other}"),
    }
}

/// Whether there is a value for a parameter.
fn is_missing(resource: &Resource, parameter: &str) -> bool {
    let path = match parameter {
        "code" => "code.coding.code",
        "subject" => "subject.reference",
        "birthdate" => "birthDate",
        "gender" => "gender",
        "value-quantity" => "valueQuantity",
        "date" => return spans(resource, "date").is_empty(),
        other => panic!("{other}"),
    };
    at(&resource.json, path).is_empty()
}

fn is_reference(wanted: &str, reference: &str) -> bool {
    reference == wanted || reference.split_once('/').is_some_and(|(_, id)| id == wanted)
}

/// Whether a resource is found, among all that there are.
pub fn is_found(resource: &Resource, ask: &Ask, all: &[Resource]) -> bool {
    let parameter = ask.parameter;
    match &ask.what {
        What::Token(wanted) => tokens(&resource.json, parameter).iter().any(|t| wanted.iter().any(|w| is_token(w, t))),
        What::NotToken(wanted) => !tokens(&resource.json, parameter).iter().any(|t| wanted.iter().any(|w| is_token(w, t))),
        What::String(wanted) => strings(&resource.json, parameter).iter().any(|s| plain(s).starts_with(&plain(wanted))),
        What::Contains(wanted) => strings(&resource.json, parameter).iter().any(|s| plain(s).contains(&plain(wanted))),
        What::Exact(wanted) => strings(&resource.json, parameter).iter().any(|s| s == wanted),
        What::Reference(wanted) => at(&resource.json, "subject").into_iter().any(|r| is_reference(wanted, text(r, "reference"))),
        What::Date(prefix, wanted) => spans(resource, parameter).into_iter().any(|s| is_date(prefix, span(wanted), s)),
        What::Quantity(prefix, wanted, unit) => at(&resource.json, "valueQuantity").into_iter().any(|q| {
            let has_unit = unit.as_ref().is_none_or(|unit| text(q, "unit") == unit || text(q, "code") == unit);
            has_unit && is_number(prefix, wanted, thousandths(&q["value"].to_string()))
        }),
        What::Measured(prefix, wanted, unit) => {
            at(&resource.json, "valueQuantity").into_iter().any(|q| match (micrograms(unit), micrograms(text(q, "code"))) {
                (Some(scale), Some(of)) => is_number_of(scale, prefix, wanted, thousandths(&q["value"].to_string()) * of),
                _ => false,
            })
        }
        What::CodeAndQuantity(code, prefix, wanted) => at(&resource.json, "component").into_iter().any(|component| {
            let has_code = at(component, "code.coding")
                .into_iter()
                .any(|c| is_token(code, &(text(c, "system").to_owned(), text(c, "code").to_owned())));
            has_code && at(component, "valueQuantity").into_iter().any(|q| is_number(prefix, wanted, thousandths(&q["value"].to_string())))
        }),
        What::Missing(missing) => is_missing(resource, parameter) == *missing,
        What::Chain(inner) => at(&resource.json, "subject").into_iter().any(|reference| {
            let name = |r: &Resource| format!("{}/{}", text(&r.json, "resourceType"), text(&r.json, "id"));
            let is_it = |r: &&Resource| text(&r.json, "resourceType") == "Patient" && name(r) == text(reference, "reference");
            all.iter().filter(is_it).any(|r| is_found(r, inner, all))
        }),
        What::Has(inner) => {
            let this = format!("Patient/{}", text(&resource.json, "id"));
            let refers = |r: &&Resource| at(&r.json, "subject").into_iter().any(|s| text(s, "reference") == this);
            all.iter().filter(|r| text(&r.json, "resourceType") == "Observation").filter(refers).any(|r| is_found(r, inner, all))
        }
    }
}

/// The order of an answer: those without a value last, ties by the newest version and then the first mention.
pub fn order(a: &Resource, b: &Resource, sort: Option<Sorted>) -> Ordering {
    let ties = b.commit.cmp(&a.commit).then(a.ordinal.cmp(&b.ordinal));
    let Some(Sorted { parameter, descending }) = sort else { return ties };
    fn by<T: PartialOrd>(a: Option<T>, b: Option<T>, descending: bool) -> Ordering {
        match (a, b) {
            (Some(a), Some(b)) if descending => b.partial_cmp(&a).unwrap(),
            (Some(a), Some(b)) => a.partial_cmp(&b).unwrap(),
            (a, b) => b.is_some().cmp(&a.is_some()),
        }
    }
    let pick = |mut values: Vec<String>| {
        values.sort_by_key(|v| (plain(v), v.clone()));
        let value = if descending { values.pop() } else { values.into_iter().next() };
        value.map(|v| (plain(&v), v))
    };
    let earliest = |r: &Resource| {
        let starts = spans(r, parameter).into_iter().map(|s| s.0);
        if descending { starts.max() } else { starts.min() }
    };
    let order = match parameter {
        "date" | "birthdate" | "_lastUpdated" => by(earliest(a), earliest(b), descending),
        "name" => by(pick(strings(&a.json, parameter)), pick(strings(&b.json, parameter)), descending),
        "_id" | "code" => {
            let codes =
                |r: &Resource| pick(tokens(&r.json, parameter).into_iter().map(|(_, code)| code).filter(|c| !c.is_empty()).collect());
            by(codes(a), codes(b), descending)
        }
        "value-quantity" => {
            let value = |r: &Resource| at(&r.json, "valueQuantity").first().map(|q| thousandths(&q["value"].to_string()));
            by(value(a), value(b), descending)
        }
        other => panic!("{other}"),
    };
    order.then(ties)
}
