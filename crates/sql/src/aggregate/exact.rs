//! Sums of floating-point numbers that do not depend on the order of the terms: the exact sum, rounded once.
//!
//! Most sums of measured values fit a fixed-point number of 128 bits whose unit is 2^-80: terms of full precision from about
//! 4e-9 to 7e13. Terms and sums outside go to a fixed-point number that is wide enough for every double (a "superaccumulator":
//! Kulisch and Miranker, The Arithmetic of the Digital Computer, SIAM Review 28 (1986)).
//!
//! Defined are also: NaN, and the sum of both infinities, give NaN; one infinity gives itself; zeros of any sign give +0; a sum
//! beyond the largest double gives an infinity, but never because of the order in which terms came.

/// The unit of the narrow number is 2^-UNIT.
const UNIT: i32 = 80;
/// Above this shift a mantissa of 53 bits would touch the sign of the narrow number.
const MAX_SHIFT: i32 = 126 - 53;
/// The unit of the wide number is 2^-1074, the smallest double.
const WIDE_UNIT: i32 = 1074;
/// The largest double is below 2^1024; 2^64 of them and a sign fit into 1,074 + 1,024 + 65 bits.
const LIMBS: usize = 34;
/// The bytes of a wide number: its limbs and three counts.
const WIDE_BYTES: usize = 8 * (LIMBS + 3);

/// An exact sum.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Exact {
    narrow: i128,
    wide: Option<Box<Wide>>,
}

/// What does not fit the narrow number, in two's complement, and how often each special value came.
#[derive(Clone, Debug, PartialEq)]
struct Wide {
    limbs: [u64; LIMBS],
    nan: i64,
    positive: i64,
    negative: i64,
}

impl Default for Wide {
    fn default() -> Self {
        Self { limbs: [0; LIMBS], nan: 0, positive: 0, negative: 0 }
    }
}

impl Exact {
    /// Adds a term.
    pub(super) fn add(&mut self, term: f64) {
        self.add_times(term, 1);
    }

    /// Takes back a term that was added.
    pub(super) fn take_back(&mut self, term: f64) {
        self.add_times(term, -1);
    }

    fn add_times(&mut self, term: f64, sign: i64) {
        let bits = term.to_bits();
        let biased = (bits >> 52 & 0x7ff) as i32;
        let fraction = bits & ((1 << 52) - 1);
        if biased == 0x7ff {
            return self.wide().add_special(term, sign);
        }
        let (mantissa, exponent) = if biased == 0 { (fraction, -WIDE_UNIT) } else { (fraction | 1 << 52, biased - 1075) };
        let negative = term.is_sign_negative() != (sign < 0);
        let signed = |magnitude: i128| if negative { -magnitude } else { magnitude };
        let shift = exponent + UNIT;
        if (0..=MAX_SHIFT).contains(&shift) {
            return self.add_narrow(signed(i128::from(mantissa) << shift));
        }
        if mantissa != 0 {
            self.wide().add(signed(i128::from(mantissa)), (exponent + WIDE_UNIT) as usize);
        }
    }

    /// Adds another sum.
    pub(super) fn merge(&mut self, other: &Exact) {
        self.add_narrow(other.narrow);
        if let Some(other) = &other.wide {
            self.wide().merge(other);
        }
    }

    fn add_narrow(&mut self, term: i128) {
        match self.narrow.checked_add(term) {
            Some(sum) => self.narrow = sum,
            None => self.wide().add(term, (WIDE_UNIT - UNIT) as usize),
        }
    }

    fn wide(&mut self) -> &mut Wide {
        self.wide.get_or_insert_default()
    }

    /// The sum as the nearest double, ties to even.
    pub(super) fn value(&self) -> f64 {
        match &self.wide {
            // The conversion rounds; the product only moves the exponent, far from both ends.
            None => self.narrow as f64 * 2_f64.powi(-UNIT),
            Some(wide) => {
                let mut all = wide.as_ref().clone();
                all.add(self.narrow, (WIDE_UNIT - UNIT) as usize);
                all.value()
            }
        }
    }

    /// The memory that it holds beside itself, in bytes.
    pub(super) fn size(&self) -> usize {
        self.wide.as_ref().map_or(0, |_| size_of::<Wide>())
    }

