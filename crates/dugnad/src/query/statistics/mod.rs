//! Statistics under a permit of basis `ehds_request`: tables of cells, from the last epoch, after disclosure control. Not free SQL:
//! see [`request`] for what is admitted. What is counted never leaves the kernel's `disclosure` except as released cells.

mod answer;
mod catalogue;
mod cohorts;
mod published;
mod request;
mod resolved;
mod rows;
mod settings;
mod store;
#[cfg(test)]
mod tests;
mod utility;

use crate::limits::STATISTICS_ROWS_HELD;
use answer::Shown;
pub use answer::{CellRow, Suppressed, cell_rows};
pub use catalogue::{Catalogue, CatalogueDimension, CatalogueLevel, CatalogueTable};
pub use cohorts::COHORT;
pub(super) use cohorts::{Members, all, check, members, standing};
use datafusion::arrow::array::RecordBatch;
use dugnad_kernel::database::Database;
use dugnad_kernel::disclosure::{Asked, Cells, Epoch, Exhausted, Facts, Method, ReleasedTable, Seed};
use dugnad_kernel::ids::PatientOrdinal;
use dugnad_sql::QueryError;
use jiff::Timestamp;
pub(super) use published::Published;
pub use published::{DIMENSION, STATISTIC};
use published::{Kept, Table};
pub(super) use request::Request;
use resolved::Part;
pub(super) use resolved::Resolved;
use roaring::RoaringBitmap;
pub(super) use rows::{Population, check_statistic};
pub use settings::StatisticsSettings;
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use store::Store;
use tokio::sync::Mutex;
pub use utility::Utility;

/// The statistics of a database.
pub(super) struct Statistics {
    pub settings: StatisticsSettings,
    method: Method,
    seed: Seed,
    published: Kept,
    state: Mutex<State>,
}

struct State {
    store: Store,
    /// The rows of each statistic in each epoch that was asked for, the last asked for at the end.
    facts: Vec<(Epoch, Table, Arc<Facts>)>,
    /// What was released in each epoch, by the name of the cells; of which table, for its lists may have become longer since.
    released: HashMap<(String, Epoch), (Table, Arc<ReleasedTable>)>,
}

/// Who asks a statistic.
pub(super) struct Asker {
    /// The group of organisations whose ledger is charged; none for the centre's own pages.
    pub group: Option<String>,
}

/// What is counted.
pub(super) trait Data: Send + Sync {
    /// The data of an epoch, and whose rows of them count.
    fn population(&self, epoch: &Epoch) -> Result<Population, QueryError>;

    /// The persons of a registered cohort in an epoch.
    fn cohort(&self, id: &str, epoch: &Epoch) -> Result<Members, QueryError>;
}

fn failed(error: &io::Error) -> QueryError {
    QueryError::Internal(format!("the statistics' files: {error}"))
}

