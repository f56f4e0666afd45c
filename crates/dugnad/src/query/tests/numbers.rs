//! Keys and codes as numbers inside plans, and aggregation in runs: nobody can tell either from an answer.

use super::{Hospital, ask, grant, rows};
use crate::query::session::Session;
use crate::query::world::World;
use datafusion::arrow::util::pretty::pretty_format_batches;
use dugnad_kernel::permit::Transform;
use futures::TryStreamExt;
use std::sync::Arc;

fn plan(world: &World, sql: &str) -> String {
    rows(world, &format!("EXPLAIN {sql}")).join("\n")
}

/// Each question in two ways: `#` is a key or code itself, or a text that is computed from it, which cannot be a number.
#[test]
fn numbers_answer_what_texts_answer() {
    let hospital = Hospital::new();
    let questions = [
        "SELECT COUNT(DISTINCT #patient_key) FROM procedure",
        "SELECT COUNT(DISTINCT #patient_key), COUNT(#patient_key), COUNT(*) FROM procedure WHERE code = 'nothing'",
        "SELECT code, COUNT(DISTINCT #patient_key) AS n, COUNT(*) FROM procedure GROUP BY code ORDER BY code NULLS LAST",
        "SELECT holder, status, COUNT(DISTINCT #patient_key), COUNT(DISTINCT #resource_id), COUNT(DISTINCT #code) FROM procedure GROUP BY 1, 2 ORDER BY 1, 2",
        "SELECT date_trunc('month', started) AS m, COUNT(DISTINCT #patient_key) FROM procedure GROUP BY m ORDER BY m NULLS FIRST",
        "SELECT COUNT(DISTINCT #patient_key) FILTER (WHERE minutes > 90) FROM procedure",
        "SELECT COUNT(DISTINCT #patient_key) FROM (SELECT patient_key FROM procedure UNION ALL SELECT patient_key FROM medication_administration) AS u",
        "SELECT kind, COUNT(DISTINCT #patient_key) FROM treatment GROUP BY kind ORDER BY kind",
        "SELECT COUNT(*), COUNT(DISTINCT #p.patient_key) FROM procedure p JOIN patient q ON #p.patient_key = #q.patient_key",
        "SELECT COUNT(*), COUNT(DISTINCT #q.patient_key) FROM patient q LEFT JOIN procedure p ON #p.patient_key = #q.patient_key AND p.minutes > 90",
        "SELECT COUNT(*) FROM patient q WHERE #q.patient_key NOT IN (SELECT #patient_key FROM procedure WHERE patient_key IS NOT NULL)",
        "SELECT COUNT(*) FROM patient q WHERE EXISTS (SELECT 1 FROM procedure p WHERE #p.patient_key = #q.patient_key AND #p.code <> 'HAB40')",
        "SELECT #code AS c, MIN(#patient_key), MAX(#patient_key), MIN(#status) FROM procedure GROUP BY c ORDER BY c NULLS LAST",
        "SELECT #patient_key AS k FROM patient ORDER BY k DESC LIMIT 4",
        "SELECT #patient_key AS k, COUNT(*) FROM procedure GROUP BY k HAVING COUNT(*) > 1",
        "SELECT n, COUNT(*) FROM (SELECT #patient_key AS k, COUNT(*) AS n FROM procedure GROUP BY k) AS c GROUP BY n ORDER BY n",
        "SELECT DISTINCT #code AS c FROM procedure ORDER BY c",
        "SELECT COUNT(*) FROM procedure p JOIN medication_administration m ON #p.code = #m.code",
        "SELECT COUNT(*) FROM procedure p JOIN patient q ON #p.status = #q.gender",
        "SELECT COUNT(*) FROM procedure p JOIN procedure q ON #p.patient_key = #q.resource_id",
        "SELECT COUNT(*) FROM procedure p JOIN procedure q ON #p.code = #q.code AND #p.patient_key < #q.patient_key",
        "SELECT code FROM procedure INTERSECT SELECT code FROM treatment ORDER BY code",
        "SELECT #patient_key AS k, ROW_NUMBER() OVER (PARTITION BY #patient_key ORDER BY started, resource_id) AS n FROM procedure ORDER BY 1, 2",
        "SELECT #code AS c, RANK() OVER (PARTITION BY #code ORDER BY #patient_key) AS n FROM procedure ORDER BY 1, 2",
        "SELECT #patient_key AS k, #resource_id AS r, ROW_NUMBER() OVER (PARTITION BY #patient_key ORDER BY #resource_id) AS n FROM procedure",
        "SELECT #patient_key AS k, SUM(minutes) OVER (ORDER BY #patient_key DESC NULLS LAST) AS n FROM procedure",
        "SELECT code, LAG(code) OVER (PARTITION BY #patient_key, holder ORDER BY #resource_id DESC ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM procedure",
        "SELECT code, DENSE_RANK() OVER (ORDER BY #patient_key NULLS FIRST) AS n, COUNT(*) OVER (PARTITION BY #patient_key) FROM procedure",
        "SELECT #patient_key AS k, code FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY #patient_key ORDER BY started DESC, #resource_id) AS n FROM procedure) AS o WHERE n = 1 ORDER BY k",
        "SELECT code FROM procedure ORDER BY #patient_key NULLS FIRST, #resource_id DESC LIMIT 3",
        "SELECT minutes, #resource_id AS r FROM procedure ORDER BY minutes DESC, #resource_id",
        "SELECT #code AS c, #holder AS h, COUNT(*), COUNT(DISTINCT #patient_key) FROM procedure GROUP BY c, h ORDER BY c, h",
        "SELECT #patient_key AS k, #status AS s, SUM(minutes) FROM procedure GROUP BY k, s ORDER BY k NULLS LAST, s",
        "SELECT t.code, q.gender, COUNT(*) FROM treatment t JOIN patient q ON #q.patient_key = #t.patient_key GROUP BY t.code, q.gender ORDER BY 1, 2",
        "SELECT #h AS x, COUNT(*) FROM (SELECT #holder AS h, #code AS c, COUNT(*) FROM procedure GROUP BY h, c) AS g GROUP BY x ORDER BY x",
        "SELECT COUNT(*) FROM procedure WHERE #patient_key = (SELECT MAX(#patient_key) FROM procedure)",
        "SELECT array_agg(#patient_key ORDER BY #patient_key) FROM procedure",
        "SELECT #code AS c, COUNT(*) FROM procedure GROUP BY ROLLUP (c) ORDER BY 1 NULLS LAST, 2",
        "SELECT upper(#code), length(#patient_key) FROM procedure ORDER BY 1",
        "SELECT CASE WHEN #code = 'HAC20' THEN #patient_key ELSE #code END AS x FROM procedure ORDER BY x",
        "SELECT COALESCE(#code, #patient_key) AS x FROM procedure ORDER BY x",
        "SELECT #code = 'HAC20' AS a, 'HAB40' <> #code AS b, #code IN ('HAC20', 'nothing') AS c, #code NOT IN ('HAB40') AS d FROM procedure ORDER BY 1, 2, 3, 4",
        "SELECT #code IS DISTINCT FROM 'HAC20' AS a, #code IS NOT DISTINCT FROM 'nothing' AS b, #code = NULL AS c, #code IN ('HAC20', NULL) AS d FROM procedure",
        "SELECT COUNT(*) FROM procedure p LEFT JOIN patient q ON #q.patient_key = #p.patient_key AND #q.gender = 'male' WHERE #q.gender = 'male' OR #p.code = 'HAB40'",
        "SELECT #code IN ('a', 'HAB40', 'b', 'c') AS a, #code NOT IN ('a', 'HAB40', 'b', 'c') AS b, #code IN ('a', 'HAB40', 'b', NULL) AS c FROM procedure ORDER BY 1, 2, 3",
        "SELECT COUNT(*) FROM procedure p JOIN procedure q ON (#p.code = 'HAC20') = (q.minutes > 5) AND (#p.code = 'HAB40') = (q.minutes > 90)",
        "SELECT (SELECT COUNT(DISTINCT #patient_key) FROM procedure WHERE #code IN ('HAC20', 'a', 'b', 'c')) AS n, gender FROM patient",
        "SELECT SUM(CASE WHEN #code = 'HAC20' AND #status = 'completed' THEN 1 ELSE 0 END), COUNT(*) FILTER (WHERE #code = 'HAB40') FROM procedure",
    ];
    for world in
        [hospital.everything(), hospital.of_patients("all", &["procedure", "patient", "treatment", "medication_administration"], 1..=3)]
    {
        for question in questions {
            let (numbers, texts) = (question.replace('#', ""), with_texts(question));
            assert_eq!(rows(&world, &numbers), rows(&world, &texts), "{numbers}\n{texts}");
        }
    }
}