    /// The sum as bytes, to be merged elsewhere.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.narrow.to_le_bytes());
        if let Some(wide) = &self.wide {
            wide.limbs.iter().for_each(|limb| bytes.extend(limb.to_le_bytes()));
            [wide.nan, wide.positive, wide.negative].iter().for_each(|count| bytes.extend(count.to_le_bytes()));
        }
    }

    /// What [`Self::write`] wrote.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (narrow, rest) = bytes.split_first_chunk::<16>()?;
        let mut sum = Self { narrow: i128::from_le_bytes(*narrow), wide: None };
        if rest.len() == WIDE_BYTES {
            let mut words = rest.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
            let wide = sum.wide();
            wide.limbs.iter_mut().zip(&mut words).for_each(|(limb, word)| *limb = word);
            let mut count = || words.next().map(u64::cast_signed);
            (wide.nan, wide.positive, wide.negative) = (count()?, count()?, count()?);
        }
        (rest.is_empty() || rest.len() == WIDE_BYTES).then_some(sum)
    }
}

impl Wide {
    fn add_special(&mut self, term: f64, sign: i64) {
        let count = if term.is_nan() {
            &mut self.nan
        } else if term > 0.0 {
            &mut self.positive
        } else {
            &mut self.negative
        };
        *count += sign;
    }

    /// Adds `term` x 2^`shift` units.
    fn add(&mut self, term: i128, shift: usize) {
        let (first, offset) = (shift / 64, shift % 64);
        let extension = (term >> 127) as u64;
        let low = (term as u128) << offset;
        let high = if offset == 0 { extension } else { (term >> (128 - offset)) as u64 };
        let words = [low as u64, (low >> 64) as u64, high];
        let words = words.into_iter().chain(std::iter::repeat(extension));
        Self::add_words(self.limbs.iter_mut().skip(first), words);
    }

    fn merge(&mut self, other: &Wide) {
        Self::add_words(self.limbs.iter_mut(), other.limbs.iter().copied());
        self.nan += other.nan;
        self.positive += other.positive;
        self.negative += other.negative;
    }

