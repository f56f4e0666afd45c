//! The one form of SQL that a statistics permit answers. It is read strictly: whatever is not in the form is refused, with the
//! sentence that says what is admitted and where the rest can be run.
//!
//! A question has two parts. `FROM`, `WHERE` and `GROUP BY` say which cells; they are read here, from the syntax tree and nothing
//! else. What is selected, `HAVING`, `ORDER BY` and `LIMIT` are of released cells: that part is kept as SQL over one table, `cells`,
//! whose columns are the levels and measures that the question names.

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident, LimitClause, ObjectName, OrderByKind, Query,
    Select, SelectItem, SetExpr, Statement as SqlStatement, TableFactor, TableWithJoins, Value, visit_expressions, visit_expressions_mut,
};
use dugnad_sql::QueryError;
use dugnad_sql::guard;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::ops::ControlFlow;

/// What is admitted, for the catalogue and for refusals.
pub(super) const ADMITTED: &str = "SELECT <level>, ..., <measure>, ... FROM statistics.<table> [WHERE <level> IN ('code', ...) AND ...] \
     [GROUP BY <level>, ...] [HAVING ...] [ORDER BY ...] [LIMIT n], with arithmetic on the measures persons, count, sum, mean, rate, starts, \
     quantile(<level>, 0.5), at_risk, events, censored, survival";

/// The table of released cells that the second part of a question reads.
pub(super) const CELLS: &str = "cells";

/// The column of `WHERE` that names a registered cohort.
const COHORT: &str = "cohort";

/// What is shown of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::query) enum Measure {
    Persons,
    Count,
    Sum,
    Mean,
    Rate,
    Starts,
    AtRisk,
    Events,
    Censored,
    Survival,
}

/// Whether questions use a name for something that is no level: a measure, or a parameter of `GET /statistics/{table}`.
pub(super) fn is_word(name: &str) -> bool {
    Measure::named(name).is_some() || ["quantile", COHORT, "permit", "by", "measure", "as_of", "format"].contains(&name)
}

impl Measure {
    pub(super) const ALL: [(Self, &'static str, &'static str); 10] = [
        (Self::Persons, "persons", "Persons"),
        (Self::Count, "count", "Rows"),
        (Self::Sum, "sum", "Sum of the values"),
        (Self::Mean, "mean", "Mean value"),
        (Self::Rate, "rate", "Persons per 100,000 inhabitants"),
        (Self::Starts, "starts", "Persons whose first row it is"),
        (Self::AtRisk, "at_risk", "Persons at risk"),
        (Self::Events, "events", "Events"),
        (Self::Censored, "censored", "Censored"),
        (Self::Survival, "survival", "Kaplan-Meier estimate"),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known, _)| *known == name).map(|(measure, ..)| *measure)
    }

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(measure, ..)| *measure == self).map_or("", |(_, name, _)| name)
    }

    /// Whether it is of a curve of survival.
    pub fn of_survival(self) -> bool {
        matches!(self, Self::AtRisk | Self::Events | Self::Censored | Self::Survival)
    }
}

/// A question that statistics answer, before it is known which tables and levels there are.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::query) struct Request {
    /// The name of the table, without its schema.
    pub table: String,
    /// The levels that cells are of, in the order of the question.
    pub group: Vec<String>,
    /// Levels and the codes that are asked for.
    pub only: Vec<(String, Vec<String>)>,
    /// The registered cohort.
    pub cohort: Option<String>,
    pub measures: BTreeSet<Measure>,
    /// Quantiles: of which level's bands, and which part. The column of the nth is [`quantile_name`].
    pub quantiles: Vec<(String, f64)>,
    /// The other part: SQL over [`CELLS`].
    pub rest: String,
    /// To which multiple its counts are rounded, for feasibility.
    pub rounding: Option<u64>,
}

/// The column of the nth quantile.
pub(super) fn quantile_name(nth: usize) -> String {
    format!("quantile_{}", nth + 1)
}

