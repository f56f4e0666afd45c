#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;

#[test]
fn a_question_has_two_parts() {
    let sql = "SELECT county, round(100.0 * persons / 3, 1) AS share, quantile(age_band, 0.5) AS median FROM statistics.conditions \
               WHERE icd10_block = 'C50-C50' AND sex IN ('female', 'male') AND cohort = 'treated' GROUP BY county, sex \
               HAVING persons > 100 ORDER BY share DESC LIMIT 3";
    let request = Request::parse(sql).unwrap();
    assert_eq!((request.table.as_str(), request.group.join(" ").as_str()), ("conditions", "county sex"));
    let only = [("icd10_block", vec!["C50-C50"]), ("sex", vec!["female", "male"])];
    assert_eq!(request.only, only.map(|(level, codes)| (level.to_owned(), codes.into_iter().map(str::to_owned).collect())));
    assert_eq!(request.cohort.as_deref(), Some("treated"));
    assert_eq!(request.quantiles, [("age_band".to_owned(), 0.5)]);
    assert_eq!(request.measures.iter().map(|m| m.name()).collect::<Vec<_>>(), ["persons"]);
    assert_eq!(
        request.rest,
        "SELECT county, round(100.0 * persons / 3, 1) AS share, quantile_1 AS median FROM cells WHERE persons > 100 \
         ORDER BY share DESC LIMIT 3"
    );
    assert!(Request::parse("SELECT persons FROM statistics.patients").unwrap().group.is_empty());
}

#[test]
fn whatever_is_not_in_the_form_is_refused() {
    let attacks = [
        "SELECT * FROM statistics.treatments",
        "SELECT kind, persons FROM statistics.treatments GROUP BY ALL",
        "SELECT kind, persons FROM statistics.treatments GROUP BY kind WITH ROLLUP",
        "SELECT kind, persons FROM statistics.treatments GROUP BY CUBE (kind)",
        "SELECT kind, persons FROM statistics.treatments GROUP BY 1",
        "SELECT DISTINCT kind, persons FROM statistics.treatments GROUP BY kind",
        "SELECT TOP 1 kind, persons FROM statistics.treatments GROUP BY kind",
        "SELECT kind, persons INTO x FROM statistics.treatments GROUP BY kind",
        "SELECT kind, persons FROM statistics.treatments t GROUP BY kind",
        "SELECT kind, persons FROM treatments GROUP BY kind",
        "SELECT kind, persons FROM treatment GROUP BY kind",
        "SELECT kind, persons FROM public.treatment GROUP BY kind",
        "SELECT kind, persons FROM a.statistics.treatments GROUP BY kind",
        "SELECT kind, persons FROM statistics.treatments, statistics.patients GROUP BY kind",
        "SELECT kind, persons FROM statistics.treatments JOIN statistics.patients ON true GROUP BY kind",
        "SELECT kind, persons FROM (SELECT * FROM statistics.treatments) GROUP BY kind",
        "WITH t AS (SELECT 1) SELECT kind, persons FROM statistics.treatments GROUP BY kind",
        "SELECT kind, persons FROM statistics.treatments GROUP BY kind UNION SELECT kind, persons FROM statistics.treatments GROUP BY kind",
        "SELECT kind, persons FROM statistics.treatments WHERE kind NOT IN ('surgery') GROUP BY kind",
        "SELECT kind, persons FROM statistics.treatments WHERE kind LIKE 's%' GROUP BY kind",
        "SELECT kind, persons FROM statistics.treatments WHERE kind IN ('surgery') OR true GROUP BY kind",
        "SELECT kind, persons FROM statistics.treatments WHERE persons > 3 GROUP BY kind",
        "SELECT kind, persons FROM statistics.treatments WHERE kind IN (SELECT 'surgery') GROUP BY kind",
        "SELECT kind, persons FROM statistics.treatments GROUP BY kind QUALIFY true",
        "SELECT kind, persons FROM statistics.treatments GROUP BY kind LIMIT 1 OFFSET 1",
        "SELECT kind, persons FROM statistics.treatments GROUP BY kind FETCH FIRST 1 ROW ONLY",
        "SELECT kind, persons FROM statistics.treatments TABLESAMPLE BERNOULLI (50) GROUP BY kind",
        "SELECT kind, persons FROM statistics.treatments FOR SYSTEM_TIME AS OF '2020-01-01' GROUP BY kind",
        "SELECT kind, persons FROM statistics.treatments GROUP BY kind FOR UPDATE",
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
