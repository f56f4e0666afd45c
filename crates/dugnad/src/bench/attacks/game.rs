//! Guessing a bit from what was seen.

use std::collections::HashMap;

/// How often the attacker was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Score {
    pub(super) right: usize,
    pub(super) trials: usize,
}

/// The confidence that bounds leave out on one side.
const ALPHA: f64 = 0.05;

impl Score {
    /// The upper 95 % bound of the attacker's advantage, in percentage points: Clopper and Pearson's exact bound of the share of
    /// right guesses, doubled and less one. An attacker who is wrong more often than right turns the guesses round.
    pub(super) fn bound(self) -> f64 {
        let right = self.right.max(self.trials - self.right);
        let (mut low, mut high) = (right as f64 / self.trials.max(1) as f64, 1.0);
        if right == self.trials {
            return 100.0;
        }
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if at_most(right, self.trials, middle) > ALPHA { low = middle } else { high = middle }
        }
        (2.0 * high - 1.0) * 100.0
    }
}

/// The probability of at most so many successes.
fn at_most(successes: usize, trials: usize, probability: f64) -> f64 {
    let (yes, no) = (probability.ln(), (1.0 - probability).ln());
    let mut choose = 0.0_f64; // the logarithm of the number of ways
    let mut sum = 0.0;
    for k in 0..=successes {
        sum += (choose + k as f64 * yes + (trials - k) as f64 * no).exp();
        choose += ((trials - k) as f64 / (k + 1) as f64).ln();
    }
    sum
}

/// What was seen in a trial, and the bit.
pub(super) struct Seen<T> {
    pub(super) what: T,
    pub(super) bit: bool,
}

/// The best that can be made of texts: who has seen a text before says what it meant then; if not the text, then the same with
/// other numbers and ids. Each half is learned from, and the other half is guessed.
pub(super) fn by_text(seen: &[Seen<String>]) -> Score {
    halves(seen, |learn, guess| {
        let mut meaning: HashMap<String, i64> = HashMap::new();
        for trial in learn {
            for form in [trial.what.clone(), form_of(&trial.what)] {
                *meaning.entry(form).or_default() += if trial.bit { 1 } else { -1 };
            }
        }
        let known = |what: &str| meaning.get(what).or_else(|| meaning.get(&form_of(what)));
        let right = |n: usize, trial: &Seen<String>| known(&trial.what).map_or(n.is_multiple_of(2), |sum| *sum > 0) == trial.bit;
        guess.iter().enumerate().filter(|(n, trial)| right(*n, trial)).count()
    })
}

/// A text without what differs from trial to trial: times, versions, lengths and ids, which are words with a digit.
fn form_of(text: &str) -> String {
    let words = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_'));
    words.map(|word| if word.contains(|c: char| c.is_ascii_digit()) { "#" } else { word }).collect()
}

/// The best that can be made of a number: the bound, and the side of it, that was right most often in the other half.
pub(super) fn by_number(seen: &[Seen<f64>]) -> Score {
    halves(seen, |learn, guess| {
        let bound = Bound::learned(learn.iter().map(|trial| (trial.what, trial.bit)).collect());
        guess.iter().filter(|trial| bound.guess(trial.what) == trial.bit).count()
    })
}

/// A bound of a number, on one side of which the bit is taken to be set.
pub(super) struct Bound {
    at: f64,
    above: bool,
}

impl Bound {
    /// The one that is right most often.
    pub(super) fn learned(mut known: Vec<(f64, bool)>) -> Self {
        known.sort_by(|a, b| a.0.total_cmp(&b.0));
        let set = known.iter().filter(|(_, bit)| *bit).count() as i64;
        let (mut right, all) = (set, known.len() as i64);
        let (mut best, mut most) = (Self { at: f64::NEG_INFINITY, above: true }, set);
        for (nth, (at, bit)) in known.iter().enumerate() {
            right += if *bit { -1 } else { 1 };
            if known.get(nth + 1).is_some_and(|next| next.0 <= *at) {
                continue; // equal numbers lie on the same side
            }
            for (count, above) in [(right, true), (all - right, false)] {
                if count > most {
                    (best, most) = (Self { at: *at, above }, count);
                }
            }
        }
        best
    }

    /// Whether the bit is taken to be set.
    pub(super) fn guess(&self, number: f64) -> bool {
        (number > self.at) == self.above
    }
}

/// Guesses that need no learning.
pub(super) fn by_guess(seen: &[Seen<bool>]) -> Score {
    Score { right: seen.iter().filter(|trial| trial.what == trial.bit).count(), trials: seen.len() }
}

/// Every second trial is one half, so that whatever drifts with time is in both.
pub(super) fn halves<T>(seen: &[Seen<T>], right: impl Fn(&[&Seen<T>], &[&Seen<T>]) -> usize) -> Score {
    let half = |odd: usize| seen.iter().skip(odd).step_by(2).collect::<Vec<_>>();
    let (first, second) = (half(0), half(1));
    Score { right: right(&first, &second) + right(&second, &first), trials: seen.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_that_of_clopper_and_pearson() {
        // The exact one-sided 95 % bounds of 50 of 100 and 95 of 100: 0.5863 and 0.9802.
        assert!((Score { right: 50, trials: 100 }.bound() - 17.27).abs() < 0.05, "{}", Score { right: 50, trials: 100 }.bound());
        assert!((Score { right: 95, trials: 100 }.bound() - 96.03).abs() < 0.05, "{}", Score { right: 95, trials: 100 }.bound());
        assert!((Score { right: 5, trials: 100 }.bound() - 96.03).abs() < 0.05, "who is always wrong knows it too");
        assert!((Score { right: 9, trials: 9 }.bound() - 100.0).abs() < 1e-9);
    }

    /// Bits that follow no pattern of the trials' order.
    fn bit(n: usize) -> bool {
        (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63 == 1
    }

    #[test]
    fn what_tells_is_found_and_what_does_not_is_not() {
        let texts = |tells: bool| (0..1_000).map(move |n| Seen { what: format!("{}", if tells { bit(n) as u8 } else { 7 }), bit: bit(n) });
        assert_eq!(by_text(&texts(true).collect::<Vec<_>>()).right, 1_000);
        assert!(by_text(&texts(false).collect::<Vec<_>>()).right < 560);
        let numbers =
            |by: f64| (0..1_000).map(move |n| Seen { what: (n * 7_919 % 1_000) as f64 + if bit(n) { by } else { 0.0 }, bit: bit(n) });
        assert!(by_number(&numbers(-2_000.0).collect::<Vec<_>>()).right > 990);
        assert!(by_number(&numbers(0.0).collect::<Vec<_>>()).right < 560);
    }
}
