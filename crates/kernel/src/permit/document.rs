//! A permit as it is written: the shape of the JSON. What it may say is checked by [`super::Permit::new`].

use super::basis::{Basis, Cadence, Delivery, PopulationKind};
use crate::live::schema::Storage;
use jiff::Timestamp;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

/// A permit's fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Its id: 1 to 64 of A-Z a-z 0-9 - . _
    pub id: String,
    /// On what it rests.
    pub basis: Basis,
    /// The organisation that it was granted to.
    pub applicant: String,
    /// Who may use it, by user name.
    pub users: Vec<String>,
    /// What for, in the words of the decision.
    pub purpose: String,
    /// The provision of law or the mandate, where the basis is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provision: Option<Provision>,
    /// What exists under it.
    pub tables: Tables,
    /// Whose rows exist under it.
    pub population: Population,
    /// How current its answers are.
    pub cadence: Cadence,
    /// Why that cadence is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cadence_reason: Option<String>,
    /// Where its rows may be shown.
    pub delivery: Delivery,
    /// From when, inclusive.
    pub valid_from: Timestamp,
    /// Until when, exclusive.
    pub valid_until: Timestamp,
    /// Who decided, when and why.
    pub decision: Decision,
    /// Whether it can be used.
    pub status: Status,
}

/// The law that a permit rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provision {
    /// The provision, as it is cited.
    pub law: String,
    /// How long rows may be kept: an ISO 8601 duration, such as `P10Y`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<String>,
}

/// Which tables exist under a permit. In JSON `"all"` or a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tables {
    /// All, with all their columns as they are.
    All,
    /// These.
    List(Vec<TableGrant>),
}

/// One table of a permit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableGrant {
    /// Its name.
    pub table: String,
    /// Which columns.
    pub columns: Columns,
    /// How columns are shown; those that are not named here are kept as they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub transforms: BTreeMap<String, Transform>,
}

impl TableGrant {
    /// How a column is shown; `None` if the grant does not have it.
    pub fn covers(&self, column: &str) -> Option<Transform> {
        let covered = match &self.columns {
            Columns::All => true,
            Columns::List(columns) => columns.iter().any(|name| name == column),
        };
        covered.then(|| self.transforms.get(column).copied().unwrap_or(Transform::Keep))
    }
}

/// Which columns of a table. In JSON `"all"` or a list of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Columns {
    /// All that the table has.
    All,
    /// These.
    List(Vec<String>),
}

/// How a column is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// As it is.
    Keep,
    /// A date or instant: the first day of its year.
    Year,
    /// A date or instant: the first day of its month.
    Month,
    /// A number: the lower end of its band of this width, counted from 0.
    Band(u32),
    /// A code: its first characters, so many.
    Generalise(u8),
}

impl Transform {
    /// Whether it can be applied to a column that is stored like this. Keys and holders are pseudonymised or not by the legal
    /// basis, never by a transform.
    pub fn fits(self, storage: Storage) -> bool {
        match self {
            Transform::Keep => true,
            Transform::Year | Transform::Month => matches!(storage, Storage::Date | Storage::Instant),
            Transform::Band(_) => matches!(storage, Storage::Integer | Storage::Decimal),
            Transform::Generalise(_) => matches!(storage, Storage::Code),
        }
    }
}

/// Whose rows exist under a permit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Population {
    /// Everyone.
    Everyone,
    /// Whoever is subject of one of these studies.
    StudySubjects {
        /// A study of several sites is a ResearchStudy at each of them.
        studies: Vec<StudyReference>,
    },
    /// The patients of one holder, as that holder knows them.
    OwnPatients {
        /// The holder's name.
        holder: String,
    },
}

impl Population {
    /// Which kind it is.
    pub fn kind(&self) -> PopulationKind {
        match self {
            Population::Everyone => PopulationKind::Everyone,
            Population::StudySubjects { .. } => PopulationKind::StudySubjects,
            Population::OwnPatients { .. } => PopulationKind::OwnPatients,
        }
    }
}

/// A ResearchStudy of a holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyReference {
    /// The holder's name.
    pub holder: String,
    /// The logical id of its ResearchStudy.
    pub id: String,
}

/// The decision that a permit is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Who took it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reasons: String,
}

/// Where a permit stands. That it has expired is no status: `valid_until` says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// In force between its dates.
    Active,
    /// Taken back for good.
    Revoked,
}

/// Reads `"all"` or a list, with messages that say so.
fn all_or_list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Vec<T>>, D::Error> {
    struct AllOrList<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for AllOrList<T> {
        type Value = Option<Vec<T>>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("\"all\" or a list")
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            if text == "all" { Ok(None) } else { Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)) }
        }
        fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(items)).map(Some).map_err(A::Error::custom)
        }
    }
    deserializer.deserialize_any(AllOrList(PhantomData))
}

impl<'de> Deserialize<'de> for Tables {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(all_or_list(deserializer)?.map_or(Tables::All, Tables::List))
    }
}

impl<'de> Deserialize<'de> for Columns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(all_or_list(deserializer)?.map_or(Columns::All, Columns::List))
    }
}

impl Serialize for Tables {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Tables::All => serializer.serialize_str("all"),
            Tables::List(list) => list.serialize(serializer),
        }
    }
}

impl Serialize for Columns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Columns::All => serializer.serialize_str("all"),
            Columns::List(list) => list.serialize(serializer),
        }
    }
}
