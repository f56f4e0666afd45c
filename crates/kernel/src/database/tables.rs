//! Which views read which resource type, and their rows as the committer takes them.

use super::erased::patients_of;
use super::record::Record;
use crate::fhir::definitions;
use crate::fhir::json::Value;
use crate::ids::TableId;
use crate::live::schema::{Storage, TableSchema};
use crate::live::{LiveCell, Marks, TableInfo, Tuning};
use crate::search::parameters::{self, TypeParameters};
use crate::search::values;
use crate::views::builtin::{TREATMENT, builtin_views, internal_views};
use crate::views::render::write_json;
use crate::views::{Cell, View, ViewError, has_modifier_extension};
use bumpalo::Bump;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// The version of how rows are made of views. A change that gives other rows for the same resource raises it, and every stored
/// table is then built anew.
const ROWS: &str = "2";

/// What gives the rows of a live table.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// A view. Built-in ones leave resources with an unknown `modifierExtension` out ([`LiveView::leaves_out_modified`]).
    View { view: Arc<View>, builtin: bool },
    /// The search values of a resource type: one row for each resource, in a table that is hidden.
    Search { resource_type: &'static str, parameters: &'static TypeParameters },
}

impl Source {
    /// The type of the resources that it reads.
    pub(super) fn resource_type(&self) -> &str {
        match self {
            Self::View { view, .. } => view.resource_type(),
            Self::Search { resource_type, .. } => resource_type,
        }
    }

    /// Whether the centre has registered it, and may take it away.
    pub(super) fn is_registered(&self) -> bool {
        matches!(self, Self::View { builtin: false, .. })
    }
}

/// A view whose rows are kept in a live table.
#[derive(Clone, Debug)]
pub(super) struct LiveView {
    pub(super) info: Arc<TableInfo>,
    pub(super) source: Source,
    /// The id of a registered view.
    pub(super) id: Option<String>,
    pub(super) failures: Arc<Failures>,
}

/// On how many resources a view has failed since it is live.
#[derive(Debug, Default)]
pub(super) struct Failures {
    count: AtomicU64,
    last: Mutex<Option<String>>,
}

impl Failures {
    fn add(&self, error: &ViewError) {
        self.count.fetch_add(1, Ordering::Relaxed);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }

    /// How many, and why the last.
    pub(super) fn seen(&self) -> (u64, Option<String>) {
        (self.count.load(Ordering::Relaxed), self.last.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// What is to become a live table: a view and what its rows depend on.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) schema: Arc<TableSchema>,
    pub(super) fingerprint: String,
    pub(super) source: Source,
    /// The id of a registered view.
    pub(super) id: Option<String>,
}

impl Wanted {
    /// The live table `name` of a view.
    pub(super) fn of(name: &str, description: &str, view: View, definition: &str, builtin: bool) -> Self {
        let schema = TableSchema::of(name, description, &view);
        let mut hash = Sha256::new();
        for part in [ROWS, if builtin { "built-in" } else { "registered" }, name, definition] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        for column in &schema.columns {
            hash.update(format!("{} {:?}\n", column.name, column.storage));
        }
        let fingerprint = hash.finalize().iter().take(16).map(|b| format!("{b:02x}")).collect();
        Self { schema: Arc::new(schema), fingerprint, source: Source::View { view: Arc::new(view), builtin }, id: None }
    }

    /// The table of the search values of a resource type.
    pub(super) fn search(resource_type: &'static str, parameters: &'static TypeParameters, fingerprint: String) -> Self {
        let schema = TableSchema::hidden(search_table(resource_type), "The search values of each resource.", "values");
        Self { schema: Arc::new(schema), fingerprint, source: Source::Search { resource_type, parameters }, id: None }
    }

    /// What every database has: the built-in views, those of the program's own, and a table of search values for each resource type.
    /// Made once: compiling the views takes some ten milliseconds.
    pub(super) fn builtin() -> &'static [Self] {
        static BUILTIN: LazyLock<Vec<Wanted>> = LazyLock::new(|| {
            let views = builtin_views().into_iter().chain(internal_views());
            let views = views.map(|b| Wanted::of(b.table, b.description, b.view, b.definition, true));
            let fingerprint = values::fingerprint();
            let parameters = |resource_type| Some((resource_type, parameters::of_type(resource_type)?));
            let searches = definitions::resource_types().filter_map(parameters);
            views.chain(searches.map(|(resource_type, of_type)| Wanted::search(resource_type, of_type, fingerprint.clone()))).collect()
        });
        &BUILTIN
    }

    /// Name, fingerprint and columns: what a stored table is recognised by.
    pub(super) fn named(&self) -> (String, String, Arc<TableSchema>) {
        (self.schema.name.clone(), self.fingerprint.clone(), Arc::clone(&self.schema))
    }

    /// A table of it, under a number.
    pub(super) fn numbered(self, id: TableId, tuning: Tuning) -> LiveView {
        let info = Arc::new(TableInfo { id, fingerprint: self.fingerprint, schema: self.schema, segment_rows: tuning.segment_rows });
        LiveView { info, source: self.source, id: self.id, failures: Arc::default() }
    }
}

/// The name of the hidden table of a resource type's search values. No ViewDefinition can have it.
pub(super) fn search_table(resource_type: &str) -> String {
    format!("search:{resource_type}")
}

/// The built-in table of a resource type, if it has one.
pub fn builtin_table(resource_type: &str) -> Option<&'static str> {
    let of_type = |wanted: &&Wanted| matches!(&wanted.source, Source::View { view, .. } if view.resource_type() == resource_type);
    let mut seen = Wanted::builtin().iter().filter(|wanted| !wanted.schema.is_internal());
    seen.find(of_type).map(|wanted| wanted.schema.name.as_str())
}

