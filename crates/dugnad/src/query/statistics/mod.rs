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

use crate::limits::STATISTICS_ROWS_HELD;
use answer::Shown;
pub use answer::{CellRow, cell_rows};
pub use catalogue::{Catalogue, CatalogueDimension, CatalogueLevel, CatalogueTable};
pub use cohorts::COHORT;
pub(super) use cohorts::{Members, all, check, members, standing};
use datafusion::arrow::array::RecordBatch;
use dugnad_kernel::disclosure::{Asked, Epoch, Exhausted, Facts, Method, ReleasedTable, Seed, Shape};
use dugnad_kernel::ids::PatientOrdinal;
use dugnad_kernel::live::schema::ZONE;
use dugnad_sql::{Engine, QueryError};
use jiff::Timestamp;
pub(super) use published::Published;
pub use published::{DIMENSION, STATISTIC};
pub(super) use request::Request;
use resolved::Part;
pub(super) use resolved::Resolved;
use roaring::RoaringBitmap;
pub(super) use rows::{Population, check_statistic};
pub use settings::StatisticsSettings;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use store::Store;
use tokio::sync::Mutex;

/// What all second parts of questions share.
static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new(ZONE));

/// The statistics of a database.
pub(super) struct Statistics {
    pub settings: StatisticsSettings,
    method: Method,
    seed: Seed,
    state: Mutex<State>,
}

struct State {
    store: Store,
    /// The rows of each statistic in each epoch that was asked for, the last asked for at the end.
    facts: Vec<((String, Epoch), Arc<Facts>)>,
    released: HashMap<Cells, Arc<ReleasedTable>>,
}

/// Which cells: of what, in which epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Cells {
    table: String,
    shape: Shape,
    epoch: Epoch,
    cohort: Option<String>,
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
        Ok(Self { settings, method, seed: Seed::of(secret), state: Mutex::new(state) })
    }

    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Takes erased persons out of what is kept from epoch to epoch.
    pub async fn erase(&self, persons: &[PatientOrdinal]) -> io::Result<()> {
        let persons: RoaringBitmap = persons.iter().map(|person| person.0).collect();
        if persons.is_empty() { Ok(()) } else { self.state.lock().await.store.erase(&persons) }
    }

    /// The rows of an answer.
    pub async fn answer(&self, resolved: &Resolved, asker: &Asker, data: &dyn Data) -> Result<RecordBatch, QueryError> {
        let mut state = self.state.lock().await;
        let mut tables = Vec::new();
        for part in resolved.parts() {
            tables.push(self.released(&mut state, resolved, part, asker, data).await?);
        }
        drop(state);
        let now = resolved.base.epoch.start;
        Shown { resolved, tables }.rows(now).await
    }

    async fn released(
        &self,
        state: &mut State,
        resolved: &Resolved,
        part: &Part,
        asker: &Asker,
        data: &dyn Data,
    ) -> Result<Arc<ReleasedTable>, QueryError> {
        let name = &resolved.table.statistic.name;
        let facts = state.facts(resolved, &part.epoch, data).await?;
        part.shape.check(&facts).map_err(|e| QueryError::Refused(e.to_string()))?;
        let id = resolved.request.cohort.as_deref();
        let members = id.map(|id| data.cohort(id, &part.epoch)).transpose()?;
        let before: Vec<&RoaringBitmap> = members.iter().flat_map(|members| &members.before).collect();
        let asked = Asked {
            table: name,
            facts: &facts,
            shape: &part.shape,
            cohort: id.zip(members.as_ref().map(|members| &members.persons)),
            before: &before,
            seed: &self.seed,
            method: &self.method,
        };
        self.charge(state, resolved, part, asker, &asked)?;
        let cells = Cells { table: name.clone(), shape: part.shape.clone(), epoch: part.epoch, cohort: resolved.request.cohort.clone() };
        if let Some(table) = state.released.get(&cells) {
            return Ok(table.clone());
        }
        // What passed is not asked for again.
        state.released.retain(|known, _| known.epoch.period != part.epoch.period || known.epoch == part.epoch);
        let file = file_of(resolved, part);
        let mut anchors = state.store.anchors(&file).map_err(|e| failed(&e))?;
        let before = anchors.clone();
        let table = Arc::new(asked.release(&mut anchors).map_err(|e| QueryError::Refused(e.to_string()))?);
        // Durable before anything is shown: what was shown once must not be shown differently after a crash.
        if anchors != before {
            state.store.keep_anchors(&file, &anchors).map_err(|e| failed(&e))?;
        }
        state.released.insert(cells, table.clone());
        Ok(table)
    }

    /// Spends the cells of a part, durably.
    fn charge(&self, state: &mut State, resolved: &Resolved, part: &Part, asker: &Asker, asked: &Asked<'_>) -> Result<(), QueryError> {
        let fine = part.shape.levels.len() + usize::from(asked.cohort.is_some()) >= 2;
        let Some(group) = asker.group.as_deref().filter(|_| fine) else { return Ok(()) };
        let cells = resolved.cells_of(part);
        let ledger = state.store.ledger(&part.epoch).map_err(|e| failed(&e))?;
        let mut after = ledger.clone();
        let refused = |e: Exhausted| QueryError::Refused(e.to_string());
        let mut entries = after.spend_table(group, &file_of(resolved, part), self.settings.tables_per_epoch).map_err(refused)?;
        entries.extend(asked.spend(&mut after, group, cells.into_iter(), self.settings.cells_per_epoch).map_err(refused)?);
        state.store.spent(&part.epoch, &entries).map_err(|e| failed(&e))?;
        *state.store.ledger(&part.epoch).map_err(|e| failed(&e))? = after;
        Ok(())
    }
}