/// What a question writes itself: `#` is a CASE as it is, or with a text in it that is none of the question's words.
#[test]
fn words_are_grouped_as_texts_are() {
    let world = Hospital::new().everything();
    let questions = [
        "SELECT # AS k, COUNT(*) FROM procedure GROUP BY k ORDER BY k NULLS LAST",
        "SELECT # AS k, status, COUNT(DISTINCT patient_key), SUM(minutes) FROM procedure GROUP BY k, status ORDER BY k NULLS FIRST, status",
        "SELECT k, code, COUNT(*) FROM (SELECT # AS k, code FROM procedure UNION ALL SELECT 'HAC20' AS k, code FROM medication_administration) AS u          GROUP BY k, code ORDER BY k, code",
        "SELECT k, COUNT(*) FROM (SELECT 'none' AS k, status FROM procedure UNION ALL SELECT 'drug', status FROM medication_administration          UNION ALL SELECT #, status FROM procedure) AS u GROUP BY k ORDER BY k",
        "SELECT # AS k FROM procedure UNION SELECT 'a' FROM patient ORDER BY 1",
        "SELECT k, MIN(k), MAX(upper(k)), COUNT(DISTINCT k) FROM (SELECT # AS k FROM procedure UNION ALL SELECT NULL FROM patient) AS u GROUP BY k ORDER BY k",
        "SELECT a.k, COUNT(*) FROM (SELECT # AS k FROM procedure) AS a JOIN (SELECT # AS k FROM procedure LIMIT 4) AS b ON a.k = b.k GROUP BY a.k ORDER BY 1",
        "SELECT COUNT(*) FROM (SELECT # AS k, code FROM procedure) AS a JOIN medication_administration b ON a.k = b.status",
        "SELECT k, ROW_NUMBER() OVER (PARTITION BY k ORDER BY resource_id) FROM (SELECT # AS k, resource_id FROM procedure) AS a ORDER BY k, 2",
        "SELECT k FROM (SELECT # AS k, minutes FROM procedure ORDER BY minutes LIMIT 4) AS a WHERE k = 'none' OR k LIKE 'c%' ORDER BY k",
        "SELECT # AS k, COUNT(*) FROM procedure GROUP BY ROLLUP (k) ORDER BY 1 NULLS LAST, 2",
        "SELECT # AS k, status FROM procedure GROUP BY 1, 2 UNION SELECT CASE WHEN status = 'x' THEN 'a' ELSE 'b' END, status \
         FROM medication_administration GROUP BY 1, 2 ORDER BY 1 NULLS FIRST, 2",
    ];
    let cases = [
        "CASE WHEN code = 'HAC20' THEN 'common' WHEN code IN ('HAB40', 'x') AND minutes > 0 THEN 'rare' ELSE 'none' END",
        "CASE WHEN code IS NULL THEN 'none' WHEN patient_key IS NULL THEN 'HAC20' END",
        "CASE status WHEN 'completed' THEN 'drug' WHEN 'not-done' THEN 'common' ELSE NULL END",
    ];
    for (question, case) in questions.iter().flat_map(|question| cases.map(|case| (question, case))) {
        let texts = case.replacen(" THEN ", " THEN left(concat(code, patient_key), 0) || ", 1);
        assert_ne!(texts, case);
        let (numbers, texts) = (question.replace('#', case), question.replace('#', &texts));
        assert_eq!(rows(&world, &numbers), rows(&world, &texts), "{numbers}\n{texts}");
    }
    let plan = plan(&world, "SELECT kind, holder, COUNT(*) FROM treatment GROUP BY kind, holder");
    assert!(plan.contains("pair(") && plan.contains("word("), "{plan}");
}

