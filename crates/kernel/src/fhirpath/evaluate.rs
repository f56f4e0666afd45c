//! Evaluation: every [`Code`] pushes its items into a sink, so that a path allocates nothing and a question such as
//! `exists()` stops at the first item.

mod coding;
mod dates;
mod numbers;
mod operators;
mod paths;
mod scalars;

pub(super) use coding::coding;

use super::code::{Code, Combine, Filter, Lambda, Pick, Summary};
use super::item::{Item, equal};
use super::syntax::Literal;
use super::temporal::Temporal;
use super::types::Class;
use super::{EvaluationError, Focus};
use crate::limits::{MAX_FHIRPATH_ITERATIONS, MAX_FHIRPATH_TEXT, MAX_JSON_DEPTH};
use bumpalo::{Bump, collections::Vec};
use std::cell::Cell;
use std::collections::HashSet;
use std::ops::ControlFlow;

/// Why a flow of items ends before its end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Break {
    /// No more are wanted.
    Stop,
    Failed(EvaluationError),
}

/// What a sink and whoever feeds it return.
pub(super) type Flow = ControlFlow<Break>;
type Sink<'k, 'a> = &'k mut dyn FnMut(Item<'a>) -> Flow;
type Items<'a> = Vec<'a, Item<'a>>;
type Result<T> = std::result::Result<T, EvaluationError>;

const GO_ON: Flow = ControlFlow::Continue(());
const STOP: Flow = ControlFlow::Break(Break::Stop);

/// What is the same for a whole expression.
pub(super) struct Root<'f, 'a> {
    focus: &'f Focus<'a>,
    /// How often a body may still be evaluated for an item.
    iterations: Cell<usize>,
    /// How many bytes of text may still be made.
    text: Cell<usize>,
}

impl<'f, 'a> Root<'f, 'a> {
    pub(super) fn new(focus: &'f Focus<'a>) -> Self {
        Root { focus, iterations: Cell::new(MAX_FHIRPATH_ITERATIONS), text: Cell::new(MAX_FHIRPATH_TEXT) }
    }
}

/// What `$this` and `$index` are.
#[derive(Clone, Copy)]
pub(super) struct Scope<'r, 'a> {
    this: Option<Item<'a>>,
    index: i64,
    root: &'r Root<'r, 'a>,
}

impl<'r, 'a> Scope<'r, 'a> {
    pub(super) fn new(root: &'r Root<'r, 'a>) -> Self {
        Scope { this: root.focus.context, index: 0, root }
    }

    fn arena(&self) -> &'a Bump {
        self.root.focus.arena
    }

    /// Counts text before it is made, so that an expression that doubles a string again and again ends.
    fn charge(&self, bytes: usize, at: usize) -> Result<()> {
        let left = self.root.text.get().checked_sub(bytes).ok_or_else(|| failure(at, "too much text on one resource"))?;
        self.root.text.set(left);
        Ok(())
    }

    /// Keeps a text.
    fn keep(&self, text: &str, at: usize) -> Result<&'a str> {
        self.charge(text.len(), at)?;
        Ok(self.arena().alloc_str(text))
    }

    /// The scope of a body that is evaluated for `item`.
    fn of(&self, item: Item<'a>, index: i64, at: usize) -> Result<Scope<'r, 'a>> {
        let left = self.root.iterations.get().checked_sub(1).ok_or_else(|| failure(at, "too many steps on one resource"))?;
        self.root.iterations.set(left);
        Ok(Scope { this: Some(item), index, root: self.root })
    }
}

fn failure(at: usize, what: &'static str) -> EvaluationError {
    EvaluationError { at, what }
}

fn failed<T>(error: EvaluationError) -> ControlFlow<Break, T> {
    ControlFlow::Break(Break::Failed(error))
}

/// A result as a flow: an error breaks it.
fn flow<T>(result: Result<T>) -> ControlFlow<Break, T> {
    match result {
        Ok(value) => ControlFlow::Continue(value),
        Err(error) => failed(error),
    }
}

/// What ended a flow that was consumed here: a stop is our own.
fn ended(flow: Flow) -> Result<()> {
    match flow {
        ControlFlow::Break(Break::Failed(error)) => Err(error),
        _ => Ok(()),
    }
}

