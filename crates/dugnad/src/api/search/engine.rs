//! The kernel's search, as a page with the JSON of its resources.

use crate::api::auth::Hospital;
use crate::api::{ApiError, App};
use dugnad_kernel::database::{Page, StoredVersion};
use dugnad_kernel::ids::{Commit, HolderId, PatientOrdinal, ResourceOrdinal};
use dugnad_kernel::live::Snapshot;
use dugnad_kernel::search::execute::{Cursor, Hit};
use dugnad_kernel::search::include::{Included, Resource, Source, included};
use dugnad_kernel::search::query::{Search, Total};
use std::time::Instant;

/// What a search runs on.
pub struct Engine<'e> {
    /// The server.
    pub app: &'e App,
    /// Whose records exist.
    pub holder: HolderId,
    /// Whose scopes say what comes along.
    pub within: Option<&'e Hospital>,
    /// All tables at the commit that is searched. Taken once: under writes, an earlier one costs more than a search.
    pub snapshot: &'e Snapshot,
    /// When all that is searched for one page must have been found.
    pub until: Instant,
}

/// A page.
pub struct Found {
    /// The matches, in order.
    pub matches: Vec<Resource>,
    /// What comes along with them.
    pub included: Included,
    /// How many match in all, if that was asked for.
    pub total: Option<u64>,
    /// Where the next page begins; none on the last one.
    pub next: Option<Vec<u8>>,
}

impl Engine<'_> {
    /// One page of at most `most` matches.
    pub fn page(&self, search: &Search, after: &[u8], most: usize) -> Result<Found, ApiError> {
        let found = self.app.database().search_in(self.snapshot, self.holder, search, page(cursor(after), most), Some(self.until))?;
        let matches = self.resources(search.resource_type, found.hits)?;
        let included = if search.include.is_empty() { Included::default() } else { included(self, &matches, &search.include)? };
        Ok(Found { matches, included, total: found.total, next: found.next.map(encoded) })
    }

    /// How many resources match.
    pub fn count(&self, search: &Search) -> Result<u64, ApiError> {
        let search = Search { total: Total::Accurate, sort: Vec::new(), ..search.clone() };
        let found = self.app.database().search_in(self.snapshot, self.holder, &search, page(None, 0), Some(self.until))?;
        Ok(found.total.unwrap_or_default())
    }

    /// The Patients whom the resources of a page name, for the record.
    pub fn patients(&self, found: &Found) -> Result<Vec<PatientOrdinal>, ApiError> {
        let mut patients = Vec::new();
        for resource in found.matches.iter().chain(&found.included.resources) {
            let versions = [resource.json.as_slice()];
            patients.extend(self.app.database().patients_named(self.holder, resource.resource_type, &resource.id, versions)?);
        }
        Ok(patients)
    }

    /// Whether a resource may come along: one that may not is none that others come along with either.
    fn sees(&self, resource_type: &str, json: &[u8]) -> bool {
        self.within.is_none_or(|hospital| hospital.sees(resource_type, json))
    }

    /// The JSON of what was found, without what has been erased since.
    fn resources(&self, resource_type: &'static str, hits: Vec<Hit>) -> Result<Vec<Resource>, ApiError> {
        let versions = self.app.database().found(self.holder, resource_type, &hits)?;
        let resource = |(hit, version): (Hit, Option<StoredVersion>)| Some(Resource { resource_type, id: hit.id, json: version?.json? });
        Ok(hits.into_iter().zip(versions).filter_map(resource).collect())
    }
}

impl Source for Engine<'_> {
    type Error = ApiError;

    fn read(&self, resource_type: &'static str, id: &str) -> Result<Option<Resource>, ApiError> {
        let version = self.app.database().read_at(self.holder, resource_type, id, self.snapshot.commit())?;
        let json = version.and_then(|v| v.json).filter(|json| self.sees(resource_type, json));
        Ok(json.map(|json| Resource { resource_type, id: id.to_owned(), json }))
    }

    fn search(&self, search: &Search, most: usize) -> Result<Vec<Resource>, ApiError> {
        let (mut resources, mut after) = (Vec::new(), None);
        // What may not come along takes the place of nothing that may.
        loop {
            let found = self.app.database().search_in(self.snapshot, self.holder, search, page(after, most), Some(self.until))?;
            let mut seen = self.resources(search.resource_type, found.hits)?;
            seen.retain(|resource| self.sees(resource.resource_type, &resource.json));
            resources.append(&mut seen);
            resources.truncate(most);
            after = found.next.filter(|_| resources.len() < most);
            if after.is_none() {
                return Ok(resources);
            }
        }
    }
}

fn page(after: Option<Cursor>, count: usize) -> Page {
    Page { after, count, ..Page::default() }
}

/// Commit and resource, 8 bytes each, little-endian; empty: from the beginning.
fn cursor(bytes: &[u8]) -> Option<Cursor> {
    let (commit, rest) = bytes.split_first_chunk()?;
    let resource = rest.first_chunk()?;
    Some(Cursor { commit: Commit(u64::from_le_bytes(*commit)), resource: ResourceOrdinal(u64::from_le_bytes(*resource)) })
}

fn encoded(cursor: Cursor) -> Vec<u8> {
    [cursor.commit.0.to_le_bytes(), cursor.resource.0.to_le_bytes()].concat()
}
