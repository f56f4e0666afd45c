//! The one form of SQL that a statistics permit answers. It is read strictly: whatever is not in the form is refused,
//! with the sentence that says what is admitted and where the rest can be run.

use super::{By, Table};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, GroupByExpr, LimitClause, OrderByKind, Query, Select, SelectItem, SetExpr, Statement as SqlStatement,
    TableFactor, TableWithJoins, Value,
};
use dugnad_sql::QueryError;
use dugnad_sql::guard;
use std::fmt::Write;

/// What is admitted, for the catalogue and for refusals.
pub(super) const ADMITTED: &str = "SELECT <dimension>, persons FROM statistics.<table> [WHERE <dimension> IN ('code', ...)] \
     GROUP BY <dimension> [ORDER BY <dimension> | persons [DESC]] [LIMIT n]";

/// A column of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::query) enum Column {
    Dimension,
    Persons,
}

/// A question that statistics answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::query) struct Request {
    pub table: Table,
    pub by: By,
    /// The columns of the answer and their names.
    pub columns: Vec<(Column, String)>,
    /// Only these categories.
    pub codes: Option<Vec<String>>,
    /// By what it is ordered, and whether descending.
    pub order: Vec<(Column, bool)>,
    pub limit: Option<usize>,
    /// To which multiple its counts are rounded, for feasibility.
    pub rounding: Option<u64>,
}

fn refused(what: &str) -> QueryError {
    let mut tables = String::new();
    for table in Table::ALL {
        let dimensions: Vec<&str> = table.dimensions().iter().map(|d| d.name()).collect();
        let _ = write!(tables, " statistics.{} by {};", table.name(), dimensions.join(", "));
    }
    QueryError::Refused(format!(
        "{what}. A statistics permit answers {ADMITTED}, with{} anything else can be run under a permit with rows, inside the \
         secure processing environment",
        tables
    ))
}

impl Request {
    /// Reads a question.
    pub fn parse(sql: &str) -> Result<Self, QueryError> {
        let statement = guard::parse(sql)?;
        let form = "this SQL is not of the form that statistics have";
        let Statement::Statement(statement) = statement else { return Err(refused(form)) };
        let SqlStatement::Query(query) = statement.as_ref() else { return Err(refused(form)) };
        let SetExpr::Select(select) = query.body.as_ref() else { return Err(refused(form)) };
        let table = table(select)?;
        let by = dimension(select, table)?;
        let columns = columns(select, by)?;
        let request = Self {
            table,
            by,
            codes: codes(select, by)?,
            order: order(query, by, &columns)?,
            limit: limit(query)?,
            columns,
            rounding: None,
        };
        // The syntax tree has many more places where something could hide (hints, windows, locks, modifiers that a later
        // version of the parser adds): written out again, the question must be what has been understood of it.
        if canonical(query, select) != query.to_string() {
            return Err(refused(form));
        }
        Ok(request)
    }
}

/// The question as it would read if nothing but the admitted parts were in it.
fn canonical(query: &Query, select: &Select) -> String {
    let list = |items: Vec<String>| items.join(", ");
    let mut text = format!("SELECT {}", list(select.projection.iter().map(ToString::to_string).collect()));
    let table = |from: &TableWithJoins| match &from.relation {
        TableFactor::Table { name, .. } => name.to_string(), // without alias, sample, version, hints
        _ => String::new(),
    };
    let _ = write!(text, " FROM {}", list(select.from.iter().map(table).collect()));
    if let Some(selection) = &select.selection {
        let _ = write!(text, " WHERE {selection}");
    }
    if let GroupByExpr::Expressions(by, _) = &select.group_by {
        let _ = write!(text, " GROUP BY {}", list(by.iter().map(ToString::to_string).collect()));
    }
    if let Some(OrderByKind::Expressions(by)) = query.order_by.as_ref().map(|o| &o.kind) {
        let _ = write!(text, " ORDER BY {}", list(by.iter().map(ToString::to_string).collect()));
    }
    if let Some(LimitClause::LimitOffset { limit: Some(limit), .. }) = &query.limit_clause {
        let _ = write!(text, " LIMIT {limit}");
    }
    text
}

