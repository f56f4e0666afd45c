//! Web pages. Only this module writes HTML.
//!
//! Pages are rendered on the server; scripts only bring them up to date. A strict content-security policy holds for all
//! of them: own scripts and styles from files, nothing inline, nothing from elsewhere.

pub mod assets;
pub mod demo;
mod layout;
pub mod map;
mod pages;
mod person;
mod register;
pub mod start;
#[cfg(test)]
mod tests;
mod words;

pub use pages::Pages;

use crate::api::App;
use axum::Router;

/// The pages of people: the patient's own, and the public register. `synthetic` marks them as a demo's.
pub fn for_people(app: &App, synthetic: bool) -> Pages {
    person::add(register::add(Pages::default(), app, synthetic), app, synthetic)
}

/// All pages of a database that is served.
pub fn served(app: &App) -> Router {
    start::routes().merge(for_people(app, false).into_router())
}