    fn add_words<'a>(limbs: impl Iterator<Item = &'a mut u64>, words: impl Iterator<Item = u64>) {
        let mut carry = false;
        for (limb, word) in limbs.zip(words) {
            let (sum, first) = limb.overflowing_add(word);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            *limb = sum;
            carry = first || second;
        }
    }

    fn value(mut self) -> f64 {
        match (self.nan > 0, self.positive > 0, self.negative > 0) {
            (true, _, _) | (_, true, true) => return f64::NAN,
            (_, true, _) => return f64::INFINITY,
            (_, _, true) => return f64::NEG_INFINITY,
            _ => {}
        }
        let negative = self.limbs[LIMBS - 1] >> 63 == 1;
        if negative {
            self.limbs.iter_mut().for_each(|limb| *limb = !*limb);
            Self::add_words(self.limbs.iter_mut(), std::iter::once(1).chain(std::iter::repeat(0)));
        }
        let magnitude = self.magnitude();
        if negative { -magnitude } else { magnitude }
    }

    /// Of a number that is not negative.
    fn magnitude(&self) -> f64 {
        let Some(top) = self.limbs.iter().rposition(|limb| *limb != 0) else { return 0.0 };
        let highest = top * 64 + 63 - self.limbs[top].leading_zeros() as usize;
        if highest < 53 {
            return f64::from_bits(self.limbs[0]); // subnormal, or of the first binade: exact
        }
        let lowest = highest - 52;
        let mantissa = (0..53).fold(0_u64, |m, i| m | u64::from(self.bit(lowest + i)) << i);
        let half = self.bit(lowest - 1);
        let more = (0..lowest - 1).any(|i| self.bit(i));
        let rounded = mantissa + u64::from(half && (more || mantissa & 1 == 1));
        // A mantissa that became 2^53 carries into the exponent, as it should.
        let bits = ((lowest as u64) << 52) + rounded;
        if bits >= f64::INFINITY.to_bits() { f64::INFINITY } else { f64::from_bits(bits) }
    }

    fn bit(&self, i: usize) -> bool {
        self.limbs[i / 64] >> (i % 64) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(terms: &[f64]) -> f64 {
        let mut sum = Exact::default();
        terms.iter().for_each(|term| sum.add(*term));
        sum.value()
    }

    #[test]
    fn sums_are_exact() {
        for (terms, expected) in [
            (&[][..], 0.0),
            (&[-0.0, -0.0], 0.0),
            (&[0.1; 10], 1.0),
            (&[1e16, 1.0, -1e16], 1.0),
            (&[1e300, 1.0, -1e300, 1e-300], 1.0),
            (&[f64::MAX, f64::MAX, -f64::MAX], f64::MAX),
            (&[f64::MAX, f64::MAX], f64::INFINITY),
            (&[-f64::MAX, -f64::MAX], f64::NEG_INFINITY),
            (&[f64::MAX, f64::MAX * 2_f64.powi(-54)], f64::MAX),
            (&[f64::from_bits(1), f64::from_bits(1)], f64::from_bits(2)),
            (&[f64::MIN_POSITIVE, -f64::from_bits(1)], f64::from_bits((1 << 52) - 1)),
            (&[f64::INFINITY, 1.0], f64::INFINITY),
            (&[2_f64.powi(53), 1.0], 2_f64.powi(53)),
            (&[2_f64.powi(53), 1.0, 2_f64.powi(-60)], 2_f64.powi(53) + 2.0),
            (&[2_f64.powi(53) + 2.0, 1.0], 2_f64.powi(53) + 4.0),
            (&[1e14; 3], 3e14),
        ] {
            assert_eq!(sum(terms).to_bits(), expected.to_bits(), "{terms:?}: {}", sum(terms));
        }
        assert!(sum(&[f64::NAN, 1.0]).is_nan());
        assert!(sum(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
    }

    #[test]
    fn what_is_taken_back_leaves_nothing() {
        let terms = [1e300, f64::NAN, 0.1, f64::INFINITY, -3e-310, 7.25];
        let mut sum = Exact::default();
        terms.iter().for_each(|term| sum.add(*term));
        terms.iter().filter(|t| **t != 0.1).for_each(|term| sum.take_back(*term));
        assert_eq!(sum.value(), 0.1);
    }

    /// Of any size, mostly near each other so that they cancel and round.
    fn term() -> impl Strategy<Value = f64> {
        prop_oneof![
            4 => any::<f64>(),
            4 => -1e6..1e6,
            2 => (any::<i32>(), -60..60_i32).prop_map(|(m, e)| f64::from(m) * 2_f64.powi(e)),
            1 => prop_oneof![Just(0.0), Just(f64::MAX), Just(-f64::MAX), Just(f64::from_bits(1)), Just(1e-20)],
        ]
    }

    proptest! {
        /// Shuffled, cut into batches, and merged in any order: the same bits.
        #[test]
        fn order_and_grouping_do_not_matter(terms in prop::collection::vec(term(), 0..60), cuts in prop::collection::vec(1..9_usize, 1..60), seed in any::<u64>()) {
            let mut shuffled: Vec<f64> = terms.clone();
            let mut state = seed | 1;
            for i in (1..shuffled.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                shuffled.swap(i, (state >> 33) as usize % (i + 1));
            }
            let (mut merged, mut rest) = (Exact::default(), shuffled.as_slice());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (batch, left) = rest.split_at((*cut).min(rest.len()));
                rest = left;
                let mut part = Exact::default();
                batch.iter().for_each(|term| part.add(*term));
                let mut bytes = Vec::new();
                part.write(&mut bytes);
                merged.merge(&Exact::read(&bytes).ok_or_else(|| TestCaseError::fail("bytes"))?);
            }
            let (one, other) = (sum(&terms), merged.value());
            prop_assert!(one.to_bits() == other.to_bits() || one.is_nan() && other.is_nan(), "{one} {other}");
        }

        /// Integers up to 2^60 in units of 2^-70 .. 2^20, against 128-bit arithmetic.
        #[test]
        fn sums_are_rounded_once(terms in prop::collection::vec(-(1_i64 << 53)..(1_i64 << 53), 0..50), exponent in -1074..900_i32) {
            let scaled = |m: i64| { // powi would overflow or lose bits at the ends
                let (half, rest) = (exponent / 2, exponent - exponent / 2);
                m as f64 * 2_f64.powi(half) * 2_f64.powi(rest)
            };
            let exact: i128 = terms.iter().map(|t| i128::from(*t)).sum();
            let expected = exact as f64 * 2_f64.powi(exponent / 2) * 2_f64.powi(exponent - exponent / 2);
            let floats: Vec<f64> = terms.iter().map(|t| scaled(*t)).collect();
            prop_assert_eq!(sum(&floats), expected);
        }
    }
}
