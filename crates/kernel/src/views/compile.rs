//! A ViewDefinition to a [`View`].

use super::about;
use super::{Column, ColumnPath, ColumnType, Condition, Foci, Part, Select, View, ViewError};
use crate::fhirpath::types::{self, Class};
use crate::fhirpath::{Environment, Expression, Literal, ResultType};
use crate::limits::{MAX_SELECT_DEPTH, MAX_VIEW_COLUMNS};
use serde_json::{Map, Value};

/// Compiles a ViewDefinition.
pub(super) fn view(definition: &Value) -> Result<View, ViewError> {
    let at = "ViewDefinition";
    let object = object(definition, at)?;
    if let Some(other) = object.get("resourceType").filter(|t| *t != "ViewDefinition") {
        return Err(wrong(at, format!("this is a {other}, not a ViewDefinition")));
    }
    check_version(object)?;
    let resource =
        text(object, "resource", at)?.ok_or_else(|| wrong(at, "`resource` is missing: the resource type that the view reads"))?;
    let resource_type = types::resource_type(resource)
        .ok_or_else(|| wrong("ViewDefinition.resource", format!("`{resource}` is no resource type of FHIR R4")))?;
    let compiler = Compiler { environment: constants(object)?, resource_type };
    let conditions = compiler.conditions(object)?;
    if array(object, "select", at)?.is_empty() {
        return Err(wrong(at, "`select` is missing: at least one with a column"));
    }
    let mut columns = Vec::new();
    let root = Select {
        at: at.to_owned(),
        foci: Foci::Same,
        columns: Vec::new(),
        parts: compiler.selects(object, Place { at, depth: 0, at_resource: true }, &mut columns)?,
    };
    if columns.is_empty() {
        return Err(wrong("ViewDefinition.select", "a view has at least one column"));
    }
    let name = text(object, "name", at)?.unwrap_or_default().to_owned();
    let untyped = columns.iter().map(|c| c.untyped).collect();
    let columns = columns.into_iter().map(|c| c.column).collect();
    Ok(View { name, resource_type, columns, untyped, conditions, root })
}

struct Compiler {
    environment: Environment,
    resource_type: &'static str,
}

/// Where in a view a select stands.
#[derive(Clone, Copy)]
struct Place<'p> {
    at: &'p str,
    depth: usize,
    /// Whether its columns are evaluated on the resource itself.
    at_resource: bool,
}

/// A column, and how its type is known.
struct Typed {
    column: Column,
    source: TypeSource,
    /// Whether nothing, or a complex type, is declared and nothing known.
    untyped: bool,
}

/// In ascending order of authority.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum TypeSource {
    Unknown,
    Inferred,
    Declared,
    /// Keys stay keys whatever is declared: they are encrypted under a permit.
    Key,
}

fn wrong(at: impl Into<String>, what: impl Into<String>) -> ViewError {
    ViewError::Definition { at: at.into(), what: what.into() }
}

fn object<'j>(value: &'j Value, at: &str) -> Result<&'j Map<String, Value>, ViewError> {
    value.as_object().ok_or_else(|| wrong(at, "an object was expected"))
}

fn text<'j>(object: &'j Map<String, Value>, name: &str, at: &str) -> Result<Option<&'j str>, ViewError> {
    match object.get(name) {
        None => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or_else(|| wrong(format!("{at}.{name}"), "a string was expected")),
    }
}

fn array<'j>(object: &'j Map<String, Value>, name: &str, at: &str) -> Result<&'j [Value], ViewError> {
    match object.get(name) {
        None => Ok(&[]),
        Some(value) => value.as_array().map(Vec::as_slice).ok_or_else(|| wrong(format!("{at}.{name}"), "an array was expected")),
    }
}

/// Refuses members that nothing here reads: what they ask for would be left out in silence.
fn check_members(object: &Map<String, Value>, known: &[&str], at: &str) -> Result<(), ViewError> {
    let unread = |name: &&String| !known.contains(&name.as_str()) && !matches!(name.as_str(), "id" | "extension") && !name.starts_with('_');
    match object.keys().find(unread) {
        Some(name) => Err(wrong(at, format!("`{name}` is not supported here; {} are", known.join(", ")))),
        None => Ok(()),
    }
}

