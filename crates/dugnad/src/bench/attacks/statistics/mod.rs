//! Attacks on statistics: how much better than a coin an attacker guesses one person's secret from tables of cells.
//!
//! Each game has many synthetic databases ([`world`]) with some targets each. What a target's secret is stands in the game; the
//! attacker knows all else about the target, and nothing about the others but how they are distributed. The engine is asked in
//! process ([`service`]): with the defence on, as the database releases; with the defence off, the exact counts of the same cells.

mod cohorts;
mod families;
mod learn;
mod likelihood;
mod rarities;
mod service;
mod times;
mod world;

use super::Defence;
use super::game::{Score, Seen};
use dugnad_kernel::disclosure::Method;
use learn::by_numbers;
use service::Service;
use world::World;

/// An attack on statistics.
pub(super) struct StatisticsAttack {
    /// Its name in JSON.
    pub(super) name: &'static str,
    /// What it tries.
    pub(super) said: &'static str,
    /// Whether the method claims to withstand it.
    pub(super) claimed: bool,
    /// What its databases are like.
    game: Game,
}

/// What is seen of each target in a database, whose statistics the second argument opens.
type See = fn(&mut World, &mut dyn FnMut(&mut World) -> Service) -> Vec<Vec<f64>>;

/// Makes the database of a number, and what is seen of each target in it.
struct Game {
    targets: usize,
    world: fn(u64, usize) -> World,
    see: See,
}

/// All of them.
pub(super) fn attacks() -> Vec<StatisticsAttack> {
    [families::attacks(), rarities::attacks(), times::attacks(), cohorts::attacks(), likelihood::attacks()].into_iter().flatten().collect()
}

impl StatisticsAttack {
    /// Plays at least so many trials against a method, and a ledger of so many tables in an epoch.
    pub(super) fn play(&self, trials: usize, method: &Method, tables: usize, defence: Defence) -> Score {
        // An even number of databases: the halves that are learned from and judged have none in common.
        let worlds = trials.div_ceil(self.game.targets).next_multiple_of(2);
        let play = |number: usize| {
            let mut world = (self.game.world)(number as u64, self.game.targets);
            let see = (self.game.see)(&mut world, &mut |world| Service::new(defence, method, tables, &world.random.bytes()));
            see.into_iter().zip(&world.targets).map(|(what, target)| Seen { what, bit: target.bit }).collect::<Vec<_>>()
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let of_thread = |thread: usize| (thread..worlds).step_by(threads).map(|n| (n, play(n))).collect::<Vec<_>>();
        let mut all: Vec<(usize, Vec<Seen<Vec<f64>>>)> = std::thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || of_thread(thread))).collect();
            running.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        all.sort_by_key(|(number, _)| *number);
        let mut of_world: Vec<_> = all.into_iter().map(|(_, seen)| seen.into_iter()).collect();
        let seen: Vec<_> =
            (0..self.game.targets).flat_map(|_| of_world.iter_mut().filter_map(Iterator::next).collect::<Vec<_>>()).collect();
        by_numbers(&seen)
    }
}
