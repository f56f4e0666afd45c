//! Random SQL over the tables of a permit: most of it has an answer, the rest an error that must not change either.

use super::one;
use dugnad_kernel::live::schema::ZONE;
use dugnad_sql::{Zone, functions};
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::sync::Arc;

pub struct Grammar {
    /// Tables with their columns and types.
    tables: Vec<(String, Vec<(String, Kind)>)>,
    scalars: Vec<String>,
    aggregates: Vec<String>,
    /// Only what does not depend on the order of rows.
    unordered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Text,
    Number,
    Time,
    Boolean,
}

/// Aggregates whose result does not depend on the order of rows.
const AGGREGATES: [&str; 12] =
    ["sum", "avg", "min", "max", "count", "median", "bool_and", "bool_or", "bit_and", "bit_or", "bit_xor", "percentile_cont"];
/// Those whose result does.
const ORDERED: [&str; 18] = [
    "regr_slope",
    "regr_r2",
    "array_agg",
    "string_agg",
    "first_value",
    "last_value",
    "nth_value",
    "var",
    "var_pop",
    "stddev",
    "stddev_pop",
    "covar_samp",
    "covar_pop",
    "corr",
    "approx_distinct",
    "approx_median",
    "approx_percentile_cont",
    "approx_percentile_cont_with_weight",
];
const WINDOWS: [&str; 8] =
    ["row_number()", "rank()", "dense_rank()", "percent_rank()", "cume_dist()", "ntile(3)", "lag(X)", "first_value(X)"];

/// What a query can refer to: expressions of its FROM.
type Scope = Vec<(String, Kind)>;

impl Grammar {
    pub fn new(columns: Vec<(String, String, String)>, unordered: bool) -> Self {
        let mut tables: BTreeMap<String, Vec<(String, Kind)>> = BTreeMap::new();
        for (table, column, data_type) in columns {
            let kind = match data_type.as_str() {
                "bigint" | "double precision" => Kind::Number,
                "date" | "timestamp with time zone" => Kind::Time,
                "boolean" => Kind::Boolean,
                _ => Kind::Text,
            };
            tables.entry(table).or_default().push((column, kind));
        }
        let scalars = functions::scalar_functions(&Arc::new(Zone::new(ZONE))).iter().map(|f| f.name().to_owned()).collect();
        let ordered = |name: &&&str| ORDERED.contains(*name);
        let aggregates =
            AGGREGATES.iter().chain(&ORDERED).filter(|name| !(unordered && ordered(name))).map(|name| (*name).to_owned()).collect();
        Self { tables: tables.into_iter().collect(), scalars, aggregates, unordered }
    }

    /// A question.
    pub fn question(&self, random: &mut StdRng) -> String {
        match random.random_range(0..20) {
            0 => "SELECT * FROM information_schema.columns".to_owned(),
            1 => format!("DESCRIBE {}", self.table(random).0),
            2 => "SHOW TABLES".to_owned(),
            3..6 => format!("EXPLAIN {}", self.query(2, &Scope::new(), random).0),
            6..8 => self.with(random),
            _ => self.query(2, &Scope::new(), random).0,
        }
    }

    fn table(&self, random: &mut StdRng) -> &(String, Vec<(String, Kind)>) {
        one(&self.tables, random)
    }

    fn with(&self, random: &mut StdRng) -> String {
        let (inner, columns) = self.query(1, &Scope::new(), random);
        let names: Vec<String> = (0..columns.len()).map(|n| format!("c{n}")).collect();
        let scope: Scope = names.iter().map(|n| format!("w.{n}")).zip(columns).collect();
        let list = self.list(&scope, 1, random).0;
        let condition = self.condition(&scope, 1, random);
        format!("WITH w({}) AS ({inner}) SELECT {list} FROM w WHERE {condition}", names.join(", "))
    }