/// Filters on one column of codes are evaluated once for each code: two of the rows that are shown have HAC20, two HAB40, one has none.
#[test]
fn filters_on_codes_find_the_rows() {
    let world = Hospital::new().everything();
    let few = Hospital::new().of_patients("few", &["procedure"], 1..=1); // most rows are hidden
    for (condition, of_all, of_few) in [
        ("code = 'HAC20'", "2", "1"),
        ("code <> 'HAC20'", "2", "0"),
        ("code = 'nothing'", "0", "0"),
        ("code IN ('HAC20', 'HAB40')", "4", "1"),
        ("code NOT IN ('HAC20', 'x', 'y', 'z')", "2", "0"),
        ("code IS NULL", "1", "0"),
        ("code IS NOT NULL", "4", "1"),
        ("code IS NULL OR code = 'HAB40'", "3", "0"),
        ("code LIKE 'HA%'", "4", "1"),
        ("code IS DISTINCT FROM 'HAC20'", "3", "0"),
        ("status = 'completed' AND minutes > 60 AND code = 'HAC20'", "2", "1"),
    ] {
        let sql = format!("SELECT COUNT(*) FROM procedure WHERE {condition}");
        assert_eq!((rows(&world, &sql), rows(&few, &sql)), (vec![of_all.to_owned()], vec![of_few.to_owned()]), "{sql}");
    }
}

