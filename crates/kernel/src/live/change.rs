//! What one new version of a resource does to the live tables, and its form in the tail log.

use super::column::LiveCell;
use super::marks::Marks;
use super::wire::{Reader, put_bytes, put_number, put_signed};
use crate::ids::{Commit, HolderId, PatientOrdinal, ResourceOrdinal, TableId};

/// What a new version does to the live tables, once it is durable: rows of the version before end, its own begin.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The commit that wrote it.
    pub commit: Commit,
    /// The holder of the resource.
    pub holder: HolderId,
    /// The resource.
    pub resource: ResourceOrdinal,
    /// Its type, or the kind of a document.
    pub kind: String,
    /// The commit that wrote the version before.
    pub previous: Option<Commit>,
    /// Its rows.
    pub rows: Vec<ChangedRow>,
    /// By how much it changes the number of current resources of its kind: 1, 0 or -1.
    pub appeared: i64,
    /// Whether a `modifierExtension` keeps it out of the built-in views.
    pub modified: bool,
}

/// A row that begins.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangedRow {
    /// In which table.
    pub table: TableId,
    /// What is known of it besides its cells.
    pub marks: Marks,
    /// Its cells.
    pub cells: Vec<LiveCell>,
}

impl Change {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_number(self.commit.0, out);
        put_number(self.holder.0.into(), out);
        put_number(self.resource.0, out);
        put_bytes(self.kind.as_bytes(), out);
        put_number(self.previous.map_or(0, |c| c.0), out);
        put_signed(self.appeared, out);
        out.push(u8::from(self.modified));
        put_number(self.rows.len() as u64, out);
        for row in &self.rows {
            put_number(u64::from(row.table.0) | u64::from(row.marks.number()) << 32, out);
            put_number(row.cells.len() as u64, out);
            row.cells.iter().for_each(|cell| write_cell(cell, out));
        }
    }

    /// `None` if the bytes are no change.
    pub(super) fn read(from: &mut Reader<'_>) -> Option<Self> {
        let commit = Commit(from.number()?);
        let holder = HolderId(from.number()?.try_into().ok()?);
        let resource = ResourceOrdinal(from.number()?);
        let kind = from.text()?.to_owned();
        let previous = Some(from.number()?).filter(|c| *c > 0).map(Commit);
        let appeared = from.signed()?;
        let modified = from.byte()? != 0;
        let mut rows = Vec::new();
        for _ in 0..from.number()? {
            let number = from.number()?;
            let marks = Marks::of_number(u8::try_from(number >> 32).ok().filter(|marks| *marks < 4)?);
            let cells = from.number()?;
            let cells: Option<Vec<LiveCell>> = (0..cells).map(|_| read_cell(from)).collect();
            rows.push(ChangedRow { table: TableId(number as u32), marks, cells: cells? });
        }
        Some(Self { commit, holder, resource, kind, previous, rows, appeared, modified })
    }
}

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INTEGER: u8 = 3;
const DECIMAL: u8 = 4;
const TEXT: u8 = 5;
const DATE: u8 = 6;
const INSTANT: u8 = 7;
const PATIENT: u8 = 8;
const RESOURCE: u8 = 9;

fn write_cell(cell: &LiveCell, out: &mut Vec<u8>) {
    match cell {
        LiveCell::Null => out.push(NULL),
        LiveCell::Boolean(value) => out.push(if *value { TRUE } else { FALSE }),
        LiveCell::Integer(value) => {
            out.push(INTEGER);
            put_signed(*value, out);
        }
        LiveCell::Decimal(value) => {
            out.push(DECIMAL);
            out.extend_from_slice(&value.to_bits().to_le_bytes());
        }
        LiveCell::Text(text) => {
            out.push(TEXT);
            put_bytes(text.as_bytes(), out);
        }
        LiveCell::Date(days) => {
            out.push(DATE);
            put_signed((*days).into(), out);
        }
        LiveCell::Instant(micros) => {
            out.push(INSTANT);
            put_signed(*micros, out);
        }
        LiveCell::Patient(ordinal) => {
            out.push(PATIENT);
            put_number(ordinal.0.into(), out);
        }
        LiveCell::Resource(ordinal) => {
            out.push(RESOURCE);
            put_number(ordinal.0, out);
        }
    }
}

fn read_cell(from: &mut Reader<'_>) -> Option<LiveCell> {
    Some(match from.byte()? {
        NULL => LiveCell::Null,
        FALSE => LiveCell::Boolean(false),
        TRUE => LiveCell::Boolean(true),
        INTEGER => LiveCell::Integer(from.signed()?),
        DECIMAL => LiveCell::Decimal(f64::from_bits(u64::from_le_bytes(from.take(8)?.try_into().ok()?))),
        TEXT => LiveCell::Text(from.text()?.into()),
        DATE => LiveCell::Date(from.signed()?.try_into().ok()?),
        INSTANT => LiveCell::Instant(from.signed()?),
        PATIENT => LiveCell::Patient(PatientOrdinal(from.number()?.try_into().ok()?)),
        RESOURCE => LiveCell::Resource(ResourceOrdinal(from.number()?)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cell() -> impl Strategy<Value = LiveCell> {
        prop_oneof![
            Just(LiveCell::Null),
            any::<bool>().prop_map(LiveCell::Boolean),
            any::<i64>().prop_map(LiveCell::Integer),
            (-1e300..1e300).prop_map(LiveCell::Decimal),
            ".{0,40}".prop_map(|t| LiveCell::Text(t.into())),
            any::<i32>().prop_map(LiveCell::Date),
            any::<i64>().prop_map(LiveCell::Instant),
            any::<u32>().prop_map(|p| LiveCell::Patient(PatientOrdinal(p))),
            any::<u64>().prop_map(|r| LiveCell::Resource(ResourceOrdinal(r))),
        ]
    }

    proptest! {
        #[test]
        fn a_change_is_read_as_it_was_written(
            (commit, holder, resource, previous) in (1u64.., any::<u16>(), any::<u64>(), any::<u64>()),
            kind in "[A-Za-z]{0,20}",
            (appeared, modified) in (-1i64..=1, any::<bool>()),
            rows in prop::collection::vec((any::<u32>().prop_map(TableId), 0u8..4, prop::collection::vec(cell(), 0..8)), 0..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let row = |(table, marks, cells)| ChangedRow { table, marks: Marks::of_number(marks), cells };
            let rows = rows.into_iter().map(row).collect();
            let change = Change {
                commit: Commit(commit),
                holder: HolderId(holder),
                resource: ResourceOrdinal(resource),
                kind,
                previous: Some(previous).filter(|p| *p > 0).map(Commit),
                rows,
                appeared,
                modified,
            };
            let mut bytes = Vec::new();
            change.write(&mut bytes);
            prop_assert_eq!(Change::read(&mut Reader::new(&bytes)), Some(change));
            let cut = cut.index(bytes.len());
            prop_assert_eq!(Change::read(&mut Reader::new(bytes.get(..cut).unwrap_or_default())), None, "a cut one is none");
        }
    }
}
