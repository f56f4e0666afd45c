//! Puts numbers in the place of keys, codes and words, from where they come from up to where their text is looked at: at the latest,
//! the answer.
//!
//! It runs once, on the optimised plan. Each node says which of its columns are numbers; an expression that needs a text
//! gets it by [`super::show`]. A node that is not known here gets texts.

use super::compare::{compared, compares_equality};
use super::pair;
use super::show::{ranked, shown};
use super::table::Numbered;
use super::words::{Words, is_word};
use super::{CountNumbers, Kind, Texts};
use datafusion::catalog::default_table_source::DefaultTableSource;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::{AggregateFunction, Case, WindowFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::logical_plan::TableScanBuilder;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, Filter, Join, Limit, LogicalPlan, Operator, Projection, Sort, SubqueryAlias, Union, Window,
};
use std::sync::Arc;

/// A plan with numbers inside that answers what `plan` answers.
pub fn lower(plan: LogicalPlan) -> Result<LogicalPlan> {
    if let LogicalPlan::Explain(mut explain) = plan {
        explain.plan = Arc::new(lower(Arc::unwrap_or_clone(explain.plan))?);
        return Ok(LogicalPlan::Explain(explain));
    }
    Lowered::of(plan, &Arc::default())?.with_texts()
}

/// A plan, and what the numbers in its columns stand for.
struct Lowered {
    plan: LogicalPlan,
    kinds: Vec<Option<Kind>>,
    /// How keys and codes show; all tables of a question show them in one way.
    texts: Option<Arc<dyn Texts>>,
    /// Of the whole plan.
    words: Arc<Words>,
}