fn check_version(object: &Map<String, Value>) -> Result<(), ViewError> {
    let versions = array(object, "fhirVersion", "ViewDefinition")?;
    let fits = |v: &Value| v.as_str().is_some_and(|v| v.starts_with("4.0"));
    if versions.is_empty() || versions.iter().any(fits) {
        return Ok(());
    }
    Err(wrong("ViewDefinition.fhirVersion", "this view is not for FHIR R4 (4.0.1), the version that is supported"))
}

/// `[A-Za-z][A-Za-z0-9_]*`, so that it is a name in any SQL database.
fn check_name(name: &str, at: &str) -> Result<(), ViewError> {
    let letter = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if letter && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Ok(());
    }
    Err(wrong(at, format!("`{name}` is no valid name: a letter, then letters, digits and _")))
}

fn constants(view: &Map<String, Value>) -> Result<Environment, ViewError> {
    let mut environment = Environment::default();
    for (i, constant) in array(view, "constant", "ViewDefinition")?.iter().enumerate() {
        let at = format!("ViewDefinition.constant[{i}]");
        let members = object(constant, &at)?;
        let name = text(members, "name", &at)?.ok_or_else(|| wrong(&at, "`name` is missing"))?;
        check_name(name, &format!("{at}.name"))?;
        if environment.get(name).is_some() || matches!(name, "resource" | "rootResource" | "context" | "rowIndex") {
            return Err(wrong(format!("{at}.name"), format!("`%{name}` has a meaning already")));
        }
        let mut values = members.iter().filter_map(|(member, value)| Some((member, member.strip_prefix("value")?, value)));
        let (Some((member, suffix, value)), None) = (values.next(), values.next()) else {
            return Err(wrong(&at, "exactly one value[x] was expected, such as valueString"));
        };
        let class = types::variant_type(suffix).map(|t| t.class);
        let literal = class.and_then(|class| constant_value(class, value));
        environment
            .define(name, literal.ok_or_else(|| wrong(format!("{at}.{member}"), "no primitive type, or a value that it does not have"))?);
        check_members(members, &["name", member], &at)?;
    }
    Ok(environment)
}

fn constant_value(class: Class, value: &Value) -> Option<Literal> {
    let text = || value.as_str().map(str::to_owned);
    match class {
        Class::Boolean => value.as_bool().map(Literal::Boolean),
        Class::Integer => value.as_i64().or_else(|| value.as_str()?.parse().ok()).map(Literal::Integer),
        Class::Decimal => value.as_number().map(|n| Literal::Decimal(n.to_string())),
        Class::Text => text().map(Literal::Text),
        Class::Date => text().map(Literal::Date),
        Class::DateTime => text().map(Literal::DateTime),
        Class::Time => text().map(Literal::Time),
        Class::Complex => None,
    }
}

impl Compiler {
    fn expression(&self, path: &Value, at: &str) -> Result<Expression, ViewError> {
        let path = path.as_str().ok_or_else(|| wrong(at, "a FHIRPath expression (a string) was expected"))?;
        Expression::compile(path, &self.environment).map_err(|e| wrong(at, e.to_string()))
    }

    fn conditions(&self, view: &Map<String, Value>) -> Result<Vec<Condition>, ViewError> {
        let compile = |(i, condition): (usize, &Value)| {
            let at = format!("ViewDefinition.where[{i}]");
            let members = object(condition, &at)?;
            check_members(members, &["path", "description"], &at)?;
            let path = self.expression(members.get("path").unwrap_or(&Value::Null), &format!("{at}.path"))?;
            if !matches!(path.result_type(), ResultType::Unknown | ResultType::Primitive(Class::Boolean)) {
                return Err(wrong(format!("{at}.path"), "a condition must be a boolean"));
            }
            Ok(Condition { at: format!("where[{i}]"), path })
        };
        array(view, "where", "ViewDefinition")?.iter().enumerate().map(compile).collect()
    }

    /// The nested selects of a view or of a select.
    fn selects(&self, parent: &Map<String, Value>, place: Place<'_>, columns: &mut Vec<Typed>) -> Result<Vec<Part>, ViewError> {
        let Place { at, depth, .. } = place;
        let selects = array(parent, "select", at)?.iter().enumerate();
        let select = |(i, select)| {
            let at = &format!("{at}.select[{i}]");
            Ok(Part::Select(self.select(select, Place { at, depth: depth + 1, ..place }, columns)?))
        };
        selects.map(select).collect()
    }