    /// A query, and the types of its columns. `outer`: what a correlated one may refer to.
    fn query(&self, depth: u32, outer: &Scope, random: &mut StdRng) -> (String, Vec<Kind>) {
        if depth > 0 && random.random_bool(0.12) {
            return self.set_operation(depth, random);
        }
        let (from, mut scope) = self.from(depth, random);
        let mut condition =
            if random.random_bool(0.6) { format!(" WHERE {}", self.condition(&scope, depth, random)) } else { String::new() };
        if depth > 0 && random.random_bool(0.2) {
            let (inner, _) = self.query(0, &scope, random);
            let exists = format!("{}EXISTS ({inner})", one(&["", "NOT "], random));
            condition = if condition.is_empty() { format!(" WHERE {exists}") } else { format!("{condition} AND {exists}") };
        }
        if !outer.is_empty() && random.random_bool(0.7) {
            let (mine, theirs) = (one(&scope, random).0.clone(), one(outer, random).0.clone());
            let on = format!("{mine} = {theirs}");
            condition = if condition.is_empty() { format!(" WHERE {on}") } else { format!("{condition} AND {on}") };
        }
        if random.random_bool(0.35) {
            return self.grouped(&from, &condition, &scope, random);
        }
        if !self.unordered && random.random_bool(0.2) {
            let over = self.window(&scope, random);
            scope.push((over, Kind::Number));
        }
        let (list, kinds) = self.list(&scope, depth, random);
        let distinct = one(&["", "", "", "DISTINCT "], random);
        let mut sql = format!("SELECT {distinct}{list} FROM {from}{condition}");
        if random.random_bool(0.3) {
            sql.push_str(&format!(" ORDER BY {}{}", random.random_range(1..=kinds.len()), one(&["", " DESC", " NULLS FIRST"], random)));
        }
        if !self.unordered && random.random_bool(0.3) {
            sql.push_str(&format!(" LIMIT {}", random.random_range(0..20)));
            let offset: &str = one::<&str>(&["", "", " OFFSET 2"], random);
            sql.push_str(offset);
        }
        (sql, kinds)
    }

    fn set_operation(&self, depth: u32, random: &mut StdRng) -> (String, Vec<Kind>) {
        let operation = one(&["UNION", "UNION ALL", "INTERSECT", "EXCEPT"], random);
        let words = random.random_bool(0.3);
        let mut side = || {
            let (from, scope) = self.from(0, random);
            let text: Scope = scope.iter().filter(|(_, kind)| *kind == Kind::Text).cloned().collect();
            if words || text.is_empty() {
                return format!("SELECT {} AS t FROM {from}", self.words(&scope, random));
            }
            format!("SELECT CAST({} AS TEXT) AS t FROM {from}", one(&text, random).0)
        };
        let sql = format!("{} {operation} {}", side(), side());
        if depth > 1 && random.random_bool(0.5) {
            return (format!("SELECT t, length(t) FROM ({sql}) AS u"), vec![Kind::Text, Kind::Number]);
        }
        (sql, vec![Kind::Text])
    }

