//! What people try. Each is refused, with a sentence that names no value of the data and nothing outside the permit.

use super::{Hospital, ask, block_on, grant, refusal, rows};
use crate::query::world::World;
use dugnad_kernel::ids::HolderId;
use dugnad_sql::QueryError;
use dugnad_sql::guard;
use dugnad_sql::limits::MAX_SQL_BYTES;

fn world() -> World {
    Hospital::new().of_patients("attacked", &["procedure", "patient", "medication_administration"], [1, 2, 3])
}

#[test]
fn statements_that_do_not_read_are_refused() {
    let only = "a permit answers one SELECT";
    let attacks = [
        ("COPY procedure TO '/tmp/x.csv'", "COPY is not answered"),
        ("COPY (SELECT * FROM patient) TO '/tmp/x.parquet' STORED AS PARQUET", "COPY is not answered"),
        ("CREATE TABLE x AS SELECT * FROM patient", only),
        ("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'", only),
        ("CREATE VIEW v AS SELECT 1", only),
        ("CREATE FUNCTION f(DOUBLE) RETURNS DOUBLE RETURN $1 + 1", only),
        ("DROP TABLE patient", only),
        ("ALTER TABLE patient ADD COLUMN x INT", only),
        ("TRUNCATE TABLE patient", only),
        ("INSERT INTO patient VALUES (1)", only),
        ("UPDATE patient SET gender = 'x'", only),
        ("DELETE FROM patient", only),
        ("MERGE INTO patient USING procedure ON true WHEN MATCHED THEN DELETE", only),
        ("WITH x AS (DELETE FROM patient RETURNING *) SELECT * FROM x", ""),
        ("SELECT * INTO copy FROM patient", only),
        ("SET datafusion.execution.target_partitions = 8", only),
        ("RESET datafusion.execution.time_zone", only),
        ("PREPARE p AS SELECT 1", only),
        ("EXECUTE p", only),
        ("BEGIN", only),
        ("COMMIT", only),
        ("USE other", only),
        ("GRANT SELECT ON patient TO x", only),
        ("CALL f()", only),
        ("SHOW ALL", "SHOW answers TABLES"),
        ("SHOW datafusion.runtime.memory_limit", "SHOW answers TABLES"),
        ("SHOW FUNCTIONS", "SHOW answers TABLES"),
        ("SHOW TABLES LIKE 'p%'", "without filters"),
        ("EXPLAIN ANALYZE SELECT * FROM patient", "without ANALYZE"),
        ("EXPLAIN VERBOSE SELECT * FROM patient", "without ANALYZE, VERBOSE"),
        ("EXPLAIN (ANALYZE true) SELECT * FROM patient", "without ANALYZE"),
        ("EXPLAIN CREATE TABLE x AS SELECT 1", "EXPLAIN explains a SELECT"),
        ("EXPLAIN COPY patient TO '/tmp/x.csv'", "EXPLAIN explains a SELECT"),
        ("EXPLAIN EXPLAIN SELECT 1", ""),
        ("SELECT 1; SELECT 2", "one statement at a time"),
        ("SELECT 1; DROP TABLE patient", "one statement at a time"),
        ("", "there is no SQL"),
        ("   -- nothing\n", "there is no SQL"),
        ("SELECT * FROM patient FOR UPDATE", "FOR UPDATE"),
        ("SELEC 1", ""),
    ];
    let world = world();
    for (sql, expected) in attacks {
        let message = refusal(&world, sql);
        assert!(message.contains(expected), "{sql}: {message}");
    }
}

