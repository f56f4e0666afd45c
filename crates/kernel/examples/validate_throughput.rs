//! What parsing and validating cost: `cargo run -p dugnad-kernel --example validate_throughput -- FOLDER_OF_JSON [TIMES]` parses and
//! validates each file that many times on one core, the resources of a Bundle one by one as a transaction does, and prints the time a
//! resource for each of the two. Instructions: run it in callgrind.

use bumpalo::Bump;
use dugnad_kernel::fhir::{json, validate};
use std::time::{Duration, Instant};
use std::{error::Error, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: validate_throughput FOLDER [TIMES]")?;
    let times: u32 = std::env::args().nth(2).map_or(Ok(3), |n| n.parse())?;
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        files.push(fs::read(entry?.path())?);
    }
    let (mut parsing, mut validating, mut resources, mut problems) = (Duration::ZERO, Duration::ZERO, 0_u32, 0_usize);
    let mut arena = Bump::new();
    for text in files.iter().cycle().take(files.len() * times as usize) {
        arena.reset();
        let started = Instant::now();
        let resource = json::parse(text, &arena)?;
        let parsed = Instant::now();
        let entries = resource.get("entry").map(|entries| entries.items());
        let each = entries.into_iter().flatten().filter_map(|entry| entry.get("resource"));
        problems += each.chain(Some(resource).filter(|_| entries.is_none())).map(|r| validate::validate(&r).len()).sum::<usize>();
        parsing += parsed - started;
        validating += parsed.elapsed();
        resources += entries.map_or(1, |entries| entries.len() as u32);
    }
    println!(
        "{resources} resources: parsing {:?}, validating {:?} each; {problems} problems",
        parsing / resources.max(1),
        validating / resources.max(1)
    );
    Ok(())
}
