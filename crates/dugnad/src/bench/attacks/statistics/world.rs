//! Synthetic databases: persons with treatments at hospitals, some of whom are targets with a secret bit.

use dugnad_kernel::disclosure::{CodeDocument, Facts, FactsBuilder, Hierarchy, HierarchyDocument, LevelDocument, Node};
use dugnad_kernel::ids::PatientOrdinal;
use std::sync::{Arc, LazyLock};

/// The dimensions, by their place.
pub(super) const PLACE: usize = 0;
pub(super) const SEX: usize = 1;
pub(super) const AGE: usize = 2;
pub(super) const KIND: usize = 3;
pub(super) const CHAPTER: usize = 4;
pub(super) const TIME: usize = 5;
pub(super) const DIMENSIONS: usize = 6;

/// How many codes of its own level each code of the next coarser one stands for: by dimension, the finest level last.
const LEVELS: [&[usize]; DIMENSIONS] = [&[2, 1], &[1], &[1], &[1], &[1], &[12, 3, 1]];

/// How many codes the finest level of each dimension has.
pub(super) const CODES: [usize; DIMENSIONS] = [20, 3, 10, 8, 16, 24];

/// How many days a month has.
pub(super) const MONTH: i32 = 30;

/// How many days there are.
pub(super) const DAYS: i32 = 24 * MONTH;

/// The rare codes: a sex, an age band, a kind of treatment.
pub(super) const RARE: [(usize, usize); 3] = [(SEX, 2), (AGE, 9), (KIND, 7)];

/// Chapters of which all persons but targets are of the second sex (as pregnancy and childbirth are).
pub(super) const ONE_SEX: std::ops::Range<usize> = 12..16;

/// A row: a treatment of a person, with the code of the finest level of each dimension; a code past the last is unknown.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) person: u32,
    pub(super) day: i32,
    pub(super) codes: [usize; DIMENSIONS],
}

/// Somebody with a secret: whether the chapter of the row is `secret`.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) bit: bool,
    /// The row, if the bit is set: what the attacker takes for possible.
    pub(super) row: Row,
}

/// A database.
pub(super) struct World {
    /// In the order of persons; targets come last.
    pub(super) rows: Vec<Row>,
    pub(super) targets: Vec<Target>,
    pub(super) random: Random,
}

/// Numbers that follow from where they begin (SplitMix64): trials can be played again.
#[derive(Clone)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    /// From 0 up to but not including 1.
    pub(super) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(super) fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&self.next().to_le_bytes()));
        bytes
    }

    /// A code of a dimension, as they are distributed: of places, kinds and chapters the first are the most frequent.
    pub(super) fn code(&mut self, dimension: usize) -> usize {
        let share = self.share();
        let skewed = |share: f64, codes: usize| ((share * share * 0.6 + share * 0.4) * codes as f64) as usize;
        match dimension {
            SEX => [(0.495, 0), (0.995, 1), (0.997, 2), (1.0, 3)].iter().find(|(to, _)| share < *to).map_or(3, |(_, code)| *code),
            AGE if share < 0.004 => 9,
            AGE => self.below(9),
            KIND if share < 0.003 => 7,
            KIND => skewed(self.share(), 7),
            _ => skewed(share, CODES[dimension]),
        }
    }
}

impl World {
    /// A database of some 3,000 to 20,000 persons, with so many targets, as `target` changes them: their day and rare codes.
    pub(super) fn new(seed: u64, targets: usize, target: impl Fn(&mut Random, usize, &mut Row)) -> Self {
        let mut random = Random(seed.wrapping_mul(0xd134_2543_de82_ef95));
        let share = random.share();
        let persons = 3_000 + (share * share * share * 17_000.0) as u32;
        let mut rows = Vec::with_capacity(persons as usize * 4 / 3);
        for person in 0..persons {
            let (sex, age, place) = (random.code(SEX), random.code(AGE), random.code(PLACE));
            for _ in 0..if random.share() < 0.3 { 2 } else { 1 } {
                rows.push(random.row(person, sex, age, place));
            }
        }
        let targets = (0..targets).map(|nth| {
            let (person, sex, age, place) = (persons + nth as u32, random.below(2), random.below(9), random.code(PLACE));
            let mut row = random.row(person, sex, age, place);
            target(&mut random, nth, &mut row);
            let bit = random.next() >> 63 == 1;
            let mut real = row;
            while !bit && real.codes[CHAPTER] == row.codes[CHAPTER] {
                real.codes[CHAPTER] = random.below(ONE_SEX.start);
            }
            rows.push(real);
            Target { bit, row }
        });
        let targets = targets.collect();
        Self { rows, targets, random }
    }

