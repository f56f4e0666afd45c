//! What the end of the log says about commits: the server compares it with the journal when it starts.

use super::entry::{Act, Entry};
use super::{AuditError, Log};
use crate::ids::Timeline;

/// How many entries are looked at at once, from the end. Entries stand out of the order of their commits by no more than
/// what is under way at one time, some hundreds.
const LOOK: u64 = 4_096;

/// The newest of what entries name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Newest {
    /// The highest commit that an entry near the end names, since the last restore.
    pub commit: Option<u64>,
    /// The entry that names it.
    pub entry: Option<u64>,
    /// The timeline that the last restore began, if it stands near the end: commits before it are of another one.
    pub timeline: Option<Timeline>,
}

impl Log {
    /// The newest commit on the record: from the end back to the last restore, or until entries that name one have been found.
    pub fn newest(&self) -> Result<Newest, AuditError> {
        let (mut end, mut newest) = (self.size(), Newest::default());
        while end > 0 && newest.commit.is_none() && newest.timeline.is_none() {
            let first = end.saturating_sub(LOOK);
            let count = usize::try_from(end - first).unwrap_or(usize::MAX);
            for (index, entry) in self.entries(first, count)?.into_iter().rev() {
                if entry.commit > newest.commit {
                    (newest.commit, newest.entry) = (entry.commit, Some(index));
                }
                newest.timeline = restored(&entry);
                if newest.timeline.is_some() {
                    break;
                }
            }
            end = first;
        }
        Ok(newest)
    }
}

/// The timeline that an entry says was begun.
fn restored(entry: &Entry) -> Option<Timeline> {
    let timeline = entry.timeline.as_deref().filter(|_| entry.act == Act::Administration)?;
    Timeline::parse(timeline)
}
