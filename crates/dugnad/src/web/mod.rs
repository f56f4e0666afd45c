//! Web pages. Only this module writes HTML.
//!
//! Pages are rendered on the server; scripts only bring them up to date. A strict content-security policy holds for all
//! of them: own scripts and styles from files, nothing inline, nothing from elsewhere.

pub mod assets;
pub mod demo;
mod layout;
pub mod map;
pub mod start;
#[cfg(test)]
mod tests;