/// A decimal itself is compared in another way than what is computed of it.
#[test]
fn filters_on_decimals_find_the_rows() {
    let everyone = Hospital::of_parts(3, 2_000);
    let mut few = everyone.clone();
    few.ground.filter.patients = Some(Arc::new((1..=40).collect()));
    let there = rows(&everyone, "SELECT CAST(value AS TEXT) FROM observation WHERE value IS NOT NULL ORDER BY resource_id LIMIT 1");
    for world in [&everyone, &few] {
        for (op, number) in
            ["=", "<>", "<", "<=", ">", ">="].iter().flat_map(|op| ["0.0", "-0.0", "-12.5", "1e5", "-9e9", &there[0]].map(|n| (op, n)))
        {
            for (plain, computed) in [
                (format!("value {op} {number}"), format!("value * 2.0 {op} {number} * 2.0")),
                (format!("{number} {op} value"), format!("{number} * 2.0 {op} value * 2.0")),
                (format!("NOT (value {op} {number})"), format!("NOT (value * 2.0 {op} {number} * 2.0)")),
            ] {
                let ask =
                    |condition: &str| rows(world, &format!("SELECT COUNT(*), MIN(value), MAX(code) FROM observation WHERE {condition}"));
                assert_eq!(ask(&plain), ask(&computed), "{plain}");
            }
        }
    }
    assert_eq!(rows(&everyone, &format!("SELECT COUNT(*) FROM observation WHERE value = {}", there[0])), ["1"]);
}

/// `#column` as `(column || '')`.
fn with_texts(question: &str) -> String {
    let mut parts = question.split('#');
    let mut text = parts.next().unwrap().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.').unwrap_or(part.len());
        text.push_str(&format!("({} || ''){}", &part[..end], &part[end..]));
    }
    text
}

#[test]
fn patients_are_counted_without_a_pseudonym() {
    let world = Hospital::new().everything();
    for sql in [
        "SELECT COUNT(DISTINCT patient_key) FROM procedure",
        "SELECT kind, holder, COUNT(DISTINCT t.patient_key) FROM treatment t GROUP BY kind, holder",
        "SELECT p.code, COUNT(DISTINCT q.patient_key) FROM procedure p JOIN patient q ON p.patient_key = q.patient_key WHERE q.gender = 'male' GROUP BY p.code",
        "WITH t AS (SELECT code, patient_key AS who FROM procedure WHERE minutes > 60) SELECT code, COUNT(DISTINCT who) FROM t GROUP BY code",
    ] {
        let plan = plan(&world, sql);
        assert!(plan.contains("count_numbers(") && !plan.contains("key("), "{sql}\n{plan}");
    }
    // The answer has the name that SQL gives it.
    let batches = ask(&world, "SELECT COUNT(DISTINCT patient_key) FROM procedure").unwrap();
    assert_eq!(batches[0].schema().field(0).name(), "count(DISTINCT procedure.patient_key)");
}

#[test]
fn plans_hold_no_number_of_a_key() {
    let world = Hospital::new().everything();
    let key = rows(&world, "SELECT MIN(patient_key) FROM patient").remove(0);
    let plan = plan(&world, &format!("SELECT code FROM procedure WHERE patient_key = '{key}'"));
    assert!(plan.contains(&format!("filters=[patient_key = {key}]")), "{plan}");
    assert!(!plan.contains("UInt32(1)"), "{plan}");
}

/// A code that the permit generalises is no number: the text behind it is not shown.
#[test]
fn transformed_codes_are_grouped_as_they_show() {
    let world = Hospital::new().world("coarse", vec![grant("procedure", &["code", "patient_key"], &[("code", Transform::Generalise(2))])]);
    assert_eq!(
        rows(&world, "SELECT code, COUNT(DISTINCT patient_key) FROM procedure GROUP BY code ORDER BY code NULLS LAST"),
        ["HA|4", "|1"]
    );
}