    /// The database at the start of a day, with the rows that `with` lets through.
    pub(super) fn snapshot(&self, day: i32, with: impl Fn(&Row) -> bool) -> Snapshot {
        Snapshot::of(day, self.rows.iter().copied().filter(|row| row.day < day && with(row)).collect())
    }

    /// The database at the start of a day.
    pub(super) fn at(&self, day: i32) -> Snapshot {
        self.snapshot(day, |_| true)
    }
}

impl Random {
    fn row(&mut self, person: u32, sex: usize, age: usize, place: usize) -> Row {
        let (day, kind) = (self.below(DAYS as usize) as i32, self.code(KIND));
        let mut chapter = self.code(CHAPTER);
        if ONE_SEX.contains(&chapter) && sex != 1 {
            chapter = self.below(ONE_SEX.start);
        }
        Row { person, day, codes: [place, sex, age, kind, chapter, (day / MONTH) as usize] }
    }
}

impl Row {
    /// Puts it on a day.
    pub(super) fn on(&mut self, day: i32) {
        self.day = day;
        self.codes[TIME] = (day / MONTH) as usize;
    }
}

/// The rows that the statistics of an epoch are of.
pub(super) struct Snapshot {
    /// The day that the epoch starts with.
    pub(super) day: i32,
    pub(super) facts: Facts,
    pub(super) rows: Vec<Row>,
}

impl Snapshot {
    fn of(day: i32, rows: Vec<Row>) -> Self {
        let mut facts = FactsBuilder::new(LISTS.0.clone(), false);
        for row in &rows {
            let nodes: [Node; DIMENSIONS] = std::array::from_fn(|at| LISTS.1[at][row.codes[at]]);
            facts.add(PatientOrdinal(row.person), Some(row.day), &nodes, None);
        }
        Self { day, facts: facts.finish(), rows }
    }
}

/// The category on a level of a code of the finest; unknown is the last.
pub(super) fn category(dimension: usize, level: usize, code: usize) -> usize {
    code.min(CODES[dimension]) / LEVELS[dimension][level]
}

/// How many categories a level has, unknown among them.
pub(super) fn categories(dimension: usize, level: usize) -> usize {
    CODES[dimension] / LEVELS[dimension][level] + 1
}

/// All ways to choose a level of at most `most` dimensions, of `with` in any case and not of `without`; of time only `times` levels.
pub(super) fn shapes(most: usize, with: &[usize], without: &[usize], times: usize) -> Vec<Vec<(usize, usize)>> {
    let mut all = vec![Vec::new()];
    for dimension in (0..DIMENSIONS).filter(|dimension| !without.contains(dimension)) {
        let levels = if dimension == TIME { times } else { LEVELS[dimension].len() };
        let more = |shape: &Vec<(usize, usize)>| (0..levels).map(|l| [&shape[..], &[(dimension, l)]].concat()).collect::<Vec<_>>();
        let more: Vec<_> = all.iter().flat_map(more).collect();
        all = if with.contains(&dimension) { more } else { [all, more].concat() };
    }
    all.retain(|shape| shape.len() <= most);
    all
}

/// The dimensions, and the nodes of each.
type Lists = (Vec<Arc<Hierarchy>>, Vec<Vec<Node>>);

/// The lists of codes, and the node of each code of their finest levels.
static LISTS: LazyLock<Lists> = LazyLock::new(|| {
    let lists: Vec<Arc<Hierarchy>> = (0..DIMENSIONS).map(list).collect();
    let node = |list: &Arc<Hierarchy>, code: usize| list.node(&format!("{}-{code}", list.levels().len() - 1));
    let nodes = lists.iter().zip(CODES).map(|(list, codes)| (0..=codes).map(|code| node(list, code)).collect()).collect();
    (lists, nodes)
});

#[expect(clippy::expect_used, reason = "the lists are constants")]
fn list(dimension: usize) -> Arc<Hierarchy> {
    let levels = LEVELS[dimension];
    let code = |level: usize, code: usize| CodeDocument {
        level: format!("d{dimension}_l{level}"),
        code: format!("{level}-{code}"),
        parent: (level > 0).then(|| format!("{}-{}", level - 1, code * levels[level] / levels[level - 1])),
        label: String::new(),
        also: Vec::new(),
    };
    let document = HierarchyDocument {
        name: format!("d{dimension}"),
        title: String::new(),
        source: String::new(),
        levels: (0..levels.len()).map(|l| LevelDocument { name: format!("d{dimension}_l{l}"), title: String::new() }).collect(),
        codes: (0..levels.len()).flat_map(|l| (0..CODES[dimension] / levels[l]).map(move |c| (l, c))).map(|(l, c)| code(l, c)).collect(),
    };
    Arc::new(Hierarchy::new(&document).expect("a list that can be read"))
}
