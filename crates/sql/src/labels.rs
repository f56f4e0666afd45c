//! Other names for tables: what a stored query calls the views that it depends on.

use crate::error::QueryError;
use crate::guard;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Query, Statement as SqlStatement, With};

/// The query with each label as another name of its table, as `WITH label AS (SELECT * FROM table)`. Names that a WITH of the
/// query itself gives go before them. Labels are case-insensitive, as unquoted names are.
pub fn with_labels(sql: &str, tables: &[(String, String)]) -> Result<String, QueryError> {
    let mut query = select(sql)?;
    let own: Vec<String> = query.with.iter().flat_map(|w| &w.cte_tables).map(|cte| cte.alias.name.value.to_lowercase()).collect();
    let named = |(label, table): &&(String, String)| !label.eq_ignore_ascii_case(table) && !own.contains(&label.to_lowercase());
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let parts: Vec<String> = tables
        .iter()
        .filter(named)
        .map(|(label, table)| format!("{} AS (SELECT * FROM {})", quoted(&label.to_lowercase()), quoted(table)))
        .collect();
    if parts.is_empty() {
        return Ok(sql.to_owned());
    }
    let ours = select(&format!("WITH {} SELECT 1", parts.join(", ")))?.with;
    query.with = match (ours, query.with) {
        (Some(ours), Some(theirs)) => Some(With { cte_tables: ours.cte_tables.into_iter().chain(theirs.cte_tables).collect(), ..theirs }),
        (ours, theirs) => ours.or(theirs),
    };
    Ok(query.to_string())
}

/// A query that is guarded: one SELECT.
fn select(sql: &str) -> Result<Query, QueryError> {
    let refused = || QueryError::Refused("a stored query is one SELECT (also WITH, VALUES, UNION)".to_owned());
    match guard::check(sql)? {
        Statement::Statement(statement) => match *statement {
            SqlStatement::Query(query) => Ok(*query),
            _ => Err(refused()),
        },
        _ => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled(sql: &str) -> String {
        let tables = [("bp", "blood_pressure"), ("patient", "patient")].map(|(l, t)| (l.to_owned(), t.to_owned()));
        with_labels(sql, &tables).unwrap_or_else(|e| e.to_string())
    }

    #[test]
    fn a_label_is_another_name_of_a_table() {
        assert_eq!(
            labelled("SELECT bp.value FROM BP JOIN patient USING(patient_key)"),
            "WITH \"bp\" AS (SELECT * FROM \"blood_pressure\") SELECT bp.value FROM BP JOIN patient USING(patient_key)"
        );
        assert_eq!(
            labelled("WITH high AS (SELECT * FROM bp) SELECT * FROM high"),
            "WITH \"bp\" AS (SELECT * FROM \"blood_pressure\"), high AS (SELECT * FROM bp) SELECT * FROM high"
        );
    }

    #[test]
    fn a_name_that_the_query_gives_goes_first() {
        let own = "WITH bp AS (SELECT 1 AS value) SELECT value FROM bp";
        assert_eq!(labelled(own), own);
    }

    #[test]
    fn only_a_select_is_taken() {
        for sql in ["DROP TABLE bp", "EXPLAIN SELECT 1", "SHOW TABLES", "SELECT 1; SELECT 2"] {
            assert!(with_labels(sql, &[("a".to_owned(), "b".to_owned())]).is_err(), "{sql}");
        }
    }
}