impl State {
    async fn facts(&mut self, resolved: &Resolved, epoch: &Epoch, data: &dyn Data) -> Result<Arc<Facts>, QueryError> {
        let key = (resolved.table.statistic.name.clone(), *epoch);
        let same = |facts: &Facts| facts.hierarchies() == resolved.table.hierarchies;
        if let Some(at) = self.facts.iter().position(|(known, facts)| *known == key && same(facts)) {
            let found = self.facts.remove(at);
            self.facts.push(found.clone());
            return Ok(found.1);
        }
        let facts = Arc::new(rows::read(&resolved.table, &data.population(epoch)?).await?);
        self.facts.retain(|((name, kept), _)| *name != key.0 || kept.period != epoch.period);
        self.facts.push((key, facts.clone()));
        while self.facts.len() > 1 && self.facts.iter().map(|(_, facts)| facts.bytes()).sum::<usize>() > STATISTICS_ROWS_HELD {
            self.facts.remove(0);
        }
        Ok(facts)
    }
}

impl Resolved {
    /// The cells that a part shows: those of the rows, with every category of the levels that it has besides.
    fn cells_of(&self, part: &Part) -> Vec<Vec<usize>> {
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

/// The name of the file of the anchors of some cells: a hash of which they are, by the names of their levels.
fn file_of(resolved: &Resolved, part: &Part) -> String {
    let mut hash = Sha256::new();
    let level = |(d, l): &(usize, usize)| resolved.table.hierarchies[*d].levels()[*l].name().to_owned();
    let mut said: Vec<String> = part.shape.levels.iter().map(level).collect();
    said.sort_unstable();
    let first = part.shape.first_of.map(|d| resolved.table.hierarchies[d].name().to_owned()).unwrap_or_default();
    let cohort = resolved.request.cohort.clone().unwrap_or_default();
    said.extend([first, part.shape.valued.to_string(), cohort, resolved.table.statistic.name.clone()]);
    hash.update(said.join("\0"));
    hash.finalize().iter().take(16).fold(String::new(), |name, byte| format!("{name}{byte:02x}"))
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
