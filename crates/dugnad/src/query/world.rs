//! What a permit comes to for one question: tables, columns, persons and keys. Outside it nothing exists.

use super::keys::Keys;
use super::seat::{Ground, Seat};
use dugnad_kernel::live::schema::{Storage, TableSchema};
use dugnad_kernel::permit::{Columns, TableGrant, Transform};
use dugnad_sql::INFORMATION_SCHEMA;
use jiff::Timestamp;
use roaring::RoaringBitmap;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// How the rows and keys of a permit are seen; the same for all its tables.
#[derive(Clone, Debug)]
pub(super) struct Lens {
    /// How keys show.
    pub keys: Keys,
    /// Columns of which a blinded reader sees nothing.
    pub blind: Arc<Blind>,
    /// Where a plan finds the rows.
    pub seat: Seat,
}

impl Lens {
    /// A lens of a plan of its own.
    pub fn new(keys: Keys, blind: Blind) -> Self {
        Self { keys, blind: Arc::new(blind), seat: Seat::default() }
    }
}

/// Columns that do not exist for a blinded reader.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Blind {
    /// Tables and their columns.
    pub columns: BTreeSet<(String, String)>,
    /// Persons who were unblinded: once there are some, the columns exist, and have values in their rows alone.
    pub seen: Arc<RoaringBitmap>,
    /// Whether this is what the permit's views are planned over: the columns are there then, and empty.
    pub behind_views: bool,
}

impl Blind {
    fn covers(&self, table: &str, column: &str) -> bool {
        !self.columns.is_empty() && self.columns.contains(&(table.to_owned(), column.to_owned()))
    }
}

/// A column that a permit holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ColumnGrant {
    /// Its position in the live table.
    pub position: usize,
    /// Its name.
    pub name: String,
    /// How it is stored.
    pub storage: Storage,
    /// What is done to it.
    pub transform: Transform,
    /// One sentence for the catalogue.
    pub description: String,
    /// Whether its values show only for persons who were unblinded.
    pub blind: bool,
}

/// A view over live tables that a permit may hold like a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SqlView {
    /// Its name, among those of tables.
    pub name: Arc<str>,
    /// What it selects.
    pub sql: Arc<str>,
}

impl SqlView {
    /// A view of that name and SQL.
    pub fn new(name: &str, sql: &str) -> Self {
        Self { name: name.into(), sql: sql.into() }
    }
}

/// Everything that exists for one question.
#[derive(Clone)]
pub(super) struct World {
    /// The tables and views that the permit names, with their columns.
    pub grants: BTreeMap<String, TableGrant>,
    /// The views that grants may name.
    pub views: Vec<SqlView>,
    /// The rows.
    pub ground: Ground,
    /// How they are seen.
    pub lens: Lens,
    /// `now()`: the time of that commit.
    pub now: Timestamp,
    /// How much memory a question may hold, in bytes.
    pub memory: usize,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("grants", &self.grants).field("lens", &self.lens).finish_non_exhaustive()
    }
}

impl World {
    /// The live tables of the permit: those that it names and that exist.
    pub fn tables(&self) -> impl Iterator<Item = (&str, Arc<TableSchema>, Arc<[ColumnGrant]>)> {
        self.grants.iter().filter(|(name, _)| !self.is_view(name)).filter_map(|(name, grant)| {
            let schema = self.ground.sources.schema(name)?;
            let columns = granted(&schema, grant, &self.lens.blind);
            Some((name.as_str(), schema, columns))
        })
    }

    /// The views of the permit.
    pub fn granted_views(&self) -> impl Iterator<Item = (&SqlView, &TableGrant)> {
        self.views.iter().filter_map(|view| Some((view, self.grants.get(&*view.name)?)))
    }

    fn is_view(&self, name: &str) -> bool {
        self.views.iter().any(|view| *view.name == *name)
    }

    /// Whether a column of a view exists.
    pub fn shows(&self, view: &str, column: &str) -> bool {
        !self.lens.blind.covers(view, column)
    }

    /// The same without the tables and views that a question cannot be about: putting a table together takes a while, and a view is
    /// planned in a session of its own, which takes as long as a small question. Any mention of the name counts, and any question
    /// about the catalogue is about all.
    pub fn for_question(mut self, sql: &str) -> World {
        let sql = sql.to_lowercase();
        let catalogue = sql.contains(INFORMATION_SCHEMA) || sql.contains("show");
        self.grants.retain(|name, _| catalogue || sql.contains(&name.to_lowercase()));
        self
    }

    /// The same rows and keys with every column of the tables that a view names: what it is planned over. Never given to a
    /// user. The view itself is not among them, so that views which name each other come to an end.
    pub fn behind(&self, view: &SqlView, tables: impl IntoIterator<Item = String>) -> World {
        let grants = tables.into_iter().map(|table| (table.clone(), whole(table))).collect();
        let views = self.views.iter().filter(|other| other.name != view.name).cloned().collect();
        let mut world = World { grants, views, ..self.clone() };
        if !world.lens.blind.columns.is_empty() {
            world.lens.blind = Arc::new(Blind { behind_views: true, ..Blind::clone(&world.lens.blind) });
        }
        world
    }
}

/// A table with all its columns as they are.
pub(super) fn whole(table: String) -> TableGrant {
    TableGrant { table, columns: Columns::All, transforms: BTreeMap::new() }
}

/// The columns of a live table that a permit holds, in the table's order. A transform that does not fit its column drops
/// the column: too little is shown rather than too much.
fn granted(schema: &TableSchema, grant: &TableGrant, blind: &Blind) -> Arc<[ColumnGrant]> {
    let column = |(position, column): (usize, &dugnad_kernel::live::schema::LiveColumn)| {
        let transform = grant.covers(&column.name).filter(|t| t.fits(column.storage))?;
        let is_blind = blind.covers(&schema.name, &column.name);
        if is_blind && blind.seen.is_empty() && !blind.behind_views {
            return None;
        }
        Some(ColumnGrant {
            position,
            name: column.name.clone(),
            storage: column.storage,
            transform,
            description: column.description.clone(),
            blind: is_blind,
        })
    };
    schema.columns.iter().enumerate().filter_map(column).collect()
}
