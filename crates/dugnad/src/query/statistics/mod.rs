//! Statistics under a permit of basis `ehds_request`: persons by one dimension, from the last epoch, after disclosure
//! control. Not free SQL: see [`request`] for what is admitted. What is counted never leaves this module except through
//! [`dugnad_kernel::disclosure::release`].

mod count;
mod request;
#[cfg(test)]
mod tests;

use super::source::Sources;
use super::world::SqlView;
use count::count;
pub(super) use count::{text, texts};
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use dugnad_kernel::disclosure::{Calendar, Dimension, Epoch, Method, Raw, Released, release};
use dugnad_kernel::live::schema::ZONE;
use dugnad_kernel::permit::Permit;
use dugnad_sql::QueryError;
pub(super) use request::Request;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;

/// The tables of the schema `statistics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Table {
    Patients,
    Conditions,
    Treatments,
}

/// The dimensions that tables are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum By {
    Sex,
    AgeBand,
    Holder,
    Year,
    Kind,
    Icd10Chapter,
    NeoplasmBlock,
}

impl Table {
    pub(super) const ALL: [Table; 3] = [Table::Patients, Table::Conditions, Table::Treatments];

    pub(super) fn name(self) -> &'static str {
        match self {
            Table::Patients => "patients",
            Table::Conditions => "conditions",
            Table::Treatments => "treatments",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Table::Patients => "Persons that a hospital has registered.",
            Table::Conditions => "Persons with a condition, without those refuted or entered in error.",
            Table::Treatments => "Persons who were treated: surgery, radiotherapy, drugs, immunisations, other procedures.",
        }
    }

    /// The table whose rows are counted.
    fn behind(self) -> &'static str {
        match self {
            Table::Patients => "patient",
            Table::Conditions => "condition",
            Table::Treatments => "treatment",
        }
    }

    /// The dimensions that it is counted by.
    pub(super) fn dimensions(self) -> &'static [By] {
        match self {
            Table::Patients => &[By::Sex, By::AgeBand, By::Holder],
            Table::Conditions => &[By::Icd10Chapter, By::NeoplasmBlock, By::Year, By::Holder, By::Sex, By::AgeBand],
            Table::Treatments => &[By::Kind, By::Year, By::Holder, By::Sex, By::AgeBand],
        }
    }
}

impl By {
    pub(super) fn name(self) -> &'static str {
        match self {
            By::Sex => "sex",
            By::AgeBand => "age_band",
            By::Holder => "holder",
            By::Year => "year",
            By::Kind => "kind",
            By::Icd10Chapter => "icd10_chapter",
            By::NeoplasmBlock => "neoplasm_block",
        }
    }

    /// The published list, as of an epoch.
    fn dimension(self, lists: &Lists) -> Dimension {
        match self {
            By::Sex => Dimension::sex(),
            By::AgeBand => Dimension::age_band(),
            By::Holder => Dimension::holder(lists.holders.iter().map(String::as_str)),
            By::Year => Dimension::year(FIRST_YEAR, lists.year),
            By::Kind => Dimension::treatment_kind(),
            By::Icd10Chapter => Dimension::icd10_chapter(),
            By::NeoplasmBlock => Dimension::neoplasm_block(),
        }
    }
}

/// Earlier years are one category: electronic records of hospitals thin out before.
const FIRST_YEAR: i16 = 2000;

/// What published lists depend on beside the code lists themselves: nothing of the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lists {
    /// The registered holders, in order.
    pub holders: Vec<String>,
    /// The year of the epoch.
    pub year: i16,
}

impl Lists {
    /// The lists of an epoch.
    pub fn at(epoch: &Epoch, holders: Vec<String>) -> Self {
        let start = epoch.start.in_tz(ZONE).unwrap_or_else(|_| epoch.start.to_zoned(jiff::tz::TimeZone::UTC));
        Self { holders, year: start.year() }
    }
}

