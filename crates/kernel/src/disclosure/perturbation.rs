//! The perturbation table: which noise a count gets, and with what probability.
//!
//! For each count there is one distribution over whole numbers: bounded, with mean zero, with a given variance, and of all those
//! the one of greatest entropy (Fraser and Wooton 2005; Giessing 2016; the `ptable` package of the Sdc tools). Its form is
//! `p(v) = exp(b v - c v^2) / Z`; `b` and `c` follow from mean and variance. The table is public; the seed that decides what a
//! cell gets is not.

/// What the noise of a database is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Perturbation {
    /// The largest noise, in persons: `D`.
    pub bound: u32,
    /// The variance of the noise of counts of at least `bound` persons: `V`, in persons squared.
    pub variance: f64,
}

/// The distributions of all counts.
#[derive(Clone, Debug)]
pub struct PerturbationTable {
    bound: i64,
    /// For the counts 0, 1, ... up to the bound, and for all larger ones the last: from the lowest noise up, the probability of
    /// at most that much.
    rows: Vec<Row>,
}

#[derive(Clone, Debug)]
struct Row {
    lowest: i64,
    at_most: Vec<f64>,
}

/// A noise that nobody could have: a bound of nothing, or a variance that does not fit under the bound.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("a perturbation of variance {variance} within {bound} persons does not exist; the variance must be above 0 and at most {most}")]
pub struct NoSuchPerturbation {
    bound: u32,
    variance: f64,
    most: f64,
}

impl PerturbationTable {
    /// The table of a perturbation.
    pub fn new(perturbation: &Perturbation) -> Result<Self, NoSuchPerturbation> {
        let Perturbation { bound, variance } = *perturbation;
        // The uniform distribution is the widest that a maximum of entropy can be.
        let most = f64::from(bound) * (f64::from(bound) + 1.0) / 3.0;
        if bound == 0 || !(variance > 0.0 && variance <= most) {
            return Err(NoSuchPerturbation { bound, variance, most });
        }
        let bound = i64::from(bound);
        Ok(Self { bound, rows: (0..=bound).map(|count| row(count.min(bound), bound, variance)).collect() })
    }

    /// The noise of a cell of `count` persons, whose place among all possible is `draw`, from 0 up to but not including 1.
    pub fn noise(&self, count: u64, draw: f64) -> i64 {
        let row = usize::try_from(count).ok().and_then(|count| self.rows.get(count)).or_else(|| self.rows.last());
        row.map_or(0, |row| row.lowest + row.at_most.partition_point(|p| *p <= draw).min(row.at_most.len() - 1) as i64)
    }

    /// The largest noise.
    pub fn bound(&self) -> u64 {
        self.bound.unsigned_abs()
    }

    /// For each count up to the bound (which stands for all above): each noise and its probability.
    pub fn published(&self) -> Vec<Vec<(i64, f64)>> {
        let each = |row: &Row| {
            let before = std::iter::once(0.0).chain(row.at_most.iter().copied());
            row.at_most.iter().zip(before).zip(row.lowest..).map(|((p, before), v)| (v, p - before)).collect()
        };
        self.rows.iter().map(each).collect()
    }
}

