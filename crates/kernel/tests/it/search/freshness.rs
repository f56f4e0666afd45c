//! A resource is found by every one of its values in the first search after its acknowledgement.

use bumpalo::Bump;
use dugnad_kernel::clock::SystemClock;
use dugnad_kernel::database::{Database, Handling, Interaction, Page, WriteRequest};
use dugnad_kernel::fhir::json;
use dugnad_kernel::ids::HolderId;
use dugnad_kernel::search::parameters::{self, Parameter};
use dugnad_kernel::search::query::{
    Comparison, Criterion, Hierarchy, Match, Number, Operand, Prefix, Reference, Search, System, Test, Token, Unit,
};
use dugnad_kernel::search::values::packed::Packed;
use dugnad_kernel::search::values::{Value, values_of};
use std::path::PathBuf;
use std::sync::Arc;

fn token(system: &str, code: &str) -> Token {
    let code = Some(code.to_owned()).filter(|code| !code.is_empty());
    Token { system: if system.is_empty() { System::Absent } else { System::Is(system.to_owned()) }, code }
}

fn number(text: &str) -> Option<Comparison<Number>> {
    Number::parse(text).map(|value| Comparison { prefix: Prefix::Equal, value })
}

/// What finds a value.
fn operand(value: &Value<'_>) -> Option<Operand> {
    Some(match value {
        Value::Token { system, code } => Operand::Token(token(system, code)),
        Value::OfType { system, code, value } => Operand::OfType { of: token(system, code), value: (*value).to_owned() },
        Value::Text(text) => Operand::Text((*text).to_owned()),
        Value::String(text) => Operand::String { text: text.to_uppercase(), how: Match::Begins },
        Value::Reference { resource_type, id } => {
            let resource_type = parameters::of_type(resource_type)?.all().first()?.resource_type;
            Operand::Reference(Reference::Resource { resource_type, id: (*id).to_owned() })
        }
        Value::Url(url) => Operand::Reference(Reference::Url((*url).to_owned())),
        Value::Logical { system, value } => Operand::Identifier(token(system, value)),
        Value::Date(moments) => Operand::Date(Comparison { prefix: Prefix::Equal, value: *moments }),
        Value::Number(text) => Operand::Number(number(text)?),
        Value::Quantity { comparator: "", value, unit } => {
            Operand::Quantity { number: number(value)?, unit: Unit::Coded { system: unit.system.to_owned(), code: unit.code.to_owned() } }
        }
        Value::Quantity { comparator, value, .. } => {
            let prefix = if comparator.starts_with('<') { Prefix::Less } else { Prefix::Greater };
            Operand::Quantity { number: Comparison { prefix, value: Number::parse(value)? }, unit: Unit::Any }
        }
        Value::Range { low, high, .. } => {
            let value = Number::parse(if low.is_empty() { high } else { low })?;
            Operand::Quantity { number: Comparison { prefix: Prefix::Approximately, value }, unit: Unit::Any }
        }
        Value::Uri(uri) => Operand::Uri { uri: (*uri).to_owned(), how: Hierarchy::Exact },
        Value::Place(latitude, longitude) => {
            Operand::Near { latitude: latitude.parse().ok()?, longitude: longitude.parse().ok()?, distance_m: 1.0 }
        }
        Value::Tuple(tuple) => {
            let components = tuple.components().map(|mut values| values.find_map(|value| operand(&value)));
            Operand::Composite(components.collect::<Option<_>>()?)
        }
    })
}

/// A number parameter takes a range of a resource too.
fn fitting(parameter: &Parameter, operand: Operand) -> Operand {
    match operand {
        Operand::Quantity { number, .. } if parameter.kind == parameters::Kind::Number => Operand::Number(number),
        other => other,
    }
}

/// Writes a resource and searches for it by each of its values; how many that were.
fn written_and_found(database: &Database, holder: HolderId, body: &[u8], name: &str) -> usize {
    let arena = Bump::new();
    let resource = json::parse(body, &arena).unwrap();
    let (Some(resource_type), Some(id)) = (resource.str("resourceType"), resource.str("id")) else { return 0 };
    let interaction =
        Interaction::Update { resource_type: resource_type.to_owned(), id: id.to_owned(), body: body.to_vec(), if_match: None };
    let written = database.write(WriteRequest { holder, interaction, handling: Handling::Lenient, idempotency_key: None });
    let Ok(written) = written else { panic!("{name}: {written:?}") };
    let parameters = parameters::of_type(resource_type).unwrap();
    let packed = values_of(parameters, resource, std::iter::empty());
    let mut asked = 0;
    for parameter in parameters.all() {
        for value in Packed::new(&packed).values(usize::from(parameter.number)) {
            let Some(operand) = operand(&value) else { continue };
            let test = Test::Any(vec![fitting(parameter, operand)]);
            let criteria = vec![Criterion::Is { parameter, test }];
            let search = Search { criteria, ..Search::all(parameter.resource_type) };
            let found = database.search(holder, &search, Page { count: 1_000, ..Page::default() }).unwrap();
            let hit = found.hits.iter().find(|hit| hit.id == id);
            // Two files have the same example: the second write changes nothing, and answers the newest commit.
            assert!(hit.is_some_and(|hit| hit.commit <= written.commit), "{name} {} {value:?}: {:?}", parameter.code, found.hits);
            asked += 1;
        }
    }
    asked
}

#[test]
fn hl7s_examples_are_found_by_every_value_at_once() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/fhir-r4/hl7-r4-examples"));
    let Ok(files) = std::fs::read_dir(&folder) else {
        eprintln!("skipped: {} is absent", folder.display());
        return;
    };
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    let dir = tempfile::TempDir::new().unwrap();
    let database = Database::open(dir.path(), Arc::new(SystemClock), &mut |_, _| {}).unwrap();
    let holder = database.register_holder("A").unwrap().id;
    let mut asked = 0;
    for path in paths {
        asked += written_and_found(&database, holder, &std::fs::read(&path).unwrap(), &path.display().to_string());
    }
    assert!(asked > 2_500, "only {asked} values were searched");
    database.close();
}
