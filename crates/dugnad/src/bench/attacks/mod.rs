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
use crate::query::StatisticsSettings;
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
    /// Whose method and budget are attacked.
    pub statistics: StatisticsSettings,
}

/// Whether the permit keeps the secret from the attacker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defence {
    On,
    Off,
}

/// An attack on a server in a scene.
struct Attack<S> {
    /// Its name in JSON.
    name: &'static str,
    /// What it tries.
    said: &'static str,
    /// Plays it.
    play: fn(&S, Defence) -> Result<Score, CliError>,
}

/// Plays all attacks, and prints.
pub fn run(options: &Options) -> Result<(), CliError> {
    let mut figures = Figures::new("attacks");
    machine::describe(&mut figures, "start");
    figures.add("trials", options.trials as f64, "1", Better::Context, "trials of each attack");
    let wanted = |name: &str| options.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let (data, trials) = (options.data.as_deref(), options.trials);
    in_scene(&mut figures, &permits::ATTACKS, &wanted, || Scene::new(data, trials), Scene::close)?;
    in_scene(&mut figures, &surface::ATTACKS, &wanted, || Surface::new(data, trials), Surface::close)?;
    let method = Method::new(options.statistics.method).map_err(CliError::failed)?;
    for attack in statistics::attacks().iter().filter(|attack| wanted(attack.name)) {
        // They cost little: more trials make the bound narrow.
        let trials = options.trials * 2;
        let said =
            if attack.claimed { format!("statistics: {}", attack.said) } else { format!("statistics, not withstood: {}", attack.said) };
        played(&mut figures, attack.name, &said, |defence| Ok(attack.play(trials, &method, options.statistics.tables_per_epoch, defence)))?;
    }
    figures.print();
    Ok(())
}

/// Plays the attacks that are wanted in one scene.
fn in_scene<S>(
    figures: &mut Figures,
    attacks: &[Attack<S>],
    wanted: &dyn Fn(&str) -> bool,
    open: impl FnOnce() -> Result<S, CliError>,
    close: impl FnOnce(S) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let attacks: Vec<_> = attacks.iter().filter(|attack| wanted(attack.name)).collect();
    if attacks.is_empty() {
        return Ok(());
    }
    let scene = open()?;
    for attack in attacks {
        played(figures, attack.name, attack.said, |defence| (attack.play)(&scene, defence))?;
    }
    close(scene)
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
