//! Epochs before and after something that happened to the target at a known moment.

use super::service::{Levels, Service, Table, cell_of};
use super::world::{AGE, CHAPTER, KIND, Random, Row, SEX, Snapshot, World, categories, shapes};
use super::{Game, StatisticsAttack};
use roaring::RoaringBitmap;

type Services<'a> = &'a mut dyn FnMut(&mut World) -> Service;

pub(super) fn attacks() -> Vec<StatisticsAttack> {
    let attack = |name, said, world, see| StatisticsAttack { name, said, claimed: true, game: Game { targets: 80, world, see } };
    vec![
        attack("time_differencing", "daily, weekly and monthly cells around one patient's treatment", arrivals, arrival),
        attack("table_in_reserve", "the same with finer tables that are first asked for after it", arrivals, reserve),
        attack("opt_out", "one person opts out between epochs", leavers, opt_out),
        attack("erasure", "one person is erased between epochs", leavers, erasure),
        attack("as_of_pairs", "as_of: the newest epoch and the one before the treatment", arrivals, as_of),
        attack("permits_at_different_times", "one permit until the treatment, another from then on", arrivals, permits),
    ]
}

/// The month in which it happens.
const EVENT: std::ops::Range<i32> = 660..690;

/// The newest epoch.
const LAST: i32 = 720;

fn arrivals(number: u64, targets: usize) -> World {
    World::new(number, targets, |random: &mut Random, _, row: &mut Row| {
        let day = EVENT.start + random.below(30) as i32;
        row.on(day);
    })
}

fn leavers(number: u64, targets: usize) -> World {
    World::new(number, targets, |random: &mut Random, _, row: &mut Row| {
        let day = random.below(500) as i32;
        row.on(day);
    })
}

/// What happens to targets on their day.
#[derive(Clone, Copy, PartialEq)]
enum Event {
    Arrival,
    OptOut,
    Erasure,
}

/// One shape at its epochs, of which the start of each is known.
struct Series {
    levels: Levels,
    epochs: Vec<(i32, Table)>,
}

/// The calendar of a depth: the default one.
fn epochs(depth: usize) -> Vec<i32> {
    match depth {
        1 => (650..=LAST).collect(),
        2 => (566..=LAST).step_by(7).collect(),
        _ => (570..=LAST).step_by(30).collect(),
    }
}

/// The day on which it happens to a target of a place among them.
fn day_of(world: &World, nth: usize, event: Event) -> i32 {
    if event == Event::Arrival { world.targets[nth].row.day } else { EVENT.start + (nth as i32 * 7) % 30 }
}

/// Asks for all shapes around the secret, in the order of time.
fn series(world: &World, service: &mut Service, event: Event, from: impl Fn(usize) -> i32) -> Vec<Series> {
    let mut all: Vec<Series> =
        service.afford(shapes(4, &[CHAPTER], &[], 1), 1).into_iter().map(|levels| Series { levels, epochs: Vec::new() }).collect();
    let first = world.targets[0].row.person;
    let mut days: Vec<i32> = (1..=4).flat_map(epochs).collect();
    days.sort_unstable();
    days.dedup();
    let mut before = 0;
    for day in days {
        let left = |person: u32| event != Event::Arrival && person >= first && day_of(world, (person - first) as usize, event) < day;
        if event == Event::Erasure {
            let gone: RoaringBitmap =
                (0..world.targets.len()).filter(|n| (before..day).contains(&day_of(world, *n, event))).map(|n| first + n as u32).collect();
            service.erase(&gone);
        }
        before = day;
        let epoch: Snapshot = world.snapshot(day, |row| !left(row.person));
        for series in all.iter_mut().filter(|s| day >= from(s.levels.len()) && epochs(s.levels.len()).contains(&day)) {
            series.epochs.push((day, service.table(&epoch, &series.levels, None)));
        }
    }
    all
}

/// What the numbers of each depth are.
const NUMBERS: usize = 8;

