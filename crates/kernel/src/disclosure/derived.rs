//! What follows from released cells, and from nothing else: rates, means, quantiles, survival.

use super::cell::Released;

/// Persons per 100,000 of a published population.
pub fn rate(cell: &Released, population: u64) -> Option<f64> {
    cell.persons().filter(|_| population > 0).map(|persons| persons as f64 * 100_000.0 / population as f64)
}

/// The mean value of a row.
pub fn mean(cell: &Released) -> Option<f64> {
    cell.sum().zip(cell.rows()).filter(|(_, rows)| *rows > 0).map(|(sum, rows)| sum / rows as f64)
}

/// A band of a histogram: from `from` up to but not including `to`, and its cell.
#[derive(Clone, Copy, Debug)]
pub struct Band {
    /// The lower end.
    pub from: f64,
    /// The upper end; none of the last band.
    pub to: Option<f64>,
    /// How many rows it has, as released.
    pub cell: Released,
}

/// The value below which the share `p` (0 to 1) of the rows lies, from the bands of a released histogram, in their order: linear
/// within the band. A suppressed band counts as empty. `None` without rows, or where it falls into a band without an end.
pub fn quantile(bands: &[Band], p: f64) -> Option<f64> {
    let of = |band: &Band| band.cell.rows().unwrap_or(0) as f64;
    let all: f64 = bands.iter().map(of).sum();
    let mut before = 0.0;
    for band in bands.iter().filter(|band| of(band) > 0.0) {
        if before + of(band) >= p.clamp(0.0, 1.0) * all {
            let within = (p.clamp(0.0, 1.0) * all - before) / of(band);
            return band.to.map(|to| band.from + within * (to - band.from));
        }
        before += of(band);
    }
    None
}

/// A step of a survival curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The last month of the step, counted from the beginning.
    pub month: u32,
    /// Persons at risk at the beginning of the step.
    pub at_risk: u64,
    /// Events in it.
    pub events: u64,
    /// Persons who were only followed up to it.
    pub censored: u64,
    /// The Kaplan-Meier estimate at its end.
    pub survival: f64,
}

/// The Kaplan-Meier estimate from released counts: `all` persons at the beginning, and for each step of the public grid its last
/// month with its events and its censored. Suppressed counts are 0. Who is censored in a step counts as at risk through half of it
/// (the actuarial estimate), for within a step there is no order.
pub fn survival(all: u64, grid: &[(u32, Released, Released)]) -> Vec<Step> {
    let (mut at_risk, mut survival) = (all, 1.0);
    let step = |(month, events, censored): &(u32, Released, Released)| {
        let events = events.persons().unwrap_or(0).min(at_risk);
        let censored = censored.persons().unwrap_or(0).min(at_risk - events);
        let exposed = at_risk as f64 - censored as f64 / 2.0;
        if exposed > 0.0 {
            survival *= 1.0 - events as f64 / exposed;
        }
        let step = Step { month: *month, at_risk, events, censored, survival };
        at_risk -= events + censored;
        step
    };
    grid.iter().map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(n: u64) -> Released {
        Released::kept(Some(n), Some(n), Some(2.0 * n as f64))
    }

    #[test]
    fn a_quantile_lies_in_its_band() {
        let band = |from: f64, to: f64, n: u64| Band { from, to: Some(to), cell: cell(n) };
        let bands = [band(0.0, 10.0, 10), band(10.0, 20.0, 20), Band { from: 20.0, to: None, cell: cell(10) }];
        assert_eq!(quantile(&bands, 0.5), Some(15.0));
        assert_eq!(quantile(&bands, 0.25), Some(10.0));
        assert_eq!((quantile(&bands, 0.9), quantile(&bands[..0], 0.5)), (None, None));
        let hidden = [band(0.0, 10.0, 10), Band { from: 10.0, to: Some(20.0), cell: Released::default() }, band(20.0, 30.0, 10)];
        assert_eq!(quantile(&hidden, 0.75), Some(25.0));
    }

    #[test]
    fn rates_and_means() {
        assert_eq!(rate(&cell(50), 200_000), Some(25.0));
        assert_eq!((rate(&cell(50), 0), rate(&Released::default(), 100)), (None, None));
        assert_eq!(mean(&cell(8)), Some(2.0));
    }

    #[test]
    fn survival_is_that_of_the_actuarial_table() {
        let none = Released::default();
        let steps = survival(100, &[(1, cell(10), none), (2, cell(18), cell(20)), (3, none, none)]);
        let of: Vec<f64> = steps.iter().map(|s| (s.survival * 1e6).round() / 1e6).collect();
        assert_eq!(of, [0.9, 0.9 * 0.775, 0.9 * 0.775]);
        assert_eq!(steps.iter().map(|s| s.at_risk).collect::<Vec<_>>(), [100, 90, 52]);
        let noisy = survival(5, &[(1, cell(9), cell(9))]);
        assert_eq!((noisy[0].events, noisy[0].censored, noisy[0].survival), (5, 0, 0.0), "noise never leaves fewer than nobody");
    }
}
