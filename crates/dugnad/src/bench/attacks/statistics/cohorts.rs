//! Registered cohorts that differ in few persons, the target among them.

use super::service::{Levels, Members, Service, Table, cell_of};
use super::world::{CHAPTER, Row, World, shapes};
use super::{Game, StatisticsAttack};
use dugnad_kernel::disclosure::check_distances;
use roaring::RoaringBitmap;

type Services<'a> = &'a mut dyn FnMut(&mut World) -> Service;

pub(super) fn attacks() -> Vec<StatisticsAttack> {
    let attack = |name, said, see| StatisticsAttack { name, said, claimed: true, game: Game { targets: TARGETS, world, see } };
    vec![
        attack("cohorts_that_differ_in_few", "pairs of cohorts that differ in five persons", few),
        attack("cohort_subtraction", "pairs of cohorts as near as they may be registered", near),
        attack("cohort_subtraction_wide", "pairs of cohorts that differ in 150 persons", wide),
    ]
}

const TARGETS: usize = 10;

/// How many pairs there are at most.
const PAIRS: usize = 3;

fn world(number: u64, targets: usize) -> World {
    World::new(number, targets, |_, _, _: &mut Row| {})
}

fn few(world: &mut World, services: Services) -> Vec<Vec<f64>> {
    let seen = play(world, services, 5, 0..5);
    [seen, play(world, services, 5, 5..10)].concat()
}

fn near(world: &mut World, services: Services) -> Vec<Vec<f64>> {
    play(world, services, 10, 0..TARGETS)
}

fn wide(world: &mut World, services: Services) -> Vec<Vec<f64>> {
    play(world, services, 150, 0..TARGETS)
}

/// The pairs: a part of the hospitals with the targets, and the same without the targets and others, `apart` persons in all.
fn play(world: &mut World, services: Services, apart: usize, targets: std::ops::Range<usize>) -> Vec<Vec<f64>> {
    let mut service = services(world);
    let epoch = world.at(i32::MAX);
    let difference = service.difference();
    let everyone: RoaringBitmap = epoch.rows.iter().map(|row| row.person).collect();
    let mut cohorts: Vec<(String, RoaringBitmap, bool)> = Vec::new();
    // One shape of each pair is two tables.
    let pairs = PAIRS.min(service.tables() / 2).max(1);
    for pair in 0..pairs {
        let hospitals = world.random.next();
        let mut one: RoaringBitmap = epoch.rows.iter().filter(|row| hospitals >> row.codes[0] & 1 == 1).map(|row| row.person).collect();
        let mut without: RoaringBitmap = targets.clone().map(|n| world.targets[n].row.person).collect();
        one |= &without;
        while (without.len() as usize) < apart {
            let at = world.random.below(one.len() as usize) as u32;
            without.extend(one.select(at));
        }
        let other = &one - &without;
        for (name, persons) in [("a", one), ("b", other)] {
            let all = cohorts.iter().filter(|c| c.2).map(|(id, persons, _)| (id.as_str(), persons)).chain([("everyone", &everyone)]);
            let registered = check_distances(&persons, all, difference).is_ok();
            cohorts.push((format!("{name}{pair}"), persons, registered));
        }
    }
    let shapes = service.afford(shapes(3, &[CHAPTER], &[], 1), 2 * pairs);
    let mut tables: Vec<Vec<Option<Table>>> = Vec::new();
    for (nth, (id, persons, registered)) in cohorts.iter().enumerate() {
        let before: Vec<&RoaringBitmap> = cohorts[..nth].iter().filter(|c| c.2).map(|c| &c.1).collect();
        let mut ask = |levels: &Levels| service.table(&epoch, levels, Some(Members { id, persons, before: &before }));
        tables.push(shapes.iter().map(|levels| (*registered || difference == 0).then(|| ask(levels))).collect());
    }
    targets
        .map(|target| {
            let row = &world.targets[target].row;
            let mut seen = vec![0.0; 10];
            for (nth, levels) in shapes.iter().enumerate() {
                for pair in tables.chunks(2) {
                    let of = |at: usize| pair[at][nth].as_ref().and_then(|table| table.cell(&cell_of(row, levels)));
                    if let (Some(one), Some(other)) = (of(0), of(1)) {
                        seen[levels.len() * 2] += one - other;
                        seen[0] += one - other;
                        seen[1] += (one - other).abs().min(2.0);
                    }
                    seen[8] += f64::from(u8::from(of(0).is_some() != of(1).is_some()));
                    seen[9] += f64::from(u8::from(of(1).is_some()));
                }
            }
            seen
        })
        .collect()
}