/// All cells around a target, from the epoch before the event on. `pair`: only that epoch and the newest are looked at.
fn differences(all: &[Series], target: &Row, event: i32, pair: bool) -> Vec<f64> {
    let mut seen = vec![0.0; 4 * NUMBERS];
    for series in all.iter().filter(|series| series.epochs.len() > 1) {
        let seen = &mut seen[(series.levels.len() - 1) * NUMBERS..][..NUMBERS];
        let cell = cell_of(target, &series.levels);
        let shown: Vec<Option<f64>> = series.epochs.iter().map(|(_, table)| table.cell(&cell)).collect();
        let after = series.epochs.partition_point(|(day, _)| *day <= event).clamp(1, shown.len() - 1);
        let (was, is, last) = (shown[after - 1], shown[after], shown[shown.len() - 1]);
        let size = last.or(was).unwrap_or(0.0);
        let (light, noisy) = (1.0 / (1.0 + size / 24.0), 1.0 / (1.0 + size / 2_000.0));
        if let (Some(was), Some(last)) = (was, last) {
            seen[0] += (last - was) * light;
            seen[1] += (last - was) * noisy;
        }
        seen[2] += f64::from(u8::from(was.is_none() && last.is_some()));
        if pair {
            seen[3] += f64::from(u8::from(was != last)) * light;
            continue;
        }
        if let (Some(was), Some(is)) = (was, is) {
            seen[3] += (is - was) * light;
            seen[4] += (is - was) * noisy;
        }
        seen[5] += f64::from(u8::from(was != is)) * light;
        seen[6] += shown[after - 1..].windows(2).filter(|pair| pair[0] != pair[1]).count() as f64 * light;
        // How it went before: what is to be expected.
        seen[7] += shown[..after].windows(2).filter(|pair| pair[0] != pair[1]).count() as f64 * light;
    }
    seen
}

fn play(world: &mut World, services: Services, event: Event, pair: bool) -> Vec<Vec<f64>> {
    let mut service = services(world);
    let all = series(world, &mut service, event, |_| 0);
    let of = |(nth, target): (usize, &super::world::Target)| differences(&all, &target.row, day_of(world, nth, event), pair);
    world.targets.iter().enumerate().map(of).collect()
}

fn arrival(world: &mut World, services: Services) -> Vec<Vec<f64>> {
    play(world, services, Event::Arrival, false)
}

fn opt_out(world: &mut World, services: Services) -> Vec<Vec<f64>> {
    play(world, services, Event::OptOut, false)
}

fn erasure(world: &mut World, services: Services) -> Vec<Vec<f64>> {
    play(world, services, Event::Erasure, false)
}

fn as_of(world: &mut World, services: Services) -> Vec<Vec<f64>> {
    play(world, services, Event::Arrival, true)
}

/// The second permit begins with the first monthly epoch after the treatment; what it may see of before is nothing. Together
/// they see each epoch once.
fn permits(world: &mut World, services: Services) -> Vec<Vec<f64>> {
    let mut service = services(world);
    let before = series(world, &mut service, Event::Arrival, |_| 0);
    let of = |target: &super::world::Target| {
        let mut seen = differences(&before, &target.row, target.row.day, true);
        let after: f64 = before.iter().filter_map(|s| s.epochs.last()?.1.cell(&cell_of(&target.row, &s.levels))).sum();
        seen.push(after);
        seen
    };
    world.targets.iter().map(of).collect()
}

/// Tables of three and four dimensions are asked for in the newest epoch only. Their cells are added up and compared with a
/// coarser cell, which shows what it showed before the treatment.
fn reserve(world: &mut World, services: Services) -> Vec<Vec<f64>> {
    let mut service = services(world);
    let all = series(world, &mut service, Event::Arrival, |depth| if depth > 2 { LAST } else { 0 });
    let parts = |target: &Row, coarse: &Series, dimension: usize| {
        let (day, before) = coarse.epochs.iter().rev().find(|(day, _)| *day <= target.day)?;
        debug_assert!(*day <= target.day);
        let whole = before.cell(&cell_of(target, &coarse.levels))?;
        let fine = all.iter().find(|s| {
            s.levels.len() == coarse.levels.len() + 1
                && s.levels.contains(&(dimension, 0))
                && coarse.levels.iter().all(|l| s.levels.contains(l))
        })?;
        let table = &fine.epochs.last()?.1;
        let part = |code: usize| {
            let mut row = *target;
            row.codes[dimension] = code;
            table.cell(&cell_of(&row, &fine.levels))
        };
        let shown: Vec<f64> = (0..categories(dimension, 0)).filter_map(part).collect();
        Some((shown.iter().sum::<f64>() - whole) / (1.0 + shown.len() as f64) / (1.0 + whole / 500.0))
    };
    let of = |target: &super::world::Target| {
        let mut seen = differences(&all, &target.row, target.row.day, false);
        for dimension in [SEX, AGE, KIND] {
            let coarse = all.iter().filter(|s| s.levels.len() <= 3 && !s.levels.iter().any(|(d, _)| *d == dimension) && s.epochs.len() > 1);
            let sums: Vec<f64> = coarse.filter_map(|series| parts(&target.row, series, dimension)).collect();
            seen.push(sums.iter().sum());
            seen.push(sums.iter().map(|sum| sum.clamp(-4.0, 4.0)).sum());
        }
        seen
    };
    world.targets.iter().map(of).collect()
}