impl Code {
    /// Pushes each item of the result into `sink`, in order. Long because it is a table, one code an arm.
    pub(super) fn each<'a>(&self, scope: &Scope<'_, 'a>, sink: Sink<'_, 'a>) -> Flow {
        match self {
            Code::This => push(scope.this, sink),
            Code::Path { from, steps } => match &**from {
                Code::This => match scope.this {
                    Some(Item::Element { value, data_type }) => paths::walk(steps, value, data_type, sink),
                    _ => GO_ON,
                },
                from => from.each(scope, &mut |item| match item {
                    Item::Element { value, data_type } => paths::walk(steps, value, data_type, sink),
                    _ => GO_ON,
                }),
            },
            Code::Literal(literal) => sink(flow(literal_item(literal, scope))?),
            Code::Nothing => GO_ON,
            Code::Index => sink(Item::Integer(scope.index)),
            Code::RowIndex => sink(Item::Integer(scope.root.focus.row_index)),
            Code::Resource => sink(Item::element(scope.root.focus.resource)),
            Code::Context => push(scope.root.focus.context, sink),
            Code::Filter { from, filter } => filtered(from, filter, scope, sink),
            Code::Pick { from, pick, at } => picked(from, pick, *at, scope, sink),
            Code::Combine { kind, left, right } => combined(*kind, left, right, scope, sink),
            Code::Summary { from, summary } => match flow(summarised(from, *summary, scope))? {
                Some(item) => sink(item),
                None => GO_ON,
            },
            Code::Lambda { from, lambda, body, at } => applied(from, *lambda, body, *at, scope, sink),
            Code::If { condition, then, otherwise, at } => match flow(condition.truth(scope, *at))? {
                Some(true) => then.each(scope, sink),
                _ => otherwise.each(scope, sink),
            },
            Code::ResourceKey(from) => from.each(scope, &mut |item| push(paths::resource_key(item), sink)),
            Code::ReferenceKey { from, resource_type } => {
                from.each(scope, &mut |item| push(paths::reference_key(item, *resource_type), sink))
            }
            Code::Children { from, deep } => from.each(scope, &mut |item| match item {
                Item::Element { value, .. } => paths::children(value, *deep, sink),
                _ => GO_ON,
            }),
            _ => self.each_computed(scope, sink),
        }
    }

    /// The codes that yield one value at most, or compute their items.
    fn each_computed<'a>(&self, scope: &Scope<'_, 'a>, sink: Sink<'_, 'a>) -> Flow {
        match self {
            Code::EqualText { from, text } => push(flow(operators::equal_text(from, text, scope))?.map(Item::Boolean), sink),
            Code::Binary { operator, left, right, at } => push(flow(operators::binary(*operator, left, right, *at, scope))?, sink),
            Code::Negate { of, at } => push(flow(operators::negate(of, *at, scope))?, sink),
            Code::Is { of, name, at } => push(flow(of.single(scope, *at))?.map(|item| Item::Boolean(item.is_a(*name))), sink),
            Code::ResolvesTo { from, resource_type, at } => {
                let resource = scope.root.focus.resource;
                let reference = flow(from.single(scope, *at))?;
                push(reference.map(|item| Item::Boolean(paths::refers_to(item, resource, resource_type))), sink)
            }
            Code::Scalar { function, from, arguments, at } => scalars::call(*function, from, arguments, *at, scope, sink),
            Code::Pattern { from, pattern, replacement, at } => {
                push(flow(scalars::pattern(from, pattern, replacement.as_deref(), *at, scope))?, sink)
            }
            Code::Coalesce(choices) => {
                for choice in choices {
                    let mut found = false;
                    choice.each(scope, &mut |item| {
                        found = true;
                        sink(item)
                    })?;
                    if found {
                        break;
                    }
                }
                GO_ON
            }
            Code::Join { from, separator, at } => push(flow(scalars::join(from, separator, *at, scope))?, sink),
            _ => GO_ON,
        }
    }

    /// The only item; more than one is an error at `at`.
    pub(super) fn single<'a>(&self, scope: &Scope<'_, 'a>, at: usize) -> Result<Option<Item<'a>>> {
        let mut found = None;
        ended(self.each(scope, &mut |item| {
            if found.is_some() {
                return failed(failure(at, "more than one value where one at most is possible"));
            }
            found = Some(item);
            GO_ON
        }))?;
        Ok(found)
    }

    /// As a condition: of no item unknown, of one boolean that, of one other item true (FHIRPath N1, section 5.1).
    pub(super) fn truth(&self, scope: &Scope<'_, '_>, at: usize) -> Result<Option<bool>> {
        match self {
            Code::EqualText { from, text } => operators::equal_text(from, text, scope),
            _ => Ok(self.single(scope, at)?.map(|item| item.as_boolean().unwrap_or(true))),
        }
    }

    /// All items.
    fn items<'a>(&self, scope: &Scope<'_, 'a>) -> Result<Items<'a>> {
        let mut items = Vec::new_in(scope.arena());
        ended(self.each(scope, &mut |item| {
            items.push(item);
            GO_ON
        }))?;
        Ok(items)
    }
}

