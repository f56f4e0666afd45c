//! A bitmap for each group, for numbers that are dense.

/// Bitmaps of all groups, all of the same length, one after the other.
#[derive(Debug, Default)]
pub(super) struct Bitmaps {
    words: Vec<u64>,
    /// How many words a bitmap has.
    stride: usize,
    groups: usize,
}

impl Bitmaps {
    /// How many words they may have in any case: 256 KiB.
    const SMALL: usize = 1 << 15;

    /// Makes room for so many groups and for numbers up to `most`; false if that is too much for as many numbers as `came`: they
    /// would be mostly empty.
    pub fn reserve(&mut self, groups: usize, most: u64, came: usize) -> bool {
        let needed = usize::try_from(most / 64).map_or(usize::MAX, |word| word.saturating_add(1));
        let stride = if needed > self.stride { needed.checked_next_power_of_two().unwrap_or(usize::MAX) } else { self.stride };
        let groups = groups.max(self.groups);
        if (stride, groups) == (self.stride, self.groups) {
            return true;
        }
        if stride.saturating_mul(groups.max(1)) > Self::SMALL + came {
            return false;
        }
        if stride > self.stride {
            let mut words = vec![0; stride * groups];
            for (longer, bitmap) in words.chunks_exact_mut(stride).zip(self.all()) {
                longer[..bitmap.len()].copy_from_slice(bitmap);
            }
            self.words = words;
        } else {
            self.words.resize(groups * stride, 0);
        }
        (self.stride, self.groups) = (stride, groups);
        true
    }

    /// Adds a number to a group; there must be room for both.
    pub fn insert(&mut self, group: usize, number: u64) {
        self.words[group * self.stride + (number / 64) as usize] |= 1 << (number % 64);
    }

    /// Adds the numbers of a bitmap to a group; there must be room for them.
    pub fn merge(&mut self, group: usize, bitmap: &[u64]) {
        let words = &mut self.words[group * self.stride..][..bitmap.len()];
        words.iter_mut().zip(bitmap).for_each(|(mine, theirs)| *mine |= theirs);
    }

    /// The bitmap of each group.
    pub fn all(&self) -> impl Iterator<Item = &[u64]> {
        // Before the first number there is no word, and no group either.
        self.words.chunks_exact(self.stride.max(1))
    }

    /// How much memory they take, in bytes.
    pub fn size(&self) -> usize {
        8 * self.words.capacity()
    }
}

/// The numbers of a bitmap.
pub(super) fn numbers(bitmap: &[u64]) -> impl Iterator<Item = u64> {
    bitmap.iter().enumerate().flat_map(|(at, word)| {
        let mut left = *word;
        std::iter::from_fn(move || {
            let bit = left.trailing_zeros();
            left &= left.checked_sub(1)?; // the lowest goes
            Some(at as u64 * 64 + u64::from(bit))
        })
    })
}

/// A bitmap without the words at its end that have no number.
pub(super) fn trimmed(bitmap: &[u64]) -> &[u64] {
    let len = bitmap.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
    &bitmap[..len]
}