/// The distribution for one count: no result below zero.
fn row(count: i64, bound: i64, variance: f64) -> Row {
    let lowest = -count.min(bound);
    // With less room below, as much variance as the room allows: noise from -n to D with mean zero has at most n * D.
    let variance = variance.min(0.9 * (-lowest) as f64 * (bound as f64 + 1.0) / 3.0);
    if lowest == 0 {
        return Row { lowest, at_most: vec![1.0] };
    }
    let (mut linear, mut square) = (0.0_f64, 0.5 / variance);
    let noises: Vec<f64> = (lowest..=bound).map(|v| v as f64).collect();
    let weights = |linear: f64, square: f64| {
        let exponents: Vec<f64> = noises.iter().map(|v| linear * v - square * v * v).collect();
        let top = exponents.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = exponents.iter().map(|e| (e - top).exp()).collect();
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|w| w / sum).collect::<Vec<f64>>()
    };
    // Newton's method on mean and variance, with steps that are halved while they lead away.
    let moments = |p: &[f64]| [1, 2, 3, 4].map(|k| p.iter().zip(&noises).map(|(p, v)| p * v.powi(k)).sum::<f64>());
    let miss = |m: &[f64; 4]| m[0].abs() + (m[1] - variance).abs();
    for _ in 0..200 {
        let m = moments(&weights(linear, square));
        if miss(&m) < 1e-12 {
            break;
        }
        // How the first two moments move with the two parameters: covariances of v and v^2.
        let (vv, v2, v22) = (m[1] - m[0] * m[0], m[2] - m[0] * m[1], m[3] - m[1] * m[1]);
        let determinant = -vv * v22 + v2 * v2;
        let (off_mean, off_square) = (-m[0], variance - m[1]);
        let step_linear = (off_mean * -v22 + off_square * v2) / determinant;
        let step_square = (vv * off_square - v2 * off_mean) / determinant;
        let mut part = 1.0;
        while part > 1e-6 && miss(&moments(&weights(linear + part * step_linear, square + part * step_square))) > miss(&m) {
            part /= 2.0;
        }
        linear += part * step_linear;
        square += part * step_square;
    }
    let mut sum = 0.0;
    let at_most = weights(linear, square).into_iter().map(|p| {
        sum += p;
        sum
    });
    Row { lowest, at_most: at_most.collect() }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn table(bound: u32, variance: f64) -> PerturbationTable {
        PerturbationTable::new(&Perturbation { bound, variance }).unwrap()
    }

    #[test]
    fn every_row_is_unbiased_bounded_and_of_the_variance() {
        for (bound, variance) in [(1, 0.5), (2, 1.0), (5, 3.0), (8, 6.0), (15, 50.0), (20, 60.0)] {
            for (count, row) in table(bound, variance).published().iter().enumerate() {
                let sum: f64 = row.iter().map(|(_, p)| p).sum();
                let mean: f64 = row.iter().map(|(v, p)| *v as f64 * p).sum();
                let second: f64 = row.iter().map(|(v, p)| (*v * *v) as f64 * p).sum();
                assert!((sum - 1.0).abs() < 1e-9 && mean.abs() < 1e-8, "D {bound} V {variance} n {count}: sum {sum} mean {mean}");
                assert!(row.iter().all(|(v, p)| *v >= -(count as i64) && *v <= i64::from(bound) && *p >= 0.0));
                let wanted = if count == bound as usize { variance } else { second.min(variance) };
                assert!((second - wanted).abs() < 1e-6, "D {bound} V {variance} n {count}: {second}");
            }
        }
    }

    #[test]
    fn the_rows_are_those_of_the_published_method() {
        // Of all distributions on -1..1 with mean 0 and variance 1/2 there is one: a quarter, a half, a quarter.
        let one: Vec<f64> = table(1, 0.5).published()[1].iter().map(|(_, p)| *p).collect();
        assert!(one.iter().zip([0.25, 0.5, 0.25]).all(|(p, q)| (p - q).abs() < 1e-9), "{one:?}");
        // ln p is a parabola: its third differences vanish.
        let row: Vec<f64> = table(5, 3.0).published()[3].iter().map(|(_, p)| p.ln()).collect();
        assert!(row.windows(4).all(|w| (w[3] - 3.0 * w[2] + 3.0 * w[1] - w[0]).abs() < 1e-6), "{row:?}");
    }

    #[test]
    fn a_draw_falls_where_its_probability_says() {
        let table = table(5, 3.0);
        let draws = 100_000;
        for count in [0, 1, 3, 5, 1_000] {
            let mut seen = std::collections::BTreeMap::<i64, f64>::new();
            (0..draws).for_each(|n| *seen.entry(table.noise(count, (f64::from(n) + 0.5) / f64::from(draws))).or_default() += 1.0);
            for (v, p) in &table.published()[count.min(5) as usize] {
                assert!((seen.get(v).copied().unwrap_or(0.0) / f64::from(draws) - p).abs() < 1e-4, "n {count} v {v}");
            }
        }
        assert_eq!((table.noise(0, 0.9), table.bound()), (0, 5));
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        for (bound, variance) in [(0, 1.0), (5, 0.0), (5, -1.0), (5, 10.1), (5, f64::NAN)] {
            assert!(PerturbationTable::new(&Perturbation { bound, variance }).is_err(), "{bound} {variance}");
        }
        assert!(PerturbationTable::new(&Perturbation { bound: 5, variance: 10.0 }).is_ok(), "the uniform distribution");
    }
}
