//! The tables and dimensions of an epoch: those of the program, and the centre's own in their place.

use super::QueryError;
use dugnad_kernel::database::Database;
use dugnad_kernel::disclosure::{Epoch, Hierarchy, HierarchyDocument, Statistic, carried, carried_statistics, provider, time};
use dugnad_kernel::ids::HolderId;
use dugnad_kernel::live::schema::ZONE;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// The kinds of document that the centre publishes dimensions and statistics as.
pub const DIMENSION: &str = "dimension";
/// See [`DIMENSION`].
pub const STATISTIC: &str = "statistic";

/// The dimensions that the program carries, but for time and place.
static CARRIED: LazyLock<BTreeMap<String, Arc<Hierarchy>>> = LazyLock::new(|| {
    let usable = |document: HierarchyDocument| Some((document.name.clone(), Arc::new(Hierarchy::new(&document).ok()?)));
    carried().into_iter().filter_map(usable).collect() // a test of the kernel makes each of them
});

/// What statistics can be asked for in an epoch: a function of published documents and the calendar alone.
pub(in crate::query) struct Published {
    dimensions: BTreeMap<String, Arc<Hierarchy>>,
    statistics: BTreeMap<String, Arc<Statistic>>,
}

/// A statistic with its dimensions.
#[derive(Clone)]
pub(in crate::query) struct Table {
    pub statistic: Arc<Statistic>,
    /// In the order of the statistic's readings.
    pub hierarchies: Vec<Arc<Hierarchy>>,
}

/// The year of an epoch.
fn year(epoch: &Epoch) -> i16 {
    epoch.start.in_tz(ZONE).map_or_else(|_| epoch.start.to_zoned(jiff::tz::TimeZone::UTC).year(), |zoned| zoned.year())
}

impl Published {
    pub fn at(database: &Database, epoch: &Epoch) -> Result<Self, QueryError> {
        let internal = |e: &dyn std::fmt::Display| QueryError::Internal(e.to_string());
        let holders: Vec<String> = database.holders().into_iter().filter(|h| h.id != HolderId::CENTRE).map(|h| h.name).collect();
        let mut dimensions = CARRIED.clone();
        let own = database.documents(DIMENSION).map_err(|e| internal(&e))?;
        let own = own.iter().filter_map(|document| HierarchyDocument::parse(document.json.as_str()).ok());
        // A centre without hospitals has no place.
        let places = (!holders.is_empty()).then(|| provider(holders.iter().map(String::as_str)));
        for document in [Some(time(year(epoch))), places].into_iter().flatten().chain(own) {
            let hierarchy = Hierarchy::new(&document).map_err(|e| internal(&e))?;
            dimensions.insert(document.name, Arc::new(hierarchy));
        }
        let mut statistics: BTreeMap<String, Arc<Statistic>> =
            carried_statistics().into_iter().map(|s| (s.name.clone(), Arc::new(s))).collect();
        let own = database.documents(STATISTIC).map_err(|e| internal(&e))?;
        let own = own.iter().filter_map(|document| Statistic::parse(document.json.as_str()).ok());
        statistics.extend(own.map(|s| (s.name.clone(), Arc::new(s))));
        Ok(Self { dimensions, statistics })
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