    fn select(&self, select: &Value, place: Place<'_>, columns: &mut Vec<Typed>) -> Result<Select, ViewError> {
        let Place { at, depth, .. } = place;
        if depth > MAX_SELECT_DEPTH {
            return Err(wrong(at, format!("selects nest deeper than {MAX_SELECT_DEPTH} levels")));
        }
        let members = object(select, at)?;
        check_members(members, &["column", "select", "forEach", "forEachOrNull", "unionAll", "repeat"], at)?;
        let foci = self.foci(members, at)?;
        let place = Place { at_resource: place.at_resource && matches!(foci, Foci::Same), ..place };
        if !["column", "select", "unionAll"].iter().any(|name| members.contains_key(*name)) {
            return Err(wrong(at, "a select has `column`, `select` or `unionAll`"));
        }
        let mut paths = Vec::new();
        for (i, column) in array(members, "column", at)?.iter().enumerate() {
            paths.push(self.column(column, Place { at: &format!("{at}.column[{i}]"), ..place }, columns)?);
        }
        let mut parts = self.selects(members, place, columns)?;
        let branches = array(members, "unionAll", at)?;
        if !branches.is_empty() {
            parts.push(Part::Union(self.union(branches, place, columns)?));
        }
        Ok(Select { at: at.to_owned(), foci, columns: paths, parts })
    }

    fn foci(&self, members: &Map<String, Value>, at: &str) -> Result<Foci, ViewError> {
        let given: Vec<&str> = ["forEach", "forEachOrNull", "repeat"].into_iter().filter(|name| members.contains_key(*name)).collect();
        let path = |name: &str| self.expression(members.get(name).unwrap_or(&Value::Null), &format!("{at}.{name}"));
        match given.as_slice() {
            [] => Ok(Foci::Same),
            ["forEach"] => path("forEach").map(Foci::Each),
            ["forEachOrNull"] => path("forEachOrNull").map(Foci::EachOrNull),
            ["repeat"] => {
                let paths = array(members, "repeat", at)?.iter().enumerate();
                let paths: Vec<_> = paths.map(|(i, p)| self.expression(p, &format!("{at}.repeat[{i}]"))).collect::<Result<_, _>>()?;
                if paths.is_empty() {
                    Err(wrong(format!("{at}.repeat"), "at least one path was expected"))
                } else {
                    Ok(Foci::Repeat(paths))
                }
            }
            _ => Err(wrong(at, format!("only one of {} is possible", given.join(", ")))),
        }
    }

    fn union(&self, branches: &[Value], place: Place<'_>, columns: &mut Vec<Typed>) -> Result<Vec<Select>, ViewError> {
        let first = columns.len();
        let mut selects = Vec::new();
        for (i, branch) in branches.iter().enumerate() {
            let at = format!("{}.unionAll[{i}]", place.at);
            // Every branch fills the columns of the first.
            let earlier = columns.split_off(first);
            selects.push(self.select(branch, Place { at: &at, depth: place.depth + 1, ..place }, columns)?);
            if i > 0 {
                merge(columns.get_mut(first..).unwrap_or_default(), earlier, &at)?;
            }
        }
        Ok(selects)
    }

    fn column(&self, column: &Value, place: Place<'_>, columns: &mut Vec<Typed>) -> Result<ColumnPath, ViewError> {
        let at = place.at;
        let members = object(column, at)?;
        check_members(members, &["name", "path", "type", "collection", "description", "tag"], at)?;
        let name = text(members, "name", at)?.ok_or_else(|| wrong(at, "`name` is missing"))?;
        check_name(name, &format!("{at}.name"))?;
        if columns.iter().any(|c| c.column.name == name) {
            return Err(wrong(format!("{at}.name"), format!("two columns are named `{name}`")));
        }
        if columns.len() == MAX_VIEW_COLUMNS {
            return Err(wrong(at, format!("a view has at most {MAX_VIEW_COLUMNS} columns")));
        }
        let collection = match members.get("collection") {
            None => false,
            Some(value) => value.as_bool().ok_or_else(|| wrong(format!("{at}.collection"), "a boolean was expected"))?,
        };
        let path = self.expression(members.get("path").unwrap_or(&Value::Null), &format!("{at}.path"))?;
        let declared = text(members, "type", at)?.map(|name| declared_type(name, &format!("{at}.type"))).transpose()?;
        let (column_type, source) = self.column_type(path.result_type(), declared);
        let untyped = source == TypeSource::Unknown || declared == Some(None);
        let description = text(members, "description", at)?.unwrap_or_default().to_owned();
        let of_patient = column_type == ColumnType::Key(Some("Patient")) && !collection;
        let written = members.get("path").and_then(Value::as_str).unwrap_or_default();
        let subject = of_patient && about::is_subject(self.resource_type, written, place.at_resource);
        let column = Column { name: name.to_owned(), column_type, collection, description, subject };
        columns.push(Typed { column, source, untyped });
        Ok(ColumnPath { position: columns.len() - 1, path })
    }

