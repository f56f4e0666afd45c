use super::hospital::{NORTH, SOUTH};
use super::{Hospital, ask, grant, refusal, rows};
use datafusion::arrow::array::AsArray;
use dugnad_kernel::disclosure::{PSEUDONYM_LENGTH, Pseudonyms};
use dugnad_kernel::ids::{HolderId, PatientOrdinal};
use dugnad_kernel::permit::Transform;
use std::collections::HashSet;

#[test]
fn only_the_permits_tables_columns_and_persons_exist() {
    let hospital = Hospital::new();
    let world = hospital.of_patients("study", &["procedure"], [2, 4]);
    assert_eq!(rows(&world, "SELECT COUNT(*) FROM procedure"), ["3"]);
    assert_eq!(
        rows(&world, "SELECT code, status FROM procedure ORDER BY started NULLS LAST"),
        ["HAC20|completed", "|completed", "HAB40|not-done"]
    );
    let world = hospital.world("narrow", vec![grant("procedure", &["code", "status"], &[])]);
    assert_eq!(rows(&world, "SELECT * FROM procedure LIMIT 1"), ["HAC20|completed"]);
    assert!(refusal(&world, "SELECT patient_key FROM procedure").contains("there is no column patient_key"));
    assert!(refusal(&world, "SELECT COUNT(*) FROM patient").contains("there is no table patient under this permit"));
}

#[test]
fn rows_about_nobody_exist_only_in_tables_about_nobody() {
    let hospital = Hospital::new();
    // One procedure lacks its patient: in no population, but its own hospital sees it.
    assert_eq!(rows(&hospital.everything(), "SELECT COUNT(*) FROM procedure"), ["5"]);
    assert_eq!(rows(&hospital.everything(), "SELECT title FROM research_study"), ["An open-label study of something"]);
    assert_eq!(rows(&hospital.care(HolderId(1)), "SELECT COUNT(*) FROM procedure"), ["3"]);
    let study = hospital.of_patients("study", &["procedure", "research_study"], [1]);
    assert_eq!(rows(&study, "SELECT COUNT(*) FROM procedure"), ["1"]);
    assert_eq!(rows(&study, "SELECT COUNT(*) FROM research_study"), ["1"]);
}

#[test]
fn keys_are_pseudonyms_that_join_within_a_permit_and_not_across() {
    let hospital = Hospital::new();
    let (one, other) = (hospital.world("one", hospital.everything().grants.into_values().collect()), hospital.everything());
    let keys = |world, sql| rows(world, sql).into_iter().collect::<HashSet<String>>();
    let patients = keys(&one, "SELECT patient_key FROM patient");
    assert_eq!(patients.len(), 12);
    assert!(patients.iter().all(|k| k.len() == PSEUDONYM_LENGTH && k.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())));
    assert!(patients.is_disjoint(&keys(&other, "SELECT patient_key FROM patient")));
    assert!(patients.is_disjoint(&keys(&one, "SELECT resource_id FROM patient")));
    let expected = Pseudonyms::of_permit(&[3; 32], "one").patient(PatientOrdinal(7));
    assert!(patients.contains(std::str::from_utf8(&expected).unwrap()));
    let joined = "SELECT COUNT(*) FROM procedure p JOIN patient q ON p.patient_key = q.patient_key";
    assert_eq!(rows(&one, joined), ["5"]);
    let study = "SELECT COUNT(*) FROM research_subject s JOIN research_study r ON s.study_key = r.resource_id";
    assert_eq!(rows(&one, study), ["3"]);
}

#[test]
fn care_sees_its_own_rows_by_name() {
    let hospital = Hospital::new();
    let north = hospital.care(HolderId(1));
    assert_eq!(
        rows(&north, "SELECT patient_key, resource_id FROM patient ORDER BY birth_date LIMIT 2"),
        ["pat-1|res-101", "pat-3|res-103"]
    );
    assert_eq!(rows(&north, "SELECT DISTINCT holder FROM patient"), [NORTH]);
    assert_eq!(rows(&hospital.care(HolderId(2)), "SELECT DISTINCT holder FROM treatment"), [SOUTH]);
    assert_eq!(rows(&north, "SELECT patient_key FROM procedure WHERE patient_key IS NULL"), [""]);
}