#[test]
fn what_is_outside_the_permit_looks_like_what_is_nowhere() {
    let world = world();
    // `research_study` and `treatment` exist in the database; `nonsense` exists nowhere. Same sentence, same form.
    for name in ["research_study", "treatment", "nonsense", "other.patient", "a.b.patient", "statistics.treatments", "pg_catalog.pg_class"]
    {
        let message = refusal(&world, &format!("SELECT * FROM {name}"));
        assert!(message.contains(&format!("there is no table {name} under this permit")), "{message}");
        assert!(!message.contains("mean"), "{message}");
    }
    for sql in
        ["DESCRIBE research_study", "SHOW COLUMNS FROM research_study", "SELECT * FROM patient WHERE 1 IN (SELECT 1 FROM research_study)"]
    {
        assert!(refusal(&world, sql).contains("there is no table research_study"), "{sql}");
    }
    assert!(refusal(&world, "SELECT * FROM \"/etc/passwd\"").contains("there is no table"));
    assert!(refusal(&world, "SELECT * FROM 'data.csv'").contains("there is no table"));
    assert!(rows(&world, "SELECT table_name FROM information_schema.tables").iter().all(|t| t != "research_study"));
    let narrow = Hospital::new().world("narrow", vec![grant("patient", &["gender"], &[])]);
    for column in ["birth_date", "nonsense"] {
        let message = refusal(&narrow, &format!("SELECT {column} FROM patient"));
        assert_eq!(message, format!("there is no column {column}; there are patient.gender (at line 1, column 8)"));
    }
    // A common table expression may take any name, also one that is hidden: it is the user's own.
    assert_eq!(rows(&world, "WITH research_study AS (SELECT 1 AS one) SELECT * FROM research_study"), ["1"]);
    assert_eq!(rows(&world, "WITH patient AS (SELECT * FROM patient) SELECT COUNT(*) FROM patient"), ["3"]);
}

#[test]
fn what_is_not_a_function_of_the_data_is_refused_by_name() {
    let attacks = [
        ("SELECT random()", "the function random is refused"),
        ("SELECT * FROM patient ORDER BY random()", "the function random is refused"),
        ("SELECT uuid()", "the function uuid is refused"),
        ("SELECT RANDOM() FROM patient", "is refused"),
        ("SELECT \"random\"()", "is refused"),
        ("SELECT version()", "the function version is refused"),
        ("SELECT input_file_name() FROM patient", "is refused"),
        ("SELECT * FROM patient TABLESAMPLE BERNOULLI (10)", "TABLESAMPLE"),
        ("SELECT * FROM patient FOR SYSTEM_TIME AS OF '2020-01-01'", ""),
        ("SELECT @@version", ""),
        ("SELECT $1", "parameters"),
        ("SELECT no_such_function(1)", "there is no function no_such_function"),
        ("SELECT repeat('x', 1000000000)", "is refused"),
        ("SELECT lpad('x', 2000000000, 'y')", "is refused"),
        ("SELECT array_repeat(1, 1000000000)", "is refused"),
        ("SELECT range(0, 10000000000)", ""),
        ("SELECT generate_series(1, 10000000000)", ""),
    ];
    let world = world();
    for (sql, expected) in attacks {
        let message = refusal(&world, sql);
        assert!(message.contains(expected), "{sql}: {message}");
    }
}

#[test]
fn table_functions_read_no_files() {
    let world = world();
    for sql in [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_parquet('x')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM TABLE(read_csv('x'))",
        "SELECT * FROM LATERAL flatten(1)",
    ] {
        assert!(refusal(&world, sql).contains("no function reads files"), "{sql}: {}", refusal(&world, sql));
    }
    for sql in ["SELECT * FROM generate_series(1, 100000000)", "SELECT * FROM range(-9000000000000000000, 9000000000000000000)"] {
        assert!(refusal(&world, sql).contains("a series may have at most"), "{sql}: {}", refusal(&world, sql));
    }
}

#[test]
fn messages_contain_no_values_of_the_data() {
    let world = world();
    let attacks = [
        "SELECT CAST(remark AS INT) FROM patient",
        "SELECT CAST(remark AS DATE) FROM patient",
        "SELECT CAST(code AS DOUBLE) FROM procedure",
        "SELECT CAST(remark AS TIMESTAMP) FROM patient",
        "SELECT CAST(remark AS BOOLEAN) FROM patient",
        "SELECT 1 / (CASE WHEN remark LIKE 'the%' THEN 0 ELSE 1 END) FROM patient",
        "SELECT to_timestamp(remark) FROM patient",
        "SELECT to_date(remark) FROM patient",
        "SELECT arrow_cast(remark, 'Int32') FROM patient",
        "SELECT CAST(remark AS DECIMAL(38, 2)) FROM patient",
        "SELECT CAST('1' || remark AS INTERVAL) FROM patient",
        "SELECT regexp_like('x', '(' || remark) FROM patient",
        "SELECT (SELECT remark FROM patient) AS one",
        "SELECT chr(CAST(minutes * 100000000 AS BIGINT)) FROM procedure",
        "SELECT make_date(CAST(minutes AS INT) * 10000, 13, 45) FROM procedure",
        "SELECT power(CAST(minutes AS BIGINT), 40) FROM procedure WHERE minutes > 90",
        "SELECT SUM(CAST(minutes AS BIGINT) * 9000000000000000) FROM procedure",
        "SELECT date_trunc(remark, now()) FROM patient",
        "SELECT to_char(now(), remark) FROM patient",
        "SELECT factorial(minutes) FROM procedure",
    ];
    let mut failed = 0;
    for sql in attacks {
        // Some are answered (with NULL, or a wrapped number); what fails, fails without a word of the data.
        if let Err(error) = ask(&world, sql) {
            let message = error.to_string();
            failed += 1;
            for value in ["remark about", "HAC20", "HAB40", "95", "130"] {
                assert!(!message.contains(value), "{sql}: {message}");
            }
        }
    }
    assert!(failed >= 10, "{failed}");
}