/// Names of tables that no ViewDefinition may have: the built-in ones, and the view over them.
pub(super) fn is_reserved(name: &str) -> bool {
    name == TREATMENT.0 || Wanted::builtin().iter().any(|wanted| wanted.schema.name == name)
}

/// The views that are live, at one time.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// Grows with every change: what was prepared with other tables is prepared again.
    pub(super) generation: u64,
    views: Vec<LiveView>,
    by_type: HashMap<String, Vec<usize>>,
}

/// A row of a live table, its keys not yet resolved to ordinals.
#[derive(Debug)]
pub(super) struct PreparedRow {
    pub(super) table: TableId,
    pub(super) marks: Marks,
    pub(super) cells: Vec<PreparedCell>,
}

/// The resource type whose resources have patient ordinals too.
pub(super) const PATIENT: &str = "Patient";

/// A cell, or the key of a resource of the same holder: `patient` says whether as a patient ordinal.
#[derive(Debug)]
pub(super) enum PreparedCell {
    Cell(LiveCell),
    Key { kind: &'static str, id: Box<str>, patient: bool },
}

impl Tables {
    pub(super) fn new(generation: u64, views: Vec<LiveView>) -> Self {
        let mut by_type: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, view) in views.iter().enumerate() {
            by_type.entry(view.source.resource_type().to_owned()).or_default().push(at);
        }
        Self { generation, views, by_type }
    }

    pub(super) fn views(&self) -> &[LiveView] {
        &self.views
    }

    /// The views that read a resource type.
    pub(super) fn of_type(&self, resource_type: &str) -> impl Iterator<Item = &LiveView> {
        self.by_type.get(resource_type).into_iter().flatten().filter_map(|at| self.views.get(*at))
    }

    /// The rows of one resource in all its tables, and whether a `modifierExtension` keeps it out of the built-in ones.
    pub(super) fn rows<'a>(&self, resource_type: &str, resource: Value<'a>, arena: &'a Bump) -> (Vec<PreparedRow>, bool) {
        let mut rows = Vec::new();
        let seen_by_views = self.of_type(resource_type).any(|v| !matches!(v.source, Source::Search { .. }));
        let modified = seen_by_views && has_modifier_extension(&resource);
        let record = Record::of(resource_type, &resource, seen_by_views);
        for view in self.of_type(resource_type).filter(|v| !(modified && v.leaves_out_modified())) {
            let before = rows.len();
            if let Err(error) = view.rows(resource, &record, arena, &mut rows) {
                // The resource stays readable as FHIR; the table's state says that it lacks it.
                tracing::error!(table = view.info.schema.name, %error, "a view failed on a resource");
                rows.truncate(before);
                view.failures.add(&error);
            }
        }
        (rows, modified)
    }
}

impl LiveView {
    /// Whether a resource with an unknown `modifierExtension` has no rows here. In the program's own tables it has: whoever says
    /// no, or is to be protected, is so whatever else the resource says.
    pub(super) fn leaves_out_modified(&self) -> bool {
        matches!(self.source, Source::View { builtin: true, .. }) && !self.info.schema.is_internal()
    }

