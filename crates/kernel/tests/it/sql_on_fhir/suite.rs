//! The official SQL on FHIR suite (FHIR/sql-on-fhir.js, MIT), read from the folder of shared data: each of its tests by name,
//! for every runner that it is tried on.

use serde_json::Value;
use std::path::PathBuf;

/// Calls the macro `$with` with all files and their tests, each in the form `file { test, ... }`. A name is the title in lower
/// case with `_` for whatever is no letter or digit, and a `_` at its end where it would be a word of Rust.
macro_rules! for_each_case {
    ($with:ident) => {
        $with! {
            basic {
                basic_attribute, boolean_attribute_with_false, two_columns, two_selects_with_columns, where_1, where_2,
                where_returns_non_boolean_for_some_cases, where_as_expr_1, where_as_expr_2, select_column,
                column_ordering,
            }
            collection {
                fail_when_collection_is_not_true, collection_true, collection_false_relative_to_foreach_parent,
                collection_false_relative_to_foreachornull_parent,
            }
            combinations {
                select, column_select, sibling_select, sibling_select_inside_a_select, column_select_with_where,
                unionall_foreach_column_select,
            }
            constant {
                constant_in_path, constant_in_foreach, constant_in_where_element, constant_in_unionall,
                integer_constant, boolean_constant, accessing_an_undefined_constant, incorrect_constant_definition,
            }
            constant_types { base64binary, code, date, datetime, decimal, id, instant, oid, positiveint, time, unsignedint, uri, url, uuid }
            fhirpath { one_element, two_elements_first, collection, index_0, index_1, out_of_index, where_, exists, nested_exists }
            fhirpath_numbers { add_observation }
            fn_boundary {
                decimal_lowboundary, decimal_highboundary, datetime_lowboundary, datetime_highboundary,
                date_lowboundary, date_highboundary, time_lowboundary, time_highboundary,
            }
            fn_empty { empty_names }
            fn_extension { simple_extension, nested_extension }
            fn_first { table_level_first, table_and_field_level_first }
            fn_join { join_with_comma, join_with_empty_value, join_with_no_value_default_to_no_separator }
            fn_oftype { select_string_values, select_integer_values }
            fn_reference_keys {
                getreferencekey_result_matches_getresourcekey_without_type_specifier,
                getreferencekey_result_matches_getresourcekey_with_right_type_specifier,
                getreferencekey_result_matches_getresourcekey_with_wrong_type_specifier,
            }
            foreach {
                foreach_normal, foreachornull_basic, foreach_empty, foreach_two_on_the_same_level,
                foreach_two_on_the_same_level_empty_result, foreachornull_null_case,
                foreach_and_foreachornull_on_the_same_level, nested_foreach, nested_foreach_select_column,
                foreachornull_unionall_on_the_same_level, foreach_unionall_on_the_same_level,
                foreach_unionall_column_select_on_the_same_level,
                foreachornull_unionall_column_select_on_the_same_level,
            }
            logic { filtering_with_and, filtering_with_or, filtering_with_not }
            repeat {
                basic, item_and_answer_item, empty_expression, empty_child_expression, combined_with_foreach,
                combined_with_foreachornull, combined_with_unionall, repeat_inside_foreach, repeat_inside_repeat,
                repeat_inside_foreachornull, sibling_repeats_at_top_level, sibling_repeats_inside_foreach,
                top_level_repeat_with_sibling_foreach_containing_repeat,
                foreach_with_repeat_with_foreach_triple_nesting, repeat_with_foreach_with_repeat_triple_nesting,
                unionall_inside_repeat, repeat_inside_repeat_inside_repeat, multi_path_repeat_inside_foreach,
                unionall_with_repeat_and_non_repeat_branches,
            }
            row_index {
                rowindex_at_top_level, rowindex_with_foreach, rowindex_with_foreachornull, rowindex_with_nested_foreach,
                rowindex_with_repeat, rowindex_with_unionall, rowindex_in_unionall_without_foreach,
                rowindex_in_unionall_inside_foreach, rowindex_for_surrogate_key,
            }
            union {
                basic, unionall_column, duplicates, empty_results, empty_with_foreachornull, foreachornull_and_foreach,
                nested, one_empty_operand, column_mismatch, column_order_mismatch,
            }
            validate { empty, missing_resource, wrong_fhirpath, wrong_type_in_foreach, where_with_path_resolving_to_not_boolean }
            view_resource { only_pts, only_obs, resource_not_specified }
            where_ {
                simple_where_path_with_result, where_path_with_no_results, where_path_with_greater_than_inequality,
                where_path_with_less_than_inequality, multiple_where_paths, where_path_with_an_and_connector,
                where_path_with_an_or_connector, where_path_that_evaluates_to_true_when_empty,
            }
        }
    };
}
pub(crate) use for_each_case;

/// One test of the suite.
pub struct Case {
    /// File and title, for messages.
    pub name: String,
    /// The ViewDefinition.
    pub view: Value,
    pub resources: Vec<Value>,
    /// The rows, or `None` where an error is expected.
    pub rows: Option<Vec<Value>>,
    /// The columns in their order, where the suite asks for one.
    pub columns: Vec<String>,
    /// For an expected error: what its message must say.
    said: &'static [&'static str],
}

