//! Guessing a bit from several numbers: their best linear combination, learned from one half of the trials and judged on the other.

use super::super::game::{Bound, Score, Seen, halves};

/// What is added to each variance, as a share of it, so that numbers that follow from each other do no harm.
const RIDGE: f64 = 0.01;

/// The best that can be made of several numbers: Fisher's linear discriminant, and the bound of it that was right most often.
pub(super) fn by_numbers(seen: &[Seen<Vec<f64>>]) -> Score {
    halves(seen, |learn, guess| {
        let weights = discriminant(learn);
        let weighed = |trial: &Seen<Vec<f64>>| trial.what.iter().zip(&weights).map(|(x, w)| x * w).sum::<f64>();
        let bound = Bound::learned(learn.iter().map(|trial| (weighed(trial), trial.bit)).collect());
        guess.iter().filter(|trial| bound.guess(weighed(trial)) == trial.bit).count()
    })
}

/// The weights: the inverse of the covariance within both kinds of trials, times the difference of their means.
fn discriminant(learn: &[&Seen<Vec<f64>>]) -> Vec<f64> {
    let size = learn.first().map_or(0, |trial| trial.what.len());
    let mean = |bit: bool| {
        let of: Vec<&Vec<f64>> = learn.iter().filter(|trial| trial.bit == bit).map(|trial| &trial.what).collect();
        (0..size).map(|at| of.iter().map(|x| x[at]).sum::<f64>() / of.len().max(1) as f64).collect::<Vec<f64>>()
    };
    let means = [mean(false), mean(true)];
    let mut matrix = vec![vec![0.0; size + 1]; size];
    for trial in learn {
        let off: Vec<f64> = trial.what.iter().zip(&means[usize::from(trial.bit)]).map(|(x, m)| x - m).collect();
        for (row, x) in matrix.iter_mut().zip(&off) {
            row.iter_mut().zip(&off).for_each(|(entry, y)| *entry += x * y);
        }
    }
    for (at, row) in matrix.iter_mut().enumerate() {
        row[at] += RIDGE * row[at] + 1e-6;
        row[size] = means[1][at] - means[0][at];
    }
    solve(matrix)
}

/// Solves linear equations, each with its right side at the end, by Gauss's elimination.
fn solve(mut rows: Vec<Vec<f64>>) -> Vec<f64> {
    let size = rows.len();
    for at in 0..size {
        let pivot = (at..size).max_by(|a, b| rows[*a][at].abs().total_cmp(&rows[*b][at].abs())).unwrap_or(at);
        rows.swap(at, pivot);
        let first = rows[at].clone();
        for (_, row) in rows.iter_mut().enumerate().filter(|(nth, _)| *nth != at) {
            let part = row[at] / first[at];
            row.iter_mut().zip(&first).for_each(|(x, y)| *x -= part * y);
        }
    }
    (0..size).map(|at| rows[at][size] / rows[at][at]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_difference_tells_is_found() {
        let number = |n: u64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / 1e6;
        let trial = |n: u64| {
            let (bit, common) = (number(n + 7) > 8.4, number(n));
            Seen { what: vec![common, common + if bit { 1.0 } else { 0.0 }, number(n + 99)], bit }
        };
        let seen: Vec<_> = (0..2_000).map(trial).collect();
        assert!(by_numbers(&seen).right > 1_900, "{:?}", by_numbers(&seen));
    }
}
