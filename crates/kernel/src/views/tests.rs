#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::builtin::{TREATMENT, builtin_views};
use super::{About, Cell, ColumnType, View, ViewError, has_modifier_extension, render};
use crate::fhir::json;
use bumpalo::Bump;
use serde_json::{Value, json};

fn select(select: Value) -> Value {
    json!({"resourceType": "ViewDefinition", "resource": "Patient", "select": select})
}

/// The rows of a view as JSON, or what went wrong.
fn rows(definition: &Value, resource: &Value) -> Result<Vec<String>, ViewError> {
    let view = View::compile(definition)?;
    let arena = Bump::new();
    let resource = json::parse(resource.to_string().as_bytes(), &arena).unwrap();
    let mut rows = Vec::new();
    view.run(resource, &arena, &mut |cells| {
        let mut row = Vec::new();
        render::write_json_row(view.columns(), cells, &mut row);
        rows.push(String::from_utf8(row).unwrap());
    })?;
    Ok(rows)
}

fn refused(definition: Value, at: &str, what: &str) {
    match View::compile(&definition) {
        Err(ViewError::Definition { at: found, what: why }) => {
            assert_eq!(found, at, "{why}");
            assert!(why.contains(what), "{why}");
        }
        other => panic!("{definition} gave {other:?}"),
    }
}

#[test]
fn a_refusal_says_where_and_what() {
    let id = json!({"name": "id", "path": "id"});
    refused(json!({"resource": "Patient"}), "ViewDefinition", "`select` is missing");
    refused(json!({"select": []}), "ViewDefinition", "`resource` is missing");
    refused(json!({"resource": "Hospital", "select": [{"column": [id]}]}), "ViewDefinition.resource", "no resource type");
    refused(json!({"resourceType": "Patient"}), "ViewDefinition", "not a ViewDefinition");
    refused(json!({"resource": "Patient", "fhirVersion": ["5.0.0"], "select": [{"column": [id]}]}), "ViewDefinition.fhirVersion", "R4");
    refused(select(json!([{"column": [{"name": "1d", "path": "id"}]}])), "ViewDefinition.select[0].column[0].name", "valid name");
    refused(select(json!([{"column": [id]}, {"column": [id]}])), "ViewDefinition.select[1].column[0].name", "two columns");
    refused(
        select(json!([{"column": [{"name": "a", "path": "today()"}]}])),
        "ViewDefinition.select[0].column[0].path",
        "character 1: today()",
    );
    refused(
        select(json!([{"column": [{"name": "a", "path": "id", "type": "strong"}]}])),
        "ViewDefinition.select[0].column[0].type",
        "no type",
    );
    refused(select(json!([{"forEach": "name", "repeat": ["name"], "column": [id]}])), "ViewDefinition.select[0]", "only one");
    refused(select(json!([{"foreach": "name", "column": [id]}])), "ViewDefinition.select[0]", "`foreach` is not supported");
    refused(select(json!([{"forEach": "name"}])), "ViewDefinition.select[0]", "a select has");
    refused(
        select(json!([{"column": [id], "unionAll": [{"column": [id]}]}])),
        "ViewDefinition.select[0].unionAll[0].column[0].name",
        "two columns",
    );
    refused(
        select(
            json!([{"unionAll": [{"column": [{"name": "a", "path": "id", "type": "id"}]}, {"column": [{"name": "a", "path": "id", "type": "integer"}]}]}]),
        ),
        "ViewDefinition.select[0].unionAll[1]",
        "its type differs",
    );
    let mut condition = select(json!([{"column": [id]}]));
    condition["where"] = json!([{"path": "'a' & 'b'"}]);
    refused(condition, "ViewDefinition.where[0].path", "boolean");
    let mut constant = select(json!([{"column": [id]}]));
    constant["constant"] = json!([{"name": "a", "valueString": "x", "valueCode": "y"}]);
    refused(constant, "ViewDefinition.constant[0]", "exactly one value[x]");
}

#[test]
fn selects_that_nest_without_end_are_refused() {
    let mut nested = json!({"column": [{"name": "id", "path": "id"}]});
    for _ in 0..50 {
        nested = json!({"select": [nested]});
    }
    assert!(View::compile(&select(json!([nested]))).unwrap_err().to_string().contains("nest deeper"));
}