fn push<'a>(item: Option<Item<'a>>, sink: Sink<'_, 'a>) -> Flow {
    match item {
        Some(item) => sink(item),
        None => GO_ON,
    }
}

/// A literal, copied: an item must not borrow from the expression, which may go before the rows do.
fn literal_item<'a>(literal: &Literal, scope: &Scope<'_, 'a>) -> Result<Item<'a>> {
    let keep = |text: &str| scope.keep(text, 1);
    Ok(match literal {
        Literal::Boolean(value) => Item::Boolean(*value),
        Literal::Integer(value) => Item::Integer(*value),
        Literal::Decimal(text) => Item::Decimal(keep(text)?),
        Literal::Text(text) => Item::Text(keep(text)?),
        Literal::Date(text) => Item::Date(keep(text)?),
        Literal::DateTime(text) => Item::DateTime(keep(text)?),
        Literal::Time(text) => Item::Time(keep(text)?),
        Literal::Quantity { value, unit } => Item::Quantity { value: keep(value)?, unit: keep(unit)? },
    })
}

fn filtered<'a>(from: &Code, filter: &Filter, scope: &Scope<'_, 'a>, sink: Sink<'_, 'a>) -> Flow {
    match filter {
        Filter::OfType(name) => from.each(scope, &mut |item| if item.is_a(*name) { sink(item) } else { GO_ON }),
        Filter::Values => from.each(scope, &mut |item| if item.is_object() { GO_ON } else { sink(item) }),
        Filter::Distinct => {
            let mut seen = Vec::new_in(scope.arena());
            from.each(scope, &mut |item| if insert(&mut seen, item) { sink(item) } else { GO_ON })
        }
    }
}

/// Adds an item unless an equal one is there.
fn insert<'a>(items: &mut Items<'a>, item: Item<'a>) -> bool {
    let new = !has(items, item);
    if new {
        items.push(item);
    }
    new
}

fn has(items: &[Item<'_>], item: Item<'_>) -> bool {
    items.iter().any(|other| equal(*other, item) == Some(true))
}

fn position(code: &Code, scope: &Scope<'_, '_>, at: usize) -> Result<Option<i64>> {
    match code.single(scope, at)? {
        None => Ok(None),
        Some(item) => item.as_integer().map(Some).ok_or_else(|| failure(at, "an integer was expected as position or count")),
    }
}

fn picked<'a>(from: &Code, pick: &Pick, at: usize, scope: &Scope<'_, 'a>, sink: Sink<'_, 'a>) -> Flow {
    let (skip, take) = match pick {
        Pick::First => (0, 1),
        Pick::Tail => (1, i64::MAX),
        Pick::Single => return push(flow(from.single(scope, at))?, sink),
        Pick::Last => {
            let mut last = None;
            flow(ended(from.each(scope, &mut |item| {
                last = Some(item);
                GO_ON
            })))?;
            return push(last, sink);
        }
        Pick::At(index) => match flow(position(index, scope, at))? {
            Some(index) if index >= 0 => (index, 1),
            _ => return GO_ON,
        },
        Pick::Skip(count) => (flow(position(count, scope, at))?.unwrap_or(0), i64::MAX),
        Pick::Take(count) => (0, flow(position(count, scope, at))?.unwrap_or(0)),
    };
    part(from, skip, take, scope, sink)
}

/// Leaves `skip` items out and passes `take` on.
fn part<'a>(from: &Code, skip: i64, take: i64, scope: &Scope<'_, 'a>, sink: Sink<'_, 'a>) -> Flow {
    if take <= 0 {
        return GO_ON;
    }
    let (mut seen, mut passed) = (0, 0);
    // The sink's own break must reach our caller; the stop after the last item wanted must not.
    let mut outcome = GO_ON;
    flow(ended(from.each(scope, &mut |item| {
        seen += 1;
        if seen <= skip {
            return GO_ON;
        }
        outcome = sink(item);
        passed += 1;
        if passed == take || outcome.is_break() { STOP } else { GO_ON }
    })))?;
    outcome
}

fn combined<'a>(kind: Combine, left: &Code, right: &Code, scope: &Scope<'_, 'a>, sink: Sink<'_, 'a>) -> Flow {
    if kind == Combine::Append {
        left.each(scope, sink)?;
        return right.each(scope, sink);
    }
    if kind == Combine::Union {
        let mut seen = Vec::new_in(scope.arena());
        let mut once = |item| if insert(&mut seen, item) { sink(item) } else { GO_ON };
        left.each(scope, &mut once)?;
        return right.each(scope, &mut once);
    }
    let others = flow(right.items(scope))?;
    let mut seen = Vec::new_in(scope.arena());
    left.each(scope, &mut |item| {
        let wanted = match kind {
            Combine::Intersect => has(&others, item) && insert(&mut seen, item),
            _ => !has(&others, item),
        };
        if wanted { sink(item) } else { GO_ON }
    })
}

