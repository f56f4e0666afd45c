//! One page of an answer: the first so many in its order after a place.

use super::sort::{Place, by_key, first_keys, newest_first};
use super::{Plan, Reader, Row, SearchError, is_match};
use crate::ids::{Commit, ResourceOrdinal};
use crate::limits::MAX_SEARCH_PAGE;
use crate::live::{Part, Snapshot, TableSnapshot};
use crate::search::index::PackedRows;
use crate::search::parameters;
use crate::search::query::{Search, Sort, Total};
use crate::search::values::Value;
use jiff::Timestamp;
use std::ops::ControlFlow;

/// A resource that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Its ordinal.
    pub resource: ResourceOrdinal,
    /// The commit that wrote the version that matches.
    pub commit: Commit,
    /// Its logical id.
    pub id: String,
}

/// After which resource a page begins. It says nothing about the resource but its number and when it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The commit that wrote its version.
    pub commit: Commit,
    /// The resource.
    pub resource: ResourceOrdinal,
}

/// What a search has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The commit that was searched: further pages ask for it.
    pub commit: Commit,
    /// When it was made.
    pub time: Timestamp,
    /// The matches, in order.
    pub hits: Vec<Hit>,
    /// How many match in all, if that was asked for.
    pub total: Option<u64>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<Cursor>,
}

impl Found {
    pub(super) fn nothing(snapshot: &Snapshot, total: Total) -> Self {
        let total = (total == Total::Accurate).then_some(0);
        Self { commit: snapshot.commit(), time: snapshot.time(), hits: Vec::new(), total, next: None }
    }
}

/// The first matches in order, as far as the page needs them.
struct Top<'s> {
    sort: &'s [Sort],
    /// Of the page, and one more, which says whether there is another page.
    most: usize,
    hits: Vec<(Place, String)>,
    after: Option<Place>,
}

impl Top<'_> {
    /// Whether a row at that place would be on the page.
    fn wants(&self, place: &Place) -> bool {
        let after = self.after.as_ref().is_none_or(|after| place.compare(after, self.sort).is_gt());
        after && (self.hits.len() < self.most || self.worst().is_some_and(|worst| place.compare(worst, self.sort).is_lt()))
    }

    fn worst(&self) -> Option<&Place> {
        self.hits.last().map(|(place, _)| place)
    }

    /// In the order of commits, the commit after which no row is on the page.
    fn newest(&self) -> Option<Commit> {
        self.after.as_ref().map(|after| after.begin)
    }

    /// Whether it is full of what comes before every row that begins at `last` or earlier.
    fn is_done(&self, last: Commit) -> bool {
        self.hits.len() == self.most && self.worst().is_none_or(|worst| worst.begin > last)
    }

    fn add(&mut self, place: Place, id: String) {
        let at = self.hits.partition_point(|(other, _)| other.compare(&place, self.sort).is_lt());
        self.hits.insert(at, (place, id));
        self.hits.truncate(self.most);
    }
}

pub(super) fn run(
    reader: &Reader<'_>,
    table: &TableSnapshot,
    plan: &Plan,
    search: &Search,
    after: Option<Cursor>,
    count: usize,
) -> Result<Found, SearchError> {
    let count = count.min(MAX_SEARCH_PAGE);
    let mut parts = table.parts();
    let after = after.map(|cursor| place_of(reader, &parts, &search.sort, cursor)).transpose()?;
    let total = search.total == Total::Accurate;
    // A page of none is asked for where only the total is.
    let mut top = Top { sort: &search.sort, most: if count == 0 { 0 } else { count + 1 }, hits: Vec::new(), after };
    let mut found = total.then_some(0_u64);
    parts.sort_by_key(|part| std::cmp::Reverse(part.range().map(|(_, last)| last)));
    let ends_early = found.is_none() && newest_first(&search.sort);
    for part in &parts {
        if (ends_early && part.range().is_none_or(|(_, last)| top.is_done(last))) || (found.is_none() && count == 0) {
            break;
        }
        if ends_early && part.range().zip(top.newest()).is_some_and(|((first, _), newest)| first > newest) {
            continue; // earlier pages had all of it
        }
        found = of_part(reader, part, plan, search, &mut top, found)?;
    }
    let more = top.hits.len() > count;
    top.hits.truncate(count);
    let last = top.hits.last().filter(|_| more).map(|(place, _)| Cursor { commit: place.begin, resource: place.resource });
    let hit = |(place, id): (Place, String)| Hit { resource: place.resource, commit: place.begin, id };
    let hits = top.hits.into_iter().map(hit).collect();
    Ok(Found { commit: reader.snapshot.commit(), time: reader.snapshot.time(), hits, total: found, next: last })
}

/// Looks at one part; `found` counts on, if it counts.
fn of_part(
    reader: &Reader<'_>,
    part: &Part,
    plan: &Plan,
    search: &Search,
    top: &mut Top<'_>,
    mut found: Option<u64>,
) -> Result<Option<u64>, SearchError> {
    reader.check_time()?; // also where no row is looked at: candidates may need an index that is not there yet
    let (mut rows, open) = plan.candidates(reader, part)?;
    if rows.is_empty() {
        return Ok(found);
    }
    let newest = newest_first(&search.sort);
    if newest {
        if let Some(newest) = top.newest().filter(|_| found.is_none()) {
            let end = part.heads()?.within(Commit(0), newest).end;
            rows.truncate(rows.partition_point(|row| (*row as usize) < end));
        }
        rows.reverse(); // what comes first in the order is looked at first
    }
    let firsts = first_keys(reader.indexes, part, &rows, &search.sort)?;
    let packed = PackedRows::of(part)?;
    let id = parameters::parameter(search.resource_type, "_id").map_or(0, |p| usize::from(p.number));
    reader.each_row(plan, part, &packed, search.resource_type, &rows, &mut |at, row| {
        let counted = found.is_some();
        if let Some(found) = &mut found {
            if !is_match(row.packed, &open) {
                return ControlFlow::Continue(());
            }
            *found += 1;
        }
        if let Some(first) = firsts.as_ref().and_then(|keys| keys.get(at))
            && is_beyond(top, first.as_ref())
        {
            return ControlFlow::Continue(());
        }
        let place = Place::of(&row, &search.sort);
        if top.wants(&place) {
            if counted || is_match(row.packed, &open) {
                let id = row
                    .packed
                    .values(id)
                    .find_map(|value| if let Value::Token { code, .. } = value { Some(code.to_owned()) } else { None });
                top.add(place, id.unwrap_or_default());
            }
        } else if newest && !counted && top.is_done(row.begin) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// Whether the first key alone says that a row is not on the page.
fn is_beyond(top: &Top<'_>, first: Option<&super::sort::SortKey>) -> bool {
    let full = top.hits.len() == top.most;
    let (Some(worst), Some(by)) = (top.worst().filter(|_| full), top.sort.first()) else { return false };
    by_key(first, worst.keys.first().and_then(Option::as_ref), by.descending).is_gt()
}

/// Where the resource of a cursor stands.
fn place_of(reader: &Reader<'_>, parts: &[Part], sort: &[Sort], cursor: Cursor) -> Result<Place, SearchError> {
    for part in parts {
        let heads = part.heads()?;
        for row in heads.within(cursor.commit, cursor.commit) {
            if heads.of(row) == Some((cursor.resource, cursor.commit)) && heads.stands(row, reader.holder) {
                let packed = PackedRows::of(part)?;
                let row = Row { packed: packed.get(row), resource: cursor.resource, begin: cursor.commit };
                return Ok(Place::of(&row, sort));
            }
        }
    }
    Err(SearchError::NoPage)
}