/// What a message must say where an error is expected: which element, and why.
const ERRORS: [(&str, &str, &[&str]); 11] = [
    ("collection", "fail_when_collection_is_not_true", &["column", "more than one value", "`collection`"]),
    ("constant", "accessing_an_undefined_constant", &["ViewDefinition.select[0].forEach", "no constant is named `%wrong_name`"]),
    ("constant", "incorrect_constant_definition", &["ViewDefinition.constant[0]", "value[x]"]),
    ("union", "column_mismatch", &["unionAll[1]", "same columns", "a, b"]),
    ("union", "column_order_mismatch", &["unionAll[1]", "same order", "a, b"]),
    ("validate", "empty", &["ViewDefinition", "`resource` is missing"]),
    ("validate", "missing_resource", &["ViewDefinition", "`resource` is missing"]),
    ("validate", "wrong_fhirpath", &["ViewDefinition.select[0].forEach", "at character"]),
    ("validate", "wrong_type_in_foreach", &["ViewDefinition.select[0].forEach", "a string"]),
    ("validate", "where_with_path_resolving_to_not_boolean", &["where[0]", "boolean"]),
    ("view_resource", "resource_not_specified", &["ViewDefinition", "`resource` is missing"]),
];

/// A title as the name of a test.
fn slug(title: &str) -> String {
    let words: Vec<String> =
        title.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_ascii_lowercase).collect();
    words.join("_")
}

/// The file of the suite, or `None` (and the reason on stderr) where the folder is absent.
fn file(name: &str) -> Option<Value> {
    // Both crates that run the suite lie in the same folder.
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/sql-on-fhir/tests")).join(format!("{name}.json"));
    if !path.exists() {
        eprintln!("skipped: {} is not there", path.display());
        return None;
    }
    Some(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
}

impl Case {
    /// The case of that name, or `None` where the folder is absent.
    pub fn of(in_file: &str, name: &str) -> Option<Case> {
        let (in_file, name) = (in_file.trim_end_matches('_'), name.trim_end_matches('_'));
        let suite = file(in_file)?;
        let test = suite["tests"].as_array().unwrap().iter().find(|t| slug(t["title"].as_str().unwrap()) == name);
        let test = test.unwrap_or_else(|| panic!("{in_file} has no test {name}"));
        let fails = test["expectError"] == true;
        let said = ERRORS.iter().find(|(file, case, _)| (*file, *case) == (in_file, name)).map(|(.., said)| *said);
        assert_eq!(fails, said.is_some(), "whether {in_file}: {name} expects an error");
        Some(Case {
            name: format!("{in_file}: {}", test["title"].as_str().unwrap()),
            view: test["view"].clone(),
            resources: suite["resources"].as_array().unwrap().clone(),
            rows: (!fails).then(|| test["expect"].as_array().expect("a test expects rows or an error").clone()),
            columns: test["expectColumns"].as_array().into_iter().flatten().filter_map(|c| c.as_str().map(str::to_owned)).collect(),
            said: said.unwrap_or_default(),
        })
    }

    /// Asserts that the message of an expected error says which element is wrong, and why.
    #[track_caller]
    pub fn check_error(&self, error: &str) {
        self.said.iter().for_each(|said| assert!(error.contains(said), "{}: {said:?} is not in: {error}", self.name));
    }

    /// Asserts that the rows (and their columns) or the error are those that the suite expects.
    #[track_caller]
    pub fn check(&self, outcome: Result<(Vec<String>, Vec<Value>), String>) {
        let name = &self.name;
        match (&self.rows, outcome) {
            (None, Ok((_, rows))) => panic!("{name}: an error was expected, and there were {} rows", rows.len()),
            (None, Err(error)) => self.check_error(&error),
            (Some(_), Err(error)) => panic!("{name}: {error}"),
            (Some(expected), Ok((columns, rows))) => {
                assert_eq!(sorted(&rows), sorted(expected), "{name}: rows");
                assert!(self.columns.is_empty() || self.columns == columns, "{name}: columns {columns:?}, expected {:?}", self.columns);
            }
        }
    }
}

/// Asserts that `listed` is the whole suite.
#[track_caller]
pub fn check_complete(listed: &[(&str, &[&str])]) {
    let (mut count, mut errors) = (0, 0);
    for (name, cases) in listed {
        let Some(suite) = file(name.trim_end_matches('_')) else { return };
        let tests = suite["tests"].as_array().unwrap();
        let titles: Vec<String> = tests.iter().map(|t| slug(t["title"].as_str().unwrap())).collect();
        let cases: Vec<&str> = cases.iter().map(|c| c.trim_end_matches('_')).collect();
        assert_eq!(titles, cases, "{name}");
        count += tests.len();
        errors += tests.iter().filter(|t| t["expectError"] == true).count();
    }
    assert_eq!((count, errors), (144, ERRORS.len()));
    assert_eq!(listed.len(), 22);
}

/// A text that two rows share if they are the same row: names sorted, 5 and 5.0 one number.
pub fn canonical(row: &Value) -> String {
    match row {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().map(|(name, value)| format!("{name}:{}", canonical(value))).collect();
            members.sort();
            members.join(",")
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Value::Number(number) => number.as_f64().unwrap().to_string(),
        other => other.to_string(),
    }
}

/// The order of rows does not matter.
fn sorted(rows: &[Value]) -> Vec<String> {
    let mut rows: Vec<_> = rows.iter().map(canonical).collect();
    rows.sort();
    rows
}