impl Lowered {
    fn of(plan: LogicalPlan, words: &Arc<Words>) -> Result<Self> {
        match Self::with_subqueries(plan, words)? {
            LogicalPlan::TableScan(scan) => {
                let Some(table) = Numbered::of(&scan.source) else { return Ok(Self::plain(LogicalPlan::TableScan(scan), words)) };
                let kind = |position: usize| table.kinds.get(position).copied().flatten();
                let kinds = match &scan.projection {
                    Some(positions) => positions.iter().map(|p| kind(*p)).collect(),
                    None => table.kinds.to_vec(),
                };
                let (projection, filters, fetch) = (scan.projection, scan.filters, scan.fetch);
                let source = Arc::new(DefaultTableSource::new(table.numbers));
                let scan = TableScanBuilder::new(scan.table_name, source).with_projection(projection).with_filters(filters);
                let plan = LogicalPlan::TableScan(scan.with_fetch(fetch).build()?);
                Ok(Self { plan, kinds, texts: Some(table.texts), words: words.clone() })
            }
            LogicalPlan::Projection(Projection { expr, input, .. }) => {
                let input = Self::below(input, words)?;
                let columns: Result<Vec<(Expr, Option<Kind>)>> = expr.into_iter().map(|e| input.column(e)).collect();
                let (expressions, kinds) = columns?.into_iter().unzip();
                let plan = LogicalPlan::Projection(Projection::try_new(expressions, Arc::new(input.plan))?);
                Ok(Self { plan, kinds, ..input })
            }
            LogicalPlan::Filter(Filter { predicate, input, .. }) => {
                let input = Self::below(input, words)?;
                let predicate = input.condition(predicate)?;
                input.same(|input| Ok(LogicalPlan::Filter(Filter::try_new(predicate, input)?)))
            }
            LogicalPlan::SubqueryAlias(SubqueryAlias { input, alias, .. }) => {
                Self::below(input, words)?.same(|input| Ok(LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(input, alias)?)))
            }
            LogicalPlan::Limit(Limit { skip, fetch, input }) => {
                Self::below(input, words)?.same(|input| Ok(LogicalPlan::Limit(Limit { skip, fetch, input })))
            }
            LogicalPlan::Sort(Sort { mut expr, input, fetch }) => {
                let input = Self::below(input, words)?;
                for by in &mut expr {
                    by.expr = input.ordered(std::mem::take(&mut by.expr))?;
                }
                input.same(|input| Ok(LogicalPlan::Sort(Sort { expr, input, fetch })))
            }
            LogicalPlan::Aggregate(aggregate) => Self::aggregate(aggregate, words),
            LogicalPlan::Join(join) => Self::join(join, words),
            LogicalPlan::Union(union) => Self::union(union, words),
            LogicalPlan::Window(window) => Self::window(window, words),
            other => Self::unknown(other, words),
        }
    }

    /// The plans of scalar subqueries answer with texts, with numbers inside.
    fn with_subqueries(plan: LogicalPlan, words: &Arc<Words>) -> Result<LogicalPlan> {
        let lowered = plan.map_subqueries(|plan| match plan {
            LogicalPlan::Subquery(mut subquery) => {
                subquery.subquery = Arc::new(Self::below(subquery.subquery, words)?.with_texts()?);
                Ok(Transformed::yes(LogicalPlan::Subquery(subquery)))
            }
            other => Ok(Transformed::no(other)),
        });
        lowered.map(|t| t.data)
    }

    fn below(input: Arc<LogicalPlan>, words: &Arc<Words>) -> Result<Self> {
        Self::of(Arc::unwrap_or_clone(input), words)
    }

    fn plain(plan: LogicalPlan, words: &Arc<Words>) -> Self {
        let kinds = vec![None; plan.schema().fields().len()];
        Self { plan, kinds, texts: None, words: words.clone() }
    }

    /// A node that hands its input's columns on.
    fn same(self, node: impl FnOnce(Arc<LogicalPlan>) -> Result<LogicalPlan>) -> Result<Self> {
        Ok(Self { plan: node(Arc::new(self.plan))?, ..self })
    }

    fn unknown(plan: LogicalPlan, words: &Arc<Words>) -> Result<Self> {
        let with_texts = |input: &LogicalPlan| Self::of(input.clone(), words)?.with_texts();
        let inputs: Result<Vec<LogicalPlan>> = plan.inputs().into_iter().map(with_texts).collect();
        let inputs = inputs?;
        if inputs.is_empty() {
            return Ok(Self::plain(plan, words));
        }
        Ok(Self::plain(plan.with_new_exprs(plan.expressions(), inputs)?, words))
    }

    fn aggregate(aggregate: Aggregate, words: &Arc<Words>) -> Result<Self> {
        let mut input = Self::below(aggregate.input, words)?;
        if aggregate.group_expr.iter().any(|e| matches!(e, Expr::GroupingSet(_))) {
            input = Self::plain(input.with_texts()?, words);
        }
        let by: Result<Vec<(Expr, Option<Kind>)>> = aggregate.group_expr.into_iter().map(|e| input.column(e)).collect();
        let (by, mut kinds): (Vec<Expr>, Vec<Option<Kind>>) = by?.into_iter().unzip();
        let names = NamePreserver::new_for_projection();
        let functions: Result<Vec<Expr>> = aggregate
            .aggr_expr
            .into_iter()
            .map(|e| {
                let saved = names.save(&e);
                Ok(saved.restore(input.aggregated(e)?))
            })
            .collect();
        let (functions, texts) = (functions?, input.texts);
        let plan = match <[Expr; 2]>::try_from(by) {
            Ok(by) if kinds.iter().all(|kind| pair::fits(*kind)) => by_pair(input.plan, by, functions)?,
            Ok(by) => LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input.plan), by.into(), functions)?),
            Err(by) => LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input.plan), by, functions)?),
        };
        kinds.resize(plan.schema().fields().len(), None);
        Ok(Self { plan, kinds, texts, words: input.words })
    }

    /// An aggregate function: COUNT looks at numbers, everything else at texts.
    fn aggregated(&self, e: Expr) -> Result<Expr> {
        let transformed = e.transform_down(|e| match e {
            Expr::AggregateFunction(AggregateFunction { func, mut params }) => {
                let counts = func.name() == "count" || func.inner().is::<CountNumbers>();
                let numbers = counts && params.args.iter().all(|a| self.kind(column(a)).is_some());
                if !numbers {
                    params.args = self.all_shown(params.args)?;
                }
                let of_texts = func.inner().is::<CountNumbers>() && !numbers;
                let func = if of_texts { datafusion::functions_aggregate::count::count_udaf() } else { func };
                params.distinct |= of_texts;
                params.filter = params.filter.map(|f| self.condition(*f)).transpose()?.map(Box::new);
                for by in &mut params.order_by {
                    by.expr = self.shown(std::mem::take(&mut by.expr))?;
                }
                let done = Expr::AggregateFunction(AggregateFunction { func, params });
                Ok(Transformed::new(done, true, TreeNodeRecursion::Jump))
            }
            other => Ok(Transformed::no(other)),
        });
        transformed.map(|t| t.data)
    }

    fn join(join: Join, words: &Arc<Words>) -> Result<Self> {
        let (left, right) = (Self::below(join.left, words)?, Self::below(join.right, words)?);
        let on = join.on.into_iter().map(|(l, r)| match (left.kind(column(&l)), right.kind(column(&r))) {
            (Some(a), Some(b)) if a == b => Ok((l, r)),
            _ => Ok((left.shown(l)?, right.shown(r)?)),
        });
        let on: Result<Vec<(Expr, Expr)>> = on.collect();
        let both = Self {
            plan: LogicalPlan::EmptyRelation(datafusion::logical_expr::EmptyRelation {
                produce_one_row: false,
                schema: Arc::new(left.plan.schema().join(right.plan.schema())?),
            }),
            kinds: left.kinds.iter().chain(&right.kinds).copied().collect(),
            texts: left.texts.clone().or_else(|| right.texts.clone()),
            words: words.clone(),
        };
        let filter = join.filter.map(|f| both.condition(f)).transpose()?;
        let kinds = match join.join_type {
            JoinType::LeftSemi | JoinType::LeftAnti => left.kinds,
            JoinType::RightSemi | JoinType::RightAnti => right.kinds,
            JoinType::LeftMark => left.kinds.into_iter().chain([None]).collect(),
            JoinType::RightMark => right.kinds.into_iter().chain([None]).collect(),
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => both.kinds,
        };
        let (left, right) = (Arc::new(left.plan), Arc::new(right.plan));
        let (join_type, constraint) = (join.join_type, join.join_constraint);
        let join = Join::try_new(left, right, on?, filter, join_type, constraint, join.null_equality, join.null_aware)?;
        Ok(Self { plan: LogicalPlan::Join(join), kinds, ..both })
    }

    fn union(union: Union, words: &Arc<Words>) -> Result<Self> {
        let inputs: Result<Vec<Self>> = union.inputs.into_iter().map(|input| Self::below(input, words)).collect();
        let mut inputs = inputs?;
        for c in 0..union.schema.fields().len() {
            if inputs.iter().all(|input| input.kinds.get(c) == Some(&Some(Kind::Word)) || input.word(c).is_some()) {
                inputs = inputs.into_iter().map(|input| input.numbering_word(c)).collect::<Result<_>>()?;
            }
        }
        let agreed: Vec<Option<Kind>> = (0..union.schema.fields().len())
            .map(|c| {
                let mut kinds = inputs.iter().map(|input| input.kinds.get(c).copied().flatten());
                let first = kinds.next().flatten();
                first.filter(|_| kinds.all(|kind| kind == first))
            })
            .collect();
        let texts = inputs.iter().find_map(|input| input.texts.clone());
        inputs = inputs.into_iter().map(|input| input.with_texts_but(&agreed)).collect::<Result<_>>()?;
        let fields = union.schema.iter().zip(&agreed).enumerate().map(|(c, ((qualifier, field), kind))| {
            let data_type = kind.map_or_else(|| field.data_type().clone(), Kind::number);
            // What was never null is not known to be after a detour by way of numbers.
            let nullable = inputs.iter().any(|input| input.plan.schema().field(c).is_nullable());
            (qualifier.cloned(), Arc::new(field.as_ref().clone().with_data_type(data_type).with_nullable(nullable)))
        });
        let schema = DFSchema::new_with_metadata(fields.collect(), union.schema.metadata().clone())?;
        let inputs = inputs.into_iter().map(|input| Arc::new(input.plan)).collect();
        let plan = LogicalPlan::Union(Union { inputs, schema: Arc::new(schema) });
        Ok(Self { plan, kinds: agreed, texts, words: words.clone() })
    }

    /// The word that a column has in each row.
    fn word(&self, c: usize) -> Option<&Expr> {
        let LogicalPlan::Projection(projection) = &self.plan else { return None };
        projection.expr.get(c).map(unaliased).filter(|e| is_word(e))
    }

    /// The same with the number of [`Self::word`] in its place.
    fn numbering_word(mut self, c: usize) -> Result<Self> {
        let Some(number) = self.word(c).map(|word| self.words.number(word.clone())) else { return Ok(self) };
        let LogicalPlan::Projection(Projection { mut expr, input, .. }) = self.plan else { return Ok(self) };
        let saved = NamePreserver::new_for_projection().save(&expr[c]);
        expr[c] = saved.restore(number);
        self.kinds[c] = Some(Kind::Word);
        Ok(Self { plan: LogicalPlan::Projection(Projection::try_new(expr, input)?), ..self })
    }

    /// Rows come out sorted by PARTITION BY, so it sees texts, or what sorts as they do: ordinals tell who came first, and the numbers of
    /// codes which thread did.
    fn window(window: Window, words: &Arc<Words>) -> Result<Self> {
        let input = Self::below(window.input, words)?;
        let names = NamePreserver::new_for_projection();
        let windowed = |e: Expr| {
            let saved = names.save(&e);
            let windowed = e.transform_down(|e| match e {
                Expr::WindowFunction(function) => {
                    let WindowFunction { fun, mut params } = *function;
                    params.args = input.all_shown(params.args)?;
                    params.partition_by = params.partition_by.into_iter().map(|e| input.ordered(e)).collect::<Result<_>>()?;
                    for by in &mut params.order_by {
                        by.expr = input.ordered(std::mem::take(&mut by.expr))?;
                    }
                    params.filter = params.filter.map(|f| input.shown(*f)).transpose()?.map(Box::new);
                    let done = Expr::WindowFunction(Box::new(WindowFunction { fun, params }));
                    Ok(Transformed::new(done, true, TreeNodeRecursion::Jump))
                }
                other => Ok(Transformed::no(other)),
            })?;
            Ok(saved.restore(windowed.data))
        };
        let expressions: Result<Vec<Expr>> = window.window_expr.into_iter().map(windowed).collect();
        let expressions = expressions?;
        let mut kinds = input.kinds;
        kinds.resize(kinds.len() + expressions.len(), None);
        let plan = LogicalPlan::Window(Window::try_new(expressions, Arc::new(input.plan))?);
        Ok(Self { plan, kinds, texts: input.texts, words: input.words })
    }

    fn kind(&self, column: Option<&Column>) -> Option<Kind> {
        let position = self.plan.schema().maybe_index_of_column(column?)?;
        self.kinds.get(position).copied().flatten()
    }

    /// What makes a column of a node: a number where it is a number of the input or a choice between words, of texts otherwise.
    fn column(&self, e: Expr) -> Result<(Expr, Option<Kind>)> {
        let kind = self.kind(bare(&e));
        if kind.is_some() {
            return Ok((e, kind));
        }
        let saved = NamePreserver::new_for_projection().save(&e);
        let (e, kind) = match unaliased(&e) {
            Expr::Case(case) if chooses_words(case) => (self.choice(case.clone())?, Some(Kind::Word)),
            _ => (self.shown(e)?, None),
        };
        Ok((saved.restore(e), kind))
    }

    /// A CASE between words, as one between their numbers.
    fn choice(&self, case: Case) -> Result<Expr> {
        let compares = case.expr.is_some();
        let subject = case.expr.map(|e| self.shown(*e)).transpose()?;
        let branch = |(when, word): (Box<Expr>, Box<Expr>)| {
            let when = if compares { self.shown(*when)? } else { self.condition(*when)? };
            Ok((Box::new(when), Box::new(self.words.number(*word))))
        };
        let branches: Result<Vec<(Box<Expr>, Box<Expr>)>> = case.when_then_expr.into_iter().map(branch).collect();
        let otherwise = case.else_expr.map(|word| Box::new(self.words.number(*word)));
        Ok(Expr::Case(Case::new(subject.map(Box::new), branches?, otherwise)))
    }

    /// An expression that looks at texts; where it only compares a code with texts, their numbers do.
    fn shown(&self, e: Expr) -> Result<Expr> {
        let kind_of = |e: &Expr| self.kind(column(e));
        let shown = e.transform_down(|e| {
            if let Some(compared) = self.texts.as_ref().and_then(|texts| compared(&e, &kind_of, texts)) {
                return Ok(Transformed::new(compared, true, TreeNodeRecursion::Jump));
            }
            Ok(match kind_of(&e).and_then(|kind| Some((kind, self.texts_of(kind)?))) {
                Some((kind, texts)) => Transformed::new(shown(e, kind, &texts), true, TreeNodeRecursion::Jump),
                None => Transformed::no(e),
            })
        });
        shown.map(|t| t.data)
    }

    fn texts_of(&self, kind: Kind) -> Option<Arc<dyn Texts>> {
        match kind {
            Kind::Word => Some(self.words.clone()),
            Kind::Patient | Kind::Resource | Kind::Code => self.texts.clone(),
        }
    }

    /// An expression to sort by: a key by its rank.
    fn ordered(&self, e: Expr) -> Result<Expr> {
        match (self.kind(column(&e)), &self.texts) {
            (Some(kind), Some(texts)) if kind.is_key() => Ok(ranked(e, kind, texts)),
            _ => self.shown(e),
        }
    }

    fn all_shown(&self, expressions: Vec<Expr>) -> Result<Vec<Expr>> {
        expressions.into_iter().map(|e| self.shown(e)).collect()
    }

    /// A condition: whether numbers are equal, or there, can be told from the numbers.
    fn condition(&self, e: Expr) -> Result<Expr> {
        match e {
            Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
                let (left, right) = (Box::new(self.condition(*left)?), Box::new(self.condition(*right)?));
                Ok(Expr::BinaryExpr(BinaryExpr { left, op, right }))
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right })
                if compares_equality(op) && self.kind(column(&left)).is_some() && self.kind(column(&left)) == self.kind(column(&right)) =>
            {
                Ok(Expr::BinaryExpr(BinaryExpr { left, op, right }))
            }
            Expr::Not(inner) => Ok(Expr::Not(Box::new(self.condition(*inner)?))),
            Expr::IsNull(inner) if self.kind(column(&inner)).is_some() => Ok(Expr::IsNull(inner)),
            Expr::IsNotNull(inner) if self.kind(column(&inner)).is_some() => Ok(Expr::IsNotNull(inner)),
            other => self.shown(other),
        }
    }

    fn with_texts(self) -> Result<LogicalPlan> {
        let none = vec![None; self.kinds.len()];
        self.with_texts_but(&none).map(|lowered| lowered.plan)
    }

    /// The same with texts, but for the columns that `keep` says may stay numbers.
    fn with_texts_but(self, keep: &[Option<Kind>]) -> Result<Self> {
        let stays = |c: usize| self.kinds[c].is_none() || self.kinds[c] == keep.get(c).copied().flatten();
        if (0..self.kinds.len()).all(stays) {
            return Ok(self);
        }
        let names = NamePreserver::new_for_projection();
        let columns = self.plan.schema().iter().map(Expr::from).enumerate().map(|(c, e)| {
            let saved = names.save(&e);
            Ok(if stays(c) { e } else { saved.restore(self.shown(e)?) })
        });
        let columns: Result<Vec<Expr>> = columns.collect();
        let kinds = (0..self.kinds.len()).map(|c| self.kinds[c].filter(|_| stays(c))).collect();
        let plan = LogicalPlan::Projection(Projection::try_new(columns?, Arc::new(self.plan))?);
        Ok(Self { plan, kinds, texts: self.texts, words: self.words })
    }
}

