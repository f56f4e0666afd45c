//! The drawing of Norway: counties from Kartverket, reduced and projected, and where the hospitals are on it.
//!
//! Contains data of Kartverket (the Norwegian Mapping Authority), CC BY 4.0. `reduce` makes the file from Kartverket's
//! own; a test does it again and compares.

mod projection;
#[cfg(test)]
mod reduce;
#[cfg(test)]
mod tests;

use crate::feed::hospitals;
pub use projection::utm33;
use std::sync::OnceLock;

const FILE: &str = include_str!("../../../data/map/counties.txt");

/// What the licence asks to be shown wherever the drawing is.
pub const ATTRIBUTION: &str = "Kartverket, CC BY 4.0";

/// Left edge of the drawing, metres east in UTM zone 33.
const LEFT_M: f64 = -90_000.0;
/// Upper edge of the drawing, metres north.
const TOP_M: f64 = 7_950_000.0;
/// Metres per unit of the drawing.
const UNIT_M: f64 = 500.0;
/// Width of the drawing in units.
pub const WIDTH: f64 = 2430.0;
/// Height of the drawing in units.
pub const HEIGHT: f64 = 3010.0;

/// The part of the drawing that is shown enlarged: Oslo and its neighbours, whose hospitals would lie upon each other.
pub const OSLO: Window = Window { left: 670.0, top: 2582.0, width: 66.0, height: 40.0 };
/// Where the enlargement is drawn.
pub const INSET: Window = Window { left: 1250.0, top: 2190.0, width: 1122.0, height: 680.0 };

/// A rectangle of the drawing, in units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Left edge.
    pub left: f64,
    /// Upper edge.
    pub top: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

impl Window {
    fn holds(&self, (x, y): (f64, f64)) -> bool {
        (self.left..self.left + self.width).contains(&x) && (self.top..self.top + self.height).contains(&y)
    }
}

/// A county as it is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct County {
    /// Number of 2024.
    pub number: &'static str,
    /// Norwegian name.
    pub name: &'static str,
    /// SVG path data.
    pub path: &'static str,
}

/// The drawing's paths.
#[derive(Clone, Debug, Default)]
pub struct Drawing {
    /// The 15 counties.
    pub counties: Vec<County>,
    /// What of them is in the enlargement, in the same units as all else.
    pub inset: Vec<County>,
}

/// The drawing.
pub fn drawing() -> &'static Drawing {
    static DRAWING: OnceLock<Drawing> = OnceLock::new();
    DRAWING.get_or_init(|| {
        let mut drawing = Drawing::default();
        for line in FILE.lines().filter(|line| !line.starts_with('#')) {
            let mut fields = line.split('|');
            let (Some(layer), Some(number), Some(name), Some(path)) = (fields.next(), fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let county = County { number, name, path };
            if layer == "inset" { drawing.inset.push(county) } else { drawing.counties.push(county) }
        }
        drawing
    })
}

/// Name of a county, by number.
pub fn county_name(number: &str) -> &'static str {
    drawing().counties.iter().find(|county| county.number == number).map_or("", |county| county.name)
}

/// From degrees to units of the drawing: x to the right, y down.
pub fn place(latitude: f64, longitude: f64) -> (f64, f64) {
    let (east, north) = utm33(latitude, longitude);
    ((east - LEFT_M) / UNIT_M, (TOP_M - north) / UNIT_M)
}

/// From a point of [`OSLO`] to its point in [`INSET`].
pub fn enlarge((x, y): (f64, f64)) -> (f64, f64) {
    (INSET.left + (x - OSLO.left) * INSET.width / OSLO.width, INSET.top + (y - OSLO.top) * INSET.height / OSLO.height)
}

/// A hospital's dot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dot {
    /// Units to the right.
    pub x: f64,
    /// Units down.
    pub y: f64,
    /// Whether it is in the enlargement.
    pub inset: bool,
}

/// The dots of all hospitals, in the order of [`hospitals`]. Those that would lie upon each other are moved apart a little.
pub fn dots() -> &'static [Dot] {
    static DOTS: OnceLock<Vec<Dot>> = OnceLock::new();
    DOTS.get_or_init(|| {
        let mut dots: Vec<Dot> = hospitals()
            .iter()
            .map(|hospital| {
                let point = place(hospital.latitude, hospital.longitude);
                let inset = OSLO.holds(point);
                let (x, y) = if inset { enlarge(point) } else { point };
                Dot { x, y, inset }
            })
            .collect();
        for _ in 0..60 {
            move_apart(&mut dots);
        }
        dots
    })
}

/// How far apart two dots are at least, in units.
const APART: f64 = 46.0;

/// One step of it; the indices run over the slice itself.
fn move_apart(dots: &mut [Dot]) {
    for second in 1..dots.len() {
        for first in 0..second {
            let (a, b) = (dots[first], dots[second]);
            let (dx, dy) = (b.x - a.x, b.y - a.y);
            let distance = dx.hypot(dy).max(0.1);
            let push = (APART - distance).max(0.0) / 4.0;
            let (ux, uy) = (dx / distance, dy / distance);
            dots[first] = Dot { x: a.x - ux * push, y: a.y - uy * push, ..a };
            dots[second] = Dot { x: b.x + ux * push, y: b.y + uy * push, ..b };
        }
    }
}
