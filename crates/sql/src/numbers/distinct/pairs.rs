//! Pairs of a group and a number, for numbers that are few in each of many groups.

/// How many pairs wait in any case before they are looked through for doubles: 2 MiB of them.
const FEW: usize = 1 << 18;
/// How many sets stand side by side at most: as many as there are runs on a machine, about.
const MAX_SETS: usize = 32;
/// From how many numbers on sets are kept as they came.
const MANY: usize = 1 << 12;

/// Numbers with their groups. A pair costs one write where the last one was; what came twice is found for all groups together, by
/// sorting pairs by group (counting how many each has) and one bitmap for the numbers of a group, which stays in the cache. Sets that
/// others have found are not taken apart again.
#[derive(Debug, Default)]
pub(super) struct Pairs<N> {
    sets: Vec<Sets<N>>,
    /// What came since.
    groups: Vec<u32>,
    numbers: Vec<N>,
}

/// A set of numbers for each group.
#[derive(Debug, Default)]
struct Sets<N> {
    /// Where the set of each group begins and ends in `numbers`; groups that came later have none.
    places: Vec<(usize, usize)>,
    numbers: Vec<N>,
}

impl<N> Sets<N> {
    fn of(&self, group: usize) -> &[N] {
        self.places.get(group).map_or(&[], |(begin, end)| &self.numbers[*begin..*end])
    }
}

impl<N: Copy + Default + Ord + Into<u64>> Pairs<N> {
    /// Adds a number to a group.
    pub fn push(&mut self, group: usize, number: N) {
        self.groups.push(group as u32); // there is no memory for more groups
        self.numbers.push(number);
    }

    /// Adds sets, each to a group, of so many numbers in all.
    pub fn add<'a>(&mut self, groups: &[usize], sets: impl Iterator<Item = &'a [N]>, count: usize)
    where
        N: 'a,
    {
        let keep = count >= MANY && self.sets.len() < MAX_SETS;
        let mut kept = Sets { places: Vec::new(), numbers: Vec::with_capacity(if keep { count } else { 0 }) };
        for (group, set) in groups.iter().zip(sets) {
            if kept.places.len() <= *group {
                kept.places.resize(group + 1, (0, 0));
            }
            if keep && kept.of(*group).is_empty() {
                let begin = kept.numbers.len();
                kept.numbers.extend_from_slice(set);
                kept.places[*group] = (begin, kept.numbers.len());
            } else {
                set.iter().for_each(|number| self.push(*group, *number));
            }
        }
        if keep {
            self.sets.push(kept);
        }
    }

    /// Drops doubles if there may be many; `groups` is how many groups there are.
    pub fn look(&mut self, groups: usize) {
        if self.numbers.len() > 2 * self.in_sets() + FEW {
            self.settle(groups);
        }
    }

    /// The distinct numbers of each of so many groups: where they end, and the numbers. Nothing is left.
    pub fn take(&mut self, groups: usize) -> (Vec<usize>, Vec<N>) {
        self.settle(groups);
        let Sets { places, numbers } = self.sets.pop().unwrap_or_default();
        (places.into_iter().map(|(_, end)| end).collect(), numbers)
    }

    /// How many distinct numbers each of so many groups has.
    pub fn counts(&mut self, groups: usize) -> Vec<i64> {
        let most = self.sets.iter().flat_map(|sets| &sets.numbers).max();
        let Some(mut seen) = Seen::up_to(most, self.in_sets()).filter(|_| self.numbers.is_empty()) else {
            self.settle(groups);
            return (0..groups).map(|group| self.sets.iter().map(|sets| sets.of(group).len() as i64).sum()).collect();
        };
        let count = |group: usize| {
            let sets = self.sets.iter().map(|sets| sets.of(group));
            let count = sets.clone().flatten().map(|number| i64::from(seen.is_new(*number))).sum();
            sets.flatten().for_each(|number| seen.forget(*number));
            count
        };
        (0..groups).map(count).collect()
    }

    /// How much memory they take, in bytes.
    pub fn size(&self) -> usize {
        let sets = self.sets.iter().map(|s| s.places.capacity() * size_of::<(usize, usize)>() + s.numbers.capacity() * size_of::<N>());
        sets.sum::<usize>() + self.groups.capacity() * size_of::<u32>() + self.numbers.capacity() * size_of::<N>()
    }

    fn in_sets(&self) -> usize {
        self.sets.iter().map(|sets| sets.numbers.len()).sum()
    }

    /// Drops doubles: what is left are sets of all groups, in the order of the groups.
    fn settle(&mut self, groups: usize) {
        let (mut all, begins) = self.by_group(groups);
        let mut seen = Seen::up_to(all.iter().max(), all.len());
        let mut kept = 0;
        let mut places = Vec::with_capacity(groups);
        for group in begins.windows(2) {
            let &[begin, end] = group else { continue };
            let first = kept;
            match &mut seen {
                Some(seen) => {
                    // Without a branch: whether a number is new cannot be foreseen.
                    for at in begin..end {
                        all[kept] = all[at];
                        kept += usize::from(seen.is_new(all[at]));
                    }
                    all[first..kept].iter().for_each(|number| seen.forget(*number));
                }
                None => {
                    all[begin..end].sort_unstable();
                    for at in begin..end {
                        if kept == first || all[kept - 1] != all[at] {
                            all[kept] = all[at];
                            kept += 1;
                        }
                    }
                }
            }
            places.push((first, kept));
        }
        all.truncate(kept);
        self.sets = vec![Sets { places, numbers: all }];
    }

    /// All numbers in the order of their groups, and where each group begins, with the end of the last.
    fn by_group(&mut self, groups: usize) -> (Vec<N>, Vec<usize>) {
        let mut begins = vec![0; groups + 1];
        for sets in &self.sets {
            begins[1..].iter_mut().zip(&sets.places).for_each(|(count, (begin, end))| *count += end - begin);
        }
        self.groups.iter().for_each(|group| begins[*group as usize + 1] += 1);
        let mut total = 0;
        for begin in &mut begins {
            total += *begin;
            *begin = total;
        }
        let mut next = begins.clone();
        let mut all = vec![N::default(); total];
        for sets in self.sets.drain(..) {
            for group in 0..sets.places.len() {
                let set = sets.of(group);
                all[next[group]..][..set.len()].copy_from_slice(set);
                next[group] += set.len();
            }
        }
        for (group, number) in self.groups.drain(..).zip(self.numbers.drain(..)) {
            let next = &mut next[group as usize];
            all[*next] = number;
            *next += 1;
        }
        (all, begins)
    }
}

