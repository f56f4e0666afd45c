//! Cells that are made up of others: a coarser cell less its parts, in which the target is alone in a rare part.

use super::service::{Levels, Service, Table, cell_of};
use super::world::{CHAPTER, PLACE, RARE, Random, Row, Snapshot, World, categories, shapes};
use super::{Game, StatisticsAttack};

type Services<'a> = &'a mut dyn FnMut(&mut World) -> Service;

pub(super) fn attacks() -> Vec<StatisticsAttack> {
    type See = fn(&mut World, Services) -> Vec<Vec<f64>>;
    let attack = |name, said, see: See| {
        let (targets, world): (usize, fn(u64, usize) -> World) =
            if name == "parent_minus_children" { (30, any_rare) } else { (10, rare_sex) };
        StatisticsAttack { name, said, claimed: true, game: Game { targets, world, see } }
    };
    vec![
        attack("parent_minus_children", "all coarser cells less their parts, the target alone in a rare part", once),
        attack("tracker_queries", "trackers: a cell by way of all others of the whole table (whole - not A - A without B)", trackers),
        attack("reworded_queries", "the same cells by finer questions that are added up, averaged", reworded),
        attack("two_organisations", "two organisations with a ledger each, under two permits, averaged", two_organisations),
        attack("averaging_over_epochs", "the same over 12 months, while others come and go, averaged", over_epochs),
    ]
}

/// The secret: whether the target's treatment is of a chapter. Each has one rare code.
fn any_rare(number: u64, targets: usize) -> World {
    world(number, targets, &RARE)
}

/// The same, of a rare sex.
fn rare_sex(number: u64, targets: usize) -> World {
    world(number, targets, &RARE[..1])
}

fn world(number: u64, targets: usize, rare: &[(usize, usize)]) -> World {
    World::new(number, targets, |_: &mut Random, nth: usize, row: &mut Row| {
        let (dimension, code) = rare[nth % rare.len()];
        row.codes[dimension] = code;
        row.on(row.day % 300);
    })
}

/// The tables that were asked for in an epoch.
struct Tables(std::collections::HashMap<Levels, Table>);

impl Tables {
    fn ask(service: &mut Service, epoch: &Snapshot, rare: usize) -> Self {
        let parents = service.afford(shapes(3, &[CHAPTER], &[rare], 1), 2);
        let all = parents.into_iter().flat_map(|parent| [with(&parent, rare), parent]);
        Self(all.map(|levels| (levels.clone(), service.table(epoch, &levels, None))).collect())
    }

    /// All families of a target: the coarser cell less its parts but the rare one and the unknown, weighed by how much noise it has.
    fn differences(&self, target: &Row, rare: usize) -> [f64; 4] {
        let mut seen = [0.0; 4];
        for parent in self.0.keys().filter(|levels| levels.iter().all(|(dimension, _)| *dimension != rare)) {
            let Some(whole) = self.0[parent].cell(&cell_of(target, parent)) else { continue };
            let levels = with(parent, rare);
            let (mut cell, at) = (cell_of(target, &levels), levels.iter().position(|(d, _)| *d == rare).unwrap_or(0));
            let parts = (0..categories(rare, 0) - 1).filter(|code| *code != target.codes[rare]);
            let parts: Vec<Option<f64>> = parts
                .map(|code| {
                    cell[at] = code;
                    self.0[&levels].cell(&cell)
                })
                .collect();
            let hidden = parts.iter().filter(|part| part.is_none()).count();
            let left = whole - parts.iter().flatten().sum::<f64>();
            if hidden == 0 {
                let weight = 1.0 / (1.0 + parts.len() as f64) / (1.0 + whole / 500.0);
                seen[0] += left * weight;
                seen[1] += left.clamp(-10.0, 10.0).signum();
            }
            seen[2] += hidden as f64;
            seen[3] += 1.0;
        }
        seen
    }
}

