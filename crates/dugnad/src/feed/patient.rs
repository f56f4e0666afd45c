//! Synthetic patients, and where each is on the way.

use super::hospital::{Hospital, hospitals};
use super::identifier::{Sex, synthetic_national_id};
use super::site::{SITES, Site};
use super::study::{Study, studies};
use jiff::civil::Date;
use jiff::{Span, Timestamp, tz::TimeZone};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::collections::HashSet;

/// What is known of a patient before any resource is written.
#[derive(Clone, Debug)]
pub(super) struct Patient {
    /// 0-based, in order of first mention.
    pub number: usize,
    pub national_id: String,
    pub born: Date,
    pub sex: Sex,
    pub municipality: &'static str,
    pub postal_code: &'static str,
    /// Index of the hospital at home.
    pub home: usize,
    pub site: &'static Site,
    pub diagnosed: Timestamp,
    pub study: Option<&'static Study>,
    pub surface_m2: f64,
    /// Stage group: 1 to 4.
    pub stage: u8,
    pub course: Course,
}

/// What has been done and what is to be done.
#[derive(Clone, Debug, Default)]
pub(super) struct Course {
    /// Visits so far: numbers the ids.
    pub visits: u32,
    pub operation_pending: bool,
    /// Fractions of radiotherapy still to give.
    pub fractions_left: u16,
    pub fractions_given: u16,
    pub medicated: bool,
    pub cycles: u16,
    /// Whether the hospital that irradiates or operates has a Patient resource of its own already.
    pub known_at_centre: bool,
    /// Tumour marker relative to its median at diagnosis.
    pub burden: f64,
}

impl Patient {
    pub fn home_hospital(&self) -> &'static Hospital {
        &hospitals()[self.home] // drawn as an index of this slice
    }

    /// The index of the hospital that irradiates this patient (and operates, where the home hospital does not).
    pub fn centre(&self) -> usize {
        self.home_hospital().radiotherapy
    }
}

/// Draws patients; no two with the same identifier.
pub(super) struct Register {
    taken: HashSet<String>,
    home_weights: u32,
    site_weights: u32,
}

impl Register {
    pub fn new() -> Self {
        Register {
            taken: HashSet::new(),
            home_weights: hospitals().iter().map(|hospital| hospital.weight).sum(),
            site_weights: SITES.iter().map(|site| site.weight).sum(),
        }
    }

    /// The next patient, diagnosed at `diagnosed`. The first ones go to each hospital in turn, so that none is without.
    pub fn draw(&mut self, number: usize, diagnosed: Timestamp, rng: &mut ChaCha8Rng) -> Patient {
        let home = if number < hospitals().len() { number } else { weighted(hospitals(), self.home_weights, |h| h.weight, rng) };
        // `weighted` gives an index of the slice it is given.
        let site = &SITES[weighted(SITES, self.site_weights, |s| s.weight, rng)];
        let sex = if rng.random_bool(site.men) { Sex::Male } else { Sex::Female };
        let hospital = &hospitals()[home];
        let (municipality, postal_code) =
            hospital.catchment.get(rng.random_range(0..hospital.catchment.len().max(1))).copied().unwrap_or((hospital.town, "0001"));
        let (born, national_id) = self.draw_identity(site, sex, diagnosed, rng);
        let study = studies().iter().find(|study| study.has_site(hospital) && rng.random_bool(study.share_of(site.code.code)));
        let course = Course {
            operation_pending: !site.surgery.is_empty() && rng.random_bool(site.operated),
            fractions_left: if rng.random_bool(site.irradiated) { site.fractions } else { 0 },
            medicated: rng.random_bool(site.medicated),
            burden: gaussian(rng).exp(),
            ..Course::default()
        };
        let stage = pick(&[1, 1, 1, 2, 2, 2, 3, 3, 4, 4], rng);
        let surface_m2 = (1.85 + 0.17 * gaussian(rng)).clamp(1.35, 2.5);
        Patient { number, national_id, born, sex, municipality, postal_code, home, site, diagnosed, study, surface_m2, stage, course }
    }

    fn draw_identity(&mut self, site: &Site, sex: Sex, diagnosed: Timestamp, rng: &mut ChaCha8Rng) -> (Date, String) {
        let today = diagnosed.to_zoned(TimeZone::UTC).date();
        loop {
            let years = (site.age + site.age_sd * gaussian(rng)).clamp(19.0, 98.0);
            // A span of at most 98 years before a date of this century is always a date.
            let born = today.saturating_sub(Span::new().days((years * 365.25) as i64));
            let individual = rng.random_range(0..1000);
            if let Some(national_id) = synthetic_national_id(born, sex, individual)
                && self.taken.insert(national_id.clone())
            {
                return (born, national_id);
            }
        }
    }
}

fn weighted<T>(items: &[T], sum: u32, weight: impl Fn(&T) -> u32, rng: &mut ChaCha8Rng) -> usize {
    let mut left = rng.random_range(0..sum.max(1));
    for (index, item) in items.iter().enumerate() {
        match left.checked_sub(weight(item)) {
            Some(rest) => left = rest,
            None => return index,
        }
    }
    items.len().saturating_sub(1)
}

/// One of `items`, each as likely as the other.
pub(super) fn pick<T: Copy, const N: usize>(items: &[T; N], rng: &mut ChaCha8Rng) -> T {
    const { assert!(N > 0) };
    items[rng.random_range(0..N)] // below N
}

/// A number of about the standard normal distribution: twelve uniform numbers, less six.
pub(super) fn gaussian(rng: &mut ChaCha8Rng) -> f64 {
    (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
}