/// The same question gives the same bytes, on however many threads it runs: 100 times.
#[test]
fn the_same_question_gives_the_same_bytes() {
    let world = Hospital::of_parts(8, 3_000);
    let questions = [
        "SELECT code, COUNT(*), SUM(value), AVG(value), MIN(value), MAX(value), COUNT(DISTINCT patient_key) FROM observation GROUP BY code",
        "SELECT SUM(value), AVG(value) FROM observation",
        "SELECT patient_key, SUM(value) FROM observation GROUP BY patient_key",
        "SELECT code, array_agg(value), stddev(value), corr(value, value * value) FROM observation WHERE value < 1 GROUP BY code",
        "SELECT a.code, COUNT(*), SUM(a.value) FROM observation a JOIN observation b ON a.patient_key = b.patient_key AND b.value < -9.5e5 GROUP BY a.code",
        "SELECT code, value FROM observation LIMIT 100",
        "SELECT 1 AS n, code, value FROM observation UNION ALL SELECT 2 AS n, code, value FROM observation",
        "SELECT code, COUNT(*), array_agg(n) FROM (SELECT 1 AS n, code FROM observation UNION ALL SELECT 2 AS n, code FROM observation) AS u GROUP BY code",
        "SELECT code FROM (SELECT 1 AS n, code FROM observation UNION ALL SELECT 2 AS n, holder FROM observation) AS u LIMIT 30000",
        "SELECT n FROM (SELECT 1 AS n, code FROM observation UNION ALL SELECT 2 AS n, code FROM observation) AS u ORDER BY code",
        "SELECT code, n, ROW_NUMBER() OVER (PARTITION BY code) FROM (SELECT code, holder, COUNT(*) AS n FROM observation GROUP BY code, holder) AS c",
        "SELECT code, first_value(value), last_value(value) FROM observation GROUP BY code",
        "SELECT patient_key, value FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY patient_key ORDER BY value > 0) AS n FROM observation) AS o WHERE n = 1",
        "SELECT n, value FROM (SELECT n, value, ROW_NUMBER() OVER (PARTITION BY n, code ORDER BY value) AS r FROM (SELECT 1 AS n, code, value FROM observation \
         UNION ALL SELECT 2 AS n, code, value FROM observation) AS u) AS o WHERE r = 1",
        "SELECT code FROM (SELECT code, ROW_NUMBER() OVER (PARTITION BY code ORDER BY CAST(value AS BIGINT) % 0) AS n FROM observation) AS o WHERE n = 1",
        "SELECT a.code, u.n FROM observation a LEFT JOIN (SELECT 1 AS n, value FROM observation UNION ALL SELECT 2 AS n, value FROM observation) AS u \
         ON a.value = u.value AND u.value < -9.9e5",
        "SELECT code, holder, COUNT(*) FROM (SELECT a.code, a.holder FROM observation a LEFT SEMI JOIN \
         (SELECT value FROM observation UNION ALL SELECT -value FROM observation) AS u ON a.value = u.value) AS s \
         GROUP BY GROUPING SETS ((code), (holder), ())",
        "SELECT n, holder, value FROM (SELECT 1 AS n, holder, value FROM observation UNION ALL SELECT 2 AS n, holder, value FROM observation) AS u \
         ORDER BY holder LIMIT 8 OFFSET 2",
        "SELECT n FROM (SELECT CAST(code AS BIGINT) AS n FROM observation UNION ALL SELECT CAST(value AS BIGINT) % 0 FROM observation) AS u ORDER BY n",
        "SELECT DISTINCT cume_dist() OVER (PARTITION BY k ORDER BY code) AS d, value FROM (SELECT holder AS k, code, value FROM observation \
         UNION ALL SELECT code AS k, code AS c, -value FROM observation) AS u LIMIT 300",
        "SELECT n, cume_dist() OVER (PARTITION BY n ORDER BY value) FROM (SELECT code AS n, value FROM observation UNION ALL SELECT 'b', value FROM observation) AS u \
         UNION ALL \
         SELECT n, percent_rank() OVER (PARTITION BY n ORDER BY value) FROM (SELECT code AS n, value FROM observation UNION ALL SELECT 'b', value FROM observation) AS u",
    ];
    for sql in questions {
        let first = on_threads(&world, sql, 1);
        for round in 0..100 / questions.len() + 1 {
            assert_eq!(on_threads(&world, sql, 4), first, "{sql}, round {round}");
        }
    }
}