#[test]
fn a_view_needs_no_tables_behind_it() {
    let hospital = Hospital::new();
    let world = hospital.of_patients("view", &["treatment"], [1, 3, 4]);
    let kinds = "SELECT kind, COUNT(*), COUNT(DISTINCT patient_key) FROM treatment GROUP BY kind ORDER BY kind";
    assert_eq!(rows(&world, kinds), ["drug_administration|3|3", "surgery|3|3"]);
    assert!(refusal(&world, "SELECT * FROM procedure").contains("there is no table procedure"));
    let mut named: Vec<String> = rows(&world, "SHOW TABLES");
    named.retain(|row| row.contains("VIEW"));
    assert_eq!(named, ["dugnad|public|treatment|VIEW"]);
    let narrow = hospital.world(
        "narrow",
        vec![grant("treatment", &["kind", "started", "code"], &[("started", Transform::Month), ("code", Transform::Generalise(3))])],
    );
    assert_eq!(
        rows(&narrow, "SELECT * FROM treatment WHERE kind = 'surgery' ORDER BY started, code"),
        ["surgery|HAC|2026-01-01", "surgery|HAB|2026-03-01", "surgery|HAC|2026-03-01", "surgery||2026-04-01"]
    );
    assert!(refusal(&narrow, "SELECT patient_key FROM treatment").contains("no column"));
}

#[test]
fn a_keys_of_view_and_table_join() {
    let world = Hospital::new().everything();
    let sql = "SELECT COUNT(*) FROM treatment t JOIN procedure p ON t.resource_id = p.resource_id AND t.patient_key = p.patient_key";
    assert_eq!(rows(&world, sql), ["4"]);
}

#[test]
fn transforms_are_applied_before_anybody_sees_a_value() {
    let hospital = Hospital::new();
    let transforms = [("birth_date", Transform::Year), ("postal_code", Transform::Generalise(2))];
    let world = hospital.world(
        "coarse",
        vec![
            grant("patient", &["birth_date", "postal_code"], &transforms),
            grant("procedure", &["started", "minutes"], &[("started", Transform::Year), ("minutes", Transform::Band(60))]),
            grant("medication_administration", &["value"], &[("value", Transform::Band(50))]),
        ],
    );
    assert_eq!(rows(&world, "SELECT DISTINCT birth_date FROM patient ORDER BY 1 LIMIT 2"), ["1945-01-01", "1947-01-01"]);
    assert_eq!(rows(&world, "SELECT DISTINCT postal_code FROM patient ORDER BY 1"), ["04", "50", "90"]);
    // Years are those of Oslo; bands below zero go down; NULL stays NULL.
    assert_eq!(rows(&world, "SELECT * FROM procedure"), ["2026-01-01|60", "2026-01-01|120", "2026-01-01|", "|-60", "2026-01-01|60"]);
    assert_eq!(rows(&world, "SELECT DISTINCT value FROM medication_administration ORDER BY 1"), ["0.0", "50.0", "100.0"]);
    let unfit = hospital.world("unfit", vec![grant("patient", &["gender", "remark"], &[("remark", Transform::Year)])]);
    assert!(refusal(&unfit, "SELECT remark FROM patient").contains("no column"), "a transform that does not fit shows nothing");
}

#[test]
fn the_catalogue_describes_the_permit_and_nothing_else() {
    let world = Hospital::new().world(
        "narrow",
        vec![
            grant("patient", &["birth_date", "gender", "no_such_column"], &[("birth_date", Transform::Month)]),
            grant("no_such_table", &["x"], &[]),
        ],
    );
    assert_eq!(rows(&world, "SHOW TABLES"), ["dugnad|public|patient|BASE TABLE"]);
    assert_eq!(
        rows(&world, "SELECT table_name, column_name, data_type, description FROM information_schema.columns"),
        [
            "patient|gender|text|The gender of a patient.",
            "patient|birth_date|date|The birth_date of a patient. Under this permit the first day of its month."
        ]
    );
    assert_eq!(rows(&world, "SELECT * FROM information_schema.schemata"), ["dugnad|public"]);
    assert_eq!(rows(&world, "SHOW COLUMNS FROM patient").len(), 2);
    assert_eq!(rows(&world, "DESCRIBE patient").len(), 2);
    for hidden in ["df_settings", "routines", "parameters", "views"] {
        assert!(refusal(&world, &format!("SELECT * FROM information_schema.{hidden}")).contains("there is no table"));
    }
}

#[test]
fn now_is_the_commits_time_in_oslo() {
    let world = Hospital::new().everything();
    assert_eq!(
        rows(&world, "SELECT now(), current_date, current_timestamp"),
        ["2026-11-21T20:31:00+01:00|2026-11-21|2026-11-21T20:31:00+01:00"]
    );
    assert_eq!(rows(&world, "SELECT COUNT(*) FROM procedure WHERE started > now() - INTERVAL '1 year'"), ["4"]);
}

