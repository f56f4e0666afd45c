//! A view on one resource (SQL on FHIR 2.0, "Processing Algorithm").

use super::{Cell, ColumnPath, ColumnType, Foci, Part, Select, View, ViewError};
use crate::fhir::json::Value;
use crate::fhirpath::{EvaluationError, Expression, Focus, Item};
use crate::limits::{MAX_JSON_DEPTH, MAX_ROWS_PER_RESOURCE};
use bumpalo::{Bump, collections::Vec};
use std::ops::ControlFlow;

type Cells<'a> = [Cell<'a>];
type Then<'k, 'a> = &'k mut dyn FnMut(&mut Cells<'a>) -> Result<(), ViewError>;

/// The rows of `view` on `resource`.
pub(super) fn run<'a>(view: &View, resource: Value<'a>, arena: &'a Bump, row: &mut dyn FnMut(&Cells<'a>)) -> Result<(), ViewError> {
    if resource.str("resourceType") != Some(view.resource_type) {
        return Ok(());
    }
    let focus = Focus::resource(resource, arena);
    for condition in &view.conditions {
        let item = condition.path.single(&focus).map_err(|e| failed(&condition.at, e))?;
        match item.map(Item::as_boolean) {
            Some(Some(true)) => {}
            Some(Some(false)) | None => return Ok(()),
            Some(None) => return Err(evaluation(&condition.at, "the condition is no boolean")),
        }
    }
    let mut cells = Vec::from_iter_in(std::iter::repeat_n(Cell::Null, view.columns.len()), arena);
    let mut rows = 0;
    Run { view }.at_focus(&view.root, &focus, &mut cells, &mut |cells| {
        rows += 1;
        if rows > MAX_ROWS_PER_RESOURCE {
            return Err(evaluation("select", "more rows than one resource may have"));
        }
        row(cells);
        Ok(())
    })
}

fn evaluation(column: &str, what: impl Into<String>) -> ViewError {
    ViewError::Evaluation { column: column.to_owned(), what: what.into() }
}

fn failed(column: &str, error: EvaluationError) -> ViewError {
    match error.at {
        0 => evaluation(column, error.what),
        _ => evaluation(column, error.to_string()),
    }
}

struct Run<'v> {
    view: &'v View,
}

impl Run<'_> {
    /// Calls `then` for each row of `select`, its cells filled in.
    fn rows<'a>(&self, select: &Select, focus: &Focus<'a>, cells: &mut Cells<'a>, then: Then<'_, 'a>) -> Result<(), ViewError> {
        match &select.foci {
            Foci::Same => self.at_focus(select, focus, cells, then),
            Foci::Each(path) => self.for_each(select, path, focus, cells, then).map(|_| ()),
            Foci::EachOrNull(path) => {
                if self.for_each(select, path, focus, cells, then)? > 0 {
                    return Ok(());
                }
                self.nulls(select, &Focus { context: None, row_index: 0, ..*focus }, cells)?;
                then(cells)
            }
            Foci::Repeat(paths) => self.repeat(select, paths, focus, &mut 0, MAX_JSON_DEPTH, cells, then),
        }
    }

    /// The foci of a `forEach`; how many they were.
    fn for_each<'a>(
        &self,
        select: &Select,
        path: &Expression,
        focus: &Focus<'a>,
        cells: &mut Cells<'a>,
        then: Then<'_, 'a>,
    ) -> Result<i64, ViewError> {
        let mut row_index = 0;
        visit(&select.at, path, focus, &mut |item| {
            self.at_focus(select, &Focus { context: Some(item), row_index, ..*focus }, cells, then)?;
            row_index += 1;
            Ok(())
        })?;
        Ok(row_index)
    }

    /// What the paths reach from the focus, and what they reach from there, parents first.
    #[expect(clippy::too_many_arguments, reason = "the state of a recursion")]
    fn repeat<'a>(
        &self,
        select: &Select,
        paths: &[Expression],
        focus: &Focus<'a>,
        row_index: &mut i64,
        depth: usize,
        cells: &mut Cells<'a>,
        then: Then<'_, 'a>,
    ) -> Result<(), ViewError> {
        let below = depth.checked_sub(1).ok_or_else(|| evaluation(&select.at, "repeat does not come to an end"))?;
        for path in paths {
            visit(&select.at, path, focus, &mut |item| {
                let focus = Focus { context: Some(item), row_index: *row_index, ..*focus };
                *row_index += 1;
                if usize::try_from(*row_index).is_ok_and(|count| count > MAX_ROWS_PER_RESOURCE) {
                    return Err(evaluation(&select.at, "repeat does not come to an end"));
                }
                self.at_focus(select, &focus, cells, then)?;
                self.repeat(select, paths, &focus, row_index, below, cells, then)
            })?;
        }
        Ok(())
    }

    /// The columns at one focus, joined with the parts.
    fn at_focus<'a>(&self, select: &Select, focus: &Focus<'a>, cells: &mut Cells<'a>, then: Then<'_, 'a>) -> Result<(), ViewError> {
        for column in &select.columns {
            self.fill(column, focus, cells)?;
        }
        self.join(&select.parts, focus, cells, then)
    }

    /// Every row of the first part with every row of the others.
    fn join<'a>(&self, parts: &[Part], focus: &Focus<'a>, cells: &mut Cells<'a>, then: Then<'_, 'a>) -> Result<(), ViewError> {
        let Some((part, others)) = parts.split_first() else {
            return then(cells);
        };
        let mut joined = |cells: &mut Cells<'a>| self.join(others, focus, cells, then);
        match part {
            Part::Select(select) => self.rows(select, focus, cells, &mut joined),
            Part::Union(branches) => branches.iter().try_for_each(|branch| self.rows(branch, focus, cells, &mut joined)),
        }
    }

    /// The row of a `forEachOrNull` without foci: nulls, but `%rowIndex` is 0.
    fn nulls<'a>(&self, select: &Select, nothing: &Focus<'a>, cells: &mut Cells<'a>) -> Result<(), ViewError> {
        for column in &select.columns {
            if column.path.uses_row_index() {
                self.fill(column, nothing, cells)?;
            } else if let Some(cell) = cells.get_mut(column.position) {
                *cell = Cell::Null;
            }
        }
        for part in &select.parts {
            match part {
                Part::Select(select) => self.nulls(select, nothing, cells)?,
                Part::Union(branches) => branches.iter().take(1).try_for_each(|branch| self.nulls(branch, nothing, cells))?,
            }
        }
        Ok(())
    }

    fn fill<'a>(&self, column: &ColumnPath, focus: &Focus<'a>, cells: &mut Cells<'a>) -> Result<(), ViewError> {
        let View { columns, untyped, .. } = self.view;
        let at = column.position;
        let (Some(target), Some(untyped), Some(cell)) = (columns.get(at), untyped.get(at), cells.get_mut(at)) else {
            return Ok(());
        };
        let to_cell = |item| to_cell(item, target.column_type, *untyped, focus.arena).map_err(|what| evaluation(&target.name, what));
        if target.collection {
            let items = column.path.items(focus).map_err(|e| failed(&target.name, e))?;
            let mut list = Vec::with_capacity_in(items.len(), focus.arena);
            for item in items {
                list.push(to_cell(item)?);
            }
            *cell = Cell::List(list.into_bump_slice());
            return Ok(());
        }
        *cell = match column.path.single(focus) {
            Ok(None) => Cell::Null,
            Ok(Some(item)) => to_cell(item)?,
            Err(EvaluationError { at: 0, .. }) => {
                return Err(evaluation(&target.name, "more than one value; take first(), or set `collection` to true"));
            }
            Err(error) => return Err(failed(&target.name, error)),
        };
        Ok(())
    }
}

