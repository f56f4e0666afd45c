//! What disclosure control costs: how far shown cells are from the truth, by size, and how many are not shown.

use super::super::Defence;
use super::service::{Levels, Service};
use super::world::Snapshot;
use dugnad_kernel::disclosure::Method;

/// The sizes of cells, in persons: from, and up to but not including.
const SIZES: [(u32, u32); 4] = [(20, 50), (50, 100), (100, 500), (500, u32::MAX)];

/// The figures of the cells of one size.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct OfSize {
    /// From so many persons up.
    pub(in super::super) from: u32,
    /// How many cells there are.
    pub(in super::super) cells: usize,
    /// How many of them are shown.
    pub(in super::super) shown: usize,
    /// The mean and the largest error of those that are shown, relative to the truth.
    pub(in super::super) mean: f64,
    pub(in super::super) most: f64,
}

/// The figures of some tables.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Utility {
    pub(in super::super) sizes: Vec<OfSize>,
    /// The share of the cells with anybody in them that are not shown.
    pub(in super::super) suppressed: f64,
    /// What the shown cells add up to, less the truth of the same cells, relative to it.
    pub(in super::super) bias: f64,
    /// What the shown cells add up to, relative to the truth of all.
    pub(in super::super) covered: f64,
}

/// Releases tables of a database at epochs, of which the last is measured.
pub(in super::super) fn measure(epochs: &[Snapshot], shapes: &[Levels], method: &Method, seed: &[u8; 32]) -> Utility {
    let mut utility =
        Utility { sizes: SIZES.iter().map(|(from, _)| OfSize { from: *from, ..OfSize::default() }).collect(), ..Utility::default() };
    let mut service = Service::new(Defence::On, method, usize::MAX, seed);
    let (mut cells, mut shown, mut sum, mut truth, mut all) = (0, 0, 0.0, 0.0, 0.0);
    for levels in shapes {
        let Some(table) = epochs.iter().map(|epoch| service.table(epoch, levels, None)).last() else { continue };
        let Some(exact) = epochs.last().map(|epoch| Service::exact(epoch, levels)) else { continue };
        for cell in exact.every() {
            let real = exact.cell(&cell).unwrap_or(0.0);
            if real == 0.0 {
                continue;
            }
            let is = table.cell(&cell);
            (cells, shown, all) = (cells + 1, shown + usize::from(is.is_some()), all + real);
            let error = is.map(|is| (is - real).abs() / real);
            if let Some(is) = is {
                (sum, truth) = (sum + is, truth + real);
            }
            let size = SIZES.iter().position(|(from, to)| (f64::from(*from)..f64::from(*to)).contains(&real));
            if let Some(of) = size.map(|size| &mut utility.sizes[size]) {
                of.cells += 1;
                of.shown += usize::from(error.is_some());
                of.mean += error.unwrap_or(0.0);
                of.most = of.most.max(error.unwrap_or(0.0));
            }
        }
    }
    utility.sizes.iter_mut().for_each(|of| of.mean /= of.shown.max(1) as f64);
    Utility {
        suppressed: 1.0 - shown as f64 / f64::max(cells as f64, 1.0),
        bias: sum / f64::max(truth, 1.0) - 1.0,
        covered: sum / f64::max(all, 1.0),
        ..utility
    }
}