/// `ROW_NUMBER() = 1` is answered without a window: it must give what the window gives, which `n + 0 = 1` still has.
#[test]
fn the_first_row_of_each_partition_is_that_of_the_window() {
    let worlds = [Hospital::of_parts(8, 3_000), Hospital::of_parts(40, 2_000), Hospital::of_parts(3, 0)];
    let windows = [
        "PARTITION BY patient_key ORDER BY value DESC, resource_id",
        "PARTITION BY patient_key ORDER BY value NULLS FIRST, code, resource_id DESC",
        "PARTITION BY patient_key, code ORDER BY resource_id",
        "PARTITION BY code, holder ORDER BY code, value DESC NULLS LAST, resource_id",
        "PARTITION BY upper(code) ORDER BY -value, resource_id",
        "PARTITION BY resource_id ORDER BY value",
        "PARTITION BY CAST(value AS TEXT) ORDER BY patient_key, resource_id",
        "PARTITION BY length(CAST(value AS TEXT)) ORDER BY holder DESC, code, patient_key DESC, resource_id",
        "PARTITION BY value > 0 ORDER BY substr(resource_id, 1, 20) || code, resource_id",
    ];
    for (world, window) in worlds.iter().flat_map(|world| windows.map(|window| (world, window))) {
        let ask = |condition: &str| {
            format!(
                "SELECT n, patient_key, resource_id, code, value FROM (SELECT ROW_NUMBER() OVER ({window}) AS n, * FROM observation) AS o \
                 WHERE {condition} ORDER BY resource_id"
            )
        };
        let expected = rows(world, &ask("n + 0 = 1"));
        for condition in ["n = 1", "n <= 1", "n < 2", "1 = n", "2 > n"] {
            let sql = ask(condition);
            assert_eq!(rows(world, &sql), expected, "{sql}");
            let plan = plan(world, &sql);
            assert!(plan.contains("FirstOfEach") && !plan.contains("WindowAggExec"), "{plan}");
        }
        let (few, kept) = (ask("n + 0 = 1 AND value > 0 AND code <> 'a'"), ask("value > 0 AND n = 1 AND code <> 'a'"));
        assert_eq!(rows(world, &kept), rows(world, &few), "{kept}");
    }
}

/// What the window is still needed for.
#[test]
fn other_questions_about_row_numbers_keep_their_window() {
    let world = Hospital::of_parts(2, 100);
    let first = "ROW_NUMBER() OVER (PARTITION BY code ORDER BY value)";
    for sql in [
        format!("SELECT * FROM (SELECT *, {first} AS n FROM observation) AS o WHERE n <= 2"),
        format!("SELECT * FROM (SELECT *, {first} AS n FROM observation) AS o WHERE n = 2"),
        format!("SELECT * FROM (SELECT *, {first} AS n FROM observation) AS o WHERE n >= 1"),
        format!("SELECT * FROM (SELECT *, {first} AS n FROM observation) AS o WHERE n = 1 OR value > 0"),
        format!("SELECT * FROM (SELECT *, {first} AS n, COUNT(*) OVER (PARTITION BY code ORDER BY value) AS m FROM observation) AS o WHERE n = 1"),
        "SELECT * FROM (SELECT *, RANK() OVER (PARTITION BY code ORDER BY value) AS n FROM observation) AS o WHERE n = 1".to_owned(),
        "SELECT * FROM (SELECT *, ROW_NUMBER() OVER (ORDER BY value) AS n FROM observation) AS o WHERE n = 1".to_owned(),
        // Zeros with either sign are two partitions.
        "SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY value * 0 ORDER BY resource_id) AS n FROM observation) AS o WHERE n = 1".to_owned(),
        // A division by zero, for every row as in the window.
        "SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY code ORDER BY value, 1 / (length(code) - 1)) AS n FROM observation) AS o WHERE n = 1"
            .to_owned(),
    ] {
        let plan = plan(&world, &sql);
        assert!(plan.contains("WindowAggExec") && !plan.contains("FirstOfEach"), "{sql}\n{plan}");
    }
}