#[test]
fn depth_and_length_are_bounded() {
    let world = world();
    let parentheses = format!("SELECT {}1{}", "(".repeat(9_000), ")".repeat(9_000));
    assert!(refusal(&world, &parentheses).contains("nests too deeply"));
    let nested = (0..200).fold("SELECT 1".to_owned(), |inner, n| format!("SELECT * FROM ({inner}) AS t{n}"));
    assert!(refusal(&world, &nested).contains("nests too deeply"));
    let open = [
        "NOT ",
        "- ",
        "CASE WHEN true THEN ",
        "CASE ",
        "CAST(",
        "TRY_CAST(",
        "POSITION(",
        "SUBSTRING(",
        "OVERLAY(",
        "CEIL(",
        "INTERVAL CAST(",
        "a AND NOT (",
        "f(",
        "[",
        "x IN (",
        "EXISTS (SELECT ",
        "x BETWEEN ",
        "f() OVER (ORDER BY ",
    ];
    for (phrase, count) in open.into_iter().flat_map(|phrase| [8, 16, 40, 4_000].map(|count| (phrase, count))) {
        let began = std::time::Instant::now();
        for clause in ["SELECT ", "SELECT 1 FROM patient WHERE "] {
            drop(ask(&world, &format!("{clause}{}true", phrase.repeat(count)))); // some of them are even SQL
        }
        assert!(began.elapsed().as_secs() < 20, "{count} times {phrase}: {:?}", began.elapsed());
    }
    let chain = format!("SELECT * FROM patient WHERE {}", vec!["gender = 'x'"; 3_000].join(" OR "));
    assert!(refusal(&world, &chain).contains("use IN"));
    let sums = format!("SELECT {}", vec!["1"; 9_000].join(" + "));
    assert!(refusal(&world, &sums).contains("use IN"));
    let unions = vec!["SELECT 1"; 4_000].join(" UNION ALL ");
    assert!(refusal(&world, &unions).contains("SELECTs and tables"));
    let joins = (0..1_000).fold("SELECT 1 FROM patient".to_owned(), |sql, n| format!("{sql} CROSS JOIN patient AS p{n}"));
    assert!(refusal(&world, &joins).contains("SELECTs and tables"));
    let long = format!("SELECT '{}'", "x".repeat(MAX_SQL_BYTES));
    assert!(refusal(&world, &long).contains("bytes; at most"));
    let words = format!("SELECT 1{}", ", 1".repeat(10_000));
    assert!(refusal(&world, &words).contains("words and signs"));
}

#[test]
fn long_lists_are_answered() {
    let world = world();
    let codes: Vec<String> = (0..5_000).map(|n| format!("'L{n:05}'")).collect();
    let sql = format!("SELECT COUNT(*) FROM procedure WHERE code IN ({}, 'HAC20')", codes.join(", "));
    assert_eq!(rows(&world, &sql), ["2"]);
    let chain = format!("SELECT COUNT(*) FROM procedure WHERE {}", vec!["code = 'HAC20'"; 400].join(" OR "));
    assert_eq!(rows(&world, &chain), ["2"]);
}