impl Statistics {
    /// The statistics in a folder. `secret` is one of the database's keys.
    pub fn open(folder: &Path, secret: &[u8; 32], chosen: Option<StatisticsSettings>) -> io::Result<Self> {
        let store = Store::open(folder)?;
        let settings = StatisticsSettings::of(folder, chosen)?;
        let method = Method::new(settings.method).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, format!("statistics: {e}")))?;
        let state = State { store, facts: Vec::new(), released: HashMap::new() };
        Ok(Self { settings, method, seed: Seed::of(secret), published: Kept::default(), state: Mutex::new(state) })
    }

    pub fn method(&self) -> &Method {
        &self.method
    }

    /// What can be asked for at `now`. The calendar of years goes up to that of the shortest epoch.
    pub fn published(&self, database: &Database, now: Timestamp) -> Result<Arc<Published>, QueryError> {
        self.published.at(database, &self.settings.epochs.one.epoch(now))
    }

    /// Takes erased persons out of what is kept from epoch to epoch.
    pub async fn erase(&self, persons: &[PatientOrdinal]) -> io::Result<()> {
        let persons: RoaringBitmap = persons.iter().map(|person| person.0).collect();
        if persons.is_empty() { Ok(()) } else { self.state.lock().await.store.erase(&persons) }
    }

    /// The rows of an answer, at `now`.
    pub async fn answer(
        &self,
        resolved: &Resolved,
        asker: &Asker,
        data: &dyn Data,
        now: Timestamp,
        suppressed: &Suppressed,
    ) -> Result<RecordBatch, QueryError> {
        let mut state = self.state.lock().await;
        let mut tables = Vec::new();
        for part in resolved.parts() {
            let passed = part.epoch.next <= now;
            tables.push(match passed {
                true => self.recalled(&mut state, resolved, part, asker)?,
                false => self.released(&mut state, resolved, part, asker, data).await?,
            });
        }
        drop(state);
        Shown { resolved, tables }.rows(resolved.base.epoch.start, suppressed).await
    }

    /// Of which epochs there are rows.
    #[cfg(test)]
    pub async fn epochs(&self) -> Vec<Timestamp> {
        self.state.lock().await.facts.iter().map(|(epoch, ..)| epoch.start).collect()
    }

    /// Reads the rows of the present epochs of all tables that were asked for in the last ones, so that nobody's question has to wait
    /// for them, or shows by its time that it is the first.
    pub async fn renew(&self, published: &Published, data: &dyn Data, now: Timestamp) -> Result<(), QueryError> {
        let mut state = self.state.lock().await;
        let passed: Vec<(Epoch, String)> =
            state.facts.iter().filter(|(epoch, ..)| epoch.next <= now).map(|(epoch, of, _)| (*epoch, of.statistic.name.clone())).collect();
        for (epoch, name) in passed {
            match published.table(&name) {
                Some(table) => drop(state.facts(&table, &epoch.period.epoch(now), data).await?),
                None => state.facts.retain(|(_, of, _)| of.statistic.name != name),
            }
        }
        Ok(())
    }

    /// What was shown in an epoch that has passed.
    fn recalled(&self, state: &mut State, resolved: &Resolved, part: &Part, asker: &Asker) -> Result<Arc<ReleasedTable>, QueryError> {
        let cells = resolved.counted(part);
        let anchors = state.store.anchors(&cells.name()).map_err(|e| failed(&e))?;
        let table = cells.recall(&anchors, part.epoch.start).map_err(|e| QueryError::Refused(e.to_string()))?;
        self.charge(state, resolved, part, &cells, asker)?;
        Ok(Arc::new(table))
    }

    async fn released(
        &self,
        state: &mut State,
        resolved: &Resolved,
        part: &Part,
        asker: &Asker,
        data: &dyn Data,
    ) -> Result<Arc<ReleasedTable>, QueryError> {
        let cells = resolved.counted(part);
        cells.check().map_err(|e| QueryError::Refused(e.to_string()))?;
        let name = (cells.name(), part.epoch);
        if let Some((of, table)) = state.released.get(&name)
            && *of == resolved.table
        {
            let table = table.clone();
            self.charge(state, resolved, part, &cells, asker)?;
            return Ok(table);
        }
        let facts = state.facts(&resolved.table, &part.epoch, data).await?;
        let members = cells.cohort.as_deref().map(|id| data.cohort(id, &part.epoch)).transpose()?;
        self.charge(state, resolved, part, &cells, asker)?;
        let before: Vec<&RoaringBitmap> = members.iter().flat_map(|members| &members.before).collect();
        let asked = Asked {
            cells: &cells,
            epoch: part.epoch.start,
            facts: &facts,
            members: members.as_ref().map(|members| &members.persons),
            before: &before,
            seed: &self.seed,
            method: &self.method,
        };
        // What passed is not released again: it is recalled.
        state.released.retain(|(_, known), _| known.period != part.epoch.period || *known == part.epoch);
        let mut anchors = state.store.anchors(&name.0).map_err(|e| failed(&e))?;
        let table = Arc::new(asked.release(&mut anchors).map_err(|e| QueryError::Refused(e.to_string()))?);
        // Durable before anything is shown: what was shown once must not be shown differently after a crash.
        if anchors.have_changed() {
            state.store.keep_anchors(&name.0, &anchors).map_err(|e| failed(&e))?;
        }
        state.released.insert(name, (resolved.table.clone(), table.clone()));
        Ok(table)
    }

    /// Spends the cells of a part that are shown, durably.
    fn charge(&self, state: &mut State, resolved: &Resolved, part: &Part, cells: &Cells, asker: &Asker) -> Result<(), QueryError> {
        let fine = part.shape.levels.len() + usize::from(cells.cohort.is_some()) >= 2;
        let Some(group) = asker.group.as_deref().filter(|_| fine) else { return Ok(()) };
        let refused = |e: Exhausted, epoch: &Epoch| QueryError::Refused(format!("{e}, which begins at {}", epoch.next));
        let (store, longest) = (&mut state.store, self.settings.epochs.more.epoch(part.epoch.start));
        let ledger = store.ledger(&longest).map_err(|e| failed(&e))?;
        let table = ledger.table(group, cells, self.settings.tables_per_epoch).map_err(|e| refused(e, &longest))?;
        let ledger = store.ledger(&part.epoch).map_err(|e| failed(&e))?;
        let cells = ledger.cells(group, cells, resolved.shown(part), self.settings.cells_per_epoch).map_err(|e| refused(e, &part.epoch))?;
        store.spend(&longest, table).and_then(|()| store.spend(&part.epoch, cells)).map_err(|e| failed(&e))
    }
}