/// `LIMIT` under `ORDER BY` is answered without sorting all: it must give what a window that numbers the sorted rows gives.
#[test]
fn the_first_rows_of_all_are_those_of_the_window() {
    let worlds = [(8, 9_000), (40, 2_000), (3, 0), (2, 7), (1, 5_000), (3, 5_001)].map(|(parts, rows)| Hospital::of_parts(parts, rows));
    // What is sorted by, and whether the scan leaves rows out.
    let orders = [
        ("value DESC, resource_id", true),
        ("value NULLS FIRST, code, resource_id DESC", true),
        ("value DESC NULLS LAST, resource_id", true),
        ("resource_id DESC", false),
        ("code, value DESC, resource_id", false),
        ("holder DESC, resource_id", false),
    ];
    for (world, (order, bounded)) in worlds.iter().flat_map(|world| orders.map(|order| (world, order))) {
        for condition in ["", "WHERE value > 0", "WHERE code <> 'a' AND value IS NOT NULL"] {
            for (most, offset) in [(1, 0), (20, 0), (7, 300), (5_000, 1_000), (40_000, 0), (70_000, 5)] {
                let limited =
                    format!("SELECT resource_id, value, code FROM observation {condition} ORDER BY {order} LIMIT {most} OFFSET {offset}");
                let numbered = format!(
                    "SELECT resource_id, value, code FROM (SELECT *, ROW_NUMBER() OVER (ORDER BY {order}) AS n FROM observation {condition}) AS o \
                     WHERE n > {offset} AND n <= {offset} + {most} ORDER BY n"
                );
                assert_eq!(rows(world, &limited), rows(world, &numbered), "{limited}");
                let plan = plan(world, &limited);
                assert!(plan.contains("FirstOfAll") && !plan.contains("SortExec"), "{plan}");
                assert_eq!(plan.contains("first by value"), bounded && most < 65_000, "{plan}");
            }
        }
    }
}

/// Where something could fail for a row that is not among the first, or leaves rows out itself, the scan leaves none out.
#[test]
fn rows_are_left_out_by_scans_only_where_nobody_can_tell() {
    let world = Hospital::of_parts(2, 100);
    for sql in [
        "SELECT value, 1 / (length(code) - 1) AS n FROM observation ORDER BY value LIMIT 5",
        "SELECT value FROM observation WHERE lower(patient_key) > '7' OR length(code) > 5 ORDER BY value LIMIT 5",
        "SELECT value FROM (SELECT value FROM observation LIMIT 50) AS o ORDER BY value LIMIT 5",
        "SELECT a.value FROM observation a JOIN observation b ON a.code = b.code ORDER BY a.value LIMIT 5",
        "SELECT value, COUNT(*) FROM observation GROUP BY value ORDER BY value LIMIT 5",
    ] {
        let plan = plan(&world, sql);
        let fails_late = plan.find("FirstOfAll").zip(plan.find("ProjectionExec")).is_some_and(|(first, shown)| shown < first);
        assert!(!plan.contains("first by") || fails_late, "{sql}\n{plan}");
    }
}

/// How rows lie in parts follows from rows outside the permit, too: not even the order of an answer may depend on it.
#[test]
fn answers_do_not_depend_on_parts() {
    let questions = [
        "SELECT code, value FROM observation ORDER BY length(code)",
        "SELECT code, value FROM observation ORDER BY value > 0 DESC LIMIT 300",
        "SELECT code, value FROM observation ORDER BY code LIMIT 300",
        "SELECT resource_id FROM observation ORDER BY CAST(value / 1e5 AS BIGINT) DESC LIMIT 300",
        "SELECT resource_id FROM observation ORDER BY holder, code DESC LIMIT 9000 OFFSET 20",
        "SELECT value FROM observation ORDER BY CASE WHEN value > 1e300 THEN 1 / 0 ELSE 0 END LIMIT 5",
        "SELECT value FROM observation ORDER BY (value > 9e5 AND 10 / (length(code) - 2) > 2) DESC LIMIT 1000",
        "SELECT value FROM observation WHERE length(patient_key) > 1 AND 10 / (length(code) - 2) > 2 ORDER BY value LIMIT 5",
        "SELECT COUNT(*) FROM (SELECT a.value FROM observation a JOIN observation b ON a.resource_id = b.resource_id LIMIT 100) AS t",
        "SELECT v FROM (SELECT a.value AS v FROM observation a JOIN observation b ON a.resource_id = b.resource_id LIMIT 100) AS t ORDER BY v LIMIT 5",
        "SELECT value FROM observation WHERE value > 0 ORDER BY value DESC LIMIT 20",
        "SELECT value FROM observation ORDER BY value DESC NULLS LAST LIMIT 307",
        "SELECT b.code, a.value FROM observation a RIGHT JOIN observation b ON a.value = b.value AND a.value < -9.9e5",
        "SELECT b.code, COUNT(*) FROM observation a RIGHT JOIN observation b ON a.value = b.value AND a.value < -9.9e5 GROUP BY b.code",
        "SELECT a.code, b.value FROM observation a FULL JOIN observation b ON a.value = b.value AND a.value < -9.9e5 LIMIT 15000",
        "SELECT value, ROW_NUMBER() OVER (PARTITION BY code ORDER BY value > 0) FROM observation",
        "SELECT code, array_agg(value ORDER BY value > 0) FROM observation WHERE value < -9.9e5 GROUP BY code",
        "SELECT patient_key, value FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY patient_key ORDER BY value > 0, code) AS n FROM observation) AS o WHERE n = 1",
        "SELECT DISTINCT code FROM observation LIMIT 3",
    ];
    for sql in questions {
        let of_one = on_threads(&Hospital::of_parts(1, 24_000), sql, 2);
        for parts in [2, 3, 8, 40] {
            assert_eq!(on_threads(&Hospital::of_parts(parts, 24_000 / parts), sql, 2), of_one, "{sql} of {parts} parts");
        }
    }
}

