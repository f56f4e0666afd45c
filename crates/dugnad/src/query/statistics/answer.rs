//! From released cells to the rows of an answer. Nothing here sees a count.

use super::request::{CELLS, Measure, quantile_name};
use super::resolved::{Part, Resolved};
use crate::query::Answer;
use crate::query::catalog::{Catalog, Tables};
use crate::query::session::ENGINE;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, SchemaRef};
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::LogicalPlan;
use dugnad_kernel::disclosure::{Band, Released, ReleasedTable, Step, band, mean, quantile, rate, survival};
use dugnad_sql::limits::QUESTION_MEMORY;
use dugnad_sql::{QueryError, guard};
use futures::TryStreamExt;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

/// The rows of an answer: the codes of the first so many columns, and the values of the others, null where they are not shown.
pub async fn cell_rows(answer: Answer, levels: usize) -> Result<Vec<CellRow>, QueryError> {
    let batches: Vec<RecordBatch> = answer.batches.try_collect().await.map_err(QueryError::of_stream)?;
    let value = |column: &ArrayRef, row: usize| match column.data_type() {
        _ if column.is_null(row) => Value::Null,
        DataType::Int64 => json!(column.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => json!(column.as_primitive::<Float64Type>().value(row)),
        _ => Value::Null,
    };
    let code = |column: &ArrayRef, row: usize| column.as_string_opt::<i32>().map_or_else(String::new, |c| c.value(row).to_owned());
    let rows = |batch: &RecordBatch| {
        let (codes, values) = batch.columns().split_at(levels.min(batch.num_columns()));
        let of = |row: usize| CellRow {
            codes: codes.iter().map(|column| code(column, row)).collect(),
            values: values.iter().map(|column| value(column, row)).collect(),
        };
        (0..batch.num_rows()).map(of).collect::<Vec<_>>()
    };
    Ok(batches.iter().flat_map(rows).collect())
}

/// A row of released cells.
#[derive(Clone, Debug, PartialEq)]
pub struct CellRow {
    /// Its code on each level.
    pub codes: Vec<String>,
    /// The value of each measure.
    pub values: Vec<Value>,
}

/// How many of an answer's values are not shown, in bands: the exact number would be one more figure about small cells. Known once
/// the answer is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Suppressed(Arc<OnceLock<&'static str>>);

impl Suppressed {
    /// The band; empty as long as nothing has been answered.
    pub fn band(&self) -> &'static str {
        self.0.get().copied().unwrap_or_default()
    }

    /// Takes note of the cells of an answer, of which the first so many columns are levels.
    fn note(&self, cells: &RecordBatch, levels: usize) {
        let values = cells.columns().iter().skip(levels);
        let (all, hidden) = values.fold((0, 0), |(all, hidden), column| (all + column.len(), hidden + column.null_count()));
        let band = match hidden * 10 {
            0 => "none",
            n if n < all => "below 10 %",
            n if n < 5 * all => "10 to 50 %",
            n if n < 9 * all => "50 to 90 %",
            _ => "above 90 %",
        };
        let _known = self.0.set(band);
    }
}

/// The released tables of a question, in the order of [`Resolved::parts`].
pub(super) struct Shown<'a> {
    pub resolved: &'a Resolved,
    pub tables: Vec<Arc<ReleasedTable>>,
}

impl Resolved {
    /// The columns of the table of cells.
    fn columns(&self) -> SchemaRef {
        let level = |(dimension, level): &(usize, usize)| {
            Field::new(self.table.hierarchies[*dimension].levels()[*level].name(), DataType::Utf8, false)
        };
        let measure = |measure: &Measure| {
            let whole = matches!(
                measure,
                Measure::Persons | Measure::Count | Measure::Starts | Measure::AtRisk | Measure::Events | Measure::Censored
            );
            Field::new(measure.name(), if whole { DataType::Int64 } else { DataType::Float64 }, true)
        };
        let quantiles = (0..self.request.quantiles.len()).map(|nth| Field::new(quantile_name(nth), DataType::Float64, true));
        let fields = self.levels.iter().map(level).chain(self.request.measures.iter().map(measure)).chain(quantiles);
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// The columns of the answer.
    pub async fn schema(&self, now: Timestamp) -> Result<SchemaRef, QueryError> {
        Ok(self.rest(RecordBatch::new_empty(self.columns()), now).await?.0)
    }

    /// The second part of the question, over a table of cells.
    async fn rest(&self, cells: RecordBatch, now: Timestamp) -> Result<(SchemaRef, Vec<RecordBatch>), QueryError> {
        let table: Arc<dyn TableProvider> = Arc::new(MemTable::try_new(cells.schema(), vec![vec![cells]]).map_err(QueryError::planning)?);
        let catalog = Catalog::new(Tables(BTreeMap::from([(CELLS.to_owned(), table)])), BTreeMap::new());
        let engine = ENGINE.over(Arc::new(catalog), SystemTime::from(now), QUESTION_MEMORY);
        let logical = engine.logical(guard::check(&self.request.rest)?).await?;
        // Its GROUP BY has been answered: what adds cells up again would not say which.
        let adds = |plan: &LogicalPlan| Ok(matches!(plan, LogicalPlan::Aggregate(_) | LogicalPlan::Window(_)));
        if logical.exists(adds).map_err(QueryError::planning)? {
            return Err(super::request::refused("the measures of a cell have names; functions that add rows up are not admitted"));
        }
        let plan = engine.physical(&logical).await?;
        let schema = plan.schema();
        let batches = engine.runner().execute(plan).map_err(QueryError::running)?.try_collect().await.map_err(QueryError::running)?;
        Ok((schema, batches))
    }
}

impl Shown<'_> {
    /// The rows of the answer.
    pub async fn rows(&self, now: Timestamp, suppressed: &Suppressed) -> Result<RecordBatch, QueryError> {
        let cells = self.cells()?;
        suppressed.note(&cells, self.resolved.levels.len());
        let (schema, batches) = self.resolved.rest(cells, now).await?;
        concat_batches(&schema, &batches).map_err(|e| QueryError::Internal(e.to_string()))
    }