#[test]
fn columns_have_the_type_that_is_declared_or_inferred() {
    let types = [
        ("id", None, ColumnType::String),
        ("gender", Some("code"), ColumnType::Code),
        ("gender = 'male'", None, ColumnType::Boolean),
        ("name.count()", None, ColumnType::Integer),
        ("deceased.ofType(dateTime)", None, ColumnType::DateTime),
        ("birthDate", Some("date"), ColumnType::Date),
        ("getResourceKey()", None, ColumnType::Key(Some("Patient"))),
        ("getResourceKey()", Some("id"), ColumnType::Key(Some("Patient"))),
        ("managingOrganization.getReferenceKey(Organization)", Some("string"), ColumnType::Key(Some("Organization"))),
        ("generalPractitioner.first().getReferenceKey()", None, ColumnType::Key(None)),
        ("iif(active, managingOrganization.getReferenceKey(Organization), {})", None, ColumnType::Key(Some("Organization"))),
        ("getResourceKey() | link.other.getReferenceKey(Patient)", None, ColumnType::Key(None)),
        ("name", Some("HumanName"), ColumnType::String),
        ("contact", Some("Patient.contact"), ColumnType::String),
    ];
    for (path, declared, expected) in types {
        let mut column = json!({"name": "a", "path": path});
        if let Some(declared) = declared {
            column["type"] = json!(declared);
        }
        let view = View::compile(&select(json!([{"column": [column]}]))).unwrap();
        assert_eq!(view.columns()[0].column_type, expected, "{path}");
    }
}

#[test]
fn the_columns_of_a_union_take_the_type_that_one_branch_knows() {
    let branch = |path: &str| json!({"column": [{"name": "a", "path": path}]});
    let column_type =
        |a: &str, b: &str| View::compile(&select(json!([{"unionAll": [branch(a), branch(b)]}]))).map(|v| v.columns()[0].column_type);
    assert_eq!(column_type("{}", "%rowIndex"), Ok(ColumnType::Integer));
    assert_eq!(column_type("1", "{}"), Ok(ColumnType::Integer));
    assert_eq!(column_type("{}", "getResourceKey()"), Ok(ColumnType::Key(Some("Patient"))));
}

#[test]
fn a_cell_that_is_not_of_its_columns_type_is_an_error_without_the_value() {
    let patient = json!({"resourceType": "Patient", "id": "p", "gender": "secret", "name": [{"family": "secret"}, {"family": "secret"}], "active": true});
    let error = |path: &str, column_type: &str| {
        rows(&select(json!([{"column": [{"name": "a", "path": path, "type": column_type}]}])), &patient).unwrap_err().to_string()
    };
    assert_eq!(error("gender", "boolean"), "column a: a value that is no boolean");
    assert_eq!(error("gender", "integer"), "column a: a value that is no integer");
    assert_eq!(error("active", "dateTime"), "column a: a value that is no date or time");
    assert_eq!(error("name.first()", "string"), "column a: an element that is no primitive");
    assert_eq!(error("name.family", "string"), "column a: more than one value; take first(), or set `collection` to true");
    assert_eq!(
        error("name.family & 'x'", "string"),
        "column a: at character 13 of the expression: more than one value where one at most is possible"
    );
}

