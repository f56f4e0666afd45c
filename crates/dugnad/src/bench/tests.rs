#![expect(clippy::unwrap_used, reason = "tests")]

use super::figures::{Better, Figures, Peer};
use super::peer::Python;
use super::*;
use std::time::Duration;

#[test]
fn figures_are_a_table_and_lines() {
    let mut figures = Figures::new("ingest");
    figures.add("resources_per_s", 25_123.456_78, "1/s", Better::Higher, "resources a second");
    figures.add("stale", 0.0, "1", Better::Lower, "stale");
    figures.add("processors", 2.0, "1", Better::Context, "processors");
    let lines: Vec<String> = figures.lines().map(|line| line.to_string()).collect();
    assert_eq!(
        lines,
        [
            r#"{"bench":"ingest","figure":"resources_per_s","value":25123.457,"unit":"1/s","better":"higher"}"#,
            r#"{"bench":"ingest","figure":"stale","value":0,"unit":"1","better":"lower"}"#,
            r#"{"bench":"ingest","figure":"processors","value":2,"unit":"1"}"#,
        ]
    );
    assert_eq!(
        figures.table(),
        "resources a second        25,123 1/s\nstale                          0 \nprocessors                     2 \n"
    );
}

#[test]
fn a_peer_stands_beside_and_more_is_always_better() {
    let mut figures = Figures::new("views");
    let peer = |value| Some(Peer { name: "other 1.0".to_owned(), value });
    figures.add_beside("rate", 3_000.0, "1/s", Better::Higher, "rate", peer(1_500.0));
    figures.add_beside("time", 3.0, "s", Better::Lower, "time", peer(12.0));
    let lines: Vec<String> = figures.lines().map(|line| line.to_string()).collect();
    assert_eq!(
        lines,
        [
            r#"{"bench":"views","figure":"rate","value":3000,"unit":"1/s","peer":"other 1.0","peer_value":1500,"ratio":2,"better":"higher"}"#,
            r#"{"bench":"views","figure":"time","value":3,"unit":"s","peer":"other 1.0","peer_value":12,"ratio":4,"better":"lower"}"#,
        ]
    );
    assert!(figures.table().contains("rate         3,000 1/s  other 1.0: 1,500, ratio 2.0\n"), "{}", figures.table());
}

#[test]
fn a_peer_that_cannot_run_says_why() {
    let why = Python::new("/does/not/exist".into()).run("", &[]).unwrap_err();
    assert!(why.starts_with("/does/not/exist: ") && why.contains("benches/setup.sh"), "{why}");
}

#[test]
fn latencies_have_quantiles() {
    let mut latency = Latency::default();
    assert_eq!((latency.quantile_ms(0.99), latency.count()), (0.0, 0));
    (1..=100).for_each(|ms| latency.record(Duration::from_millis(ms)));
    let mut other = Latency::default();
    other.record(Duration::from_secs(1_000));
    latency.add(&other);
    assert!((latency.quantile_ms(0.5) - 51.0).abs() < 1.0);
    assert!((latency.max_ms() - 60_000.0).abs() < 100.0, "what is longer counts as a minute");
    assert_eq!(latency.count(), 101);
}

#[test]
fn a_folder_with_something_in_it_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Folder::of(Some(dir.path())).is_ok());
    std::fs::write(dir.path().join("journal.sqlite"), "somebody's").unwrap();
    assert!(Folder::of(Some(dir.path())).is_err());
}

#[test]
fn the_machine_tells_its_figures() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(machine::fdatasync(dir.path(), 3).unwrap().count(), 3);
    let sampler = machine::DiskSampler::start(dir.path(), Duration::from_millis(1)).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert!(sampler.stop().unwrap().count() > 0);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
    if cfg!(target_os = "linux") {
        assert!(machine::peak_rss_bytes().is_some_and(|bytes| bytes > 1e6));
        assert!(machine::cpu_s().is_some_and(|seconds| seconds >= 0.0));
    }
}
