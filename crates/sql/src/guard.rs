//! The plan guard. A question is one statement that reads; whatever else DataFusion could do is refused twice, once on the
//! syntax tree (with a sentence for people) and once on the plan (so that nothing depends on the first).
//!
//! | answered | refused |
//! |---|---|
//! | SELECT, WITH, VALUES, TABLE, UNION/EXCEPT/INTERSECT, windows, laterals | DDL, DML, COPY, SET, RESET, PREPARE, transactions, `SELECT INTO`, row locks |
//! | `EXPLAIN` (the plan names tables and columns of the permit, and of the published SQL of its views) | `EXPLAIN ANALYZE` (timings and row counts), `EXPLAIN VERBOSE` |
//! | `SHOW TABLES`, `SHOW COLUMNS FROM t`, `DESCRIBE t`, `information_schema.{tables,columns,schemata}` | `SHOW` of settings and functions |
//! | | `WITH RECURSIVE`, TABLESAMPLE, time travel in SQL (`as_of` beside the SQL does it), variables, parameters |

use crate::dialect::QuestionDialect;
use crate::error::QueryError;
use crate::expansion;
use crate::functions;
use crate::limits::{
    MAX_EXPANDED_EXPRESSIONS, MAX_EXPRESSION_DEPTH, MAX_GROUPING_SETS, MAX_RELATIONS, MAX_SQL_BYTES, MAX_SQL_NESTING, MAX_SQL_TOKENS,
};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{
    self, DescribeAlias, Expr as SqlExpr, GroupByExpr, ObjectName, Query, Select, SetExpr, Statement as SqlStatement, TableFactor, Visit,
    Visitor,
};
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use std::collections::HashMap;
use std::ops::ControlFlow;

/// Parses a question and checks its syntax tree.
pub fn check(sql: &str) -> Result<Statement, QueryError> {
    let statement = parse(sql)?;
    match &statement {
        Statement::Statement(statement) => check_statement(statement)?,
        Statement::Explain(explain) => {
            if explain.options.analyze || explain.options.verbose || explain.options.show_statistics.is_some() {
                return refuse("EXPLAIN is answered without ANALYZE, VERBOSE and statistics, which tell how much data there is");
            }
            match explain.statement.as_ref() {
                Statement::Statement(inner) if matches!(inner.as_ref(), SqlStatement::Query(_)) => check_statement(inner)?,
                _ => return refuse("EXPLAIN explains a SELECT"),
            }
        }
        Statement::CopyTo(_) => return refuse("COPY is not answered; ask for `format` instead, such as csv or parquet"),
        Statement::CreateExternalTable(_) | Statement::Reset(_) => return refuse(ONLY_SELECT),
    }
    Ok(statement)
}

const ONLY_SELECT: &str = "a permit answers one SELECT (also WITH, VALUES, UNION), EXPLAIN of one, SHOW TABLES or DESCRIBE; nothing else";

fn refuse<T>(why: &str) -> Result<T, QueryError> {
    Err(QueryError::Refused(why.to_owned()))
}

/// Exactly one statement, within the bounds on length, tokens and nesting.
pub fn parse(sql: &str) -> Result<Statement, QueryError> {
    if sql.len() > MAX_SQL_BYTES {
        return Err(QueryError::Refused(format!("the question has {} bytes; at most {MAX_SQL_BYTES} are read", sql.len())));
    }
    let dialect = QuestionDialect::new();
    let tokens = Tokenizer::new(&dialect, sql).tokenize_with_location();
    let tokens = tokens.map_err(|e| QueryError::Refused(format!("the SQL cannot be read: {e}")))?;
    let counted = tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).count();
    if counted > MAX_SQL_TOKENS {
        return Err(QueryError::Refused(format!("the question has {counted} words and signs; at most {MAX_SQL_TOKENS} are read")));
    }
    let parser = DFParserBuilder::new(tokens).with_dialect(&dialect).with_recursion_limit(MAX_SQL_NESTING).build();
    let mut statements = parser.and_then(|mut p| p.parse_statements()).map_err(QueryError::planning)?;
    match (statements.pop_front(), statements.is_empty()) {
        (Some(statement), true) => Ok(statement),
        (Some(_), false) => refuse("ask one statement at a time"),
        (None, _) => refuse("there is no SQL in the question"),
    }
}