/// What a statistics permit can ask for, for `GET` and for error messages.
#[derive(Clone, Debug, Serialize)]
pub struct Catalogue {
    /// The present epoch: the instant whose data are shown.
    pub epoch: String,
    /// When the next epoch begins.
    pub next_epoch: String,
    /// What a cell of few persons shows.
    pub suppressed: String,
    /// The one form of SQL that is admitted.
    pub sql: &'static str,
    /// The tables.
    pub tables: Vec<CatalogueTable>,
}

/// A table of the catalogue.
#[derive(Clone, Debug, Serialize)]
pub struct CatalogueTable {
    /// Its name, in the schema `statistics`.
    pub name: String,
    /// What it counts.
    pub description: &'static str,
    /// What it is counted by.
    pub dimensions: Vec<CatalogueDimension>,
}

/// A dimension of the catalogue.
#[derive(Clone, Debug, Serialize)]
pub struct CatalogueDimension {
    /// Its name.
    pub name: &'static str,
    /// What it is and where its list comes from.
    pub description: &'static str,
    /// Its categories: code and label.
    pub categories: Vec<(String, String)>,
}

/// The catalogue of statistics tables: a function of the calendar, the method and the published lists alone.
pub(super) fn catalogue(epoch: &Epoch, method: &Method, lists: &Lists) -> Catalogue {
    let dimension = |by: &By| {
        let dimension = by.dimension(lists);
        CatalogueDimension {
            name: dimension.name(),
            description: dimension.description(),
            categories: dimension.categories().iter().map(|c| (c.code.clone(), c.label.clone())).collect(),
        }
    };
    let table = |table: Table| CatalogueTable {
        name: format!("statistics.{}", table.name()),
        description: table.description(),
        dimensions: table.dimensions().iter().map(dimension).collect(),
    };
    Catalogue {
        epoch: epoch.cite(),
        next_epoch: epoch.next.to_string(),
        suppressed: release(Raw::nobody(), method).to_string(),
        sql: request::ADMITTED,
        tables: Table::ALL.into_iter().map(table).collect(),
    }
}

/// A released table of one dimension.
#[derive(Debug)]
pub(super) struct ReleasedTable {
    dimension: Dimension,
    cells: Vec<Released>,
}

/// The released tables of the present epoch.
#[derive(Default)]
pub(super) struct Cache {
    epoch: Option<(Epoch, Lists)>,
    tables: HashMap<(Table, By), Arc<ReleasedTable>>,
}

/// Everything that a table is released from.
pub(super) struct Basis {
    /// The epoch.
    pub epoch: Epoch,
    /// The published lists of that epoch.
    pub lists: Lists,
    /// The method.
    pub method: Method,
    /// The data at the epoch.
    pub sources: Arc<dyn Sources>,
    /// `treatment`.
    pub views: Vec<SqlView>,
}

impl Cache {
    /// A table that has been released in this epoch already.
    pub fn get(&self, request: &Request, epoch: &Epoch, lists: &Lists) -> Option<Arc<ReleasedTable>> {
        let present = self.epoch.as_ref().is_some_and(|(e, l)| e == epoch && l == lists);
        self.tables.get(&(request.table, request.by)).filter(|_| present).cloned()
    }

    /// Counts and releases a table; those of an earlier epoch are forgotten.
    pub async fn table(&mut self, request: &Request, basis: &Basis) -> Result<Arc<ReleasedTable>, QueryError> {
        let present = Some((basis.epoch, basis.lists.clone()));
        if self.epoch != present {
            self.tables.clear();
            self.epoch = present;
        }
        let dimension = request.by.dimension(&basis.lists);
        let raw = count(request.table, request.by, &dimension, basis).await?;
        let cells = raw.into_iter().map(|raw| release(raw, &basis.method)).collect();
        let table = Arc::new(ReleasedTable { dimension, cells });
        self.tables.insert((request.table, request.by), table.clone());
        Ok(table)
    }
}

impl Request {
    /// The table that it names, for the record.
    pub fn table_name(&self) -> String {
        format!("statistics.{}", self.table.name())
    }