    fn table(&self, part: &Part) -> &ReleasedTable {
        let at = self.resolved.parts().position(|known| std::ptr::eq(known, part)).unwrap_or_default();
        &self.tables[at]
    }

    /// The released cell of a row; rounded where that is asked for, before anything is sorted or calculated.
    fn cell(&self, part: &Part, categories: &[usize]) -> Released {
        let cell = self.table(part).cell(&part.cell(categories));
        self.resolved.request.rounding.map_or(cell, |to| cell.rounded(to))
    }

    fn cells(&self) -> Result<RecordBatch, QueryError> {
        let resolved = self.resolved;
        let mut columns: Vec<ArrayRef> = Vec::new();
        for nth in 0..resolved.levels.len() {
            columns.push(Arc::new(StringArray::from_iter_values(resolved.rows.iter().map(|row| resolved.code(row, nth)))));
        }
        let steps = self.steps();
        for measure in &resolved.request.measures {
            columns.push(self.measure(*measure, &steps));
        }
        for (part, (level, p)) in resolved.quantiles.iter().zip(&resolved.request.quantiles) {
            columns.push(Arc::new(resolved.rows.iter().map(|row| self.quantile(part, level, *p, row)).collect::<Float64Array>()));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(resolved.rows.len()));
        RecordBatch::try_new_with_options(resolved.columns(), columns, &options).map_err(|e| QueryError::Internal(e.to_string()))
    }

    fn measure(&self, measure: Measure, steps: &HashMap<Vec<usize>, Step>) -> ArrayRef {
        let resolved = self.resolved;
        let whole = |of: &dyn Fn(&Vec<usize>) -> Option<u64>| -> ArrayRef {
            Arc::new(resolved.rows.iter().map(|row| of(row).and_then(|n| i64::try_from(n).ok())).collect::<Int64Array>())
        };
        let real =
            |of: &dyn Fn(&Vec<usize>) -> Option<f64>| -> ArrayRef { Arc::new(resolved.rows.iter().map(of).collect::<Float64Array>()) };
        let base = |row: &Vec<usize>| self.cell(&resolved.base, row);
        let valued = |row: &Vec<usize>| resolved.valued.as_ref().map(|part| self.cell(part, row));
        let step = |row: &Vec<usize>| steps.get(row);
        match measure {
            Measure::Persons => whole(&|row| base(row).persons()),
            Measure::Count => whole(&|row| base(row).rows()),
            Measure::Rate => real(&|row| rate(&base(row), resolved.inhabitants(row))),
            Measure::Sum => real(&|row| valued(row)?.sum()),
            Measure::Mean => real(&|row| mean(&valued(row)?)),
            Measure::Starts => whole(&|row| self.cell(resolved.starts.as_ref()?, row).persons()),
            Measure::AtRisk => whole(&|row| step(row).map(|s| s.at_risk)),
            Measure::Events => whole(&|row| step(row).map(|s| s.events)),
            Measure::Censored => whole(&|row| step(row).map(|s| s.censored)),
            Measure::Survival => real(&|row| step(row).map(|s| s.survival)),
        }
    }

    fn quantile(&self, part: &Part, level: &str, p: f64, row: &[usize]) -> Option<f64> {
        let (dimension, depth) = self.resolved.table.level(level)?;
        let codes = self.resolved.table.hierarchies[dimension].levels()[depth].categories();
        let bands = codes.iter().enumerate().filter_map(|(category, code)| {
            let (from, to) = band(&code.code)?;
            let cell: Vec<usize> = row.iter().copied().chain([category]).collect();
            Some(Band { from, to, cell: self.cell(part, &cell) })
        });
        quantile(&bands.collect::<Vec<_>>(), p)
    }

    /// The step of the curve of survival that each row is. Who is followed longer than the grid is censored after it, and counts in none
    /// of its steps.
    fn steps(&self) -> HashMap<Vec<usize>, Step> {
        let resolved = self.resolved;
        let Some((steps, all)) = &resolved.survival else { return HashMap::new() };
        // A curve has all its steps, also those that the question does not ask for.
        let mut curves: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
        for row in &resolved.rows {
            if let Some((_, curve, _)) = resolved.exits(row) {
                curves.entry(curve).or_insert_with(|| row.clone());
            }
        }
        let mut found = HashMap::new();
        for (curve, row) in curves {
            let Some(begin) = self.cell(all, &curve).persons() else { continue };
            let Some((at, ..)) = resolved.exits(&row) else { continue };
            let (dimension, level) = resolved.levels[at];
            let grid = &resolved.table.hierarchies[dimension].levels()[level];
            let mut rows = Vec::new();
            let mut cells = Vec::new();
            for (category, code) in grid.categories().iter().enumerate().take(grid.unknown()) {
                let mut step = row.clone();
                step[at] = category;
                let Some((_, _, [event, censored])) = resolved.exits(&step) else { continue };
                let month = band(&code.code).and_then(|(_, to)| to).map_or(0, |to| to as u32 - 1);
                cells.push((month, self.cell(steps, &event), self.cell(steps, &censored)));
                rows.push(step);
            }
            found.extend(rows.into_iter().zip(survival(begin, &cells)));
        }
        found
    }
}