/// A bitmap of the numbers of one group.
struct Seen(Vec<u64>);

impl Seen {
    /// An empty one with room for numbers up to `most`; `None` if it would be longer than all of `count` numbers together, which costs
    /// more than sorting them.
    fn up_to<N: Copy + Into<u64>>(most: Option<&N>, count: usize) -> Option<Self> {
        let most: u64 = most.map_or(0, |number| (*number).into());
        let words = usize::try_from(most / 64).map_or(usize::MAX, |word| word.saturating_add(1));
        (words <= FEW.max(count)).then(|| Self(vec![0; words]))
    }

    /// Adds a number, and says whether it was not there.
    fn is_new<N: Into<u64>>(&mut self, number: N) -> bool {
        let (word, bit) = place(number);
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }

    /// Takes a number out, and some of its neighbours: all go in the end.
    fn forget<N: Into<u64>>(&mut self, number: N) {
        self.0[place(number).0] = 0;
    }
}

/// The word and the bit of a number in a bitmap.
fn place<N: Into<u64>>(number: N) -> (usize, u64) {
    let number = number.into();
    ((number / 64) as usize, 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// The distinct numbers of each group, whenever doubles are dropped.
        #[test]
        fn pairs_are_sets(
            pairs in prop::collection::vec((0..6_usize, prop_oneof![0..90_u64, 0..9_000_u64, any::<u64>()]), 0..500),
            settled in prop::collection::btree_set(0..500_usize, 0..4),
            added in prop::collection::vec((0..6_usize, 0..90_u64), 0..4),
            long in any::<bool>(),
            counted in any::<bool>(),
        ) {
            let mut ours = Pairs::default();
            let mut expected = vec![BTreeSet::new(); 6];
            for (at, (group, number)) in pairs.iter().enumerate() {
                ours.push(*group, *number);
                expected[*group].insert(*number);
                if settled.contains(&at) {
                    ours.settle(6);
                }
            }
            // Sets that others have found: of a group each, one of them twice, and so many that they are kept as they came.
            for (group, number) in added {
                let more = if long { MANY as u64 } else { 9 };
                let sets = [(number..number + more).collect::<Vec<u64>>(), vec![number], vec![number + 1, number + 3]];
                let groups = [group, (group + 1) % 6, group];
                for (group, set) in groups.iter().zip(&sets) {
                    expected[*group].extend(set);
                }
                ours.add(&groups, sets.iter().map(Vec::as_slice), sets.iter().map(Vec::len).sum());
            }
            if counted {
                let counts: Vec<i64> = expected.iter().map(|set| set.len() as i64).collect();
                prop_assert_eq!(ours.counts(6), counts);
                return Ok(());
            }
            let (ends, numbers) = ours.take(6);
            let mut begin = 0;
            for (end, expected) in ends.iter().zip(&expected) {
                prop_assert_eq!(end - begin, expected.len());
                prop_assert_eq!(&numbers[begin..*end].iter().copied().collect::<BTreeSet<_>>(), expected);
                begin = *end;
            }
            prop_assert_eq!(ends.len(), 6);
        }
    }

    #[test]
    fn doubles_take_no_memory() {
        let mut pairs = Pairs::default();
        for n in 0..2_000_000_u32 {
            pairs.push(n as usize % 50, n % 1_000);
            pairs.look(50);
        }
        assert!(pairs.size() < 4 * FEW * 8, "{}", pairs.size());
        assert_eq!(pairs.take(50).1.len(), 1_000);
    }
}
