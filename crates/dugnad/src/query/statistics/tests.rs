#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::query::tests::{Hospital, block_on};
use datafusion::arrow::util::pretty::pretty_format_batches;
use jiff::SignedDuration;

const NORTH: &str = "Sykehuset Nord";

fn lists() -> (Epoch, Lists) {
    let now = "2026-11-21T19:31:42Z".parse().unwrap();
    present(&Calendar::every(SignedDuration::from_secs(60)), now, vec![NORTH.to_owned(), "Et sykehus uten pasienter".to_owned()])
}

fn answer(cache: &mut Cache, sql: &str) -> Result<Vec<String>, QueryError> {
    let request = Request::parse(sql)?;
    let (epoch, lists) = lists();
    request.check(&lists)?;
    let views = vec![crate::query::tests::view()];
    let basis = Basis { epoch, lists, method: Method::default(), sources: Arc::new(Hospital::new()), views };
    let table = block_on(cache.table(&request, &basis))?;
    let batch = request.answer(&table)?;
    let text = pretty_format_batches(&[batch]).unwrap().to_string();
    let row = |line: &str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join("|");
    Ok(text.lines().filter(|l| l.starts_with('|')).skip(1).map(row).collect())
}

fn rows(sql: &str) -> Vec<String> {
    answer(&mut Cache::default(), sql).unwrap_or_else(|e| panic!("{sql}: {e}"))
}

#[test]
fn rows_come_from_the_published_list_and_small_cells_look_empty() {
    let kinds = rows("SELECT kind, persons FROM statistics.treatments GROUP BY kind");
    assert_eq!(
        kinds,
        ["surgery|< 5", "radiotherapy|< 5", "drug_administration|12", "immunization|< 5", "other_procedure|< 5", "unknown|< 5"],
        "three persons had surgery, nobody radiotherapy"
    );
    assert_eq!(rows("SELECT sex, persons FROM statistics.patients GROUP BY sex"), ["female|< 5", "male|< 5", "other|< 5", "unknown|< 5"]);
    let holders = rows("SELECT holder, persons FROM statistics.patients GROUP BY holder");
    assert_eq!(holders, [format!("{NORTH}|6"), "Et sykehus uten pasienter|< 5".to_owned(), "unknown|6".to_owned()]);
}

#[test]
fn order_filter_and_limit_see_released_values() {
    let top = "SELECT persons AS n, kind FROM statistics.treatments GROUP BY kind ORDER BY n DESC, kind LIMIT 2";
    assert_eq!(rows(top), ["12|drug_administration", "< 5|surgery"]);
    let last = "select kind, persons from statistics.treatments group by kind order by kind desc limit 1";
    assert_eq!(rows(last), ["unknown|< 5"]);
    let some = "SELECT kind, persons FROM statistics.treatments WHERE kind IN ('unknown', 'surgery') GROUP BY kind";
    assert_eq!(rows(some), ["surgery|< 5", "unknown|< 5"]);
    assert_eq!(rows("SELECT kind, persons FROM statistics.treatments WHERE kind = 'surgery' GROUP BY kind;"), ["surgery|< 5"]);
}

#[test]
fn persons_are_described_by_joining_their_patient() {
    let bands = rows("SELECT age_band, persons FROM statistics.treatments GROUP BY age_band");
    assert_eq!(bands.len(), 11);
    // Births of 1945 to 1972: 5 persons in their fifties, 4 each in their sixties and seventies at most.
    assert!(bands.contains(&"0-9|< 5".to_owned()) && bands.contains(&"unknown|< 5".to_owned()), "{bands:?}");
    let years = rows("SELECT year, persons FROM statistics.treatments GROUP BY year");
    assert!(years.contains(&"2026|12".to_owned()) && years.contains(&"before 2000|< 5".to_owned()), "{years:?}");
    assert_eq!(years.len(), 1 + 27 + 1);
}

#[test]
fn a_table_is_counted_once_per_epoch() {
    let mut cache = Cache::default();
    answer(&mut cache, "SELECT kind, persons FROM statistics.treatments GROUP BY kind").unwrap();
    let request = Request::parse("SELECT kind, persons FROM statistics.treatments GROUP BY kind LIMIT 1").unwrap();
    let (epoch, lists) = lists();
    assert!(cache.get(&request, &epoch, &lists).is_some());
    let later = Calendar::every(SignedDuration::from_secs(60)).epoch(epoch.next);
    assert!(cache.get(&request, &later, &lists).is_none());
    let more = Lists { holders: vec!["A new hospital".to_owned()], ..lists.clone() };
    assert!(cache.get(&request, &epoch, &more).is_none());
}