/// Calls `each` for every item of `path`.
fn visit<'a>(
    at: &str,
    path: &Expression,
    focus: &Focus<'a>,
    each: &mut dyn FnMut(Item<'a>) -> Result<(), ViewError>,
) -> Result<(), ViewError> {
    let mut outcome = Ok(());
    path.each(focus, &mut |item| {
        outcome = each(item);
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
    .map_err(|e| failed(at, e))?;
    outcome
}

/// An item as a cell of a column; with `any`, as whatever it is.
fn to_cell<'a>(item: Item<'a>, column_type: ColumnType, any: bool, arena: &'a Bump) -> Result<Cell<'a>, &'static str> {
    match column_type {
        ColumnType::Boolean => item.as_boolean().map(Cell::Boolean).ok_or("a value that is no boolean"),
        ColumnType::Integer => item.as_integer().map(Cell::Integer).ok_or("a value that is no integer"),
        ColumnType::Decimal => item.as_number(arena).map(Cell::Decimal).ok_or("a value that is no number"),
        ColumnType::Date | ColumnType::DateTime | ColumnType::Time => {
            item.as_text().map(Cell::String).ok_or("a value that is no date or time")
        }
        ColumnType::Key(_) => match item {
            Item::Key { resource_type, id } => Ok(Cell::Key { resource_type, id }),
            _ => Err("a value that is no key, in a column of keys"),
        },
        ColumnType::Code | ColumnType::String if any => Ok(untyped_cell(item, arena)),
        ColumnType::Code | ColumnType::String => item.to_text(arena).map(Cell::String).ok_or("an element that is no primitive"),
    }
}

fn untyped_cell<'a>(item: Item<'a>, arena: &'a Bump) -> Cell<'a> {
    match item {
        Item::Element { value: Value::Boolean(value), .. } | Item::Boolean(value) => Cell::Boolean(value),
        Item::Element { value: Value::Number(text), .. } => text.parse().map_or(Cell::Decimal(text), Cell::Integer),
        Item::Element { value: Value::String(text), .. } => Cell::String(text),
        Item::Element { value, .. } => Cell::Element(value),
        Item::Integer(value) => Cell::Integer(value),
        Item::Quantity { .. } => item.to_text(arena).map_or(Cell::Null, Cell::String),
        Item::Decimal(text) => Cell::Decimal(text),
        Item::Text(text) | Item::Date(text) | Item::DateTime(text) | Item::Time(text) | Item::Key { id: text, .. } => Cell::String(text),
    }
}
