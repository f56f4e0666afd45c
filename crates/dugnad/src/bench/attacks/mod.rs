//! Attacks by whoever has a permit, with figures: how much better than a coin an attacker guesses what the permit does not show.
//! Those on permits ([`permits`]) and on the surface of statistics ([`surface`]) are played against a server, those on the method of
//! disclosure control ([`statistics`]) against its engine.
//!
//! Each attack is a game of many trials. In a trial there is a secret bit about one person or thing that the attacker may not see;
//! half of the bits are set. The attacker sends requests to a real server, looks at all that comes back, and guesses the bit
//! ([`game`]). The *advantage* is twice the share of right guesses less one: 0 for a coin, 100 percentage points for certainty. The
//! figure is its upper 95 % bound. Each attack is played with the defence on, and with the defence off: the same requests by
//! somebody who may see the secret. An attack that fails there too would prove nothing.

mod game;
mod permits;
mod scene;
mod statistics;
mod surface;

use super::figures::{Better, Figures};
use super::machine;
use crate::cli::CliError;
use crate::limits::TABLES_PER_EPOCH;
use dugnad_kernel::disclosure::Method;
use game::Score;
use scene::Scene;
use std::path::PathBuf;
use surface::Surface;

/// What to play.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many trials each attack has.
    pub trials: usize,
    /// Where the database is made; a temporary folder if not given.
    pub data: Option<PathBuf>,
    /// Only attacks whose name contains this.
    pub only: Option<String>,
}

/// Whether the permit keeps the secret from the attacker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defence {
    On,
    Off,
}

/// An attack.
struct Attack {
    /// Its name in JSON.
    name: &'static str,
    /// What it tries.
    said: &'static str,
    /// Plays it.
    play: fn(&Scene, Defence) -> Result<Score, CliError>,
}

/// Plays all attacks, and prints.
pub fn run(options: &Options) -> Result<(), CliError> {
    let mut figures = Figures::new("attacks");
    let (average, processors) = machine::load();
    figures.add("processors", processors as f64, "1", Better::Context, "processors");
    if let Some(average) = average {
        figures.add("load_average", average, "1", Better::Context, "load average at the start (everything on the machine)");
    }
    figures.add("trials", options.trials as f64, "1", Better::Context, "trials of each attack");
    let wanted = |name: &str| options.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let on_permits: Vec<_> = permits::ATTACKS.iter().filter(|attack| wanted(attack.name)).collect();
    if !on_permits.is_empty() {
        let scene = Scene::new(options.data.as_deref(), options.trials)?;
        for attack in on_permits {
            played(&mut figures, attack.name, attack.said, |defence| (attack.play)(&scene, defence))?;
        }
        scene.close()?;
    }
    let on_surface: Vec<_> = surface::ATTACKS.iter().filter(|attack| wanted(attack.name)).collect();
    if !on_surface.is_empty() {
        let surface = Surface::new(options.data.as_deref(), options.trials)?;
        for attack in on_surface {
            played(&mut figures, attack.name, attack.said, |defence| (attack.play)(&surface, defence))?;
        }
        surface.close()?;
    }
    let method = Method::default();
    for attack in statistics::attacks().iter().filter(|attack| wanted(attack.name)) {
        // They cost little: more trials make the bound narrow.
        let trials = options.trials * 2;
        let said =
            if attack.claimed { format!("statistics: {}", attack.said) } else { format!("statistics, not withstood: {}", attack.said) };
        played(&mut figures, attack.name, &said, |defence| Ok(attack.play(trials, &method, TABLES_PER_EPOCH, defence)))?;
    }
    if wanted("utility") {
        utility(&mut figures, &method);
    }
    figures.print();
    Ok(())
}

/// What the defence costs: on a synthetic database of 20,000 persons, all tables of so many dimensions, released for the first time.
fn utility(figures: &mut Figures, method: &Method) {
    eprintln!("statistics: what is shown, and how far off it is");
    for depth in 1..=4 {
        let mut world = statistics::world::World::of_size(7, 20_000);
        let mut shapes = statistics::world::shapes(depth, &[], &[], 2);
        shapes.retain(|shape| shape.len() == depth);
        let seed = world.random.bytes();
        let found = statistics::utility::measure(&[world.at(i32::MAX)], &shapes, method, &seed);
        let mut add = |name: &str, value: f64, said: &str| {
            figures.add(format!("utility_{name}_{depth}"), value, "%", Better::Context, format!("{depth} dimensions: {said}"));
        };
        for (of, name) in found.sizes.iter().zip(["20 to 49", "50 to 99", "100 to 499", "500 or more"]) {
            add(&format!("error_from_{}", of.from), 100.0 * of.mean, &format!("mean relative error of shown cells of {name} persons"));
            add(
                &format!("most_error_from_{}", of.from),
                100.0 * of.most,
                &format!("largest relative error of shown cells of {name} persons"),
            );
        }
        add("suppressed", 100.0 * found.suppressed, "share of the cells with anybody that are not shown");
        add("bias", 100.0 * found.bias, "what shown cells add up to, beside the truth of the same");
        add("covered", 100.0 * found.covered, "what shown cells add up to, beside the truth of all");
    }
}

/// Plays an attack with the defence on and off.
fn played(figures: &mut Figures, name: &str, said: &str, mut play: impl FnMut(Defence) -> Result<Score, CliError>) -> Result<(), CliError> {
    eprintln!("{said}");
    let (on, off) = (play(Defence::On)?, play(Defence::Off)?);
    let points = "percentage points";
    figures.add(format!("{name}_advantage"), on.bound(), points, Better::Lower, said);
    figures.add(format!("{name}_advantage_off"), off.bound(), points, Better::Context, "  the same by one who may see it");
    Ok(())
}