#[test]
fn what_doubles_at_each_level_is_refused_before_it_is_planned() {
    let world = world();
    let mut ctes = vec!["c0 AS (SELECT code FROM procedure)".to_owned()];
    ctes.extend((1..30).map(|n| format!("c{n} AS (SELECT * FROM c{p} UNION ALL SELECT * FROM c{p})", p = n - 1)));
    let unions = format!("WITH {} SELECT COUNT(*) FROM c29", ctes.join(", "));
    assert!(refusal(&world, &unions).contains("written out"));
    let mut columns = vec!["c0 AS (SELECT minutes AS x FROM procedure)".to_owned()];
    columns.extend((1..30).map(|n| format!("c{n} AS (SELECT x + x AS x FROM c{})", n - 1)));
    let doubled = format!("WITH {} SELECT COUNT(*) FROM c29 WHERE x > 5", columns.join(", "));
    assert!(refusal(&world, &doubled).contains("grows too large"));
    for sets in ["CUBE (#)", "CUBE (a), CUBE (b), CUBE (c), CUBE (a), ROLLUP (#)", "GROUPING SETS (CUBE (#))"] {
        let cube = sets.replace('#', &numbered(20, "c"));
        let sql = format!("SELECT COUNT(*) FROM (SELECT {}, 1 AS a, 1 AS b, 1 AS c) GROUP BY {cube}", numbered(20, "1 AS c"));
        assert!(refusal(&world, &sql).len() > 10, "{sql}");
    }
    // The same shapes at a sensible depth are fine.
    let shallow = format!("WITH {} SELECT COUNT(*) FROM c5 WHERE x > 5", columns[..6].join(", "));
    assert_eq!(rows(&world, &shallow), ["2"]);
}

fn numbered(count: usize, prefix: &str) -> String {
    (0..count).map(|n| format!("{prefix}{n}")).collect::<Vec<_>>().join(", ")
}

#[test]
fn what_never_ends_is_refused() {
    let sql = "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT COUNT(*) FROM r";
    assert!(refusal(&world(), sql).contains("RECURSIVE"));
}

#[test]
fn memory_is_bounded() {
    let world = world();
    let series = "SELECT COUNT(DISTINCT a.value * 1000 + b.value) FROM generate_series(1, 1000000) AS a(value) CROSS JOIN generate_series(1, 1000) AS b(value)";
    let error = ask(&world, series).unwrap_err();
    assert!(matches!(error, QueryError::Limit(_)), "{error:?}");
}

#[test]
fn positions_of_mistakes_are_told() {
    let world = world();
    assert!(refusal(&world, "SELECT *\nFROM patient WHERE").contains("the SQL cannot be read: Expected: an expression, found: EOF"));
    assert!(refusal(&world, "SELECT gender\nFROM patient )").contains("at line 2, column 14"));
    assert!(refusal(&world, "SELECT gender,\n  nonsense FROM patient").contains("(at line 2, column 3)"));
    assert!(refusal(&world, "SELECT * FROM patient WHERE 'x").contains("Line: 1"));
}

/// Pairs of permits: what one shows is no key to what the other shows.
#[test]
fn keys_of_one_permit_are_worthless_under_another() {
    let hospital = Hospital::new();
    let (one, other) = (hospital.of_patients("one", &["patient"], 1..=12), hospital.of_patients("other", &["patient"], 1..=12));
    let keys = rows(&one, "SELECT patient_key FROM patient");
    let list: Vec<String> = keys.iter().map(|k| format!("'{k}'")).collect();
    assert_eq!(rows(&one, &format!("SELECT COUNT(*) FROM patient WHERE patient_key IN ({})", list.join(", "))), ["12"]);
    assert_eq!(rows(&other, &format!("SELECT COUNT(*) FROM patient WHERE patient_key IN ({})", list.join(", "))), ["0"]);
}

/// Nothing of the second, the plan check, may depend on the first, the check of the syntax tree.
#[test]
fn the_plan_is_checked_too() {
    block_on(async {
        let world = world();
        let session = crate::query::session::Session::open(&world).await.unwrap();
        for sql in [
            "CREATE VIEW v AS SELECT 1",
            "EXPLAIN VERBOSE SELECT 1",
            "EXPLAIN ANALYZE SELECT 1",
            "SET a.b = 1",
            "SELECT $1 + 1",
            "DROP TABLE patient",
        ] {
            let plan = session.logical(guard::parse(sql).unwrap()).await;
            let refused = plan.map_or_else(Err, |plan| guard::check_plan(&plan));
            assert!(refused.is_err(), "{sql}");
        }
    });
}

