//! What happens in a story: operations that name resources by small numbers, so that one can be left out and the rest still
//! makes sense.
//!
//! A new kind of operation is a variant here with its weight in [`Operation::any`], its part in the model, and its `match`
//! arm in `run.rs`.

use rand::{Rng, RngExt};

/// The resource types of the stories. Each of the first four has a built-in view; they refer to each other.
pub const KINDS: [&str; 5] = ["Patient", "Encounter", "Condition", "Observation", "Practitioner"];

/// How many ids of each type clients choose from, and how many identifiers: few, so that they meet again.
const IDS: u8 = 4;
const IDENTIFIERS: u8 = 3;

/// What a story may hold.
#[derive(Clone, Copy, Debug)]
pub struct Plot {
    /// How many operations.
    pub operations: usize,
    /// Whether the server may draw ids. Not where a write may end without an answer: its ids would not be known.
    pub drawn_ids: bool,
    /// Whether views are registered.
    pub views: bool,
    /// Whether persons are erased.
    pub erasures: bool,
    /// Whether the process or power may be gone, files be moved, and the disk fail for the files beside the journal.
    pub crashes: bool,
}

/// One operation, and how far back is looked after it, if at all: a share of all commits, of 256.
#[derive(Clone, Debug)]
pub struct Step {
    pub operation: Operation,
    pub look_back: Option<u8>,
}