fn summarised<'a>(from: &Code, summary: Summary, scope: &Scope<'_, 'a>) -> Result<Option<Item<'a>>> {
    let value = match summary {
        Summary::Exists => any(from, scope, |_| Ok(true))?,
        Summary::Empty => !any(from, scope, |_| Ok(true))?,
        Summary::Count => {
            let mut count = 0;
            ended(from.each(scope, &mut |_| {
                count += 1;
                GO_ON
            }))?;
            return Ok(Some(Item::Integer(count)));
        }
        Summary::Not { at } => return Ok(from.truth(scope, at)?.map(|value| Item::Boolean(!value))),
        Summary::AllTrue { at } => !any(from, scope, |item| boolean(item, at).map(|b| !b))?,
        Summary::AnyTrue { at } => any(from, scope, |item| boolean(item, at))?,
        Summary::AllFalse { at } => !any(from, scope, |item| boolean(item, at))?,
        Summary::AnyFalse { at } => any(from, scope, |item| boolean(item, at).map(|b| !b))?,
        Summary::IsDistinct => {
            // Texts that are no dates are equal if they are the same: thousands of them are compared by their hashes.
            let (mut texts, mut seen) = (HashSet::new(), Vec::new_in(scope.arena()));
            !any(from, scope, |item| {
                match item.as_text().filter(|text| !matches!(item, Item::Key { .. }) && Temporal::parse(text).is_none()) {
                    Some(text) => Ok(!texts.insert(text)),
                    None => Ok(!insert(&mut seen, item)),
                }
            })?
        }
        Summary::HasValue => matches!(from.items(scope)?.as_slice(), [item] if !item.is_object()),
    };
    Ok(Some(Item::Boolean(value)))
}

fn boolean(item: Item<'_>, at: usize) -> Result<bool> {
    item.as_boolean().ok_or_else(|| failure(at, "a boolean was expected"))
}

/// Whether `wanted` says so of any item.
fn any<'a>(from: &Code, scope: &Scope<'_, 'a>, mut wanted: impl FnMut(Item<'a>) -> Result<bool>) -> Result<bool> {
    let mut found = false;
    ended(from.each(scope, &mut |item| {
        found = flow(wanted(item))?;
        if found { STOP } else { GO_ON }
    }))?;
    Ok(found)
}

fn applied<'a>(from: &Code, lambda: Lambda, body: &Code, at: usize, scope: &Scope<'_, 'a>, sink: Sink<'_, 'a>) -> Flow {
    let mut index = -1;
    let mut next = |item| {
        index += 1;
        scope.of(item, index, at)
    };
    match lambda {
        Lambda::Where => from.each(scope, &mut |item| {
            let inner = flow(next(item))?;
            if flow(body.truth(&inner, at))? == Some(true) { sink(item) } else { GO_ON }
        }),
        Lambda::Select => from.each(scope, &mut |item| body.each(&flow(next(item))?, sink)),
        Lambda::Exists => {
            let found = any(from, scope, |item| Ok(body.truth(&next(item)?, at)? == Some(true)));
            sink(Item::Boolean(flow(found)?))
        }
        Lambda::All => {
            let found = any(from, scope, |item| Ok(body.truth(&next(item)?, at)? != Some(true)));
            sink(Item::Boolean(!flow(found)?))
        }
        Lambda::Repeat => repeated(from, body, at, scope, sink),
    }
}

/// `repeat(body)`: breadth first, each item once (FHIRPath N1, section 5.2.3).
fn repeated<'a>(from: &Code, body: &Code, at: usize, scope: &Scope<'_, 'a>, sink: Sink<'_, 'a>) -> Flow {
    let mut level = flow(from.items(scope))?;
    let mut seen = Vec::new_in(scope.arena());
    for _ in 0..=MAX_JSON_DEPTH {
        let mut below = Vec::new_in(scope.arena());
        for (index, item) in level.iter().enumerate() {
            let inner = flow(scope.of(*item, i64::try_from(index).unwrap_or(i64::MAX), at))?;
            body.each(&inner, &mut |item| {
                if insert(&mut seen, item) {
                    below.push(item);
                    sink(item)
                } else {
                    GO_ON
                }
            })?;
        }
        if below.is_empty() {
            return GO_ON;
        }
        level = below;
    }
    failed(failure(at, "repeat() does not come to an end"))
}
