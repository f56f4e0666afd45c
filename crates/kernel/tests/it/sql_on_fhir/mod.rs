//! The official SQL on FHIR suite on the library's runner.

mod live;
pub mod suite;

use bumpalo::Bump;
use dugnad_kernel::fhir::json;
use dugnad_kernel::views::{View, render};
use serde_json::Value;
use suite::Case;

/// The columns and rows of a view on some resources; the error where it cannot be compiled or fails.
fn rows(definition: &Value, resources: &[Value]) -> Result<(Vec<String>, Vec<Value>), String> {
    let view = View::compile(definition).map_err(|e| e.to_string())?;
    let arena = Bump::new();
    let mut rows = Vec::new();
    for resource in resources {
        let resource = json::parse(resource.to_string().as_bytes(), &arena).unwrap();
        view.run(resource, &arena, &mut |cells| {
            let mut row = Vec::new();
            render::write_json_row(view.columns(), cells, &mut row);
            rows.push(serde_json::from_slice(&row).expect("a row is rendered as JSON"));
        })
        .map_err(|e| e.to_string())?;
    }
    Ok((view.columns().iter().map(|c| c.name.clone()).collect(), rows))
}

fn check(case: &Case) {
    case.check(rows(&case.view, &case.resources));
}

macro_rules! define {
    ($($file:ident { $($case:ident),* $(,)? })*) => {
        $(mod $file {
            $(#[test]
            fn $case() {
                super::suite::Case::of(stringify!($file), stringify!($case)).iter().for_each(super::check);
            })*
        })*

        #[test]
        fn the_suite_has_144_tests_of_which_11_expect_an_error() {
            suite::check_complete(&[$((stringify!($file), &[$(stringify!($case)),*])),*]);
        }
    };
}

suite::for_each_case!(define);