/// Groups by two numbers: by the pair of them, which is taken apart above.
fn by_pair(input: LogicalPlan, [first, second]: [Expr; 2], functions: Vec<Expr>) -> Result<LogicalPlan> {
    let names = NamePreserver::new_for_projection();
    let saved = [names.save(&first), names.save(&second)];
    let by = pair::pair(first.unalias(), second.unalias());
    let grouped = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input), vec![by], functions)?);
    let mut columns = grouped.schema().iter().map(Expr::from);
    let both = columns.next().ok_or_else(|| DataFusionError::Internal("groups by a pair have none".to_owned()))?;
    let parts = pair::parts(&both).into_iter().zip(saved).map(|(part, saved)| saved.restore(part));
    let columns: Vec<Expr> = parts.chain(columns).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(grouped))?))
}

fn column(e: &Expr) -> Option<&Column> {
    match e {
        Expr::Column(column) => Some(column),
        _ => None,
    }
}

/// The column that an expression hands on, also under another name.
fn bare(e: &Expr) -> Option<&Column> {
    column(unaliased(e))
}

fn unaliased(e: &Expr) -> &Expr {
    match e {
        Expr::Alias(alias) => unaliased(&alias.expr),
        _ => e,
    }
}

fn chooses_words(case: &Case) -> bool {
    let mut words = case.when_then_expr.iter().map(|(_, word)| word).chain(&case.else_expr);
    words.all(|word| is_word(word))
}