fn table(select: &Select) -> Result<Table, QueryError> {
    let form = || refused("there must be exactly one table, of the schema statistics, without joins");
    let [from] = select.from.as_slice() else { return Err(form()) };
    let TableFactor::Table { name, alias: None, args: None, .. } = &from.relation else { return Err(form()) };
    let name = name.to_string().to_lowercase();
    let known = Table::ALL.into_iter().find(|t| name == format!("statistics.{}", t.name()));
    match known {
        Some(table) if from.joins.is_empty() => Ok(table),
        Some(_) => Err(form()),
        None => Err(refused(&format!("there is no table {name} under this permit"))),
    }
}

fn identifier(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(identifier) => Some(identifier.value.to_lowercase()),
        _ => None,
    }
}

fn dimension(select: &Select, table: Table) -> Result<By, QueryError> {
    let GroupByExpr::Expressions(by, modifiers) = &select.group_by else { return Err(refused("GROUP BY ALL is not admitted")) };
    let ([by], []) = (by.as_slice(), modifiers.as_slice()) else {
        return Err(refused("there must be GROUP BY one dimension"));
    };
    let name = identifier(by).ok_or_else(|| refused("GROUP BY must name a dimension"))?;
    let known = table.dimensions().iter().find(|d| d.name() == name);
    known.copied().ok_or_else(|| refused(&format!("statistics.{} has no dimension {name}", table.name())))
}

fn column(expr: &Expr, by: By) -> Option<Column> {
    match identifier(expr)? {
        name if name == by.name() => Some(Column::Dimension),
        name if name == "persons" => Some(Column::Persons),
        _ => None,
    }
}

fn columns(select: &Select, by: By) -> Result<Vec<(Column, String)>, QueryError> {
    let item = |item: &SelectItem| {
        let (expr, name) = match item {
            SelectItem::UnnamedExpr(expr) => (expr, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias.value.clone())),
            _ => return None,
        };
        let column = column(expr, by)?;
        let own = if column == Column::Dimension { by.name() } else { "persons" };
        Some((column, name.unwrap_or_else(|| own.to_owned())))
    };
    let columns: Option<Vec<_>> = select.projection.iter().map(item).collect();
    match columns.as_deref() {
        Some([(a, _), (b, _)]) if a != b => Ok(columns.unwrap_or_default()),
        _ => Err(refused(&format!("the columns must be {} and persons", by.name()))),
    }
}

fn text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}

fn codes(select: &Select, by: By) -> Result<Option<Vec<String>>, QueryError> {
    let form = || refused(&format!("WHERE may only say {} IN ('code', ...)", by.name()));
    let of_dimension = |expr: &Expr| column(expr, by) == Some(Column::Dimension);
    let list = match &select.selection {
        None => return Ok(None),
        Some(Expr::InList { expr, list, negated: false }) if of_dimension(expr) => list.iter().map(text).collect(),
        Some(Expr::BinaryOp { left, op: BinaryOperator::Eq, right }) if of_dimension(left) => text(right).map(|code| vec![code]),
        Some(_) => None,
    };
    list.map(Some).ok_or_else(form)
}

fn order(query: &Query, by: By, columns: &[(Column, String)]) -> Result<Vec<(Column, bool)>, QueryError> {
    let Some(order) = &query.order_by else { return Ok(Vec::new()) };
    let form = || refused(&format!("ORDER BY may only say {} or persons, ASC or DESC", by.name()));
    let OrderByKind::Expressions(keys) = &order.kind else { return Err(form()) };
    let key = |key: &datafusion::sql::sqlparser::ast::OrderByExpr| {
        let named = identifier(&key.expr).and_then(|n| columns.iter().find(|(_, name)| name.to_lowercase() == n));
        let column = column(&key.expr, by).or(named.map(|(column, _)| *column))?;
        let plain = key.with_fill.is_none() && key.options.nulls_first.is_none();
        plain.then_some((column, key.options.asc == Some(false)))
    };
    keys.iter().map(|k| key(k).ok_or_else(form)).collect()
}

fn limit(query: &Query) -> Result<Option<usize>, QueryError> {
    let form = || refused("LIMIT must be a number, without OFFSET");
    match &query.limit_clause {
        None => Ok(None),
        Some(LimitClause::LimitOffset { limit: Some(Expr::Value(value)), offset: None, limit_by }) if limit_by.is_empty() => {
            match &value.value {
                Value::Number(number, _) => number.parse().map(Some).map_err(|_| form()),
                _ => Err(form()),
            }
        }
        Some(_) => Err(form()),
    }
}
