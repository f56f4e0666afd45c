//! What is not claimed: somebody who knows everybody's records but one bit, and all parameters, and takes all cells around it.

use super::service::{Service, cell_of};
use super::world::{CHAPTER, Row, World, shapes};
use super::{Game, StatisticsAttack};

pub(super) fn attacks() -> Vec<StatisticsAttack> {
    let said = "NOT CLAIMED: knows all other records, and takes all cells around the target";
    vec![StatisticsAttack { name: "membership_by_likelihood", said, claimed: false, game: Game { targets: 8, world, see } }]
}

fn world(number: u64, targets: usize) -> World {
    World::new(number, targets, |_, _, _: &mut Row| {})
}

fn see(world: &mut World, services: &mut dyn FnMut(&mut World) -> Service) -> Vec<Vec<f64>> {
    let (mut service, epoch) = (services(world), world.at(i32::MAX));
    let noise = service.noise();
    let probability = |off: f64| noise.iter().find(|(v, _)| *v as f64 == off).map_or(1e-4, |(_, p)| p.max(1e-4));
    let mut seen = vec![vec![0.0; 2]; world.targets.len()];
    for levels in service.afford(shapes(4, &[CHAPTER], &[], 2), 1) {
        let (released, exact) = (service.table(&epoch, &levels, None), Service::exact(&epoch, &levels));
        for (target, seen) in world.targets.iter().zip(&mut seen) {
            let cell = cell_of(&target.row, &levels);
            let others = exact.cell(&cell).unwrap_or(0.0) - f64::from(u8::from(target.bit));
            if let Some(shown) = released.cell(&cell) {
                seen[0] += (probability(shown - others - 1.0) / probability(shown - others)).ln();
                seen[1] += 1.0;
            }
        }
    }
    seen
}
