//! A permit as it is written: the shape of the JSON. What it may say is checked by [`super::Permit::new`].

use super::basis::{Basis, Cadence, Delivery, PopulationKind};
use crate::ids::Commit;
use crate::live::schema::Storage;
use crate::population::Formula;
use jiff::Timestamp;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

/// A permit's fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Whether its reader is blinded, where the population is of studies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blinding: Option<Blinding>,
    /// What one question may cost; the server's own bounds hold besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
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
    /// Whether it lets persons be out who have opted out (Regulation (EU) 2025/327, Art. 71). It does not if that is left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub opt_out: bool,
}

/// What a blinded reader of a study must not see, or that nothing is hidden.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Blinding {
    /// An open-label study, or a reader who is not blinded.
    Open,
    /// These do not exist, but for subjects who were unblinded.
    Blinded {
        /// Columns that tell the arm, such as a kit's number.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        columns: Vec<BlindedColumns>,
        /// Rows that tell it, such as laboratory values.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        rows: Vec<BlindedRows>,
    },
}

/// Columns of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlindedColumns {
    /// The table.
    pub table: String,
    /// Its columns.
    pub columns: Vec<String>,
}

/// Rows of a table: those with one of these codes in a column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlindedRows {
    /// The table.
    pub table: String,
    /// The column, of codes or texts.
    pub column: String,
    /// What stands in it.
    pub codes: Vec<String>,
}

/// What one question may cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Seconds from its admission to its last row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_s: Option<u32>,
    /// Mebibytes that its operators may hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u32>,
    /// Rows of its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Population {
    /// Everyone.
    Everyone,
    /// Whoever is subject of one of these studies.
    StudySubjects {
        /// A study of several sites is a ResearchStudy at each of them.
        studies: Vec<StudyReference>,
        /// The versions of consent that allow it: the subject's Consent must stand with one of them. Any if it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        consent_versions: Option<BTreeSet<String>>,
    },
    /// Whoever meets this, at the commit that is asked about.
    Criteria(Formula),
    /// Whoever met this when it was decided: a [`PersonList`](super::PersonList).
    Frozen {
        /// What they met.
        criteria: Formula,
        /// The commit that they met it at: the newest when it was decided. Absent before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        commit: Option<Commit>,
    },
    /// Persons who were named beside the application: a [`PersonList`](super::PersonList).
    Listed {
        /// The commit that they were looked up at. Absent before the decision.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        commit: Option<Commit>,
    },
    /// The patients of one holder, as that holder knows them.
    OwnPatients {
        /// The holder's name.
        holder: String,
    },
}

impl Population {
    /// The same without the commit of its list: as an application has it, and as it is public.
    #[must_use]
    pub fn without_commit(&self) -> Self {
        match self {
            Population::Frozen { criteria, .. } => Population::Frozen { criteria: criteria.clone(), commit: None },
            Population::Listed { .. } => Population::Listed { commit: None },
            other => other.clone(),
        }
    }

    /// The commit that its list is of, where it has one.
    pub fn list_commit(&self) -> Option<Commit> {
        match self {
            Population::Frozen { commit, .. } | Population::Listed { commit } => *commit,
            _ => None,
        }
    }

    /// Which kind it is.
    pub fn kind(&self) -> PopulationKind {
        match self {
            Population::Everyone => PopulationKind::Everyone,
            Population::StudySubjects { .. } => PopulationKind::StudySubjects,
            Population::Criteria(_) => PopulationKind::Criteria,
            Population::Frozen { .. } => PopulationKind::Frozen,
            Population::Listed { .. } => PopulationKind::Listed,
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
