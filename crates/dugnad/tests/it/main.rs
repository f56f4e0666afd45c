//! The program as its users meet it: over HTTP and on the command line. One binary, since linking is what costs.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod access;
mod api;
mod applications;
mod audit;
mod backup;
mod bulk;
mod clients;
mod commands;
mod crash;
mod enforcement;
mod everything;
mod formats;
mod freshness;
mod grid;
mod history;
mod hostile;
mod imports;
mod interference;
mod libraries;
mod limits;
mod lists;
mod pages;
mod patch;
mod people;
mod permits;
mod process;
mod releases;
mod search;
mod sql;
mod statistics;
mod subscriptions;
mod support;
mod terminology;
mod tls;
mod validate;
mod view_run;
mod views;