#[test]
fn plans_show_no_numbers_of_the_data() {
    let hospital = Hospital::new();
    let plan = |patients: Vec<u32>| {
        rows(
            &hospital.of_patients("p", &["procedure", "patient", "treatment"], patients),
            "EXPLAIN SELECT p.code, COUNT(*) FROM procedure p JOIN patient q ON p.patient_key = q.patient_key JOIN treatment t ON t.patient_key = p.patient_key WHERE q.gender = 'male' GROUP BY p.code",
        )
    };
    assert_eq!(plan(vec![1]), plan((1..=12).collect()), "the plan does not depend on the population");
    let text = plan(vec![1]).join("\n");
    assert!(text.contains("PermitScan: table=patient, columns=[patient_key], filters=[gender = male]"), "{text}");
    assert!(!text.contains("rows=") && !text.contains("Rows="), "{text}");
}

/// A live table's dictionary holds the codes of all its rows; those of others must neither leave nor be computed on.
#[test]
fn dictionaries_hold_only_values_of_visible_rows() {
    let hospital = Hospital::new();
    let world = hospital.of_patients("p", &["procedure"], [2]);
    let batches = ask(&world, "SELECT code, status, holder FROM procedure").unwrap();
    for column in batches[0].columns() {
        let values = column.as_any_dictionary().values();
        assert_eq!(values.len(), 1, "{values:?}");
    }
    let batches = ask(&hospital.of_patients("p", &["procedure"], 1..=4), "SELECT code, status FROM procedure WHERE minutes < 0").unwrap();
    for column in batches[0].columns() {
        assert_eq!(column.as_any_dictionary().values().len(), 1, "what a filter took away has left no value behind");
    }
    assert!(refusal(&world, "SELECT CAST(code AS INT) FROM procedure").contains("cannot be converted"));
    let nobody = hospital.of_patients("p", &["procedure"], [12]);
    assert_eq!(rows(&nobody, "SELECT CAST(code AS INT) FROM procedure").len(), 0, "no row, no failure");
}

#[test]
fn limits_reach_the_scan_and_batches_are_small() {
    let world = Hospital::new().everything();
    assert_eq!(rows(&world, "SELECT code FROM medication_administration LIMIT 3").len(), 3);
    assert_eq!(rows(&world, "SELECT code FROM medication_administration LIMIT 3 OFFSET 10").len(), 2);
    assert_eq!(rows(&world, "SELECT code FROM medication_administration LIMIT 0").len(), 0);
    let plan = rows(&world, "EXPLAIN SELECT code FROM medication_administration LIMIT 3").join("\n");
    assert!(plan.contains("PermitScan: table=medication_administration, columns=[code], fetch=3"), "{plan}");
}

#[test]
fn ordinary_analysis_works() {
    let world = Hospital::new().everything();
    let asked = [
        ("SELECT gender, COUNT(*) FILTER (WHERE postal_code = '0450') FROM patient GROUP BY gender ORDER BY gender NULLS FIRST", 3),
        (
            "WITH t AS (SELECT patient_key, MIN(started) AS first FROM treatment GROUP BY 1) SELECT date_trunc('month', first), COUNT(*) FROM t GROUP BY 1",
            4,
        ),
        ("SELECT code, ROW_NUMBER() OVER (PARTITION BY code ORDER BY started) FROM procedure", 5),
        ("SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS v(n, t)", 2),
        ("SELECT code FROM procedure INTERSECT SELECT code FROM treatment", 3),
        ("SELECT p.patient_key FROM patient p WHERE EXISTS (SELECT 1 FROM procedure q WHERE q.patient_key = p.patient_key)", 4),
        ("SELECT m.value FROM generate_series(1, 12) AS m(value)", 12),
        ("SELECT median(value), stddev(value), corr(value, value) FROM medication_administration", 1),
        ("SELECT regexp_match(code, '^L01'), upper(code), code || '!' FROM medication_administration", 12),
        ("SELECT holder, array_agg(DISTINCT code) FROM procedure GROUP BY holder", 2),
        ("SELECT code, COUNT(*) FROM procedure GROUP BY ROLLUP (code)", 4),
        ("SELECT CASE WHEN birth_date < DATE '1950-01-01' THEN 'old' ELSE 'young' END, COUNT(*) FROM patient GROUP BY 1", 2),
        ("SELECT TRY_CAST(code AS INT) FROM procedure", 5),
        ("SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY value) FROM medication_administration", 1),
    ];
    for (sql, count) in asked {
        assert_eq!(rows(&world, sql).len(), count, "{sql}");
    }
}