#[derive(Clone, Debug)]
pub enum Operation {
    /// One interaction or one transaction.
    Write(Write),
    /// Each entry for itself.
    Batch(Vec<Write>),
    /// From several clients at once.
    Together(Vec<Write>),
    /// A hospital is registered; it may have been before.
    Holder(u8),
    /// A document of the centre.
    Document { kind: u8, id: u8, content: u8 },
    /// Closed and opened again.
    Close,
    /// The process is gone; its files are as they were.
    Crash,
    /// Power is gone, and with it some of what is not synced of the files beside the journal; which is drawn from this seed.
    PowerLoss { seed: u32 },
    /// The disk fails for the files beside the journal: `after` changes from now, for so many changes (0: until it is mended).
    Fault { after: u8, count: u8, kind: u8 },
    /// And no longer.
    Mended,
    /// The clock jumps by so many seconds.
    Clock(i32),
    /// SQLite's write-ahead log is moved into its file: as far as that goes, wholly, or wholly and emptied.
    Checkpoint(&'static str),
    /// A view is registered, or its definition is replaced by the one drawn from this seed.
    View { id: u8, definition: u32 },
    /// A registered view is taken away.
    WithoutView { id: u8 },
    /// A Patient is erased.
    Erase { holder: u8, id: Id },
    /// The purge after erasures is waited for: then nothing of them is in any file.
    Purged,
    /// The journal is copied while this is written.
    Backup(Vec<Write>),
    /// The last copy takes the journal's place, as a new timeline.
    Restore,
}

/// A single interaction, or a transaction.
#[derive(Clone, Debug)]
pub struct Write {
    pub holder: u8,
    pub key: Option<u8>,
    pub lenient: bool,
    pub transaction: bool,
    pub entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
pub enum Entry {
    Create {
        draft: Draft,
        if_none_exist: Option<u8>,
    },
    Update {
        id: Id,
        draft: Draft,
        if_match: IfMatch,
    },
    UpdateMatching {
        identifier: u8,
        id: Option<u8>,
        draft: Draft,
    },
    /// A resource is sent as it is: nothing changes.
    Again {
        resource: u8,
    },
    /// The mark of a resource, which may not be there, is replaced by another one.
    Patch {
        kind: u8,
        id: Id,
        mark: u32,
        if_match: IfMatch,
    },
    Delete {
        kind: u8,
        id: Id,
        if_match: IfMatch,
    },
    /// In a transaction only.
    DeleteMatching {
        kind: u8,
        identifier: u8,
    },
}

/// An id that a client has chosen, or the n-th that the server has drawn (of that type, by that holder).
#[derive(Clone, Copy, Debug)]
pub enum Id {
    Chosen(u8),
    Drawn(u8),
}

#[derive(Clone, Copy, Debug)]
pub enum IfMatch {
    Absent,
    Current,
    Other,
}

/// The content of a resource.
#[derive(Clone, Debug)]
pub struct Draft {
    pub kind: u8,
    /// Which of the values that a type may have.
    pub variant: u8,
    pub identifier: Option<u8>,
    /// Of a Patient: a national identifier, and Patients that it is linked with.
    pub number: Option<u8>,
    pub links: Vec<Id>,
    /// Stands in the resource, and in no other.
    pub mark: u32,
    pub subject: Reference,
    pub encounter: Option<Reference>,
    pub flaw: Flaw,
}

#[derive(Clone, Copy, Debug)]
pub enum Flaw {
    None,
    /// An unknown `modifierExtension`: kept out of the views.
    Modifier,
    /// Not valid: refused.
    Invalid,
}

#[derive(Clone, Copy, Debug)]
pub enum Reference {
    /// `Type/id`; it may be there or not.
    Literal(Id),
    /// The fullUrl of an entry of the same transaction.
    Entry(u8),
    /// `Type?identifier=...`.
    Conditional(u8),
    /// A `urn:uuid` that is no entry's.
    Nowhere,
    /// Another server's.
    Absolute,
}

/// The story of a seed.
pub fn story(rng: &mut impl Rng, plot: Plot) -> Vec<Step> {
    (0..plot.operations)
        .map(|_| Step { operation: Operation::any(rng, plot), look_back: rng.random_bool(0.2).then(|| rng.random()) })
        .collect()
}

impl Operation {
    fn any(rng: &mut impl Rng, plot: Plot) -> Self {
        match rng.random_range(0..100) {
            0..42 => Self::Write(Write::single(rng, plot)),
            42..72 => Self::Write(Write::transaction(rng, plot)),
            72..75 if plot.views => Self::View { id: rng.random_range(0..2), definition: rng.random() },
            75 if plot.views => Self::WithoutView { id: rng.random_range(0..2) },
            76 | 77 if plot.drawn_ids => Self::Together(Write::together(rng, plot)),
            72..80 => Self::Batch((0..rng.random_range(1..4)).map(|_| Write::single(rng, plot)).collect()),
            80..83 => Self::Holder(rng.random_range(0..4)),
            83..88 => Self::Document { kind: rng.random_range(0..2), id: rng.random_range(0..3), content: rng.random_range(0..3) },
            88..90 => Self::Close,
            90 | 91 if plot.erasures && rng.random() => match rng.random_range(0..8) {
                0..4 => Self::Erase { holder: rng.random_range(0..3), id: Id::any(rng, plot) },
                4 => Self::Purged,
                5 | 6 => Self::Backup((0..rng.random_range(0..3)).map(|_| Write::transaction(rng, plot)).collect()),
                _ => Self::Restore,
            },
            90 | 91 if plot.crashes => Self::Crash,
            92 if plot.crashes => Self::PowerLoss { seed: rng.random() },
            93..96 => Self::Checkpoint(["PASSIVE", "RESTART", "TRUNCATE"][rng.random_range(0..3)]),
            96 | 97 if plot.erasures => Self::Erase { holder: rng.random_range(0..3), id: Id::any(rng, plot) },
            98 if plot.crashes => match rng.random_range(0..3) {
                0 => Self::Mended,
                _ => Self::Fault { after: rng.random_range(0..30), count: rng.random_range(0..6), kind: rng.random_range(0..3) },
            },
            _ => Self::Clock(rng.random_range(-100_000..200_000)),
        }
    }
}

impl Write {
    fn single(rng: &mut impl Rng, plot: Plot) -> Self {
        let entry = loop {
            match Entry::any(rng, plot) {
                Entry::DeleteMatching { .. } => {}
                entry => break entry,
            }
        };
        Self { transaction: false, entries: vec![entry], ..Self::envelope(rng) }
    }

    fn transaction(rng: &mut impl Rng, plot: Plot) -> Self {
        let entries = (0..rng.random_range(1..6)).map(|_| Entry::any(rng, plot)).collect();
        Self { transaction: true, entries, ..Self::envelope(rng) }
    }

