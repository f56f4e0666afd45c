//! What a statistics table is: rows that are found by SQL, and which dimension each of their columns is of.

use super::hierarchy::{Hierarchy, Node, is_name};
use crate::limits::MAX_STATISTIC_DIMENSIONS;
use serde::{Deserialize, Serialize};

/// A table of the schema `statistics`, as a document of the kind `statistic`; the program carries some.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statistic {
    /// Its name.
    pub name: String,
    /// What it counts, for people.
    pub title: String,
    /// The table whose rows are counted: a permit for the statistic has to show it.
    pub table: String,
    /// The rows, as one SELECT over live tables. Its column `person` is a `patient_key`; `started`, where there is one, is when it
    /// was: the order in which a person's rows come first or later.
    pub sql: String,
    /// The columns that dimensions are read from.
    pub dimensions: Vec<Reading>,
    /// The column that is added up, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// What its curves of survival are of, where it has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub survival: Option<Survival>,
}

/// How a dimension is read from the rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// The dimension.
    pub dimension: String,
    /// The column of `sql`.
    pub column: String,
    /// The column that says in which code system the code is; only codes of `systems` are looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The code systems whose codes the list has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub systems: Vec<String>,
    /// What the column holds.
    #[serde(default)]
    pub holds: Holds,
    /// The table and column, such as `patient.gender`, that a permit has to show for this dimension.
    pub needs: String,
}

/// What a column holds that a dimension is read from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holds {
    /// A code of the list.
    #[default]
    Code,
    /// A code that begins with one of the list, of at least so many characters.
    Prefix(usize),
    /// An instant, for the calendar.
    Time,
    /// A date of birth, for the age at the epoch.
    Birth,
    /// A number, for bands.
    Number,
}

/// A value that is added up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Value {
    /// The column of `sql`.
    pub column: String,
    /// What it is, with its unit.
    pub title: String,
    /// A dimension of which a question has to name one code, for values of two would not add up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_one: Option<String>,
    /// The table and column that a permit has to show.
    pub needs: String,
}

/// What survival is computed from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Survival {
    /// The dimension of time since the beginning: curves are grouped by its levels, and nothing else is.
    pub time: String,
    /// The dimension that says what it ended with and then when: its first level has `event` and `censored`, and each code of a level
    /// of time stands, after one of these and a space, on the next level.
    pub exit: String,
}

/// Why a statistic cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the statistic {name}: {what}")]
pub struct StatisticError {
    name: String,
    what: String,
}

impl Statistic {
    /// Reads and checks a document's JSON. That its SQL can be planned, and that its dimensions are there, is for others to see.
    pub fn parse(json: &str) -> Result<Self, StatisticError> {
        let statistic: Self =
            serde_json::from_str(json).map_err(|e| StatisticError { name: "(unread)".to_owned(), what: e.to_string() })?;
        let failed = |what: String| Err(StatisticError { name: statistic.name.clone(), what });
        if !is_name(&statistic.name) {
            return failed("its name must be a lower-case letter, then at most 62 of a-z 0-9 _".to_owned());
        }
        if statistic.dimensions.len() > MAX_STATISTIC_DIMENSIONS {
            return failed(format!("it has {} dimensions, more than {MAX_STATISTIC_DIMENSIONS}", statistic.dimensions.len()));
        }
        let twice = |(at, reading): (usize, &Reading)| statistic.dimensions[..at].iter().any(|r| r.dimension == reading.dimension);
        if let Some((_, reading)) = statistic.dimensions.iter().enumerate().find(|(at, reading)| twice((*at, reading))) {
            return failed(format!("it has the dimension {} twice", reading.dimension));
        }
        let needs = statistic.dimensions.iter().map(|r| &r.needs).chain(statistic.value.iter().map(|v| &v.needs));
        if let Some(needs) = needs.into_iter().find(|needs| needs.split_once('.').is_none()) {
            return failed(format!("`needs` is `{needs}`; write table.column"));
        }
        let named =
            statistic.survival.iter().flat_map(|s| [&s.time, &s.exit]).chain(statistic.value.iter().filter_map(|v| v.of_one.as_ref()));
        if let Some(absent) = named.into_iter().find(|name| statistic.dimension(name).is_none()) {
            return failed(format!("it has no dimension {absent}"));
        }
        Ok(statistic)
    }

    /// The place of a dimension among its own.
    pub fn dimension(&self, name: &str) -> Option<usize> {
        self.dimensions.iter().position(|reading| reading.dimension == name)
    }
}

impl Reading {
    /// The node of a code.
    pub fn node(&self, hierarchy: &Hierarchy, code: Option<&str>, system: Option<&str>) -> Node {
        let Some(code) = code else { return hierarchy.nothing() };
        if self.system.is_some() && !system.is_some_and(|system| self.systems.iter().any(|known| known == system)) {
            return hierarchy.nothing();
        }
        match self.holds {
            Holds::Prefix(least) => hierarchy.node_by_prefix(code, least),
            _ => hierarchy.node(code),
        }
    }
}

/// The statistics that the program carries.
pub fn carried_statistics() -> Vec<Statistic> {
    const TABLES: [&str; 9] = [
        include_str!("../../data/statistics/patients.json"),
        include_str!("../../data/statistics/conditions.json"),
        include_str!("../../data/statistics/treatments.json"),
        include_str!("../../data/statistics/procedures.json"),
        include_str!("../../data/statistics/drugs.json"),
        include_str!("../../data/statistics/drug_switches.json"),
        include_str!("../../data/statistics/tests.json"),
        include_str!("../../data/statistics/encounters.json"),
        include_str!("../../data/statistics/survival.json"),
    ];
    // A test reads each of them.
    TABLES.iter().filter_map(|json| Statistic::parse(json).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_statistics_that_are_carried_can_be_read() {
        assert_eq!(carried_statistics().len(), 9);
    }
}