fn check_statement(statement: &SqlStatement) -> Result<(), QueryError> {
    match statement {
        SqlStatement::Query(_) => {}
        SqlStatement::Explain { describe_alias: DescribeAlias::Describe | DescribeAlias::Desc, statement, .. }
            if matches!(statement.as_ref(), SqlStatement::Query(_)) => {}
        SqlStatement::ExplainTable { describe_alias: DescribeAlias::Describe | DescribeAlias::Desc, .. } => {}
        SqlStatement::ShowTables { .. } => return bare_show(statement, "SHOW TABLES"),
        SqlStatement::ShowColumns { .. } => {}
        SqlStatement::ShowVariable { .. } | SqlStatement::ShowVariables { .. } | SqlStatement::ShowFunctions { .. } => {
            return refuse("SHOW answers TABLES and COLUMNS FROM a table");
        }
        _ => return refuse(ONLY_SELECT),
    }
    let mut walk = Walk::default();
    match statement.visit(&mut walk) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// `SHOW TABLES` without filters, which DataFusion would not answer.
fn bare_show(statement: &SqlStatement, plain: &str) -> Result<(), QueryError> {
    if statement.to_string() == plain {
        return Ok(());
    }
    Err(QueryError::Refused(format!("{plain} is answered without filters; SELECT from information_schema for more")))
}

/// Walks a syntax tree: refuses what no SELECT needs, and counts what the planner will write out.
#[derive(Default)]
struct Walk {
    depth: usize,
    /// For each query that is being walked: how many SELECTs and relations it comes to, written out.
    weights: Vec<u64>,
    /// The queries of common table expressions, by address, and their names.
    names: HashMap<*const Query, String>,
    /// How much a common table expression comes to, by name. Names that are used twice count as the heavier.
    expressions: HashMap<String, u64>,
}

impl Walk {
    fn add(&mut self, weight: u64) -> ControlFlow<QueryError> {
        let Some(sum) = self.weights.last_mut() else { return ControlFlow::Continue(()) };
        *sum = sum.saturating_add(weight);
        if *sum > MAX_RELATIONS {
            return deny(&format!(
                "the question comes to more than {MAX_RELATIONS} SELECTs and tables once each WITH is written out where it is used"
            ));
        }
        ControlFlow::Continue(())
    }
}

fn deny(why: &str) -> ControlFlow<QueryError> {
    ControlFlow::Break(QueryError::Refused(why.to_owned()))
}

impl Visitor for Walk {
    type Break = QueryError;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<QueryError> {
        if !query.locks.is_empty() || query.for_clause.is_some() || query.settings.is_some() || query.format_clause.is_some() {
            return deny("FOR UPDATE, SETTINGS and FORMAT are not answered");
        }
        if matches!(query.body.as_ref(), SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_)) {
            return deny(ONLY_SELECT);
        }
        if let Some(with) = &query.with {
            if with.recursive {
                return deny("WITH RECURSIVE is not answered: it may never end");
            }
            for cte in &with.cte_tables {
                self.names.insert(std::ptr::from_ref(cte.query.as_ref()), cte.alias.name.value.to_lowercase());
            }
        }
        self.weights.push(0);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<QueryError> {
        let weight = self.weights.pop().unwrap_or(0);
        match self.names.get(&std::ptr::from_ref(query)) {
            Some(name) => {
                let known = self.expressions.entry(name.clone()).or_insert(0);
                *known = weight.max(*known);
                ControlFlow::Continue(())
            }
            None => self.add(weight),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<QueryError> {
        if select.into.is_some() {
            return deny(ONLY_SELECT);
        }
        let (by, modifiers) = match &select.group_by {
            GroupByExpr::Expressions(by, modifiers) => (by.as_slice(), modifiers),
            GroupByExpr::All(modifiers) => (&[][..], modifiers),
        };
        if !modifiers.is_empty() {
            return deny("write GROUP BY ROLLUP (...) or CUBE (...) instead of WITH ROLLUP or WITH CUBE");
        }
        if grouping_sets(by) > MAX_GROUPING_SETS {
            return deny(&format!("CUBE, ROLLUP and GROUPING SETS make more than {MAX_GROUPING_SETS} groupings"));
        }
        self.add(1)
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<QueryError> {
        let name = relation.to_string().to_lowercase();
        let name = name.trim_matches('"');
        let weight = self.expressions.get(name).copied().unwrap_or(1);
        self.add(weight.max(1))
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<QueryError> {
        match factor {
            TableFactor::Table { version, with_hints, partitions, json_path, sample, index_hints, name, args, .. } => {
                if version.is_some() {
                    return deny("time travel is asked for beside the SQL, with `as_of`");
                }
                if sample.is_some() {
                    return deny("TABLESAMPLE is not answered: its answer is not a function of the data");
                }
                if !with_hints.is_empty() || !partitions.is_empty() || json_path.is_some() || !index_hints.is_empty() {
                    return deny("hints, partitions and paths of tables are not answered");
                }
                if args.is_some() {
                    return table_function(name);
                }
            }
            TableFactor::Derived { sample: Some(_), .. } => {
                return deny("TABLESAMPLE is not answered: its answer is not a function of the data");
            }
            TableFactor::Function { name, .. } => return table_function(name),
            TableFactor::TableFunction { .. } => return deny(TABLE_FUNCTIONS),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &SqlExpr) -> ControlFlow<QueryError> {
        self.depth += 1;
        if self.depth > MAX_EXPRESSION_DEPTH {
            return deny(&format!("an expression chains more than {MAX_EXPRESSION_DEPTH} operators; use IN (...) for a list of values"));
        }
        match expr {
            SqlExpr::Function(function) => match functions::refusal(&last(&function.name)) {
                Some(reason) => deny(&format!("the function {} is refused: {reason}", function.name)),
                None => ControlFlow::Continue(()),
            },
            SqlExpr::Value(value) if matches!(value.value, ast::Value::Placeholder(_)) => {
                deny("parameters such as $1 are not answered; write the value into the SQL")
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn post_visit_expr(&mut self, _expr: &SqlExpr) -> ControlFlow<QueryError> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

/// The last part of a name, without quotes.
fn last(name: &ObjectName) -> String {
    let part = name.0.last().and_then(|part| part.as_ident());
    part.map(|ident| ident.value.to_lowercase()).unwrap_or_default()
}

/// How many grouping sets a GROUP BY makes: elements multiply, a cube of n columns is 2^n.
fn grouping_sets(by: &[SqlExpr]) -> u64 {
    let sets = |expr: &SqlExpr| match expr {
        SqlExpr::Cube(columns) => 1_u64.checked_shl(columns.len().try_into().unwrap_or(u32::MAX)).unwrap_or(u64::MAX),
        SqlExpr::Rollup(columns) => columns.len() as u64 + 1,
        SqlExpr::GroupingSets(sets) => sets.iter().map(|set| grouping_sets(set)).fold(0, u64::saturating_add),
        SqlExpr::Nested(inner) => grouping_sets(std::slice::from_ref(inner)),
        SqlExpr::Tuple(elements) => grouping_sets(elements),
        _ => 1,
    };
    by.iter().map(sets).fold(1, u64::saturating_mul)
}

const TABLE_FUNCTIONS: &str = "the table functions are generate_series and range, with bounds; no function reads files or other tables";

fn table_function(name: &ObjectName) -> ControlFlow<QueryError> {
    match name.to_string().to_lowercase().as_str() {
        "generate_series" | "range" | "unnest" => ControlFlow::Continue(()),
        _ => deny(TABLE_FUNCTIONS),
    }
}

/// Checks a logical plan before it is optimised: only nodes that read, no expression whose value is not a function of the
/// data, and no more of them than can be optimised in time.
pub fn check_plan(plan: &LogicalPlan) -> Result<(), QueryError> {
    plan.apply_with_subqueries(|node| {
        if !reads(node) {
            return Err(DataFusionError::Plan(ONLY_SELECT.to_owned()));
        }
        node.apply_expressions(|expression| expression.apply(check_expression))
    })
    .map_err(QueryError::planning)?;
    if expansion::size(plan) > MAX_EXPANDED_EXPRESSIONS {
        return refuse("the question grows too large when the columns of its subqueries are replaced by the expressions behind them");
    }
    Ok(())
}

fn reads(node: &LogicalPlan) -> bool {
    match node {
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::TableScan(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Values(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::DescribeTable(_)
        | LogicalPlan::Unnest(_) => true,
        LogicalPlan::Explain(explain) => !explain.verbose,
        LogicalPlan::Statement(_)
        | LogicalPlan::Analyze(_)
        | LogicalPlan::Extension(_)
        | LogicalPlan::Dml(_)
        | LogicalPlan::Ddl(_)
        | LogicalPlan::Copy(_)
        | LogicalPlan::RecursiveQuery(_) => false,
    }
}

fn check_expression(expression: &Expr) -> PlanResult<TreeNodeRecursion> {
    let volatile = |name: &str| Err(DataFusionError::Plan(format!("the function {name} is refused: its answer changes by itself")));
    match expression {
        Expr::ScalarFunction(f) if f.func.signature().volatility == Volatility::Volatile => volatile(f.func.name()),
        Expr::AggregateFunction(f) if f.func.signature().volatility == Volatility::Volatile => volatile(f.func.name()),
        Expr::ScalarVariable(_, _) | Expr::Placeholder(_) => {
            Err(DataFusionError::Plan("variables and parameters are not answered; write the value into the SQL".to_owned()))
        }
        _ => Ok(TreeNodeRecursion::Continue),
    }
}
