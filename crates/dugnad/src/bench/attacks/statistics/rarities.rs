//! What suppression says: cells that nobody but the target keeps from being equal to another.

use super::service::{Service, Table, cell_of};
use super::world::{CHAPTER, KIND, ONE_SEX, Random, Row, SEX, TIME, World, shapes};
use super::{Game, StatisticsAttack};

type Services<'a> = &'a mut dyn FnMut(&mut World) -> Service;

pub(super) fn attacks() -> Vec<StatisticsAttack> {
    let attack = |name, said, world, see| StatisticsAttack { name, said, claimed: true, game: Game { targets: ONE_SEX.len(), world, see } };
    vec![
        attack("equality_pair", "two answers that differ in one person: are they equal?", alone, equality),
        attack("existence_through_suppression", "a cell that one more person would show, or hide", at_the_edge, suppression),
        attack("kaplan_meier_inversion", "the steps of survival curves, turned back into counts", deaths, kaplan_meier),
    ]
}

/// The target is the only one of a chapter who is not of its sex.
fn alone(number: u64, targets: usize) -> World {
    World::new(number, targets, |_, nth, row: &mut Row| {
        (row.codes[CHAPTER], row.codes[SEX]) = (ONE_SEX.start + nth, 0);
    })
}

/// Some nine others are as well: one more, and they are ten.
fn at_the_edge(number: u64, targets: usize) -> World {
    let mut world = alone(number, targets);
    let mut random = Random(number ^ 0x5eed);
    let mut person = world.rows.last().map_or(0, |row| row.person);
    for nth in 0..targets {
        for _ in 0..18 {
            if random.share() < 0.5 {
                person += 1;
                let mut row = Row { person, ..world.targets[nth].row };
                row.codes = std::array::from_fn(|d| if d == CHAPTER || d == SEX { row.codes[d] } else { random.code(d) });
                world.rows.push(row);
            }
        }
    }
    world
}

/// The only one of a chapter who died (which a rare kind stands for here) in the month.
fn deaths(number: u64, targets: usize) -> World {
    World::new(number, targets, |_, _, row: &mut Row| row.codes[KIND] = 7)
}

fn play(
    world: &mut World,
    services: Services,
    numbers: usize,
    each: impl Fn(&Row, &Table, &Table, &[(usize, usize)], &mut [f64]),
) -> Vec<Vec<f64>> {
    let (mut service, epoch) = (services(world), world.at(i32::MAX));
    let mut seen = vec![vec![0.0; numbers]; world.targets.len()];
    for whole in service.afford(shapes(3, &[CHAPTER], &[SEX], 1), 2) {
        let mut part = [&whole[..], &[(SEX, 0)]].concat();
        part.sort_unstable();
        let (all, parts) = (service.table(&epoch, &whole, None), service.table(&epoch, &part, None));
        for (target, seen) in world.targets.iter().zip(&mut seen) {
            each(&target.row, &all, &parts, &whole, seen);
        }
    }
    seen
}

/// The cell of all, and of those who are of the chapter's sex.
fn both(row: &Row, all: &Table, parts: &Table, whole: &[(usize, usize)]) -> (Option<f64>, Option<f64>) {
    let mut of_sex = *row;
    of_sex.codes[SEX] = 1;
    let mut part = [whole, &[(SEX, 0)]].concat();
    part.sort_unstable();
    (all.cell(&cell_of(row, &whole.to_vec())), parts.cell(&cell_of(&of_sex, &part)))
}

fn equality(world: &mut World, services: Services) -> Vec<Vec<f64>> {
    play(world, services, 4, |row, all, parts, whole, seen| match both(row, all, parts, whole) {
        (Some(all), Some(part)) => {
            seen[0] += f64::from(u8::from(all == part));
            seen[1] += all - part;
            seen[2] += 1.0;
        }
        (Some(_), None) => seen[3] += 1.0,
        _ => {}
    })
}

fn suppression(world: &mut World, services: Services) -> Vec<Vec<f64>> {
    play(world, services, 10, |row, all, parts, whole, seen| {
        let (all, part) = both(row, all, parts, whole);
        let depth = 2 * (whole.len() - 1);
        seen[depth] += f64::from(u8::from(part.is_some()));
        seen[depth + 1] += f64::from(u8::from(all.is_some()));
        let rare = parts.cell(&cell_of(row, &{
            let mut part = [whole, &[(SEX, 0)]].concat();
            part.sort_unstable();
            part
        }));
        seen[6] += f64::from(u8::from(rare.is_some_and(|n| n > 0.0)));
        seen[7] += all.zip(part).map_or(0.0, |(all, part)| (all - part).clamp(-30.0, 30.0));
        seen[8] += rare.map_or(0.0, |n| f64::from(u8::from(n > 9.0)));
        seen[9] += all.zip(part).map_or(0.0, |(all, part)| f64::from(u8::from(all - part > 9.5)));
    })
}

/// Curves by chapter and up to one dimension more: events are of the kind 7, by month, and all others are censored.
fn kaplan_meier(world: &mut World, services: Services) -> Vec<Vec<f64>> {
    let (mut service, epoch) = (services(world), world.at(i32::MAX));
    let mut seen = vec![vec![0.0; 4]; world.targets.len()];
    for whole in service.afford(shapes(2, &[CHAPTER], &[KIND, TIME], 0), 2) {
        let fine: Vec<(usize, usize)> = [&whole[..], &[(KIND, 0), (TIME, 2)]].concat();
        let (mut steps, mut order) = (fine, whole.clone());
        steps.sort_unstable();
        order.sort_unstable();
        let (all, by_month) = (service.table(&epoch, &order, None), service.table(&epoch, &steps, None));
        for (target, seen) in world.targets.iter().zip(&mut seen) {
            let cell = |kind: usize, month: usize| {
                let mut row = target.row;
                (row.codes[KIND], row.codes[TIME]) = (kind, month);
                cell_of(&row, &steps)
            };
            let Some(curve) = Table::curve(&all, &cell_of(&target.row, &order), &by_month, (0..24).map(|m| (cell(7, m), cell(0, m))))
            else {
                continue;
            };
            // A step back from the curve: the share that is lost in the month, times those at risk.
            let month = target.row.codes[TIME];
            let before = if month == 0 { 1.0 } else { curve[month - 1].survival };
            let (lost, at_risk) = (1.0 - curve[month].survival / before.max(1e-9), curve[month].at_risk as f64);
            seen[0] += lost * at_risk;
            seen[1] += f64::from(u8::from(lost > 0.0));
            seen[2] += at_risk;
            seen[3] += curve.last().map_or(0.0, |step| step.survival);
        }
    }
    seen
}
