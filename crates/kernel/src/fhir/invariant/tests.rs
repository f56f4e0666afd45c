#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::fhir::definitions::{TypeDefinition, ValueType};
use crate::fhir::json::parse;
use crate::fhir::testdata;

#[test]
fn every_rule_is_evaluated_but_for_these() {
    let left_out: Vec<String> = not_evaluated().iter().map(|(of, rule, why)| format!("{of} {}: {}", rule.key, why.what)).collect();
    let brief: Vec<&str> = left_out.iter().filter_map(|text| text.split(". Supported").next()).collect();
    assert_eq!(
        brief,
        ["CareTeam.participant ctm-1: resolve() is refused: the result may depend on this resource only; use getReferenceKey() and a join"]
    );
    let rules: usize = definitions::types().map(|of| of.invariants().all.len()).sum();
    assert!(rules > 800, "those of base types, of each type: {rules}");
    let own = |of: &str| definitions::type_definition(of).unwrap().invariants().all.iter().map(|r| r.constraint.key).collect::<Vec<_>>();
    assert_eq!(own("Observation"), ["dom-3", "dom-4", "dom-5", "obs-6", "obs-7", "dom-6"]);
    assert_eq!(own("Age"), ["qty-3", "age-1"]);
    assert_eq!(own("TestScript.test.action"), ["tst-2", "tst-8", "tst-6", "tst-11", "tst-13"]);
}

#[test]
fn gates_know_what_presence_decides() {
    let definition = definitions::type_definition("Quantity").unwrap();
    let [rule] = definition.invariants().all.as_slice() else { panic!("qty-3 alone") };
    let bit = |name: &str| 1_u64 << definition.elements().iter().position(|e| e.name == name).unwrap();
    let (value, unit, system, code) = (bit("value"), bit("unit"), bit("system"), bit("code"));
    for closed in [0, value, value | unit, value | unit | system | code, system] {
        assert!(!rule.gate.is_open(closed), "{closed:b}");
    }
    assert!(rule.gate.is_open(code) && rule.gate.is_open(value | code));
    let period = &definitions::type_definition("Period").unwrap().invariants().all;
    let opens: Vec<bool> = [0b0100, 0b1000, 0b1100].iter().map(|seen| period[0].gate.is_open(*seen)).collect();
    assert_eq!(opens, [false, false, true], "per-1 compares what is there");
}

/// Calls `with` for each object of a resource that has a type.
fn each_object<'a>(of: &'static TypeDefinition, value: Value<'a>, with: &mut dyn FnMut(&'static TypeDefinition, Value<'a>)) {
    with(of, value);
    for (name, inner) in value.members() {
        let Some(property) = of.property(name) else { continue };
        let items = if let Value::Array(items) = inner { items } else { std::slice::from_ref(inner) };
        for item in items {
            match property.value {
                ValueType::Complex(of) => each_object(of.definition(), *item, with),
                ValueType::Resource => each_object(definitions::resource_type(item.str("resourceType").unwrap()).unwrap(), *item, with),
                ValueType::Primitive(_) => {}
            }
        }
    }
}

/// A gate that is closed hides no broken rule: whatever parts real elements have, and whichever of them is left out.
#[test]
fn closed_gates_hide_nothing() {
    let mut compared = 0;
    for (name, text) in testdata::documents() {
        let arena = Bump::new();
        let resource = parse(&text, &arena).unwrap();
        let root = definitions::resource_type(resource.str("resourceType").unwrap()).unwrap();
        each_object(root, resource, &mut |of, element| {
            for left_out in 0..=element.members().len() {
                let members: Vec<_> = element.members().iter().enumerate().filter(|(i, _)| *i != left_out).map(|(_, m)| *m).collect();
                let element = Value::Object(arena.alloc_slice_copy(&members));
                let seen = members.iter().filter_map(|(name, _)| of.property(name)).fold(0_u64, |seen, p| seen | 1 << p.element);
                for rule in of.invariants().all.iter().filter(|r| !r.gate.is_open(seen) && r.constraint.element.is_none()) {
                    let holds = rule.holds(&Site { resource, root: resource, element, arena: &arena });
                    assert_ne!(holds, Some(false), "{name}: {} of {} is behind a closed gate", rule.constraint.key, of.name());
                    compared += 1;
                }
                if members.len() > 40 {
                    break;
                }
            }
        });
    }
    assert!(compared == 0 || compared > 100_000, "{compared}");
}
