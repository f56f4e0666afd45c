//! Makes `data/map/counties.txt` from Kartverket's counties: projection, simplification, rounding.
//!
//! A border between two counties is one line: rings are cut where borders meet, and each piece is simplified once, in a
//! direction that does not depend on the county, so that neighbours still fit.
#![expect(clippy::unwrap_used, reason = "part of the tests: Kartverket's file is as it is")]

use super::{HEIGHT, OSLO, WIDTH, Window, place};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap, HashSet};

type Point = (f64, f64);

/// How far a simplified line may be from the true one, in units of 500 m.
const TOLERANCE: f64 = 1.1;
/// Islands below this area are left out: square units, so 12 is 3 square kilometres.
const SMALLEST_ISLAND: f64 = 34.0;
const INSET_TOLERANCE: f64 = 0.08;

/// The whole file.
pub fn file(geojson: &Value) -> String {
    let mut out = String::from(
        "# The 15 counties of Norway (2024). Source: Kartverket, CC BY 4.0 (the Norwegian Mapping Authority: Fylker, WGS84).\n\
         # Projected to UTM zone 33, simplified (Douglas-Peucker, 550 m) and rounded to 500 m; small islands are left out.\n\
         # layer|county number|name|SVG path in units of 500 m (layer inset: the part around Oslo, finer).\n",
    );
    let mut counties = read(geojson);
    counties.sort_by(|a, b| a.0.cmp(&b.0));
    let junctions = junctions(counties.iter().flat_map(|(_, _, rings)| rings));
    for (number, name, rings) in &counties {
        let path: String = rings.iter().filter_map(|ring| county_ring(ring, &junctions)).collect();
        out += &format!("county|{number}|{name}|{path}\n");
    }
    for (number, name, rings) in &counties {
        let clipped = rings.iter().map(|ring| clip(&simplify_ring(ring, &junctions, INSET_TOLERANCE), &OSLO));
        let path: String = clipped.filter(|ring| ring.len() > 3).map(|ring| path(&ring, 10.0)).collect();
        if !path.is_empty() {
            out += &format!("inset|{number}|{name}|{path}\n");
        }
    }
    out
}

fn read(geojson: &Value) -> Vec<(String, String, Vec<Vec<Point>>)> {
    let features = geojson["features"].as_array().unwrap();
    features
        .iter()
        .map(|feature| {
            let text = |name: &str| feature["properties"][name].as_str().unwrap().to_owned();
            let geometry = &feature["geometry"];
            let polygons = match geometry["type"].as_str() {
                Some("Polygon") => vec![geometry["coordinates"].clone()],
                _ => geometry["coordinates"].as_array().unwrap().clone(),
            };
            let rings = polygons.iter().flat_map(|polygon| polygon.as_array().unwrap()).map(ring).collect();
            (text("id"), text("name"), rings)
        })
        .collect()
}

/// An open ring (its first point is not repeated) in units of the drawing.
fn ring(points: &Value) -> Vec<Point> {
    let points = points.as_array().unwrap();
    points[1..].iter().map(|point| place(point[1].as_f64().unwrap(), point[0].as_f64().unwrap())).collect()
}

fn key((x, y): Point) -> (u64, u64) {
    (x.to_bits(), y.to_bits())
}

/// Points where more or fewer than two lines meet.
fn junctions<'a>(rings: impl Iterator<Item = &'a Vec<Point>>) -> HashSet<(u64, u64)> {
    let mut neighbours: HashMap<(u64, u64), BTreeSet<(u64, u64)>> = HashMap::new();
    for ring in rings {
        for (i, &point) in ring.iter().enumerate() {
            let next = ring[(i + 1) % ring.len()];
            neighbours.entry(key(point)).or_default().insert(key(next));
            neighbours.entry(key(next)).or_default().insert(key(point));
        }
    }
    neighbours.into_iter().filter(|(_, others)| others.len() != 2).map(|(point, _)| point).collect()
}

fn county_ring(ring: &[Point], junctions: &HashSet<(u64, u64)>) -> Option<String> {
    let ring = simplify_ring(ring, junctions, TOLERANCE);
    (ring.len() > 2 && area(&ring).abs() > SMALLEST_ISLAND).then(|| path(&ring, 1.0))
}