impl State {
    /// The rows of a table in an epoch.
    async fn facts(&mut self, table: &Table, epoch: &Epoch, data: &dyn Data) -> Result<Arc<Facts>, QueryError> {
        if let Some(at) = self.facts.iter().position(|(known, of, _)| known == epoch && of == table) {
            let found = self.facts.remove(at);
            self.facts.push(found.clone());
            return Ok(found.2);
        }
        let facts = Arc::new(rows::facts(table, &data.population(epoch)?).await?);
        self.facts.retain(|(kept, of, _)| of.statistic.name != table.statistic.name || kept.period != epoch.period);
        self.facts.push((*epoch, table.clone(), facts.clone()));
        while self.facts.len() > 1 && self.facts.iter().map(|(.., facts)| facts.bytes()).sum::<usize>() > STATISTICS_ROWS_HELD {
            self.facts.remove(0);
        }
        Ok(facts)
    }
}

impl Resolved {
    /// The cells that are counted for a part.
    fn counted(&self, part: &Part) -> Cells {
        let (statistic, hierarchies) = (&self.table.statistic, self.table.hierarchies.clone());
        Cells { table: statistic.name.clone(), hierarchies, shape: part.shape.clone(), cohort: self.request.cohort.clone() }
    }

    /// The cells that a part shows: those of the rows, with every category of the levels that it has besides.
    fn shown(&self, part: &Part) -> Vec<Vec<usize>> {
        if self.survival.as_ref().is_some_and(|(steps, _)| std::ptr::eq(steps, part)) {
            return self
                .rows
                .iter()
                .filter_map(|row| self.exits(row))
                .flat_map(|(_, _, exits)| exits.map(|cell| part.cell(&cell)))
                .collect();
        }
        let more = part.place.len().saturating_sub(self.levels.len());
        if part.place.len() < self.levels.len() {
            // Those at the beginning of a curve: without its time.
            return Vec::new();
        }
        let last = (more == 1).then(|| {
            let (dimension, level) = part.shape.levels[part.place[self.levels.len()]];
            self.table.hierarchies[dimension].levels()[level].categories().len()
        });
        let cells = self.rows.iter().flat_map(|row| (0..last.unwrap_or(1)).map(move |category| (row, category)));
        cells
            .map(|(row, category)| {
                let cell: Vec<usize> = row.iter().copied().chain(last.map(|_| category)).collect();
                part.cell(&cell)
            })
            .collect()
    }
}

/// Whether something that was decided at `decided` may be used in an epoch: all begins with the next one.
pub(super) fn has_begun(decided: Timestamp, resolved: &Resolved) -> Result<(), QueryError> {
    match resolved.parts().find(|part| decided >= part.epoch.start) {
        None => Ok(()),
        Some(part) => Err(QueryError::Refused(format!(
            "this permit was decided on in the present epoch of such tables; they begin with the next, at {}",
            part.epoch.next
        ))),
    }
}