    /// The rows of one resource.
    pub(super) fn rows<'a>(
        &self,
        resource: Value<'a>,
        record: &Record<'_>,
        arena: &'a Bump,
        rows: &mut Vec<PreparedRow>,
    ) -> Result<(), ViewError> {
        let columns = &self.info.schema.columns;
        let view = match &self.source {
            Source::View { view, .. } => view,
            Source::Search { resource_type, parameters } => {
                let about = patients_of(resource_type, &resource);
                let packed = values::values_of(parameters, resource, about.iter().map(AsRef::as_ref));
                let cells = vec![PreparedCell::Cell(LiveCell::Text(packed.into()))];
                rows.push(PreparedRow { table: self.info.id, marks: Marks::NONE, cells });
                return Ok(());
            }
        };
        view.run(resource, arena, &mut |cells| {
            let cells: Vec<PreparedCell> = cells.iter().zip(columns).map(|(cell, column)| prepared_cell(cell, column.storage)).collect();
            rows.push(PreparedRow { table: self.info.id, marks: record.marks(&cells), cells });
        })
    }
}

fn prepared_cell(cell: &Cell<'_>, storage: Storage) -> PreparedCell {
    PreparedCell::Cell(match (cell, storage) {
        (Cell::Key { resource_type, id }, Storage::Patient | Storage::Resource) => {
            let Some(kind) = definitions::resource_type(resource_type).map(|t| t.name()) else { return PreparedCell::Cell(LiveCell::Null) };
            return PreparedCell::Key { kind, id: (*id).into(), patient: storage == Storage::Patient };
        }
        (Cell::Boolean(b), Storage::Boolean) => LiveCell::Boolean(*b),
        (Cell::Integer(i), Storage::Integer) => LiveCell::Integer(*i),
        (Cell::Integer(i), Storage::Decimal) => LiveCell::Decimal(*i as f64),
        (Cell::Decimal(text), Storage::Decimal) => text.parse().map_or(LiveCell::Null, LiveCell::Decimal),
        (Cell::String(text), Storage::Code | Storage::String) => LiveCell::Text((*text).into()),
        (Cell::String(text), Storage::Date) => dates::date(text).map_or(LiveCell::Null, LiveCell::Date),
        (Cell::String(text), Storage::Instant) => dates::instant(text).map_or(LiveCell::Null, LiveCell::Instant),
        (Cell::Boolean(b), Storage::Code | Storage::String) => LiveCell::Text(if *b { "true" } else { "false" }.into()),
        (Cell::Integer(i), Storage::Code | Storage::String) => LiveCell::Text(i.to_string().into()),
        (Cell::Decimal(text), Storage::Code | Storage::String) => LiveCell::Text((*text).into()),
        (Cell::List(_) | Cell::Element(_), Storage::Code | Storage::String) => LiveCell::Text(as_json(cell).into()),
        _ => LiveCell::Null,
    })
}

fn as_json(cell: &Cell<'_>) -> String {
    let mut out = Vec::new();
    write_json(cell, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// FHIR dates and times as numbers. A partial one is its first day or instant; a zoneless one is read in [`ZONE`].
pub(super) mod dates {
    use crate::live::schema::ZONE;
    use jiff::civil::Date;
    use jiff::tz::TimeZone;
    use std::sync::LazyLock;

    static HERE: LazyLock<TimeZone> = LazyLock::new(|| TimeZone::get(ZONE).unwrap_or(TimeZone::UTC));

    fn civil(text: &str) -> Option<Date> {
        let mut parts = text.splitn(3, '-');
        let year = parts.next()?.parse().ok()?;
        let month = parts.next().map_or(Some(1), |m| m.parse().ok())?;
        let day = parts.next().map_or(Some(1), |d| d.parse().ok())?;
        Date::new(year, month, day).ok()
    }

    /// Days since 1970-01-01.
    pub(in crate::database) fn date(text: &str) -> Option<i32> {
        let days = civil(text.get(..10).unwrap_or(text))?.since((jiff::Unit::Day, Date::new(1970, 1, 1).ok()?)).ok()?;
        Some(days.get_days())
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub(in crate::database) fn instant(text: &str) -> Option<i64> {
        if text.contains('T') {
            // A leap second is the second after it.
            return text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond);
        }
        Some(civil(text)?.to_zoned(HERE.clone()).ok()?.timestamp().as_microsecond())
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn partial_dates_are_their_first_instant_in_oslo() {
            assert_eq!(date("1970-01-02"), Some(1));
            assert_eq!(date("1969"), Some(-365));
            assert_eq!(instant("1970"), Some(-3_600_000_000), "Oslo was an hour ahead of UTC");
            assert_eq!(instant("2024-07-01"), instant("2024-06-30T22:00:00Z"), "and is two in summer");
            assert_eq!(instant("2015-02-07T13:28:17.239+02:00"), Some(1_423_308_497_239_000));
            assert_eq!(date("not a date"), None);
        }
    }
}