fn simplify_ring(ring: &[Point], junctions: &HashSet<(u64, u64)>, tolerance: f64) -> Vec<Point> {
    let mut cuts: Vec<usize> = (0..ring.len()).filter(|&i| junctions.contains(&key(ring[i]))).collect();
    if cuts.len() < 2 {
        let first = cuts.first().copied().unwrap_or_else(|| extreme(ring, |p| p.0 + p.1 * 1e-3));
        let far = extreme(ring, |p| -(p.0 - ring[first].0).hypot(p.1 - ring[first].1));
        cuts = vec![first.min(far), first.max(far)];
    }
    let mut out = Vec::new();
    for (i, &from) in cuts.iter().enumerate() {
        let to = cuts[(i + 1) % cuts.len()];
        let to = if to <= from { to + ring.len() } else { to };
        let mut piece: Vec<Point> = (from..=to).map(|at| ring[at % ring.len()]).collect();
        let reversed = key(piece[0]) > key(piece[piece.len() - 1]);
        if reversed {
            piece.reverse();
        }
        let mut piece = douglas_peucker(&piece, tolerance);
        if reversed {
            piece.reverse();
        }
        piece.pop();
        out.extend(piece);
    }
    out
}

fn extreme(ring: &[Point], value: impl Fn(Point) -> f64) -> usize {
    (0..ring.len()).min_by(|&a, &b| value(ring[a]).total_cmp(&value(ring[b]))).unwrap_or_default()
}

fn douglas_peucker(line: &[Point], tolerance: f64) -> Vec<Point> {
    let (first, last) = (line[0], line[line.len() - 1]);
    let far = (1..line.len().saturating_sub(1)).map(|i| (i, distance(line[i], first, last))).max_by(|a, b| a.1.total_cmp(&b.1));
    match far {
        Some((at, far)) if far > tolerance => {
            let mut out = douglas_peucker(&line[..=at], tolerance);
            out.pop();
            out.extend(douglas_peucker(&line[at..], tolerance));
            out
        }
        _ => vec![first, last],
    }
}

fn distance(p: Point, a: Point, b: Point) -> f64 {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let length = dx.hypot(dy);
    if length == 0.0 { (p.0 - a.0).hypot(p.1 - a.1) } else { ((p.0 - a.0) * dy - (p.1 - a.1) * dx).abs() / length }
}

fn area(ring: &[Point]) -> f64 {
    (0..ring.len()).map(|i| (ring[i], ring[(i + 1) % ring.len()])).map(|(a, b)| a.0 * b.1 - b.0 * a.1).sum::<f64>() / 2.0
}

/// Which coordinate, where the edge is, and on which side of it the inside lies.
type Edge = (fn(Point) -> f64, f64, f64);

/// Sutherland and Hodgman's clipping at the four edges, a little outside the window so that no clip edge is seen.
fn clip(ring: &[Point], window: &Window) -> Vec<Point> {
    let margin = 2.0;
    let mut ring = ring.to_vec();
    let edges: [Edge; 4] = [
        (|p| p.0, window.left - margin, 1.0),
        (|p| p.0, window.left + window.width + margin, -1.0),
        (|p| p.1, window.top - margin, 1.0),
        (|p| p.1, window.top + window.height + margin, -1.0),
    ];
    for (coordinate, edge, side) in edges {
        let inside = |p: Point| (coordinate(p) - edge) * side >= 0.0;
        let mut out = Vec::new();
        for i in 0..ring.len() {
            let (a, b) = (ring[i], ring[(i + 1) % ring.len()]);
            if inside(a) {
                out.push(a);
            }
            if inside(a) != inside(b) {
                let share = (edge - coordinate(a)) / (coordinate(b) - coordinate(a));
                out.push((a.0 + (b.0 - a.0) * share, a.1 + (b.1 - a.1) * share));
            }
        }
        ring = out;
    }
    ring
}

/// Path data: absolute start, relative lines, numbers rounded to `1 / precision`.
fn path(ring: &[Point], precision: f64) -> String {
    let rounded: Vec<(i64, i64)> = ring.iter().map(|p| ((p.0 * precision).round() as i64, (p.1 * precision).round() as i64)).collect();
    let number = |value: i64| format!("{}", value as f64 / precision);
    let pair = |x: i64, y: i64| if y < 0 { format!("{}{}", number(x), number(y)) } else { format!("{} {}", number(x), number(y)) };
    let (mut x, mut y) = rounded[0];
    assert!((0.0..=WIDTH * precision).contains(&(x as f64)) && (0.0..=HEIGHT * precision).contains(&(y as f64)));
    let mut out = format!("M{}l", pair(x, y));
    let mut first = true;
    for &(to_x, to_y) in &rounded[1..] {
        if (to_x, to_y) == (x, y) {
            continue;
        }
        if !first && to_x >= x {
            out.push(' ');
        }
        out += &pair(to_x - x, to_y - y);
        (x, y, first) = (to_x, to_y, false);
    }
    out + "z"
}
