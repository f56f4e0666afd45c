//! ViewDefinitions drawn from a seed: some columns of a type, a `forEach` or a `unionAll` of two, a `where`.

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// Name, path and type of a column; "" where none is declared.
type Column = (&'static str, &'static str, &'static str);

struct Kind {
    name: &'static str,
    columns: &'static [Column],
    /// Paths of elements, and columns on each.
    parts: &'static [(&'static str, &'static [Column])],
    condition: &'static str,
}

const CODING: &[Column] = &[("part_code", "code", "code"), ("part_text", "display", "string")];

const KINDS: [Kind; 4] = [
    Kind {
        name: "Patient",
        columns: &[
            ("id_key", "getResourceKey()", ""),
            ("gender", "gender", "code"),
            ("born", "birthDate", "date"),
            ("died", "deceased.ofType(dateTime)", "dateTime"),
            ("active", "active", "boolean"),
            ("doctor_key", "generalPractitioner.first().getReferenceKey(Practitioner)", ""),
        ],
        parts: &[
            ("address", &[("part_code", "postalCode", "code"), ("part_text", "city", "string")]),
            ("identifier", &[("part_code", "system", "code"), ("part_text", "value", "string")]),
        ],
        condition: "active.exists()",
    },
    Kind {
        name: "Encounter",
        columns: &[
            ("id_key", "getResourceKey()", ""),
            ("status", "status", "code"),
            ("subject_key", "subject.getReferenceKey(Patient)", ""),
            ("started", "period.start", "dateTime"),
        ],
        parts: &[("type.coding", CODING), ("class", CODING)],
        condition: "status = 'finished'",
    },
    Kind {
        name: "Condition",
        columns: &[
            ("id_key", "getResourceKey()", ""),
            ("subject_key", "subject.getReferenceKey(Patient)", ""),
            ("any_key", "encounter.getReferenceKey()", ""),
            ("started", "onset.ofType(dateTime)", "dateTime"),
        ],
        parts: &[("code.coding", CODING)],
        condition: "encounter.exists()",
    },
    Kind {
        name: "Observation",
        columns: &[
            ("id_key", "getResourceKey()", ""),
            ("subject_key", "subject.getReferenceKey(Patient)", ""),
            ("whole", "value.ofType(integer)", "integer"),
            ("measured", "value.ofType(Quantity).value", "decimal"),
            ("said", "value.ofType(string)", "string"),
            ("at", "effective.ofType(dateTime)", "dateTime"),
        ],
        parts: &[("component.code.coding", CODING), ("code.coding", CODING)],
        condition: "value.exists()",
    },
];

/// The ViewDefinition of a seed, with that name.
pub fn definition(seed: u32, name: &str) -> Value {
    let rng = &mut ChaCha8Rng::seed_from_u64(seed.into());
    let kind = &KINDS[rng.random_range(0..KINDS.len())];
    let count = rng.random_range(1..=kind.columns.len());
    let columns: Vec<Value> = kind.columns.sample(rng, count).map(column).collect();
    let mut select = vec![json!({"column": columns})];
    if rng.random_bool(0.3) {
        let list = json!({"name": "numbers", "path": "identifier.value", "type": "string", "collection": true});
        select.push(json!({"column": [list]}));
    }
    let mut part = || {
        let (path, columns) = kind.parts.choose(rng).unwrap();
        let each = if rng.random() { "forEach" } else { "forEachOrNull" };
        json!({each: path, "column": columns.iter().map(column).collect::<Vec<_>>()})
    };
    let parts = (part(), part());
    match rng.random_range(0..3) {
        0 => select.push(parts.0),
        1 => select.push(json!({"unionAll": [parts.0, parts.1]})),
        _ => {}
    }
    let mut definition =
        json!({"resourceType": "ViewDefinition", "name": name, "status": "active", "resource": kind.name, "select": select});
    if rng.random_bool(0.3) {
        definition["where"] = json!([{"path": kind.condition}]);
    }
    definition
}

fn column((name, path, of_type): &Column) -> Value {
    let mut column = json!({"name": name, "path": path});
    if !of_type.is_empty() {
        column["type"] = (*of_type).into();
    }
    column
}
