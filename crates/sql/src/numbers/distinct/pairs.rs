//! Pairs of a group and a number, for numbers that are few in each of many groups.

/// How many pairs wait in any case before they are looked through for doubles.
const FEW: usize = 1 << 16;

/// Numbers with their groups. A pair costs one write where the last one was; what came twice is found for all groups together, by
/// sorting pairs by group (counting how many each has) and one bitmap for the numbers of a group, which stays in the cache.
#[derive(Debug, Default)]
pub(super) struct Pairs<N> {
    /// Of each group where its numbers end in `distinct`; they begin where those of the group before it end.
    ends: Vec<usize>,
    distinct: Vec<N>,
    /// What came since.
    groups: Vec<u32>,
    numbers: Vec<N>,
}

impl<N: Copy + Default + Ord + Into<u64>> Pairs<N> {
    /// Adds a number to a group.
    pub fn push(&mut self, group: usize, number: N) {
        self.groups.push(group as u32); // there is no memory for more groups
        self.numbers.push(number);
    }

    /// Drops doubles if there may be many; `groups` is how many groups there are.
    pub fn look(&mut self, groups: usize) {
        if self.numbers.len() > 2 * self.distinct.len() + FEW {
            self.settle(groups);
        }
    }

    /// The distinct numbers of each of so many groups: where they end, and the numbers. Nothing is left.
    pub fn take(&mut self, groups: usize) -> (Vec<usize>, Vec<N>) {
        self.settle(groups);
        (std::mem::take(&mut self.ends), std::mem::take(&mut self.distinct))
    }

    /// How much memory they take, in bytes.
    pub fn size(&self) -> usize {
        self.ends.capacity() * size_of::<usize>()
            + self.groups.capacity() * size_of::<u32>()
            + (self.distinct.capacity() + self.numbers.capacity()) * size_of::<N>()
    }

    /// Drops doubles.
    fn settle(&mut self, groups: usize) {
        let (mut all, begins) = self.by_group(groups);
        let most: u64 = all.iter().max().map_or(0, |number| (*number).into());
        let words = usize::try_from(most / 64).map_or(usize::MAX, |word| word.saturating_add(1));
        // A bitmap that is longer than all numbers together would cost more than sorting them.
        let mut seen = (words <= FEW.max(all.len())).then(|| vec![0_u64; words]);
        let mut kept = 0;
        self.ends.clear();
        for group in begins.windows(2) {
            let &[begin, end] = group else { continue };
            let first = kept;
            match &mut seen {
                Some(seen) => {
                    // Without a branch: whether a number is new cannot be foreseen.
                    for at in begin..end {
                        let (word, bit) = place(all[at]);
                        all[kept] = all[at];
                        kept += usize::from(seen[word] & bit == 0);
                        seen[word] |= bit;
                    }
                    all[first..kept].iter().for_each(|number| seen[place(*number).0] = 0);
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
            self.ends.push(kept);
        }
        all.truncate(kept);
        self.distinct = all;
    }

    /// All numbers in the order of their groups, and where each group begins, with the end of the last.
    fn by_group(&mut self, groups: usize) -> (Vec<N>, Vec<usize>) {
        let mut begins = vec![0; groups + 1];
        let mut begin = 0;
        for (count, end) in begins[1..].iter_mut().zip(&self.ends) {
            *count = end - begin;
            begin = *end;
        }
        self.groups.iter().for_each(|group| begins[*group as usize + 1] += 1);
        let mut total = 0;
        for begin in &mut begins {
            total += *begin;
            *begin = total;
        }
        let mut next = begins.clone();
        let mut all = vec![N::default(); total];
        let mut begin = 0;
        for (next, end) in next.iter_mut().zip(&self.ends) {
            let before = &self.distinct[begin..*end];
            all[*next..][..before.len()].copy_from_slice(before);
            *next += before.len();
            begin = *end;
        }
        for (group, number) in self.groups.drain(..).zip(self.numbers.drain(..)) {
            let next = &mut next[group as usize];
            all[*next] = number;
            *next += 1;
        }
        (all, begins)
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