    /// Writes of one holder, so that they meet.
    fn together(rng: &mut impl Rng, plot: Plot) -> Vec<Self> {
        let (holder, count) = (rng.random_range(0..3), rng.random_range(2..6));
        let mut one = || if rng.random() { Self::single(rng, plot) } else { Self::transaction(rng, plot) };
        (0..count).map(|_| Self { holder, ..one() }).collect()
    }

    fn envelope(rng: &mut impl Rng) -> Self {
        let key = rng.random_bool(0.15).then(|| rng.random_range(0..4));
        Self { holder: rng.random_range(0..3), key, lenient: rng.random_bool(0.5), transaction: false, entries: Vec::new() }
    }
}

impl Entry {
    fn any(rng: &mut impl Rng, plot: Plot) -> Self {
        let mut draft = || Draft::any(rng);
        let drafted = draft();
        let id = Id::any(rng, plot);
        let identifier = rng.random_range(0..IDENTIFIERS);
        match rng.random_range(0..100) {
            0..15 if plot.drawn_ids => Self::Create { draft: drafted, if_none_exist: None },
            15..30 if plot.drawn_ids => Self::Create { draft: drafted, if_none_exist: Some(identifier) },
            30..38 => {
                let given = !plot.drawn_ids || rng.random_bool(0.3);
                Self::UpdateMatching { identifier, id: given.then(|| rng.random_range(0..IDS)), draft: drafted }
            }
            38..46 => Self::Again { resource: rng.random() },
            46..52 => Self::Patch { kind: drafted.kind, id, mark: rng.random(), if_match: IfMatch::any(rng) },
            52..60 => Self::Delete { kind: drafted.kind, id, if_match: IfMatch::any(rng) },
            60..64 if plot.drawn_ids => Self::DeleteMatching { kind: drafted.kind, identifier },
            _ => Self::Update { id, draft: drafted, if_match: IfMatch::any(rng) },
        }
    }

    /// What it sends, if it is a draft.
    pub fn draft(&self) -> Option<&Draft> {
        match self {
            Self::Create { draft, .. } | Self::Update { draft, .. } | Self::UpdateMatching { draft, .. } => Some(draft),
            Self::Again { .. } | Self::Patch { .. } | Self::Delete { .. } | Self::DeleteMatching { .. } => None,
        }
    }
}

impl Id {
    fn any(rng: &mut impl Rng, plot: Plot) -> Self {
        if plot.drawn_ids && rng.random_bool(0.2) { Self::Drawn(rng.random()) } else { Self::Chosen(rng.random_range(0..IDS)) }
    }
}

impl IfMatch {
    fn any(rng: &mut impl Rng) -> Self {
        match rng.random_range(0..10) {
            0..7 => Self::Absent,
            7..9 => Self::Current,
            _ => Self::Other,
        }
    }
}

impl Draft {
    fn any(rng: &mut impl Rng) -> Self {
        let kind = match rng.random_range(0..10) {
            0..3 => 0,
            3 => 1,
            4..6 => 2,
            6..9 => 3,
            _ => 4,
        };
        let flaw = match rng.random_range(0..50) {
            0 => Flaw::Invalid,
            1 | 2 => Flaw::Modifier,
            _ => Flaw::None,
        };
        Self {
            kind,
            variant: rng.random(),
            identifier: rng.random_bool(0.5).then(|| rng.random_range(0..IDENTIFIERS)),
            number: rng.random_bool(0.4).then(|| rng.random_range(0..IDENTIFIERS)),
            links: (0..rng.random_range(0..6_usize).saturating_sub(3)).map(|_| Id::Chosen(rng.random_range(0..IDS))).collect(),
            mark: rng.random(),
            subject: Reference::any(rng),
            encounter: rng.random_bool(0.4).then(|| Reference::any(rng)),
            flaw,
        }
    }
}

impl Reference {
    fn any(rng: &mut impl Rng) -> Self {
        match rng.random_range(0..40) {
            0..22 => Self::Literal(Id::Chosen(rng.random_range(0..IDS))),
            22..26 => Self::Literal(Id::Drawn(rng.random())),
            26..36 => Self::Entry(rng.random_range(0..6)),
            36 | 37 => Self::Conditional(rng.random_range(0..IDENTIFIERS)),
            38 => Self::Nowhere,
            _ => Self::Absolute,
        }
    }
}
