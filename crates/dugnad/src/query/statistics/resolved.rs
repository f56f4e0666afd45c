//! A question with the tables, levels and codes that it names.

use super::published::{Published, Table};
use super::request::{Measure, Request, refused};
use crate::limits::MAX_STATISTICS_ROWS;
use dugnad_kernel::disclosure::{Calendars, Epoch, Hierarchy, Shape, inhabitants};
use dugnad_kernel::permit::Permit;
use dugnad_sql::QueryError;
use jiff::Timestamp;
use std::sync::Arc;

/// What a question asks for.
pub(in crate::query) struct Resolved {
    pub request: Request,
    pub table: Table,
    /// The cells that are asked for.
    pub base: Part,
    /// The same of rows with values, of first rows.
    pub valued: Option<Part>,
    pub starts: Option<Part>,
    /// For each quantile the cells of its bands: the level is the last of the place.
    pub quantiles: Vec<Part>,
    /// The cells of a curve of survival (the outcome is the last), and those of all at the beginning.
    pub survival: Option<(Part, Part)>,
    /// The levels of the rows: those of the question, then those that `WHERE` fixes; the category of each row.
    pub levels: Vec<(usize, usize)>,
    pub rows: Vec<Vec<usize>>,
}

/// Cells that are counted and released together.
#[derive(Clone, Debug)]
pub(in crate::query) struct Part {
    pub shape: Shape,
    pub epoch: Epoch,
    /// The place, in the shape, of each of the levels that it was made of.
    pub place: Vec<usize>,
}

/// On which epochs cells are released.
struct Releases<'a> {
    calendars: &'a Calendars,
    now: Timestamp,
    cohort: bool,
}

impl Releases<'_> {
    fn part(&self, levels: &[(usize, usize)], first_of: Option<usize>, valued: bool) -> Part {
        let mut sorted = levels.to_vec();
        sorted.sort_unstable();
        let place = levels.iter().map(|level| sorted.iter().position(|l| l == level).unwrap_or_default()).collect();
        let depth = levels.len() + usize::from(self.cohort);
        let epoch = self.calendars.of_depth(depth).epoch(self.now);
        Part { shape: Shape { levels: sorted, first_of, valued }, epoch, place }
    }
}

impl Part {
    /// The categories of a cell, in the order of the shape, from those of the levels that it was made of.
    pub fn cell(&self, categories: &[usize]) -> Vec<usize> {
        let mut cell = vec![0; categories.len()];
        self.place.iter().zip(categories).for_each(|(place, category)| cell[*place] = *category);
        cell
    }
}

impl Resolved {
    /// Finds what a question names.
    pub fn of(request: Request, published: &Published, calendars: &Calendars, now: Timestamp) -> Result<Self, QueryError> {
        let known = || published.tables().collect::<Vec<_>>().join(", ");
        let absent = || refused(&format!("there is no table statistics.{} (there are {})", request.table, known()));
        let table = published.table(&request.table).ok_or_else(absent)?;
        let level = |name: &str| {
            let levels = || table.hierarchies.iter().flat_map(|h| h.levels()).map(|l| l.name()).collect::<Vec<_>>().join(", ");
            table.level(name).ok_or_else(|| refused(&format!("statistics.{} has no level {name} (it has {})", request.table, levels())))
        };
        let mut levels = request.group.iter().map(|name| level(name)).collect::<Result<Vec<_>, _>>()?;
        // For each of the levels, which categories are asked for.
        let mut chosen: Vec<Vec<usize>> = levels.iter().map(|l| (0..categories(&table, *l)).collect()).collect();
        for (name, codes) in &request.only {
            let (dimension, depth) = level(name)?;
            let hierarchy = &table.hierarchies[dimension];
            let of_code = |code: &String| {
                let unknown = || refused(&format!("{name} has no code '{code}'; GET /dimensions/{} has its list", hierarchy.name()));
                hierarchy.levels()[depth].position(code).ok_or_else(unknown)
            };
            let wanted = codes.iter().map(of_code).collect::<Result<Vec<_>, _>>()?;
            match levels.iter().position(|(d, _)| *d == dimension) {
                Some(at) if levels[at].1 >= depth => {
                    chosen[at].retain(|category| wanted.contains(&ancestor(hierarchy, levels[at].1, *category, depth)));
                }
                Some(_) => return Err(refused(&format!("{name} is finer than what is grouped by; group by it"))),
                None => {
                    let [one] = wanted.as_slice() else {
                        return Err(refused(&format!(
                            "WHERE names several codes of {name}, which is not grouped by: the persons of several cells cannot be \
                             counted together. Group by it, or name one code"
                        )));
                    };
                    levels.push((dimension, depth));
                    chosen.push(vec![*one]);
                }
            }
        }
        let rows = product(&chosen)?;
        let releases = Releases { calendars, now, cohort: request.cohort.is_some() };
        let mut resolved = Self {
            base: releases.part(&levels, None, false),
            valued: None,
            starts: None,
            quantiles: Vec::new(),
            survival: None,
            levels,
            rows,
            table,
            request,
        };
        resolved.find_parts(&releases)?;
        Ok(resolved)
    }

