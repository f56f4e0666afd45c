//! Which views read which resource type, and their rows as the committer takes them.

use crate::fhir::definitions;
use crate::fhir::json::Value;
use crate::live::schema::{Storage, TableSchema};
use crate::live::{LiveCell, LiveTable};
use crate::views::builtin::builtin_views;
use crate::views::render::write_json;
use crate::views::{Cell, View, has_modifier_extension};
use bumpalo::Bump;
use std::collections::HashMap;

/// The live tables of a database, by position, and the views that fill them.
pub(super) struct Tables {
    views: Vec<(View, TableSchema)>,
    by_type: HashMap<String, Vec<usize>>,
}

/// A row of the live table at `table`, its keys not yet resolved to ordinals.
#[derive(Debug)]
pub(super) struct PreparedRow {
    pub(super) table: usize,
    pub(super) cells: Vec<PreparedCell>,
}

/// A cell, or the key of a resource of the same holder.
#[derive(Debug)]
pub(super) enum PreparedCell {
    Cell(LiveCell),
    Key { kind: &'static str, id: Box<str>, patient: bool },
}

impl Tables {
    /// The tables of the built-in views.
    pub(super) fn builtin() -> Self {
        let mut tables = Self { views: Vec::new(), by_type: HashMap::new() };
        for builtin in builtin_views() {
            let schema = TableSchema::of(builtin.table, builtin.description, &builtin.view);
            tables.by_type.entry(builtin.view.resource_type().to_owned()).or_default().push(tables.views.len());
            tables.views.push((builtin.view, schema));
        }
        tables
    }

    /// Empty live tables, in order.
    pub(super) fn live_tables(&self) -> Vec<LiveTable> {
        self.views.iter().map(|(_, schema)| LiveTable::new(schema.clone())).collect()
    }

    /// The tables that read a resource type.
    pub(super) fn of_type(&self, resource_type: &str) -> &[usize] {
        self.by_type.get(resource_type).map_or(&[], Vec::as_slice)
    }

    /// The rows of one resource in all its tables, and whether a `modifierExtension` keeps it out of them.
    pub(super) fn rows<'a>(&self, resource_type: &str, resource: Value<'a>, arena: &'a Bump) -> (Vec<PreparedRow>, bool) {
        let mut rows = Vec::new();
        if self.of_type(resource_type).is_empty() {
            return (rows, false);
        }
        if has_modifier_extension(&resource) {
            return (rows, true);
        }
        for table in self.of_type(resource_type) {
            let Some((view, schema)) = self.views.get(*table) else { continue };
            let run = view.run(resource, arena, &mut |cells| {
                let cells = cells.iter().zip(&schema.columns).map(|(cell, column)| prepared_cell(cell, column.storage)).collect();
                rows.push(PreparedRow { table: *table, cells });
            });
            if let Err(error) = run {
                // Built-in views are tested not to fail on valid resources; if one does, the resource stays readable as FHIR.
                tracing::error!(table = schema.name, %error, "a built-in view failed on a resource");
            }
        }
        (rows, false)
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
