//! What statistics can be asked for: published documents, the calendar and the method. Nothing of the data.

use super::Statistics;
use super::published::Published;
use super::request::{ADMITTED, Measure};
use dugnad_kernel::disclosure::MethodDocument;
use jiff::Timestamp;
use serde::Serialize;

/// What a statistics permit can ask for, for `GET /statistics`.
#[derive(Clone, Debug, Serialize)]
pub struct Catalogue {
    /// The present epochs, by the number of dimensions: of at most one, of two, of more.
    pub epochs: Vec<CatalogueEpoch>,
    /// The method of disclosure control with its parameters; the seed is secret.
    pub method: MethodDocument,
    /// The least number that is ever shown; what is smaller, or near a coarser cell, is null.
    pub least_shown: u64,
    /// How many different cells of two dimensions or more a group of organisations is shown in an epoch.
    pub cells_per_epoch: usize,
    /// Of how many different tables of two dimensions or more, in an epoch of the longest calendar.
    pub tables_per_epoch: usize,
    /// The form of SQL that is admitted.
    pub sql: &'static str,
    /// What is shown of a cell.
    pub measures: Vec<(&'static str, &'static str)>,
    /// The tables.
    pub tables: Vec<CatalogueTable>,
}

/// An epoch of the catalogue.
#[derive(Clone, Debug, Serialize)]
pub struct CatalogueEpoch {
    /// Up to how many dimensions its tables have; a registered cohort counts as one.
    pub dimensions: usize,
    /// The instant whose data are shown.
    pub epoch: String,
    /// When the next begins.
    pub next: String,
}

/// A table of the catalogue.
#[derive(Clone, Debug, Serialize)]
pub struct CatalogueTable {
    /// Its name, in the schema `statistics`.
    pub name: String,
    /// What it counts.
    pub title: String,
    /// What sums and means are of, where it has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What it is counted by.
    pub dimensions: Vec<CatalogueDimension>,
}

/// A dimension of a table.
#[derive(Clone, Debug, Serialize)]
pub struct CatalogueDimension {
    /// Its name; `GET /dimensions/{name}` has its codes.
    pub name: String,
    /// What it is.
    pub title: String,
    /// Where its codes come from.
    pub source: String,
    /// Its levels, the coarsest first: what SQL groups by.
    pub levels: Vec<CatalogueLevel>,
}

/// A level of a dimension.
#[derive(Clone, Debug, Serialize)]
pub struct CatalogueLevel {
    /// Its name.
    pub name: String,
    /// What it is.
    pub title: String,
    /// How many categories it has, `unknown` among them.
    pub categories: usize,
}

impl Statistics {
    /// The catalogue at `now`.
    pub fn catalogue(&self, published: &Published, now: Timestamp) -> Catalogue {
        let epoch = |dimensions: usize| {
            let epoch = self.settings.epochs.of_depth(dimensions).epoch(now);
            CatalogueEpoch { dimensions, epoch: epoch.cite(), next: epoch.next.to_string() }
        };
        let table = |name: &str| {
            let table = published.table(name)?;
            let dimension = |h: &std::sync::Arc<dugnad_kernel::disclosure::Hierarchy>| CatalogueDimension {
                name: h.name().to_owned(),
                title: h.title().to_owned(),
                source: h.source().to_owned(),
                levels: h
                    .levels()
                    .iter()
                    .map(|l| CatalogueLevel { name: l.name().to_owned(), title: l.title().to_owned(), categories: l.categories().len() })
                    .collect(),
            };
            Some(CatalogueTable {
                name: format!("statistics.{name}"),
                title: table.statistic.title.clone(),
                value: table.statistic.value.as_ref().map(|value| value.title.clone()),
                dimensions: table.hierarchies.iter().map(dimension).collect(),
            })
        };
        Catalogue {
            epochs: [1, 2, 4].map(epoch).into(),
            method: *self.method().document(),
            least_shown: self.method().least_shown(),
            cells_per_epoch: self.settings.cells_per_epoch,
            tables_per_epoch: self.settings.tables_per_epoch,
            sql: ADMITTED,
            measures: Measure::ALL.iter().map(|(_, name, title)| (*name, *title)).collect(),
            tables: published.tables().filter_map(table).collect(),
        }
    }
}