    /// `declared`: none, of a complex type, or of this type.
    fn column_type(&self, result: ResultType, declared: Option<Option<ColumnType>>) -> (ColumnType, TypeSource) {
        match (result, declared) {
            (ResultType::ResourceKey, None | Some(Some(ColumnType::String | ColumnType::Code))) => {
                (ColumnType::Key(Some(self.resource_type)), TypeSource::Key)
            }
            (ResultType::ReferenceKey(resource_type), None | Some(Some(ColumnType::String | ColumnType::Code))) => {
                (ColumnType::Key(resource_type), TypeSource::Key)
            }
            (_, Some(declared)) => (declared.unwrap_or(ColumnType::String), TypeSource::Declared),
            (ResultType::Primitive(class), None) => (class_type(class), TypeSource::Inferred),
            (_, None) => (ColumnType::String, TypeSource::Unknown),
        }
    }
}

/// Checks that the columns of a branch are those of the branches before it, and settles their types.
fn merge(columns: &mut [Typed], earlier: Vec<Typed>, at: &str) -> Result<(), ViewError> {
    let names = |columns: &[Typed]| columns.iter().map(|c| c.column.name.clone()).collect::<Vec<_>>();
    if names(columns) != names(&earlier) {
        return Err(wrong(
            at,
            format!("every branch of a unionAll has the same columns in the same order: {}", names(&earlier).join(", ")),
        ));
    }
    for (column, earlier) in columns.iter_mut().zip(earlier) {
        let name = &earlier.column.name;
        if column.column.collection != earlier.column.collection {
            return Err(wrong(at, format!("column {name}: `collection` differs between the branches")));
        }
        let same = column.column.column_type == earlier.column.column_type;
        if !same && column.source.min(earlier.source) >= TypeSource::Declared {
            return Err(wrong(at, format!("column {name}: its type differs between the branches")));
        }
        let subject = column.column.subject && earlier.column.subject;
        if column.source <= earlier.source {
            *column = earlier;
        }
        column.column.subject = subject;
    }
    Ok(())
}

fn class_type(class: Class) -> ColumnType {
    match class {
        Class::Boolean => ColumnType::Boolean,
        Class::Integer => ColumnType::Integer,
        Class::Decimal => ColumnType::Decimal,
        Class::Text | Class::Complex => ColumnType::String,
        Class::Date => ColumnType::Date,
        Class::DateTime => ColumnType::DateTime,
        Class::Time => ColumnType::Time,
    }
}

/// What `column.type` names: a primitive type, or (`None`) a complex one.
fn declared_type(name: &str, at: &str) -> Result<Option<ColumnType>, ViewError> {
    let short = name.strip_prefix("http://hl7.org/fhir/StructureDefinition/").unwrap_or(name);
    match short {
        "code" | "uri" | "url" | "canonical" | "oid" => return Ok(Some(ColumnType::Code)),
        _ => {}
    }
    // `Observation.referenceRange` is the type of a backbone element.
    let backbone = short.split_once('.').is_some_and(|(resource, _)| types::resource_type(resource).is_some());
    match types::data_type_named(short).map(|t| t.class) {
        Some(Class::Complex) => Ok(None),
        Some(class) => Ok(Some(class_type(class))),
        None if backbone || types::resource_type(short).is_some() => Ok(None),
        None => Err(wrong(at, format!("`{name}` is no type of FHIR R4"))),
    }
}