    fn find_parts(&mut self, releases: &Releases<'_>) -> Result<(), QueryError> {
        let statistic = &self.table.statistic;
        let asks = |measure: Measure| self.request.measures.contains(&measure);
        let within = |dimension: usize| self.levels.iter().any(|(d, _)| *d == dimension);
        if asks(Measure::Sum) || asks(Measure::Mean) {
            let value =
                statistic.value.as_ref().ok_or_else(|| refused(&format!("statistics.{} has no value to add up", statistic.name)))?;
            let one = value.of_one.as_deref().and_then(|name| statistic.dimension(name));
            if let Some(one) = one.filter(|one| !within(*one)) {
                let level = self.table.hierarchies[one].levels().last().map_or("", |l| l.name());
                return Err(refused(&format!("group by {level}, or name one, for values of two do not add up")));
            }
            self.valued = Some(releases.part(&self.levels, None, true));
        }
        if asks(Measure::Starts) {
            let time = statistic.dimension("time").filter(|time| within(*time));
            let time = time.ok_or_else(|| refused("starts are of a period: group by year, quarter or month, or name one"))?;
            self.starts = Some(releases.part(&self.levels, Some(time), false));
        }
        if asks(Measure::Rate) {
            let of_people = self.table.hierarchies.iter().enumerate().filter(|(at, _)| within(*at));
            if let Some((_, other)) =
                of_people.into_iter().find(|(at, h)| h.name() == "provider" && self.levels.iter().any(|(d, l)| d == at && *l > 0))
            {
                return Err(refused(&format!("nobody has counted the inhabitants of each {}; ask for counties", other.name())));
            }
        }
        for (name, _) in &self.request.quantiles {
            let level = self.table.level(name).ok_or_else(|| refused(&format!("statistics.{} has no level {name}", statistic.name)))?;
            if within(level.0) {
                return Err(refused(&format!("{name} is grouped by or fixed already; a quantile is of all its bands")));
            }
            let levels: Vec<_> = self.levels.iter().copied().chain([level]).collect();
            self.quantiles.push(releases.part(&levels, None, false));
        }
        if let Some(survival) = &statistic.survival {
            let (time, exit) = (statistic.dimension(&survival.time), statistic.dimension(&survival.exit));
            let (Some(time), Some(exit)) = (time, exit) else { return Err(QueryError::Internal("a survival without time".to_owned())) };
            let curve = self.request.measures.iter().any(|m| m.of_survival());
            let grouped = self.request.group.iter().filter_map(|name| self.table.level(name)).find(|(d, _)| *d == time);
            let others = self.request.measures.iter().any(|m| !m.of_survival()) || !self.request.quantiles.is_empty();
            // What ended in a step, whatever with, is no cell: events and censored would be its parts.
            let of_time = within(time) || self.quantiles.iter().any(|part| part.shape.levels.iter().any(|(d, _)| *d == time));
            if curve != grouped.is_some() || (of_time && others) || (curve && within(exit)) {
                let levels: Vec<&str> = self.table.hierarchies[time].levels().iter().map(|l| l.name()).collect();
                return Err(refused(&format!(
                    "at_risk, events, censored and survival are grouped by one of {}, and nothing else is",
                    levels.join(", ")
                )));
            }
            if let Some((_, step)) = grouped {
                let all: Vec<_> = self.levels.iter().copied().filter(|(d, _)| *d != time).collect();
                let steps: Vec<_> = all.iter().copied().chain([(exit, step + 1)]).collect();
                self.survival = Some((releases.part(&steps, Some(exit), false), releases.part(&all, None, false)));
            }
        } else if self.request.measures.iter().any(|m| m.of_survival()) {
            return Err(refused(&format!("statistics.{} has no survival", statistic.name)));
        }
        Ok(())
    }

