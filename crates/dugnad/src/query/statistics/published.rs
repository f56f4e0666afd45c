//! The tables and dimensions of an epoch: those of the program, and the centre's own in their place.

use super::QueryError;
use super::request::is_word;
use dugnad_kernel::database::Database;
use dugnad_kernel::disclosure::{Epoch, Hierarchy, HierarchyDocument, Statistic, carried, carried_statistics, provider, time};
use dugnad_kernel::ids::HolderId;
use dugnad_kernel::live::schema::ZONE;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// The kinds of document that the centre publishes dimensions and statistics as.
pub const DIMENSION: &str = "dimension";
/// See [`DIMENSION`].
pub const STATISTIC: &str = "statistic";

/// The dimensions that the program carries, but for time and place.
static CARRIED: LazyLock<BTreeMap<String, Arc<Hierarchy>>> = LazyLock::new(|| {
    let usable = |document: HierarchyDocument| Some((document.name.clone(), Arc::new(Hierarchy::new(&document).ok()?)));
    carried().into_iter().filter_map(usable).collect() // a test of the kernel makes each of them
});

/// The statistics that the program carries.
static STATISTICS: LazyLock<BTreeMap<String, Arc<Statistic>>> =
    LazyLock::new(|| carried_statistics().into_iter().map(|s| (s.name.clone(), Arc::new(s))).collect());

/// What statistics can be asked for in an epoch: a function of published documents and the calendar alone.
pub(in crate::query) struct Published {
    dimensions: BTreeMap<String, Arc<Hierarchy>>,
    statistics: BTreeMap<String, Arc<Statistic>>,
}

/// A statistic with its dimensions.
#[derive(Clone, PartialEq)]
pub(in crate::query) struct Table {
    pub statistic: Arc<Statistic>,
    /// In the order of the statistic's readings.
    pub hierarchies: Vec<Arc<Hierarchy>>,
}

fn internal(error: impl Display) -> QueryError {
    QueryError::Internal(error.to_string())
}

/// The year of an epoch.
fn year(epoch: &Epoch) -> i16 {
    epoch.start.in_tz(ZONE).map_or_else(|_| epoch.start.to_zoned(jiff::tz::TimeZone::UTC).year(), |zoned| zoned.year())
}

/// What follows from the same, kept.
#[derive(Default)]
pub(super) struct Kept(Mutex<Option<(Basis, Arc<Published>)>>);

/// What [`Published`] follows from.
#[derive(PartialEq)]
struct Basis {
    year: i16,
    holders: Vec<String>,
    /// The centre's own dimensions and statistics, as JSON.
    dimensions: Vec<String>,
    statistics: Vec<String>,
}

impl Basis {
    fn of(database: &Database, epoch: &Epoch) -> Result<Self, QueryError> {
        let own = |kind: &str| match database.documents(kind) {
            Ok(documents) => Ok(documents.into_iter().map(|document| document.json).collect()),
            Err(error) => Err(internal(error)),
        };
        let holders = database.holders().into_iter().filter(|h| h.id != HolderId::CENTRE).map(|h| h.name).collect();
        Ok(Self { year: year(epoch), holders, dimensions: own(DIMENSION)?, statistics: own(STATISTIC)? })
    }
}

impl Kept {
    /// What can be asked for in an epoch.
    pub fn at(&self, database: &Database, epoch: &Epoch) -> Result<Arc<Published>, QueryError> {
        let basis = Basis::of(database, epoch)?;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, published)) = kept.as_ref().filter(|(of, _)| *of == basis) {
            return Ok(Arc::clone(published));
        }
        let published = Arc::new(Published::of(&basis)?);
        *kept = Some((basis, Arc::clone(&published)));
        Ok(published)
    }
}

impl Published {
    fn of(basis: &Basis) -> Result<Self, QueryError> {
        let mut dimensions = CARRIED.clone();
        let own = basis.dimensions.iter().filter_map(|json| HierarchyDocument::parse(json).ok());
        // A centre without hospitals has no place.
        let places = (!basis.holders.is_empty()).then(|| provider(basis.holders.iter().map(String::as_str)));
        for document in [Some(time(basis.year)), places].into_iter().flatten().chain(own) {
            let hierarchy = Hierarchy::new(&document).map_err(internal)?;
            dimensions.insert(document.name, Arc::new(hierarchy));
        }
        let mut statistics = STATISTICS.clone();
        let own = basis.statistics.iter().filter_map(|json| Statistic::parse(json).ok());
        statistics.extend(own.map(|s| (s.name.clone(), Arc::new(s))));
        Ok(Self { dimensions, statistics })
    }

    /// Checks that a dimension can stand beside the others: SQL names its levels alone, and what SQL names has one meaning.
    pub fn check_dimension(&self, dimension: &Hierarchy) -> Result<(), QueryError> {
        let others = || self.dimensions.values().filter(|other| other.name() != dimension.name());
        for level in dimension.levels() {
            let name = level.name();
            let of_other =
                others().find(|other| other.level(name).is_some()).map(|other| format!("a level of the dimension {}", other.name()));
            if let Some(taken) = of_other.or_else(|| is_word(name).then(|| "a word of statistics".to_owned())) {
                return Err(QueryError::Refused(format!(
                    "the dimension {}: {name} is {taken}; give the level another name",
                    dimension.name()
                )));
            }
        }
        Ok(())
    }

    /// The table of this name; dimensions that are not there are not among its own.
    pub fn table(&self, name: &str) -> Option<Table> {
        let mut statistic = Statistic::clone(self.statistics.get(name)?);
        statistic.dimensions.retain(|reading| self.dimensions.contains_key(&reading.dimension));
        let hierarchies = statistic.dimensions.iter().filter_map(|r| self.dimensions.get(&r.dimension).cloned()).collect();
        Some(Table { statistic: Arc::new(statistic), hierarchies })
    }

    /// The names of all tables.
    pub fn tables(&self) -> impl Iterator<Item = &str> {
        self.statistics.keys().map(String::as_str)
    }

    /// The dimension of this name.
    pub fn dimension(&self, name: &str) -> Option<&Arc<Hierarchy>> {
        self.dimensions.get(name)
    }
}

impl Table {
    /// Dimension and level of the level of this name.
    pub fn level(&self, name: &str) -> Option<(usize, usize)> {
        self.hierarchies.iter().enumerate().find_map(|(dimension, h)| h.level(name).map(|level| (dimension, level)))
    }
}
