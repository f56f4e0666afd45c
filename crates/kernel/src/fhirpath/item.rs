//! The items of a collection.

use super::decimal::Decimal;
use super::temporal::{Temporal, Unit};
use super::types::{Class, DataType, TypeName, resource_type};
use crate::fhir::json::{self, Value};
use bumpalo::Bump;
use std::cmp::Ordering;

/// An item, borrowed from the resource or the arena.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Item<'a> {
    /// An element of the resource; never `null` and never an array.
    Element {
        /// Its JSON.
        value: Value<'a>,
        /// Its type, where a choice element names it.
        data_type: Option<&'static DataType>,
    },
    /// A boolean.
    Boolean(bool),
    /// An integer.
    Integer(i64),
    /// A decimal, as text.
    Decimal(&'a str),
    /// A string.
    Text(&'a str),
    /// A date.
    Date(&'a str),
    /// A date and time.
    DateTime(&'a str),
    /// A time of day.
    Time(&'a str),
    /// A quantity that was computed or written in the expression.
    Quantity {
        /// A decimal, as text.
        value: &'a str,
        /// Its unit: of UCUM, or `year` to `millisecond`.
        unit: &'a str,
    },
    /// What `getResourceKey()` and `getReferenceKey()` return.
    Key {
        /// The type of the resource.
        resource_type: &'a str,
        /// Its logical id.
        id: &'a str,
    },
}

/// An item as the operators see it: elements and computed values alike.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scalar<'a> {
    Boolean(bool),
    /// A number, as text.
    Number(&'a str),
    Integer(i64),
    Text(&'a str),
    /// A string of an element whose type is not known: text, or a date or time if it is compared with one.
    Untyped(&'a str),
    /// A date, or a date and time.
    Moment(&'a str),
    Time(&'a str),
    /// Value and unit.
    Quantity(&'a str, &'a str),
    Key(&'a str, &'a str),
    Object(&'a [json::Member<'a>]),
}

impl<'a> Item<'a> {
    /// An element whose type is not known.
    pub fn element(value: Value<'a>) -> Item<'a> {
        Item::Element { value, data_type: None }
    }

    pub(super) fn scalar(self) -> Scalar<'a> {
        match self {
            Item::Element { value, data_type } => match value {
                Value::Boolean(value) => Scalar::Boolean(value),
                Value::Number(text) => Scalar::Number(text),
                Value::String(text) => match data_type.map(|t| t.class) {
                    None => Scalar::Untyped(text),
                    Some(Class::Date | Class::DateTime) => Scalar::Moment(text),
                    Some(Class::Time) => Scalar::Time(text),
                    Some(_) => Scalar::Text(text),
                },
                Value::Object(members) => Scalar::Object(members),
                Value::Null | Value::Array(_) => Scalar::Object(&[]),
            },
            Item::Boolean(value) => Scalar::Boolean(value),
            Item::Integer(value) => Scalar::Integer(value),
            Item::Decimal(text) => Scalar::Number(text),
            Item::Text(text) => Scalar::Text(text),
            Item::Date(text) | Item::DateTime(text) => Scalar::Moment(text),
            Item::Time(text) => Scalar::Time(text),
            Item::Quantity { value, unit } => Scalar::Quantity(value, unit),
            Item::Key { resource_type, id } => Scalar::Key(resource_type, id),
        }
    }

    /// The boolean that it is.
    pub fn as_boolean(self) -> Option<bool> {
        if let Scalar::Boolean(value) = self.scalar() { Some(value) } else { None }
    }

    /// The integer that it is (`2.0` is none).
    pub fn as_integer(self) -> Option<i64> {
        match self.scalar() {
            Scalar::Integer(value) => Some(value),
            Scalar::Number(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The text of a number.
    pub fn as_number(self, arena: &'a Bump) -> Option<&'a str> {
        if self.is_number() { self.to_text(arena) } else { None }
    }

    pub(super) fn as_decimal(self) -> Option<Decimal> {
        match self.scalar() {
            Scalar::Integer(value) => Some(Decimal::integer(value)),
            Scalar::Number(text) => Decimal::parse(text),
            _ => None,
        }
    }

    /// The text of a string, a date or a time, and the id of a key.
    pub fn as_text(self) -> Option<&'a str> {
        match self.scalar() {
            Scalar::Text(text) | Scalar::Untyped(text) | Scalar::Moment(text) | Scalar::Time(text) | Scalar::Key(_, text) => Some(text),
            _ => None,
        }
    }

    /// Value and unit of a quantity, and of an element that is one: its code, or else its unit; `1` where it has neither.
    /// None with a comparator, since `< 5 mg` is no certain value.
    pub(super) fn as_quantity(self) -> Option<(&'a str, &'a str)> {
        self.scalar().quantity()
    }

    /// The element, if it is one.
    pub fn as_element(self) -> Option<Value<'a>> {
        if let Item::Element { value, .. } = self { Some(value) } else { None }
    }

    /// As text: what `toString()` returns; none for an element that is no primitive.
    pub fn to_text(self, arena: &'a Bump) -> Option<&'a str> {
        match self.scalar() {
            Scalar::Boolean(value) => Some(if value { "true" } else { "false" }),
            Scalar::Number(text) => Some(text),
            Scalar::Integer(value) => Some(bumpalo::format!(in arena, "{}", value).into_bump_str()),
            Scalar::Object(_) => None,
            Scalar::Quantity(value, unit) => Some(match Unit::parse(unit) {
                Some(_) => bumpalo::format!(in arena, "{} {}", value, unit).into_bump_str(),
                None => bumpalo::format!(in arena, "{} '{}'", value, unit).into_bump_str(),
            }),
            _ => self.as_text(),
        }
    }

    pub(super) fn is_number(self) -> bool {
        matches!(self.scalar(), Scalar::Number(_) | Scalar::Integer(_))
    }

    pub(super) fn is_object(self) -> bool {
        matches!(self.scalar(), Scalar::Object(_))
    }

    /// Whether it is of that type. An element whose type nothing names is of every type that its JSON can be.
    pub(super) fn is_a(self, name: TypeName) -> bool {
        match (self, name) {
            (Item::Element { value, .. }, TypeName::Resource(name)) => value.str("resourceType") == Some(name),
            (Item::Element { value, .. }, TypeName::AnyResource { domain }) => value
                .str("resourceType")
                .and_then(resource_type)
                .is_some_and(|t| !domain || !matches!(t, "Bundle" | "Binary" | "Parameters")),
            (Item::Element { data_type: Some(data_type), .. }, TypeName::Data(other)) => data_type.is_a(other),
            (Item::Element { value, data_type: None }, TypeName::Data(other)) => could_be(value, other.class),
            (Item::Element { .. }, TypeName::System(_)) => false,
            (Item::Quantity { .. }, TypeName::Data(other)) => other.name == "Quantity",
            (_, TypeName::System(class)) => self.system_class() == Some(class),
            _ => false,
        }
    }

    fn system_class(self) -> Option<Class> {
        Some(match self {
            Item::Element { .. } | Item::Quantity { .. } => return None,
            Item::Boolean(_) => Class::Boolean,
            Item::Integer(_) => Class::Integer,
            Item::Decimal(_) => Class::Decimal,
            Item::Text(_) | Item::Key { .. } => Class::Text,
            Item::Date(_) => Class::Date,
            Item::DateTime(_) => Class::DateTime,
            Item::Time(_) => Class::Time,
        })
    }
}

impl<'a> Scalar<'a> {
    fn quantity(self) -> Option<(&'a str, &'a str)> {
        let Scalar::Object(members) = self else {
            return if let Scalar::Quantity(value, unit) = self { Some((value, unit)) } else { None };
        };
        let element = Value::Object(members);
        match (element.get("value"), element.get("comparator")) {
            (Some(Value::Number(value)), None) => Some((value, element.str("code").or(element.str("unit")).unwrap_or("1"))),
            _ => None,
        }
    }
}

fn could_be(value: Value<'_>, class: Class) -> bool {
    match (value, class) {
        (Value::Boolean(_), Class::Boolean) | (Value::Number(_), Class::Decimal) | (Value::String(_), Class::Text) => true,
        (Value::Number(text), Class::Integer) => !text.contains(['.', 'e', 'E']),
        (Value::String(text), Class::Date) => Temporal::parse(text).is_some_and(|t| !t.has_time()),
        (Value::String(text), Class::DateTime) => Temporal::parse(text).is_some(),
        (Value::String(text), Class::Time) => Temporal::parse_time(text).is_some(),
        (Value::Object(_), Class::Complex) => value.get("resourceType").is_none(),
        _ => false,
    }
}

/// A number, ready to be compared.
fn numbers(a: Scalar<'_>, b: Scalar<'_>) -> Option<Ordering> {
    let decimal = |s| match s {
        Scalar::Integer(value) => Some(Decimal::integer(value)),
        Scalar::Number(text) => Decimal::parse(text),
        _ => None,
    };
    decimal(a)?.compare(decimal(b)?)
}

/// A calendar unit of weeks or less is its namesake of UCUM; `year` and `'a'` differ.
fn same_unit(a: &str, b: &str) -> bool {
    let ucum = |unit: &str| match Unit::parse(unit) {
        Some(Unit::Week) => Some("wk"),
        Some(Unit::Day) => Some("d"),
        Some(Unit::Hour) => Some("h"),
        Some(Unit::Minute) => Some("min"),
        Some(Unit::Second) => Some("s"),
        Some(Unit::Millisecond) => Some("ms"),
        _ => None,
    };
    a == b || ucum(a).unwrap_or(a) == ucum(b).unwrap_or(b)
}

/// How two scalars relate.
enum Relation {
    /// They can be ordered.
    Ordered(Ordering),
    /// They are of one type, but precision or zone leave it open.
    Unknown,
    /// They have nothing to do with each other.
    Unrelated,
}

fn moments(a: Option<Temporal>, b: Option<Temporal>) -> Relation {
    match (a, b) {
        (Some(a), Some(b)) => a.compare(b).map_or(Relation::Unknown, Relation::Ordered),
        _ => Relation::Unrelated,
    }
}

fn has_number<'a>(members: &'a [json::Member<'a>]) -> bool {
    matches!(Value::Object(members).get("value"), Some(Value::Number(_)))
}

fn quantities(a: Scalar<'_>, b: Scalar<'_>) -> Relation {
    match (a.quantity(), b.quantity()) {
        (Some((a, unit)), Some((b, other))) if same_unit(unit, other) => {
            numbers(Scalar::Number(a), Scalar::Number(b)).map_or(Relation::Unknown, Relation::Ordered)
        }
        _ => Relation::Unknown,
    }
}

fn relate(a: Scalar<'_>, b: Scalar<'_>) -> Relation {
    use Scalar::{Boolean, Integer, Key, Moment, Number, Object, Quantity, Text, Time, Untyped};
    match (a, b) {
        (Integer(a), Integer(b)) => Relation::Ordered(a.cmp(&b)),
        (Number(_) | Integer(_), Number(_) | Integer(_)) => numbers(a, b).map_or(Relation::Unknown, Relation::Ordered),
        (Boolean(a), Boolean(b)) => Relation::Ordered(a.cmp(&b)),
        (Key(type_a, a), Key(type_b, b)) => Relation::Ordered(type_a.cmp(type_b).then(a.cmp(b))),
        (Moment(a), Moment(b) | Untyped(b) | Text(b)) | (Untyped(a) | Text(a), Moment(b)) => {
            moments(Temporal::parse(a), Temporal::parse(b))
        }
        (Time(a), Time(b) | Untyped(b) | Text(b)) | (Untyped(a) | Text(a), Time(b)) => {
            moments(Temporal::parse_time(a), Temporal::parse_time(b))
        }
        // Nothing is converted: with two units the answer is not known (FHIRPath N1, section 6.1.1).
        (Quantity(..), Quantity(..) | Object(_)) | (Object(_), Quantity(..)) => quantities(a, b),
        (Object(x), Object(y)) if has_number(x) && has_number(y) => quantities(a, b),
        // Two elements of unknown type are dates if both look like dates; text otherwise.
        (Untyped(a), Untyped(b)) => match moments(Temporal::parse(a), Temporal::parse(b)) {
            Relation::Unrelated => Relation::Ordered(a.cmp(b)),
            relation => relation,
        },
        (Text(a) | Untyped(a) | Key(_, a), Text(b) | Untyped(b) | Key(_, b)) => Relation::Ordered(a.cmp(b)),
        _ => Relation::Unrelated,
    }
}

/// `=` of two items: `None` where it cannot be known (FHIRPath N1, section 6.1.1).
pub(super) fn equal(a: Item<'_>, b: Item<'_>) -> Option<bool> {
    match (a.scalar(), b.scalar()) {
        (Scalar::Object(a), Scalar::Object(b)) => Some(same_members(a, b)),
        (a, b) => match relate(a, b) {
            Relation::Ordered(order) => Some(order.is_eq()),
            Relation::Unknown => None,
            Relation::Unrelated => Some(false),
        },
    }
}

/// The order of two items. `Err` where they cannot be compared at all, `Ok(None)` where it cannot be known.
pub(super) fn compare(a: Item<'_>, b: Item<'_>) -> Result<Option<Ordering>, ()> {
    match (a.scalar(), b.scalar()) {
        (Scalar::Boolean(_), _) | (_, Scalar::Boolean(_)) => Err(()),
        (a, b) => match relate(a, b) {
            Relation::Ordered(order) => Ok(Some(order)),
            Relation::Unknown => Ok(None),
            Relation::Unrelated => Err(()),
        },
    }
}

/// `~` of two items: text without regard to case and spaces, decimals to the lesser precision.
pub(super) fn equivalent(a: Item<'_>, b: Item<'_>) -> bool {
    match (a.scalar(), b.scalar()) {
        (Scalar::Number(_) | Scalar::Integer(_), Scalar::Number(_) | Scalar::Integer(_)) => match (a.as_decimal(), b.as_decimal()) {
            (Some(a), Some(b)) => {
                let scale = a.scale().min(b.scale());
                matches!((a.rounded(scale), b.rounded(scale)), (Some(a), Some(b)) if a.compare(b) == Some(Ordering::Equal))
            }
            _ => false,
        },
        (Scalar::Text(a) | Scalar::Untyped(a), Scalar::Text(b) | Scalar::Untyped(b)) => {
            let words = |text: &str| text.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>();
            words(a) == words(b)
        }
        _ => equal(a, b) == Some(true),
    }
}

fn same_members(a: &[json::Member<'_>], b: &[json::Member<'_>]) -> bool {
    a.len() == b.len() && a.iter().all(|(name, value)| b.iter().any(|(other, v)| name == other && same_json(*value, *v)))
}

fn same_json(a: Value<'_>, b: Value<'_>) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => same_members(a, b),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_json(*a, *b)),
        (Value::Number(x), Value::Number(y)) => x == y || numbers(Scalar::Number(x), Scalar::Number(y)) == Some(Ordering::Equal),
        _ => a == b,
    }
}
