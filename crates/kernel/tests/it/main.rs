//! The integration tests of the kernel: one binary.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod builtin_views;
mod disclosure;
mod faults;
mod full_disk;
mod incremental;
mod search;
mod simulation;
mod sql_on_fhir;
mod views_in_the_field;
