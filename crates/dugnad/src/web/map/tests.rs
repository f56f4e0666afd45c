#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;

const KARTVERKET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/norway/Fylker-S.geojson");
const CHECKED_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/map/counties.txt");

#[test]
fn known_points_project_right() {
    // Central meridian: easting is 500 km exactly; northing of 60 degrees is the scaled meridian arc, 6,651,411 m.
    let (east, north) = utm33(60.0, 15.0);
    assert!((east - 500_000.0).abs() < 0.01 && (north - 6_651_411.2).abs() < 1.0, "{east} {north}");
    // Oslo, a known pair of the zone to the west's neighbour: about 262 km east, 6,649 km north.
    let (east, north) = utm33(59.911, 10.752);
    assert!((east - 262_500.0).abs() < 1_500.0 && (north - 6_649_000.0).abs() < 1_500.0, "{east} {north}");
}

/// `UPDATE_MAP=1 cargo test -p dugnad --lib web::map` writes the file anew.
#[test]
fn the_file_is_what_reduction_gives() {
    let Ok(geojson) = std::fs::read(KARTVERKET) else {
        eprintln!("skipped: {KARTVERKET} is absent");
        return;
    };
    let file = reduce::file(&serde_json::from_slice(&geojson).unwrap());
    if std::env::var_os("UPDATE_MAP").is_some() {
        std::fs::write(CHECKED_IN, &file).unwrap();
    }
    assert!(file.len() < 60_000, "{} bytes", file.len());
    assert!(std::fs::read_to_string(CHECKED_IN).unwrap() == file, "data/map/counties.txt is not up to date");
}

#[test]
fn the_drawing_has_15_counties_and_every_hospital_is_on_it() {
    assert_eq!(drawing().counties.len(), 15);
    assert!(FILE.contains(ATTRIBUTION));
    assert_eq!(county_name("46"), "Vestland");
    for (hospital, dot) in hospitals().iter().zip(dots()) {
        assert!(!county_name(hospital.county).is_empty(), "{}", hospital.name);
        assert!((0.0..WIDTH).contains(&dot.x) && (0.0..HEIGHT).contains(&dot.y), "{}", hospital.name);
        let sandvika = hospital.county == "32" || hospital.county == "03";
        assert_eq!(dot.inset, sandvika, "{} ({})", hospital.name, hospital.town);
    }
}

/// A coordinate that was typed wrong puts a hospital into the sea, into Sweden or into another county.
#[test]
fn every_hospital_lies_in_its_county() {
    for hospital in hospitals() {
        let at = place(hospital.latitude, hospital.longitude);
        let county = drawing().counties.iter().find(|county| county.number == hospital.county).unwrap();
        let near = [(0.0, 0.0), (8.0, 0.0), (-8.0, 0.0), (0.0, 8.0), (0.0, -8.0)];
        let inside = near.iter().any(|(dx, dy)| rings(county.path).iter().any(|ring| holds(ring, (at.0 + dx, at.1 + dy))));
        assert!(inside, "{} is not in {} (within 4 km)", hospital.name, county.name);
    }
}

fn rings(path: &str) -> Vec<Vec<(f64, f64)>> {
    path.split('z').filter(|ring| !ring.is_empty()).map(ring).collect()
}

fn ring(path: &str) -> Vec<(f64, f64)> {
    let spaced = path.replace(['M', 'l'], " ").replace('-', " -");
    let numbers: Vec<f64> = spaced.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let mut at = (0.0, 0.0);
    numbers
        .chunks(2)
        .map(|pair| {
            at = (at.0 + pair[0], at.1 + pair[1]);
            at
        })
        .collect()
}

fn holds(ring: &[(f64, f64)], (x, y): (f64, f64)) -> bool {
    let mut inside = false;
    for (i, &(ax, ay)) in ring.iter().enumerate() {
        let (bx, by) = ring[(i + 1) % ring.len()];
        if (ay > y) != (by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax {
            inside = !inside;
        }
    }
    inside
}
