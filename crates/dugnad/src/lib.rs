//! Dugnad: the common database of a national centre for clinical studies.

pub mod access;
pub mod api;
pub mod bench;
pub mod cli;
pub mod demo;
pub mod feed;
pub mod intake;
pub mod limits;
pub mod query;
pub mod web;