/// The shape with a dimension more.
fn with(levels: &Levels, dimension: usize) -> Levels {
    let mut levels = levels.clone();
    levels.push((dimension, 0));
    levels.sort_unstable();
    levels
}

fn all(world: &World, rares: usize, see: impl Fn(usize, &Row) -> Vec<f64>) -> Vec<Vec<f64>> {
    world.targets.iter().enumerate().map(|(nth, target)| see(nth % rares, &target.row)).collect()
}

fn once(world: &mut World, services: Services) -> Vec<Vec<f64>> {
    let (mut service, epoch) = (services(world), world.at(i32::MAX));
    let tables = RARE.map(|(rare, _)| Tables::ask(&mut service, &epoch, rare));
    all(world, RARE.len(), |nth, target| tables[nth].differences(target, RARE[nth].0).to_vec())
}

/// All, less those of other counties, less those of the county with another code than the rare one.
fn trackers(world: &mut World, services: Services) -> Vec<Vec<f64>> {
    let (mut service, epoch) = (services(world), world.at(i32::MAX));
    let rare = RARE[0].0;
    let mut seen = vec![vec![0.0; 3]; world.targets.len()];
    for of in service.afford(shapes(2, &[CHAPTER], &[PLACE, rare], 2), 3) {
        let county = with(&of, PLACE);
        let parts = with(&county, rare);
        let [all, by_county, by_part] = [&of, &county, &parts].map(|levels| service.table(&epoch, levels, None));
        for (target, seen) in world.targets.iter().zip(&mut seen) {
            let part = |table: &Table, levels: &Levels, dimension: usize, code: usize| {
                let mut one = target.row;
                one.codes[dimension] = code;
                table.cell(&cell_of(&one, levels))
            };
            let counties = (0..20).step_by(2).filter(|code| code / 2 != target.row.codes[PLACE] / 2);
            let taken = counties.map(|code| part(&by_county, &county, PLACE, code));
            let taken: Option<f64> = taken.chain((0..2).map(|code| part(&by_part, &parts, rare, code))).sum();
            if let (Some(all), Some(taken)) = (all.cell(&cell_of(&target.row, &of)), taken) {
                seen[0] += all - taken;
                seen[1] += (all - taken) / (1.0 + all / 500.0);
            }
            seen[2] += f64::from(u8::from(taken.is_none()));
        }
    }
    seen
}

/// Each question three times, in forms that name the same cells: the answers are averaged.
fn reworded(world: &mut World, services: Services) -> Vec<Vec<f64>> {
    let (mut service, epoch) = (services(world), world.at(i32::MAX));
    let rounds: Vec<Tables> = (0..3).map(|_| Tables::ask(&mut service, &epoch, RARE[0].0)).collect();
    mean(world, &rounds)
}

/// The same question to the same database, by two who have a ledger and anchors in common with nobody.
fn two_organisations(world: &mut World, services: Services) -> Vec<Vec<f64>> {
    let (mut service, epoch) = (services(world), world.at(i32::MAX));
    let first = Tables::ask(&mut service, &epoch, RARE[0].0);
    service.for_other();
    let second = Tables::ask(&mut service, &epoch, RARE[0].0);
    mean(world, &[first, second])
}

/// Twelve months, in every second of which others are asked for; targets were there before.
fn over_epochs(world: &mut World, services: Services) -> Vec<Vec<f64>> {
    let mut service = services(world);
    let rounds: Vec<Tables> = (1..=6).map(|n| Tables::ask(&mut service, &world.at(360 + 60 * n), RARE[0].0)).collect();
    mean(world, &rounds)
}

fn mean(world: &World, rounds: &[Tables]) -> Vec<Vec<f64>> {
    all(world, 1, |_, target| {
        let mut mean = vec![0.0; 4];
        for tables in rounds {
            let seen = tables.differences(target, RARE[0].0);
            mean.iter_mut().zip(seen).for_each(|(mean, seen)| *mean += seen / rounds.len() as f64);
        }
        mean
    })
}
