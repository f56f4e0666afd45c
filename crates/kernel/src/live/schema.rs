//! What a live table looks like.

use crate::views::{About, ColumnType, View};
use arrow::datatypes::{DataType, TimeUnit};

/// The zone in which instants are shown, and in which dates without a zone are read.
pub const ZONE: &str = "Europe/Oslo";

/// How the cells of a live column are stored, and so what a scan returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// `Boolean`
    Boolean,
    /// `Int64`
    Integer,
    /// `Float64`
    Decimal,
    /// `Dictionary(UInt32, Utf8)`
    Code,
    /// `Utf8View`
    String,
    /// `Date32`; a partial date is its first day
    Date,
    /// `Timestamp(Microsecond, "Europe/Oslo")`; a partial one is its first instant
    Instant,
    /// `UInt32`: a patient ordinal. Encoded per permit before anybody sees it.
    Patient,
    /// `UInt64`: a resource ordinal. Encoded per permit before anybody sees it.
    Resource,
    /// `Dictionary(UInt32, Utf8)`: the holder's name; every table has it, no view defines it.
    Holder,
}

impl Storage {
    /// Whether it is an ordinal, which nobody sees as it is.
    pub fn is_key(self) -> bool {
        matches!(self, Storage::Patient | Storage::Resource)
    }

    /// The Arrow type that a scan returns.
    pub fn arrow(self) -> DataType {
        match self {
            Storage::Boolean => DataType::Boolean,
            Storage::Integer => DataType::Int64,
            Storage::Decimal => DataType::Float64,
            Storage::Code | Storage::Holder => DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8)),
            Storage::String => DataType::Utf8View,
            Storage::Date => DataType::Date32,
            Storage::Instant => DataType::Timestamp(TimeUnit::Microsecond, Some(ZONE.into())),
            Storage::Patient => DataType::UInt32,
            Storage::Resource => DataType::UInt64,
        }
    }

    fn of(column: &crate::views::Column) -> Self {
        if column.collection {
            return Storage::String; // a JSON array
        }
        match column.column_type {
            ColumnType::Boolean => Storage::Boolean,
            ColumnType::Integer => Storage::Integer,
            ColumnType::Decimal => Storage::Decimal,
            ColumnType::Code => Storage::Code,
            ColumnType::Date => Storage::Date,
            ColumnType::DateTime => Storage::Instant,
            ColumnType::Key(Some("Patient")) => Storage::Patient,
            ColumnType::Key(_) => Storage::Resource,
            ColumnType::String | ColumnType::Time => Storage::String,
        }
    }
}

/// A column of a live table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveColumn {
    /// Its name.
    pub name: String,
    /// How it is stored.
    pub storage: Storage,
    /// One sentence for the catalogue.
    pub description: String,
}

/// A live table: its name and columns. The last column is always `holder`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSchema {
    /// The table.
    pub name: String,
    /// One sentence for the catalogue.
    pub description: String,
    /// Its columns.
    pub columns: Vec<LiveColumn>,
    /// Whom its rows are about.
    pub about: About,
    /// Whether it holds search values: [`super::Snapshot::hidden_table`] finds it, and nothing that a permit, the catalogue or SQL
    /// looks at.
    pub hidden: bool,
}

impl TableSchema {
    /// The live table of a view.
    pub fn of(name: &str, description: &str, view: &View) -> Self {
        let mut columns: Vec<LiveColumn> = view
            .columns()
            .iter()
            .map(|c| LiveColumn { name: c.name.clone(), storage: Storage::of(c), description: c.description.clone() })
            .collect();
        columns.push(LiveColumn {
            name: "holder".to_owned(),
            storage: Storage::Holder,
            description: "The health data holder (hospital) that wrote the resource.".to_owned(),
        });
        Self { name: name.to_owned(), description: description.to_owned(), columns, about: view.about(), hidden: false }
    }

    /// A hidden table of one column of text, whose rows are about whom their text says.
    pub fn hidden(name: String, description: &str, column: &str) -> Self {
        let of = |name: &str, storage| LiveColumn { name: name.to_owned(), storage, description: description.to_owned() };
        let columns = vec![of(column, Storage::String), of("holder", Storage::Holder)];
        Self { name, description: description.to_owned(), columns, about: About::Nobody, hidden: true }
    }

    /// Whether it is one of the program's own, which no permit opens: their names begin with what no view's may begin with.
    pub fn is_internal(&self) -> bool {
        self.name.starts_with('_')
    }

    /// The position of a column.
    pub fn index_of(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == column)
    }

    /// The column that says whose row it is. Other columns of storage `Patient` name further persons.
    pub fn patient_column(&self) -> Option<usize> {
        match self.about {
            About::Patient(position) => Some(position),
            About::Nobody | About::Somebody => None,
        }
    }

    /// The columns that name persons besides the one whose row it is.
    pub fn other_patient_columns(&self) -> impl Iterator<Item = usize> {
        let others = self.columns.iter().enumerate().filter(|(_, c)| c.storage == Storage::Patient).map(|(position, _)| position);
        others.filter(|position| Some(*position) != self.patient_column())
    }
}