#[test]
fn untyped_cells_are_what_the_json_is() {
    let patient = json!({"resourceType": "Patient", "id": "p", "multipleBirthInteger": 2, "active": true, "name": [{"family": "F"}],
        "extension": [{"url": "u", "valueDecimal": 1.50}]});
    let column = |name: &str, path: &str| json!({"name": name, "path": path});
    let view = select(
        json!([{"column": [column("a", "multipleBirth"), column("b", "active"), column("c", "name"), column("d", "extension('u').value"),
        column("e", "birthDate"), column("f", "getResourceKey()")]}]),
    );
    assert_eq!(rows(&view, &patient).unwrap(), [r#"{"a":2,"b":true,"c":{"family":"F"},"d":1.5,"e":null,"f":"p"}"#]);
}

#[test]
fn a_for_each_or_null_without_foci_yields_one_row_of_nulls() {
    let view = select(json!([{"forEachOrNull": "contact",
        "column": [{"name": "i", "path": "%rowIndex"}, {"name": "literal", "path": "'x'"}, {"name": "all", "path": "relationship.text", "collection": true}],
        "select": [{"forEach": "telecom", "column": [{"name": "value", "path": "value"}]}]}]));
    assert_eq!(rows(&view, &json!({"resourceType": "Patient"})).unwrap(), [r#"{"i":0,"literal":null,"all":null,"value":null}"#]);
}

#[test]
fn a_repeat_or_a_product_without_end_stops() {
    let patient = json!({"resourceType": "Patient", "name": (0..110).map(|i| json!({"family": i.to_string()})).collect::<Vec<_>>()});
    let endless = select(json!([{"repeat": ["$this", "$this"], "column": [{"name": "a", "path": "id"}]}]));
    assert!(rows(&endless, &patient).unwrap_err().to_string().contains("does not come to an end"));
    let each = |name: &str| json!({"forEach": "name", "column": [{"name": name, "path": "family"}]});
    let product = select(json!([each("a"), each("b"), each("c")]));
    assert!(rows(&product, &patient).unwrap_err().to_string().contains("more rows"));
}

#[test]
fn a_row_is_written_as_json() {
    let columns = json!([{"name": "text", "path": "name.text"}, {"name": "given", "path": "name.given", "collection": true}, {"name": "none", "path": "id"}]);
    let view = View::compile(&select(json!([{"column": columns}]))).unwrap();
    let cells = [Cell::String("a \"b\",\nc"), Cell::List(&[Cell::String("x"), Cell::Integer(1)]), Cell::Null];
    let mut json = Vec::new();
    render::write_json_row(view.columns(), &cells, &mut json);
    assert_eq!(String::from_utf8(json).unwrap(), r#"{"text":"a \"b\",\nc","given":["x",1],"none":null}"#);
}

#[test]
fn modifier_extensions_are_seen_at_the_top_and_one_level_below() {
    let has = |resource: Value| {
        let arena = Bump::new();
        has_modifier_extension(&json::parse(resource.to_string().as_bytes(), &arena).unwrap())
    };
    assert!(has(json!({"modifierExtension": [{"url": "u"}]})));
    assert!(has(json!({"component": [{}, {"modifierExtension": [{"url": "u"}]}]})));
    assert!(has(json!({"dosage": {"modifierExtension": [{"url": "u"}]}})));
    assert!(!has(json!({"extension": [{"url": "modifierExtension"}]})));
}

#[test]
fn built_in_views_compile_and_describe_every_column() {
    let views = builtin_views();
    assert_eq!(views.len(), 14);
    for builtin in &views {
        assert_eq!(builtin.view.name(), builtin.table);
        assert_eq!(builtin.view.columns()[0].name, "resource_id");
        for column in builtin.view.columns() {
            assert!(column.description.ends_with('.'), "{}.{}", builtin.table, column.name);
            assert!(!column.collection && column.name != "holder");
            assert_eq!(matches!(column.column_type, ColumnType::Key(_)), column.name.ends_with("_key") || column.name == "resource_id");
        }
        let about_a_patient =
            builtin.view.columns().iter().any(|c| c.name == "patient_key" && c.column_type == ColumnType::Key(Some("Patient")));
        assert_eq!(about_a_patient, builtin.table != "research_study");
    }
}

#[test]
fn treatment_reads_built_in_tables_only() {
    let (name, sql) = TREATMENT;
    assert_eq!(name, "treatment");
    let tables: Vec<&str> = sql.lines().filter_map(|l| l.strip_prefix("FROM ")).collect();
    assert_eq!(tables, ["procedure", "medication_administration", "immunization"]);
    assert!(tables.iter().all(|t| builtin_views().iter().any(|b| b.table == *t)));
}

fn builtin_rows(table: &str, resource: Value) -> Vec<Value> {
    let views = builtin_views();
    let view = &views.iter().find(|b| b.table == table).unwrap().view;
    let arena = Bump::new();
    let resource = json::parse(resource.to_string().as_bytes(), &arena).unwrap();
    let mut rows = Vec::new();
    view.run(resource, &arena, &mut |cells| {
        let mut row = Vec::new();
        render::write_json_row(view.columns(), cells, &mut row);
        rows.push(serde_json::from_slice(&row).unwrap());
    })
    .unwrap();
    rows
}

#[test]
fn an_observation_has_a_row_of_its_own_and_one_for_each_component() {
    let coding = |code: &str| json!({"coding": [{"system": "http://loinc.org", "code": code}, {"system": "other", "code": "x"}]});
    let rows = builtin_rows(
        "observation",
        json!({"resourceType": "Observation", "id": "o", "status": "final", "code": coding("85354-9"), "subject": {"reference": "Patient/p"},
            "effectivePeriod": {"start": "2024-01-01", "end": "2024-01-02"},
            "component": [
                {"code": coding("8480-6"), "valueQuantity": {"value": 120.0, "unit": "mmHg", "system": "http://unitsofmeasure.org", "code": "mm[Hg]"}},
                {"code": coding("8462-4"), "valueInteger": 80},
                {"code": coding("8478-0"), "valueCodeableConcept": coding("high")}]}),
    );
    assert_eq!(rows.len(), 4);
    let cells = |column: &str| rows.iter().map(|r| r[column].clone()).collect::<Vec<_>>();
    assert_eq!(json!(cells("component")), json!([null, 0, 1, 2]));
    assert_eq!(json!(cells("code")), json!(["85354-9", "8480-6", "8462-4", "8478-0"]));
    assert_eq!(json!(cells("value")), json!([null, 120.0, 80, null]));
    assert_eq!(json!(cells("unit_code")), json!([null, "mm[Hg]", null, null]));
    assert_eq!(json!(cells("value_code")), json!([null, null, null, "high"]));
    assert_eq!(json!(cells("patient_key")), json!(["p", "p", "p", "p"]));
    assert_eq!(json!(cells("ended")[3]), json!("2024-01-02"));
}

#[test]
fn a_patient_is_dead_if_it_says_so_or_when() {
    let deceased = |more: Value| {
        let mut patient = json!({"resourceType": "Patient", "id": "p"});
        patient.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        builtin_rows("patient", patient)[0]["deceased"].clone()
    };
    assert_eq!(deceased(json!({})), Value::Null);
    assert_eq!(deceased(json!({"deceasedBoolean": false})), json!(false));
    assert_eq!(deceased(json!({"deceasedBoolean": true})), json!(true));
    assert_eq!(deceased(json!({"deceasedDateTime": "2024"})), json!(true));
}

#[test]
fn a_view_knows_whom_its_rows_are_about() {
    for builtin in builtin_views() {
        let expected = match builtin.table {
            "research_study" => About::Nobody,
            "patient" => About::Patient(0), // its `resource_id` and `patient_key` are the same
            _ => About::Patient(builtin.view.columns().iter().position(|c| c.name == "patient_key").unwrap()),
        };
        assert_eq!(builtin.view.about(), expected, "{}", builtin.table);
    }
    let about = |resource: &str, select: Value| {
        View::compile(&json!({"resourceType": "ViewDefinition", "resource": resource, "select": select})).unwrap().about()
    };
    let code = json!({"name": "status", "path": "status"});
    let subject = json!({"name": "who", "path": "subject.getReferenceKey(Patient)"});
    let performer = json!({"name": "by", "path": "performer.first().getReferenceKey(Patient)"});
    let collection = json!({"name": "who", "path": "subject.getReferenceKey(Patient)", "collection": true});
    assert_eq!(about("Observation", json!([{"column": [code]}])), About::Somebody, "no key at all");
    assert_eq!(about("Observation", json!([{"column": [code, performer]}])), About::Somebody, "somebody else's key");
    assert_eq!(about("Observation", json!([{"column": [collection]}])), About::Somebody, "a list is text");
    assert_eq!(about("Observation", json!([{"column": [performer, subject]}])), About::Patient(1));
    assert_eq!(about("Observation", json!([{"forEach": "component", "column": [subject]}])), About::Somebody);
    assert_eq!(about("Observation", json!([{"column": [code]}, {"select": [{"column": [subject]}]}])), About::Patient(1));
    let other = json!({"name": "who", "path": "performer.first().getReferenceKey(Patient)"});
    let branches = |second: &Value| json!([{"unionAll": [{"column": [subject]}, {"column": [second]}]}]);
    assert_eq!(about("Observation", branches(&subject)), About::Patient(0));
    assert_eq!(about("Observation", branches(&other)), About::Somebody, "one branch names somebody else");
    assert_eq!(about("Organization", json!([{"column": [{"name": "name", "path": "name"}]}])), About::Nobody);
}