    /// Checks that the permit holds what is counted: the table behind, and the columns that tell the category. What it does
    /// not hold does not exist, as under a permit with rows.
    pub fn within(&self, permit: &Permit) -> Result<(), QueryError> {
        let behind = self.table.behind();
        let columns: &[(&str, &str)] = match self.by {
            By::Sex => &[("patient", "gender")],
            By::AgeBand => &[("patient", "birth_date")],
            By::Holder => &[(behind, "holder")],
            By::Year => &[(behind, "started")],
            By::Kind => &[(behind, "kind")],
            By::Icd10Chapter | By::NeoplasmBlock => &[(behind, "code"), (behind, "code_system")],
        };
        if !permit.covers_table(behind) {
            return Err(QueryError::Refused(format!("there is no table {} under this permit", self.table_name())));
        }
        if columns.iter().any(|(table, column)| permit.covers(table, column).is_none()) {
            let by = self.by.name();
            return Err(QueryError::Refused(format!("{} has no dimension {by} under this permit", self.table_name())));
        }
        Ok(())
    }

    /// Checks that every category it names is in the published list.
    pub fn check(&self, lists: &Lists) -> Result<(), QueryError> {
        let dimension = self.by.dimension(lists);
        match self.codes.iter().flatten().find(|code| dimension.position(code).is_none()) {
            None => Ok(()),
            Some(code) => Err(QueryError::Refused(format!(
                "{} has no category '{code}'; its list is in the catalogue of statistics",
                dimension.name()
            ))),
        }
    }

    /// How many cells it shows. An order tells of cells that LIMIT cuts off, so that they count too.
    pub fn cells(&self, lists: &Lists) -> usize {
        let all = self.by.dimension(lists).categories().len();
        self.codes.as_ref().map_or(all, |codes| codes.len().min(all))
    }

    /// The columns of the answer.
    pub fn schema(&self) -> SchemaRef {
        let fields = self.columns.iter().map(|(_, name)| Field::new(name, DataType::Utf8, false));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// The answer: rows of the released table. Filter, order and limit see released values only.
    pub fn answer(&self, table: &ReleasedTable) -> Result<RecordBatch, QueryError> {
        let dimension = &table.dimension;
        // Rounded before it is sorted: an order by more than what is shown would show more.
        let rounded = |cell: &Released| self.rounding.map_or(*cell, |to| cell.rounded(to));
        let cells: Vec<Released> = table.cells.iter().map(rounded).collect();
        let mut rows: Vec<usize> = (0..dimension.categories().len().min(cells.len())).collect();
        if let Some(codes) = &self.codes {
            rows.retain(|row| codes.contains(&dimension.categories()[*row].code));
        }
        for (column, descending) in self.order.iter().rev() {
            let compare = |a: &usize, b: &usize| match column {
                request::Column::Dimension => a.cmp(b), // the order of the list
                request::Column::Persons => cells[*a].cmp(&cells[*b]),
            };
            rows.sort_by(|a, b| if *descending { compare(b, a) } else { compare(a, b) });
        }
        rows.truncate(self.limit.unwrap_or(usize::MAX));
        let column = |column: &request::Column| -> ArrayRef {
            let text = |row: &usize| match column {
                request::Column::Dimension => dimension.categories()[*row].code.clone(),
                request::Column::Persons => cells[*row].to_string(),
            };
            Arc::new(StringArray::from_iter_values(rows.iter().map(text)))
        };
        let columns = self.columns.iter().map(|(c, _)| column(c)).collect();
        RecordBatch::try_new(self.schema(), columns).map_err(|_| QueryError::Internal("the released table is uneven".to_owned()))
    }
}

/// The epoch that `calendar` is in, and its lists.
pub(super) fn present(calendar: &Calendar, now: jiff::Timestamp, holders: Vec<String>) -> (Epoch, Lists) {
    let epoch = calendar.epoch(now);
    let lists = Lists::at(&epoch, holders);
    (epoch, lists)
}