/// A filter that the scan evaluates must not be evaluated on rows outside the permit: its failure would tell of them.
#[test]
fn filters_do_not_fail_on_hidden_rows() {
    let hospital = Hospital::new();
    let filters = [
        "10 / (minutes - 130) < 100",                              // patient 2 has 130
        "CASE WHEN code = 'HAB40' THEN 1 / 0 ELSE 1 END = 1",      // patient 3
        "CAST(replace(code, 'HAC', '') AS INT) > 0",               // HAB40 is no number
        "CASE WHEN status = 'not-done' THEN 1 / 0 ELSE 1 END = 1", // patient 4
    ];
    for filter in filters {
        let sql = format!("SELECT COUNT(*) FROM procedure WHERE {filter}");
        assert_eq!(rows(&hospital.of_patients("p", &["procedure"], [1]), &sql), ["1"], "{filter}");
        assert!(ask(&hospital.of_patients("p", &["procedure"], 1..=4), &sql).is_err(), "{filter} fails where its row is visible");
        let plan = rows(&hospital.of_patients("p", &["procedure"], [1]), &format!("EXPLAIN {sql}")).join("\n");
        assert!(plan.contains("filters=["), "{plan}");
    }
    // What an earlier filter took away is not evaluated by a later one.
    let guarded = "SELECT COUNT(*) FROM procedure WHERE code = 'HAC20' AND CAST(replace(code, 'HAC', '') AS INT) > 0";
    assert_eq!(rows(&hospital.of_patients("p", &["procedure"], 1..=4), guarded), ["2"]);
}

#[test]
fn filters_and_limits_tell_nothing_of_hidden_rows() {
    let hospital = Hospital::new();
    let seen = |patients: Vec<u32>, sql: &str| rows(&hospital.of_patients("p", &["procedure", "patient"], patients), sql);
    let key = seen(vec![2], "SELECT patient_key FROM patient").remove(0);
    for sql in [
        "EXPLAIN SELECT code FROM procedure WHERE status = 'completed' AND minutes > 100 LIMIT 1".to_owned(),
        format!("EXPLAIN SELECT code FROM procedure WHERE patient_key = '{key}'"),
        format!("EXPLAIN SELECT code FROM procedure WHERE patient_key NOT IN ('{key}', 'nobody') LIMIT 2"),
    ] {
        let plan = seen(vec![1], &sql);
        assert_eq!(plan, seen((1..=12).collect(), &sql), "{sql}");
        assert!(plan.join("\n").contains("filters=["), "{plan:?}");
    }
    assert_eq!(seen(vec![3], "SELECT code FROM procedure LIMIT 1"), ["HAB40"], "hidden rows do not use up the limit");
    assert_eq!(seen(vec![1, 3], "SELECT code FROM procedure WHERE minutes IS NULL LIMIT 5"), ["HAB40"]);
    assert_eq!(seen(vec![1], &format!("SELECT COUNT(*) FROM patient WHERE patient_key = '{key}'")), ["0"]);
    assert_eq!(seen(vec![1, 2], &format!("SELECT COUNT(*) FROM patient WHERE patient_key = '{key}'")), ["1"]);
}

#[test]
fn keys_are_looked_up_as_they_are_written() {
    let world = Hospital::new().everything();
    let key = rows(&world, "SELECT patient_key FROM patient WHERE birth_date = (SELECT MIN(birth_date) FROM patient)").remove(0);
    let resource = rows(&world, "SELECT MIN(resource_id) FROM patient").remove(0);
    for (filter, count) in [
        (format!("patient_key = '{key}'"), "1"),
        (format!("'{key}' = patient_key"), "1"),
        (format!("patient_key <> '{key}'"), "11"),
        (format!("NOT (patient_key = '{key}')"), "11"),
        (format!("patient_key IN ('{key}', 'x', '', '{resource}')"), "1"),
        (format!("patient_key = '{}'", key.to_uppercase()), "0"),
        (format!("patient_key = '{key} '"), "0"),
        (format!("patient_key = '{resource}'"), "0"),
        (format!("resource_id = '{resource}' OR patient_key = '{key}' AND gender IS NOT NULL"), "2"),
        (format!("patient_key > '{key}' OR patient_key <= '{key}'"), "12"),
        (format!("upper(patient_key) = '{}'", key.to_uppercase()), "1"),
        ("patient_key IS NULL".to_owned(), "0"),
    ] {
        assert_eq!(rows(&world, &format!("SELECT COUNT(*) FROM patient WHERE {filter}")), [count], "{filter}");
    }
    // A row without a patient is neither equal nor unequal.
    let care = Hospital::new().care(HolderId(1));
    assert_eq!(rows(&care, "SELECT COUNT(*) FROM procedure WHERE patient_key <> 'pat-1'"), ["1"]);
    assert_eq!(rows(&care, "SELECT COUNT(*) FROM procedure WHERE patient_key = 'pat-1'"), ["1"]);
}
