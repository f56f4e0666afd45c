//! UTM zone 33 north on WGS84, in which Norway is usually drawn whole.

const EQUATORIAL_RADIUS_M: f64 = 6_378_137.0;
const FLATTENING: f64 = 1.0 / 298.257_223_563;
const SCALE: f64 = 0.9996;
const CENTRAL_MERIDIAN: f64 = 15.0;
const FALSE_EASTING_M: f64 = 500_000.0;

/// Metres east and north. Transverse Mercator by the series in Snyder, *Map Projections: A Working Manual*
/// (USGS Professional Paper 1395, 1987), equations 8-9 to 8-15 and 3-21; within a few hundred metres as far from the central
/// meridian as Kirkenes, which is less than a pixel here.
pub fn utm33(latitude: f64, longitude: f64) -> (f64, f64) {
    let e2 = FLATTENING * (2.0 - FLATTENING);
    let ep2 = e2 / (1.0 - e2);
    let phi = latitude.to_radians();
    let (sin, cos, tan) = (phi.sin(), phi.cos(), phi.tan());
    let n = EQUATORIAL_RADIUS_M / (1.0 - e2 * sin * sin).sqrt();
    let t = tan * tan;
    let c = ep2 * cos * cos;
    let a = (longitude - CENTRAL_MERIDIAN).to_radians() * cos;
    let m = meridian_arc(phi, e2);
    let easting = a + (1.0 - t + c) * a.powi(3) / 6.0 + (5.0 - 18.0 * t + t * t + 72.0 * c - 58.0 * ep2) * a.powi(5) / 120.0;
    let northing = a * a / 2.0
        + (5.0 - t + 9.0 * c + 4.0 * c * c) * a.powi(4) / 24.0
        + (61.0 - 58.0 * t + t * t + 600.0 * c - 330.0 * ep2) * a.powi(6) / 720.0;
    (FALSE_EASTING_M + SCALE * n * easting, SCALE * (m + n * tan * northing))
}

fn meridian_arc(phi: f64, e2: f64) -> f64 {
    let (e4, e6) = (e2 * e2, e2 * e2 * e2);
    EQUATORIAL_RADIUS_M
        * ((1.0 - e2 / 4.0 - 3.0 * e4 / 64.0 - 5.0 * e6 / 256.0) * phi
            - (3.0 * e2 / 8.0 + 3.0 * e4 / 32.0 + 45.0 * e6 / 1024.0) * (2.0 * phi).sin()
            + (15.0 * e4 / 256.0 + 45.0 * e6 / 1024.0) * (4.0 * phi).sin()
            - (35.0 * e6 / 3072.0) * (6.0 * phi).sin())
}
