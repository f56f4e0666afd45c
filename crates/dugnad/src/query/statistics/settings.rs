//! How a database's statistics are made: chosen once, and kept with the database.

use crate::limits::{CELLS_PER_EPOCH, TABLES_PER_EPOCH};
use dugnad_kernel::disclosure::{Calendars, MethodDocument};
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind};
use std::path::Path;

/// The method, the calendars and the budget of a database; the part `statistics` of the file of `serve --config`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StatisticsSettings {
    /// The method of disclosure control and its parameters.
    pub method: MethodDocument,
    /// How long epochs last, by the number of dimensions.
    pub epochs: Calendars,
    /// How many different cells of two dimensions or more a group of organisations is shown in an epoch.
    pub cells_per_epoch: usize,
    /// Of how many different tables of two dimensions or more, in an epoch of the longest calendar.
    pub tables_per_epoch: usize,
}

impl Default for StatisticsSettings {
    fn default() -> Self {
        Self {
            method: MethodDocument::default(),
            epochs: Calendars::default(),
            cells_per_epoch: CELLS_PER_EPOCH,
            tables_per_epoch: TABLES_PER_EPOCH,
        }
    }
}

impl StatisticsSettings {
    /// The settings that a database has; `chosen` (or the default) if it has none yet. Statistics of two methods beside each other
    /// would show more than either: so others than those it has are refused.
    pub(super) fn of(folder: &Path, chosen: Option<Self>) -> io::Result<Self> {
        let path = folder.join("settings.json");
        let invalid = |what: String| io::Error::new(ErrorKind::InvalidData, format!("{}: {what}", path.display()));
        match std::fs::read(&path) {
            Ok(bytes) => {
                let has: Self = serde_json::from_slice(&bytes).map_err(|e| invalid(e.to_string()))?;
                let other = chosen.filter(|chosen| *chosen != has);
                other.map_or(Ok(has), |_| {
                    Err(invalid(
                        "the database's statistics are made by other settings than the configuration says; statistics of two methods \
                         beside each other would show more than either. Take the part `statistics` out of the configuration"
                            .to_owned(),
                    ))
                })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let chosen = chosen.unwrap_or_default();
                super::store::write(&path, &serde_json::to_vec_pretty(&chosen)?)?;
                Ok(chosen)
            }
            Err(error) => Err(error),
        }
    }
}