fn on_threads(world: &World, sql: &str, threads: usize) -> String {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_stack_size(crate::limits::QUERY_STACK_BYTES)
        .enable_time()
        .build()
        .unwrap();
    let (world, sql) = (world.clone(), sql.to_owned());
    let task = runtime.spawn(async move {
        let planned = Session::open(&world).await.unwrap().plan(&sql).await.unwrap();
        let batches: Result<Vec<_>, _> = planned.execute().unwrap().try_collect().await;
        batches.map_or_else(|error| error.to_string(), |batches| pretty_format_batches(&batches).unwrap().to_string())
    });
    runtime.block_on(task).unwrap()
}

/// Runs were once taken for sorted together because each was: the inputs of this UNION have one value each, and ORDER BY was left out.
#[test]
fn runs_that_are_sorted_are_not_sorted_together() {
    let world = Hospital::of_parts(4, 100);
    let union = "(SELECT 'b' AS n, value FROM observation UNION ALL SELECT 'a' AS n, value FROM observation) AS u";
    assert_eq!(rows(&world, &format!("SELECT n, COUNT(*) FROM {union} GROUP BY n ORDER BY n")), ["a|400", "b|400"]);
    assert_eq!(rows(&world, &format!("SELECT n FROM {union} ORDER BY n LIMIT 1")), ["a"]);
    assert_eq!(rows(&world, &format!("SELECT n, RANK() OVER (ORDER BY n) AS r FROM {union} ORDER BY r, n LIMIT 1")), ["a|1"]);
}

/// Sums of floating-point numbers do not depend on how rows lie in parts.
#[test]
fn sums_do_not_depend_on_batches() {
    let sql = "SELECT code, SUM(value), AVG(value) FROM observation GROUP BY code ORDER BY code";
    let expected = rows(&Hospital::of_parts(1, 12_000), sql);
    for parts in [2, 3, 8, 40] {
        assert_eq!(rows(&Hospital::of_parts(parts, 12_000 / parts), sql), expected, "{parts} parts");
    }
}

#[test]
fn sums_follow_sql() {
    let world = Hospital::new().everything();
    for (sql, expected) in [
        ("SELECT SUM(value), AVG(value) FROM medication_administration WHERE value < 0", "|"),
        ("SELECT SUM(x), AVG(x), mean(x) FROM (VALUES (0.1), (NULL), (0.2), (0.3)) AS v(x)", "0.6|0.19999999999999998|0.19999999999999998"),
        ("SELECT SUM(x) FROM (VALUES (1e16), (1.0), (-1e16)) AS v(x)", "1.0"),
        ("SELECT SUM(x) FROM (VALUES (1), (2)) AS v(x)", "3"),
        ("SELECT AVG(x) FROM (VALUES (1), (2)) AS v(x)", "1.5"),
        ("SELECT SUM(DISTINCT x) FROM (VALUES (0.5), (0.5), (1.0)) AS v(x)", "1.5"),
        ("SELECT SUM(x) FILTER (WHERE x > 1) FROM (VALUES (1.5), (0.5)) AS v(x)", "1.5"),
        ("SELECT SUM(x), AVG(x) FROM (VALUES (CAST('NaN' AS DOUBLE)), (1.0)) AS v(x)", "NaN|NaN"),
        ("SELECT SUM(x) FROM (VALUES (CAST('inf' AS DOUBLE)), (1.0)) AS v(x)", "inf"),
    ] {
        assert_eq!(rows(&world, sql), [expected], "{sql}");
    }
    let windows =
        "SELECT SUM(x) OVER (ORDER BY n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM (VALUES (1, 1e16), (2, 1.0), (3, 2.0)) AS v(n, x)";
    assert_eq!(rows(&world, windows), ["1e16", "1e16", "3.0"], "what left the window left no rounding behind");
}