#[test]
fn whatever_is_not_in_the_form_is_refused() {
    let attacks = [
        "SELECT * FROM statistics.treatments",
        "SELECT kind FROM statistics.treatments GROUP BY kind",
        "SELECT persons FROM statistics.treatments",
        "SELECT kind, kind FROM statistics.treatments GROUP BY kind",
        "SELECT kind, persons, persons FROM statistics.treatments GROUP BY kind",
        "SELECT kind, persons FROM statistics.treatments",
        "SELECT kind, persons FROM statistics.treatments GROUP BY kind, year",
        "SELECT kind, persons FROM statistics.treatments GROUP BY ALL",
        "SELECT kind, persons FROM statistics.treatments GROUP BY kind WITH ROLLUP",
        "SELECT kind, persons FROM statistics.treatments GROUP BY CUBE (kind)",
        "SELECT kind, persons FROM statistics.treatments GROUP BY 1",
        "SELECT kind, persons + 0 FROM statistics.treatments GROUP BY kind",
        "SELECT kind, COUNT(*) FROM statistics.treatments GROUP BY kind",
        "SELECT kind, sum(persons) FROM statistics.treatments GROUP BY kind",
        "SELECT DISTINCT kind, persons FROM statistics.treatments GROUP BY kind",
        "SELECT TOP 1 kind, persons FROM statistics.treatments GROUP BY kind",
        "SELECT kind, persons INTO x FROM statistics.treatments GROUP BY kind",
        "SELECT kind, persons FROM statistics.treatments t GROUP BY kind",
        "SELECT kind, persons FROM treatments GROUP BY kind",
        "SELECT kind, persons FROM treatment GROUP BY kind",
        "SELECT kind, persons FROM public.treatment GROUP BY kind",
        "SELECT kind, persons FROM a.statistics.treatments GROUP BY kind",
        "SELECT kind, persons FROM statistics.nonsense GROUP BY kind",
        "SELECT kind, persons FROM statistics.treatments, statistics.patients GROUP BY kind",
        "SELECT kind, persons FROM statistics.treatments JOIN statistics.patients ON true GROUP BY kind",
        "SELECT kind, persons FROM (SELECT * FROM statistics.treatments) GROUP BY kind",
        "WITH t AS (SELECT 1) SELECT kind, persons FROM statistics.treatments GROUP BY kind",
        "SELECT kind, persons FROM statistics.treatments GROUP BY kind UNION SELECT kind, persons FROM statistics.treatments GROUP BY kind",
        "SELECT kind, persons FROM statistics.treatments WHERE kind NOT IN ('surgery') GROUP BY kind",
        "SELECT kind, persons FROM statistics.treatments WHERE kind LIKE 's%' GROUP BY kind",
        "SELECT kind, persons FROM statistics.treatments WHERE kind IN ('surgery') OR true GROUP BY kind",
        "SELECT kind, persons FROM statistics.treatments WHERE persons > 3 GROUP BY kind",
        "SELECT kind, persons FROM statistics.treatments WHERE year = '2026' GROUP BY kind",
        "SELECT kind, persons FROM statistics.treatments WHERE patient_key = 'x' GROUP BY kind",
        "SELECT kind, persons FROM statistics.treatments WHERE kind IN (SELECT 'surgery') GROUP BY kind",
        "SELECT kind, persons FROM statistics.treatments GROUP BY kind HAVING persons > 3",
        "SELECT kind, persons FROM statistics.treatments GROUP BY kind QUALIFY true",
        "SELECT kind, persons FROM statistics.treatments GROUP BY kind ORDER BY persons NULLS FIRST",
        "SELECT kind, persons FROM statistics.treatments GROUP BY kind ORDER BY persons + 1",
        "SELECT kind, persons FROM statistics.treatments GROUP BY kind ORDER BY ALL",
        "SELECT kind, persons FROM statistics.treatments GROUP BY kind LIMIT 1 OFFSET 1",
        "SELECT kind, persons FROM statistics.treatments GROUP BY kind LIMIT (SELECT 1)",
        "SELECT kind, persons FROM statistics.treatments GROUP BY kind FETCH FIRST 1 ROW ONLY",
        "SELECT kind, persons FROM statistics.treatments TABLESAMPLE BERNOULLI (50) GROUP BY kind",
        "SELECT kind, persons FROM statistics.treatments FOR SYSTEM_TIME AS OF '2020-01-01' GROUP BY kind",
        "SELECT kind, persons FROM statistics.treatments GROUP BY kind FOR UPDATE",
        "SELECT CASE WHEN persons = '< 5' THEN kind END, persons FROM statistics.treatments GROUP BY kind",
        "SELECT icd10_chapter, persons FROM statistics.treatments GROUP BY icd10_chapter",
        "SELECT kind, persons FROM statistics.treatments WINDOW w AS (PARTITION BY kind) GROUP BY kind",
        "EXPLAIN SELECT kind, persons FROM statistics.treatments GROUP BY kind",
        "SHOW TABLES",
        "SELECT * FROM information_schema.tables",
        "DESCRIBE statistics.treatments",
        "DROP TABLE statistics.treatments",
        "COPY statistics.treatments TO 'x.csv'",
        "SELECT kind, persons FROM statistics.treatments GROUP BY kind; SELECT 1",
        "SELECT 1",
    ];
    for sql in attacks {
        match Request::parse(sql) {
            Err(QueryError::Refused(message)) => {
                let told = message.contains("can be run under a permit with rows")
                    || message.contains("one statement")
                    || message.contains("cannot be read");
                assert!(told, "{sql}: {message}");
            }
            other => panic!("{sql}: {other:?}"),
        }
    }
}

#[test]
fn a_code_that_is_in_no_list_is_named() {
    let sql = "SELECT kind, persons FROM statistics.treatments WHERE kind IN ('surgery', 'magic') GROUP BY kind";
    let error = answer(&mut Cache::default(), sql).unwrap_err().to_string();
    assert!(error.contains("kind has no category 'magic'"), "{error}");
}

#[test]
fn the_catalogue_lists_what_can_be_asked() {
    let (epoch, lists) = lists();
    let catalogue = catalogue(&epoch, &Method::default(), &lists);
    assert_eq!((catalogue.epoch.as_str(), catalogue.next_epoch.as_str()), ("2026-11-21T19:31:00Z", "2026-11-21T19:32:00Z"));
    assert_eq!(catalogue.suppressed, "< 5");
    for table in &catalogue.tables {
        for dimension in &table.dimensions {
            let sql = format!("SELECT {d}, persons FROM {t} GROUP BY {d}", d = dimension.name, t = table.name);
            Request::parse(&sql).unwrap();
        }
    }
    let json = serde_json::to_string(&catalogue).unwrap();
    assert!(json.contains(r#"["C50-C50","Malignant neoplasm of breast"]"#));
}