    /// A FROM and what it offers.
    fn from(&self, depth: u32, random: &mut StdRng) -> (String, Scope) {
        let scope = |alias: &str, columns: &[(String, Kind)]| -> Scope {
            columns.iter().map(|(column, kind)| (format!("{alias}.{column}"), *kind)).collect()
        };
        let (table, columns) = self.table(random);
        let first = scope("a", columns);
        match random.random_range(0..10) {
            0..5 => (format!("{table} a"), first),
            5..7 => {
                let (other, others) = self.table(random);
                let second = scope("b", others);
                let on = match (first.iter().find(|(c, _)| c == "a.patient_key"), second.iter().find(|(c, _)| c == "b.patient_key")) {
                    (Some(_), Some(_)) => "a.patient_key = b.patient_key".to_owned(),
                    _ => format!("{} = {}", one(&first, random).0, one(&second, random).0),
                };
                let join = one(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "LEFT SEMI JOIN", "LEFT ANTI JOIN"], random);
                let offered = if join.starts_with("LEFT S") || join.starts_with("LEFT A") { first } else { [first, second].concat() };
                (format!("{table} a {join} {other} b ON {on}"), offered)
            }
            7 if depth > 0 => {
                let (inner, kinds) = self.query(depth - 1, &Scope::new(), random);
                let names: Vec<String> = (0..kinds.len()).map(|n| format!("c{n}")).collect();
                let offered = names.iter().map(|n| format!("s.{n}")).zip(kinds).collect();
                (format!("({inner}) AS s({})", names.join(", ")), offered)
            }
            8 if depth > 0 => {
                let (inner, kinds) = self.query(0, &first, random);
                let names: Vec<String> = (0..kinds.len()).map(|n| format!("c{n}")).collect();
                let offered = first.into_iter().chain(names.iter().map(|n| format!("l.{n}")).zip(kinds)).collect();
                (format!("{table} a, LATERAL ({inner}) AS l({})", names.join(", ")), offered)
            }
            9 => (
                format!("{table} a CROSS JOIN generate_series(1, 3) AS g(n)"),
                first.into_iter().chain([("g.n".to_owned(), Kind::Number)]).collect(),
            ),
            _ => (format!("{table} a"), first),
        }
    }

    fn grouped(&self, from: &str, condition: &str, scope: &Scope, random: &mut StdRng) -> (String, Vec<Kind>) {
        let mut key = || if random.random_bool(0.2) { (self.words(scope, random), Kind::Text) } else { one(scope, random).clone() };
        let (first, second) = (key(), key());
        let by = match random.random_range(0..6) {
            0 => format!("ROLLUP ({}, {})", first.0, second.0),
            1 => format!("CUBE ({}, {})", first.0, second.0),
            2 => format!("GROUPING SETS (({}), ({}), ())", first.0, second.0),
            _ => format!("{}, {}", first.0, second.0),
        };
        let measures: Vec<String> = (0..random.random_range(1..3)).map(|_| self.aggregate(scope, random)).collect();
        let having = if random.random_bool(0.2) { " HAVING COUNT(*) > 1" } else { "" };
        let mut kinds = vec![first.1, second.1];
        kinds.extend(measures.iter().map(|_| Kind::Number));
        (format!("SELECT {}, {}, {} FROM {from}{condition} GROUP BY {by}{having}", first.0, second.0, measures.join(", ")), kinds)
    }

    fn aggregate(&self, scope: &Scope, random: &mut StdRng) -> String {
        let argument = self.expression(scope, 1, random);
        let filter = if random.random_bool(0.15) { format!(" FILTER (WHERE {})", self.condition(scope, 0, random)) } else { String::new() };
        match random.random_range(0..5) {
            0 => "COUNT(*)".to_owned(),
            1 => format!("COUNT(DISTINCT {argument}){filter}"),
            2 => format!("{}({}){filter}", one(&["sum", "avg", "min", "max", "median"], random), self.typed(scope, Kind::Number, random)),
            3 => format!("{}({argument}){filter}", one(&["min", "max", "count"], random)),
            _ => {
                let second = if random.random_bool(0.3) { format!(", {}", self.expression(scope, 0, random)) } else { String::new() };
                format!("{}({argument}{second}){filter}", one(&self.aggregates, random))
            }
        }
    }

    fn window(&self, scope: &Scope, random: &mut StdRng) -> String {
        let function = one(&WINDOWS, random).replace('X', &one(scope, random).0);
        format!("{function} OVER (PARTITION BY {} ORDER BY {})", one(scope, random).0, one(scope, random).0)
    }

    fn list(&self, scope: &Scope, depth: u32, random: &mut StdRng) -> (String, Vec<Kind>) {
        let count = random.random_range(1..4);
        let item = |n: usize, random: &mut StdRng| {
            let (text, kind) = one(scope, random).clone();
            if random.random_bool(0.5) {
                (format!("{text} AS x{n}"), kind)
            } else {
                (format!("{} AS x{n}", self.expression(scope, depth, random)), Kind::Text)
            }
        };
        let items: Vec<(String, Kind)> = (0..count).map(|n| item(n, random)).collect();
        (items.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>().join(", "), items.iter().map(|(_, kind)| *kind).collect())
    }

    fn typed(&self, scope: &Scope, kind: Kind, random: &mut StdRng) -> String {
        let fitting: Vec<&(String, Kind)> = scope.iter().filter(|(_, k)| *k == kind).collect();
        match (fitting.is_empty(), kind) {
            (false, _) => one(&fitting, random).0.clone(),
            (true, Kind::Number) => format!("length(CAST({} AS TEXT))", one(scope, random).0),
            (true, Kind::Time) => "DATE '2026-03-01'".to_owned(),
            (true, Kind::Boolean) => "true".to_owned(),
            (true, Kind::Text) => "'C50'".to_owned(),
        }
    }

    fn expression(&self, scope: &Scope, depth: u32, random: &mut StdRng) -> String {
        let column = |random: &mut StdRng| one(scope, random).0.clone();
        match random.random_range(0..12) {
            0..3 => column(random),
            3 => {
                format!("CAST({} AS {})", column(random), one(&["TEXT", "BIGINT", "DOUBLE", "DATE", "INT", "BOOLEAN", "TIMESTAMP"], random))
            }
            4 => format!("TRY_CAST({} AS {})", column(random), one(&["BIGINT", "DOUBLE", "DATE", "SMALLINT"], random)),
            5 if random.random_bool(0.5) => self.words(scope, random),
            5 => format!("CASE WHEN {} THEN {} ELSE NULL END", self.condition(scope, 0, random), column(random)),
            6 => format!(
                "{} {} {}",
                self.typed(scope, Kind::Number, random),
                one(&["+", "-", "*", "/", "%"], random),
                random.random_range(0..3)
            ),
            7 => format!("CAST({} AS TEXT) || '!'", column(random)),
            8 => format!("date_trunc('month', {})", self.typed(scope, Kind::Time, random)),
            9 if depth > 0 => {
                let (table, columns) = self.table(random);
                let counted = one(columns, random).0.clone();
                let function = one(&["COUNT(", "COUNT(DISTINCT ", "MIN(", "MAX("], random);
                format!("(SELECT {function}z.{counted}) FROM {table} z)")
            }
            _ => {
                // Any function, with any arguments: most of these are refused, and must be so for the same reason.
                let arguments: Vec<String> = (0..random.random_range(0..4))
                    .map(|_| if random.random_bool(0.7) { column(random) } else { (*one(&["1", "'C'", "NULL", "2.5"], random)).to_owned() })
                    .collect();
                format!("{}({})", one(&self.scalars, random), arguments.join(", "))
            }
        }
    }

    /// A text that the question writes, or a choice between such texts.
    fn words(&self, scope: &Scope, random: &mut StdRng) -> String {
        let last = one(&["", " ELSE 'C50'", " ELSE 'other'", " ELSE NULL"], random);
        let [first, second] = [0, 1].map(|depth| self.condition(scope, depth, random));
        match random.random_range(0..4) {
            0 => "'x'".to_owned(),
            1 => format!("CASE {} WHEN 'C50' THEN 'x' WHEN 'female' THEN 'C50'{last} END", self.typed(scope, Kind::Text, random)),
            _ => format!("CASE WHEN {first} THEN 'x' WHEN {second} THEN 'C50'{last} END"),
        }
    }

    fn condition(&self, scope: &Scope, depth: u32, random: &mut StdRng) -> String {
        let (column, kind) = one(scope, random).clone();
        match random.random_range(0..10) {
            0 => format!("{column} IS {}NULL", one(&["", "NOT "], random)),
            1 if kind == Kind::Text => {
                format!("{column} {}IN ('C50', '123', 'female'{})", one(&["", "NOT "], random), one(&["", ", 'x', 'final', ''"], random))
            }
            2 if kind == Kind::Text => format!("{column} LIKE '%{}%'", one(&["5", "C", "a", "!"], random)),
            3 if kind == Kind::Number => format!("{column} {} {}", one(&["<", ">", "=", "<>"], random), random.random_range(0..20)),
            4 if kind == Kind::Time => format!("{column} {} '2026-01-01'", one(&["<", ">="], random)),
            5 => format!(
                "CAST({column} AS {}) {} {}",
                one(&["DOUBLE", "BIGINT"], random),
                one(&["<", ">"], random),
                random.random_range(0..100)
            ),
            6 => format!("100 / {} > 1", self.typed(scope, Kind::Number, random)),
            7 if depth > 0 => {
                format!("({} {} {})", self.condition(scope, 0, random), one(&["AND", "OR"], random), self.condition(scope, 0, random))
            }
            8 if depth > 0 => {
                let (table, columns) = self.table(random);
                format!("{column} {}IN (SELECT {} FROM {table})", one(&["", "NOT "], random), one(columns, random).0)
            }
            9 if kind == Kind::Text => {
                format!("{column} {} {}", one(&["=", "<>", "IS DISTINCT FROM"], random), one(&["'C50'", "'female'", "'x'", "NULL"], random))
            }
            _ => format!("{column} = {}", one(scope, random).0),
        }
    }
}
