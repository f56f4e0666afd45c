//! The hospitals that treat: units of the public register, with where they stand and whom they serve.

use std::sync::OnceLock;

const REGISTER: &str = include_str!("../../data/hospitals_no.csv");
const PLACES: &str = include_str!("../../data/hospital_places.csv");

/// One hospital unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Hospital {
    /// Organisation number in Enhetsregisteret.
    pub orgnr: &'static str,
    /// The unit's name: also its name as a holder.
    pub name: &'static str,
    /// The health trust (HF) that it belongs to.
    pub trust: &'static str,
    /// The regional health authority (RHF).
    pub region: &'static str,
    /// The town.
    pub town: &'static str,
    /// County number of 2024, such as `46` for Vestland.
    pub county: &'static str,
    /// Degrees north, WGS84, two decimals.
    pub latitude: f64,
    /// Degrees east, WGS84, two decimals.
    pub longitude: f64,
    /// Its share of the patients, relative to the others.
    pub weight: u32,
    /// Whether it operates for cancer; its patients go to `radiotherapy` otherwise.
    pub surgery: bool,
    /// The index of the hospital that irradiates its patients.
    pub radiotherapy: usize,
    /// Where its patients live: municipality and postal code.
    pub catchment: Vec<(&'static str, &'static str)>,
}

/// All hospitals that treat, in the register's order. An index into this slice names a hospital everywhere in the feed.
///
/// Health trusts are not in it: their units treat. Source and date of the facts stand at the head of the two files.
pub fn hospitals() -> &'static [Hospital] {
    static HOSPITALS: OnceLock<Vec<Hospital>> = OnceLock::new();
    HOSPITALS.get_or_init(read)
}

fn rows(text: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    text.lines().filter(|line| !line.starts_with('#')).skip(1).map(|line| line.split(',').collect())
}

fn read() -> Vec<Hospital> {
    let places: Vec<Vec<&'static str>> = rows(PLACES).collect();
    let units: Vec<Vec<&'static str>> = rows(REGISTER).filter(|row| matches!(row.get(4), Some(&"unit" | &"private_nonprofit"))).collect();
    let index_of = |orgnr: &str| units.iter().position(|row| row.first() == Some(&orgnr)).unwrap_or_default();
    units
        .iter()
        .filter_map(|unit| {
            let &[orgnr, name, trust, region, _] = unit.as_slice() else { return None };
            let place = places.iter().find(|place| place.first() == Some(&orgnr))?;
            let &[_, town, county, latitude, longitude, weight, surgery, radiotherapy, catchment] = place.as_slice() else { return None };
            Some(Hospital {
                orgnr,
                name,
                trust,
                region,
                town,
                county,
                latitude: latitude.parse().ok()?,
                longitude: longitude.parse().ok()?,
                weight: weight.parse().ok()?,
                surgery: surgery == "1",
                radiotherapy: index_of(radiotherapy),
                catchment: catchment.split(';').filter_map(|home| home.rsplit_once(' ')).collect(),
            })
        })
        .collect()
}
