//! Attacks by whoever has a permit, with figures: how much better than a coin an attacker guesses what the permit does not show.
//!
//! Each attack is a game of many trials. In a trial there is a secret bit about one person or thing that the attacker may not see;
//! half of the bits are set. The attacker sends requests to a real server, looks at all that comes back, and guesses the bit
//! ([`game`]). The *advantage* is twice the share of right guesses less one: 0 for a coin, 100 percentage points for certainty. The
//! figure is its upper 95 % bound. Each attack is played with the defence on, and with the defence off: the same requests by
//! somebody who may see the secret. An attack that fails there too would prove nothing.

mod game;
mod permits;
mod scene;

use super::figures::{Better, Figures};
use super::machine;
use crate::cli::CliError;
use game::Score;
use scene::Scene;
use std::path::PathBuf;

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
    let scene = Scene::new(options.data.as_deref(), options.trials)?;
    let mut figures = Figures::new("attacks");
    let (average, processors) = machine::load();
    figures.add("processors", processors as f64, "1", Better::Context, "processors");
    if let Some(average) = average {
        figures.add("load_average", average, "1", Better::Context, "load average at the start (everything on the machine)");
    }
    figures.add("trials", options.trials as f64, "1", Better::Context, "trials of each attack");
    let wanted = |attack: &&Attack| options.only.as_ref().is_none_or(|only| attack.name.contains(only.as_str()));
    for attack in permits::ATTACKS.iter().filter(wanted) {
        eprintln!("{}", attack.said);
        let (on, off) = ((attack.play)(&scene, Defence::On)?, (attack.play)(&scene, Defence::Off)?);
        let points = "percentage points";
        figures.add(format!("{}_advantage", attack.name), on.bound(), points, Better::Lower, attack.said);
        figures.add(format!("{}_advantage_off", attack.name), off.bound(), points, Better::Context, "  the same by one who may see it");
    }
    figures.print();
    scene.close()
}