pub(super) fn refused(what: &str) -> QueryError {
    QueryError::Refused(format!(
        "{what}. A statistics permit answers {ADMITTED}; GET /statistics lists tables, levels and codes. Anything else can be run under a \
         permit with rows, inside the secure processing environment"
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
        // The syntax tree has many more places where something could hide (hints, windows, locks, modifiers that a later
        // version of the parser adds): written out again, the question must be what has been understood of it.
        if canonical(query, select) != query.to_string() {
            return Err(refused(form));
        }
        let mut request = Self {
            table: table(select)?,
            group: group(select)?,
            only: Vec::new(),
            cohort: None,
            measures: BTreeSet::new(),
            quantiles: Vec::new(),
            rest: String::new(),
            rounding: None,
        };
        if let Some(selection) = &select.selection {
            request.condition(selection)?;
        }
        let mut rest = query.as_ref().clone();
        request.take_quantiles(&mut rest)?;
        request.take_measures(&rest)?;
        request.rest = over_cells(rest)?;
        Ok(request)
    }

    fn condition(&mut self, expr: &Expr) -> Result<(), QueryError> {
        let form = || refused("WHERE may only say <level> IN ('code', ...) or <level> = 'code', with AND between them");
        let (level, codes) = match expr {
            Expr::Nested(inner) => return self.condition(inner),
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                self.condition(left)?;
                return self.condition(right);
            }
            Expr::InList { expr, list, negated: false } => (identifier(expr), list.iter().map(text).collect::<Option<Vec<_>>>()),
            Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => (identifier(left), text(right).map(|code| vec![code])),
            _ => (None, None),
        };
        let (Some(level), Some(codes)) = (level, codes.filter(|codes| !codes.is_empty())) else { return Err(form()) };
        if level == COHORT {
            let [cohort] = codes.as_slice() else { return Err(refused("name one cohort")) };
            if self.cohort.replace(cohort.clone()).is_some() {
                return Err(refused("name one cohort"));
            }
        } else if self.only.iter().any(|(known, _)| *known == level) {
            return Err(refused(&format!("WHERE says more than once which {level}")));
        } else {
            self.only.push((level, codes));
        }
        Ok(())
    }

    /// Replaces `quantile(level, part)` by the name of a column.
    fn take_quantiles(&mut self, query: &mut Query) -> Result<(), QueryError> {
        let found = visit_expressions_mut(query, |expr: &mut Expr| {
            let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
            if !function.name.to_string().eq_ignore_ascii_case("quantile") {
                return ControlFlow::Continue(());
            }
            let form = || refused("quantile takes a level with bands and a part, such as quantile(stay_days, 0.5)");
            let FunctionArguments::List(list) = &function.args else { return ControlFlow::Break(form()) };
            let arguments = list.args.iter().map(|argument| match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
                _ => None,
            });
            let (level, part) = match arguments.collect::<Option<Vec<_>>>().as_deref() {
                Some([level, part]) => (identifier(level), number(part)),
                _ => (None, None),
            };
            let (Some(level), Some(part)) = (level, part.filter(|p| (0.0..=1.0).contains(p))) else { return ControlFlow::Break(form()) };
            let asked = (level, part);
            let nth = self.quantiles.iter().position(|known| *known == asked).unwrap_or_else(|| {
                self.quantiles.push(asked);
                self.quantiles.len() - 1
            });
            *expr = Expr::Identifier(Ident::new(quantile_name(nth)));
            ControlFlow::Continue(())
        });
        match found {
            ControlFlow::Break(error) => Err(error),
            ControlFlow::Continue(()) => Ok(()),
        }
    }

    /// Finds the measures that a question names.
    fn take_measures(&mut self, query: &Query) -> Result<(), QueryError> {
        let _: ControlFlow<()> = visit_expressions(query, |expr: &Expr| {
            self.measures.extend(identifier(expr).and_then(|name| Measure::named(&name)));
            ControlFlow::Continue(())
        });
        if self.measures.is_empty() && self.quantiles.is_empty() {
            return Err(refused("a measure must be selected, such as persons"));
        }
        Ok(())
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
    if let GroupByExpr::Expressions(by, _) = &select.group_by
        && !by.is_empty()
    {
        let _ = write!(text, " GROUP BY {}", list(by.iter().map(ToString::to_string).collect()));
    }
    if let Some(having) = &select.having {
        let _ = write!(text, " HAVING {having}");
    }
    if let Some(OrderByKind::Expressions(by)) = query.order_by.as_ref().map(|o| &o.kind) {
        let _ = write!(text, " ORDER BY {}", list(by.iter().map(ToString::to_string).collect()));
    }
    if let Some(LimitClause::LimitOffset { limit: Some(limit), .. }) = &query.limit_clause {
        let _ = write!(text, " LIMIT {limit}");
    }
    text
}

fn table(select: &Select) -> Result<String, QueryError> {
    let form = || refused("there must be exactly one table, of the schema statistics, without joins");
    let [from] = select.from.as_slice() else { return Err(form()) };
    let TableFactor::Table { name, alias: None, args: None, .. } = &from.relation else { return Err(form()) };
    if !from.joins.is_empty() {
        return Err(form());
    }
    let name = name.to_string().to_lowercase();
    let table = name.strip_prefix("statistics.").filter(|table| dugnad_kernel::disclosure::is_name(table));
    table.map(str::to_owned).ok_or_else(|| refused(&format!("there is no table {name} under this permit")))
}

fn group(select: &Select) -> Result<Vec<String>, QueryError> {
    let GroupByExpr::Expressions(by, modifiers) = &select.group_by else { return Err(refused("GROUP BY ALL is not admitted")) };
    if !modifiers.is_empty() {
        return Err(refused("GROUP BY names levels and nothing else"));
    }
    by.iter().map(|by| identifier(by).ok_or_else(|| refused("GROUP BY names levels and nothing else"))).collect()
}

fn identifier(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(identifier) => Some(identifier.value.to_lowercase()),
        _ => None,
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

fn number(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => number.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

/// The part of a question that is about released cells.
fn over_cells(mut query: Query) -> Result<String, QueryError> {
    let SetExpr::Select(select) = query.body.as_mut() else { return Err(refused("it is not one SELECT")) };
    if select.projection.iter().any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))) {
        return Err(refused("name the levels and measures instead of *"));
    }
    if let Some(from) = select.from.first_mut()
        && let TableFactor::Table { name, .. } = &mut from.relation
    {
        *name = ObjectName::from(vec![Ident::new(CELLS)]);
    }
    select.selection = select.having.take();
    select.group_by = GroupByExpr::Expressions(Vec::new(), Vec::new());
    Ok(query.to_string())
}