    /// All cells that are counted for it.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        let base = self.request.measures.iter().any(|m| matches!(m, Measure::Persons | Measure::Count | Measure::Rate));
        let of_survival = self.survival.iter().flat_map(|(steps, all)| [steps, all]);
        let base = base.then_some(&self.base);
        base.into_iter().chain(&self.valued).chain(&self.starts).chain(&self.quantiles).chain(of_survival)
    }

    /// For a row of a curve of survival: the place of its step among the levels, and the curve, with its events and its censored.
    pub fn exits(&self, row: &[usize]) -> Option<(usize, Vec<usize>, [Vec<usize>; 2])> {
        let survival = self.table.statistic.survival.as_ref()?;
        let (time, exit) = (self.table.statistic.dimension(&survival.time)?, self.table.statistic.dimension(&survival.exit)?);
        let at = self.levels.iter().position(|(d, _)| *d == time)?;
        let level = self.table.hierarchies[exit].levels().get(self.levels[at].1 + 1)?;
        let step = self.code(row, at);
        let mut curve = row.to_vec();
        curve.remove(at);
        let cell = |outcome: &str| Some(curve.iter().copied().chain([level.position(&format!("{outcome} {step}"))?]).collect());
        let exits = [cell("event")?, cell("censored")?];
        Some((at, curve, exits))
    }

    /// The epochs that it is answered from, as the answer cites them.
    pub fn cite(&self) -> String {
        let mut epochs: Vec<String> = self.parts().map(|part| part.epoch.cite()).collect();
        epochs.sort_unstable();
        epochs.dedup();
        epochs.join(", ")
    }

    /// How many cells it shows. An order tells of cells that LIMIT cuts off, so that they count too.
    pub fn cells(&self) -> usize {
        self.rows.len()
    }

    /// Checks that the permit holds what is counted: the table, and the columns that tell the categories. What it does not hold
    /// does not exist, as under a permit with rows.
    pub fn within(&self, permit: &Permit) -> Result<(), QueryError> {
        let statistic = &self.table.statistic;
        if !permit.covers_table(&statistic.table) {
            return Err(QueryError::Refused(format!("there is no table statistics.{} under this permit", statistic.name)));
        }
        let of_levels = self
            .parts()
            .flat_map(|part| &part.shape.levels)
            .map(|(d, _)| (&statistic.dimensions[*d].dimension, &statistic.dimensions[*d].needs));
        let of_value = statistic.value.iter().filter(|_| self.valued.is_some()).map(|value| (&value.column, &value.needs));
        for (name, needs) in of_levels.chain(of_value) {
            let shown = needs.split_once('.').and_then(|(table, column)| permit.covers(table, column));
            if shown.is_none() {
                return Err(QueryError::Refused(format!(
                    "statistics.{} has no {name} under this permit: it needs {needs}",
                    statistic.name
                )));
            }
        }
        Ok(())
    }

    /// The code of a row's nth level.
    pub fn code(&self, row: &[usize], nth: usize) -> &str {
        let (dimension, level) = self.levels[nth];
        &self.table.hierarchies[dimension].levels()[level].categories()[row[nth]].code
    }

    /// The inhabitants that a row's rate is of.
    pub fn inhabitants(&self, row: &[usize]) -> u64 {
        let of = |level: &str| {
            let at = self.levels.iter().position(|(d, l)| self.table.hierarchies[*d].levels()[*l].name() == level)?;
            Some(self.code(row, at))
        };
        match of("age_group") {
            None => inhabitants(of("county"), of("sex"), of("age_band")),
            Some(group) => {
                let age = self.table.hierarchies.iter().find(|h| h.name() == "age");
                let bands = age.into_iter().flat_map(|age| {
                    let (groups, bands) = (&age.levels()[0], &age.levels()[1]);
                    let at = groups.position(group);
                    bands.categories().iter().enumerate().filter(move |(b, _)| Some(bands.above(*b)) == at).map(|(_, c)| c.code.as_str())
                });
                bands.map(|band| inhabitants(of("county"), of("sex"), Some(band))).sum()
            }
        }
    }
}

fn categories(table: &Table, (dimension, level): (usize, usize)) -> usize {
    table.hierarchies[dimension].levels()[level].categories().len()
}

/// The category on a coarser level (or the same) that a category belongs to.
fn ancestor(hierarchy: &Arc<Hierarchy>, level: usize, category: usize, coarser: usize) -> usize {
    (coarser..level).rev().fold(category, |category, upper| hierarchy.levels()[upper + 1].above(category))
}

/// Every choice of one category of each.
fn product(chosen: &[Vec<usize>]) -> Result<Vec<Vec<usize>>, QueryError> {
    let count = chosen.iter().try_fold(1_usize, |count, of| count.checked_mul(of.len()).filter(|c| *c <= MAX_STATISTICS_ROWS));
    if count.is_none() {
        return Err(refused(&format!("it has more than {MAX_STATISTICS_ROWS} cells; ask for coarser levels, or for fewer codes")));
    }
    let mut rows = vec![Vec::new()];
    for of in chosen {
        rows = rows
            .iter()
            .flat_map(|row: &Vec<usize>| of.iter().map(move |category| row.iter().copied().chain([*category]).collect()))
            .collect();
    }
    Ok(rows)
}
