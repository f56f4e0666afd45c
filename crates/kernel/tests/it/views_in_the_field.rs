//! Views as they are written in the field (US Core and mCODE profiles, laboratory, claims), over the patient bundles of the
//! folder of shared data: they compile, fail on no resource, and every column has values.

use super::builtin_views::{data, files, fits, resolve};
use bumpalo::Bump;
use dugnad_kernel::fhir::json;
use dugnad_kernel::views::{Cell, View};
use std::collections::BTreeMap;

/// ViewDefinitions in an array.
const DEFINITIONS: &str = include_str!("views_in_the_field.json");

/// How many rows each view has over the 17 bundles of `small`, as another runner (pysof 0.2.6) counts them too; that of
/// `laboratory` was counted without `above_13_g_dl`, since that runner fails where units differ.
const ROWS: [(&str, usize); 12] = [
    ("us_core_patient", 17),
    ("patient_addresses", 17),
    ("contact_points", 17),
    ("blood_pressure", 162),
    ("mcode_cancer_condition", 8),
    ("laboratory", 1_404),
    ("encounter_length", 362),
    ("medication_codes", 83),
    ("report_results", 384),
    ("claim_items", 748),
    ("all_codings", 266),
    ("extensions_of_all_depths", 179),
];

#[test]
fn views_in_the_field_run_on_every_resource_and_fill_their_columns() {
    let Some(data) = data() else { return };
    let definitions: Vec<serde_json::Value> = serde_json::from_str(DEFINITIONS).unwrap();
    let views: Vec<View> = definitions.iter().map(|d| View::compile(d).unwrap_or_else(|e| panic!("{}: {e}", d["name"]))).collect();
    let mut rows: BTreeMap<&str, usize> = BTreeMap::new();
    let mut filled: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut arena = Bump::new();
    for bundle in files(&data.join("small")) {
        let bundle = resolve(&bundle);
        let bundle = json::parse(&bundle, &arena).unwrap();
        for resource in bundle.get("entry").unwrap().items().iter().filter_map(|entry| entry.get("resource")) {
            for view in &views {
                let outcome = view.run(resource, &arena, &mut |cells| {
                    *rows.entry(view.name()).or_default() += 1;
                    for (column, cell) in view.columns().iter().zip(cells) {
                        assert!(fits(cell, column) || matches!(cell, Cell::List(_)), "{}.{}: {cell:?}", view.name(), column.name);
                        let empty = matches!(cell, Cell::Null | Cell::List([]));
                        *filled.entry((view.name(), &column.name)).or_default() += usize::from(!empty);
                    }
                });
                assert_eq!(outcome, Ok(()), "{}", view.name());
            }
        }
        arena.reset();
    }
    assert_eq!(rows, BTreeMap::from(ROWS));
    let empty: Vec<_> = filled.iter().filter(|(_, filled)| **filled == 0).map(|(column, _)| column).collect();
    assert_eq!(empty, Vec::<&(&str, &str)>::new(), "columns without any value");
}
