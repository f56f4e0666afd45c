//! How many resources a second a built-in view takes on one thread, from the bytes of an NDJSON file:
//! `cargo run -p dugnad-kernel --example view_throughput -- observation Observation.ndjson`.

use bumpalo::Bump;
use dugnad_kernel::fhir::json;
use dugnad_kernel::views::builtin::builtin_views;
use std::error::Error;
use std::time::Instant;

const ROUNDS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [table, path] = arguments.as_slice() else {
        return Err("usage: view_throughput TABLE FILE.ndjson".into());
    };
    let view = builtin_views().into_iter().find(|b| b.table == table).ok_or("no such built-in view")?.view;
    let text = std::fs::read(path)?;
    let lines: Vec<&[u8]> = text.split(|b| *b == b'\n').filter(|line| !line.is_empty()).collect();
    let mut arena = Bump::new();
    let mut best = [f64::MAX; 2];
    let mut rows = 0;
    for _ in 0..ROUNDS {
        for (what, best) in best.iter_mut().enumerate() {
            let start = Instant::now();
            rows = 0;
            for line in &lines {
                let resource = json::parse(line, &arena)?;
                if what == 1 {
                    view.run(resource, &arena, &mut |cells| rows += usize::from(!cells.is_empty()))?;
                }
                arena.reset();
            }
            *best = best.min(start.elapsed().as_secs_f64());
        }
    }
    let count = lines.len() as f64;
    println!(
        "{table}: {} resources of {:.0} bytes, {rows} rows; parse alone {:.0}/s ({:.0} MB/s), parse and view {:.0}/s",
        lines.len(),
        text.len() as f64 / count,
        count / best[0],
        text.len() as f64 / 1e6 / best[0],
        count / best[1]
    );
    Ok(())
}
