//! The seven legal bases and what each of them allows: the grid that every permit is held against.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The legal basis of a permit. Articles are those of Regulation (EU) 2025/327 (EHDS).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// A data permit (Art. 68): pseudonymised rows, inside the secure processing environment only.
    EhdsPermit,
    /// A health data request (Art. 69): statistics.
    EhdsRequest,
    /// An authority's register by law: rows as the law says.
    StatutoryRegister,
    /// A clinical trial: coded rows of its subjects.
    TrialProtocol,
    /// A monitor or auditor of a trial: identified, read only.
    DirectAccess,
    /// A supervisory authority within its mandate: identified, read only.
    Inspection,
    /// A hospital and its own patients.
    Care,
}

/// How current the answers under a permit are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cadence {
    /// Every acknowledged write is in the next answer.
    Live,
    /// As of the start of the day.
    Daily,
    /// As of the start of the week.
    Weekly,
    /// As of the start of the month.
    Monthly,
    /// As of the decision.
    Frozen,
}

/// Where rows may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Only to sessions inside the secure processing environment (Art. 73).
    Enclave,
    /// Wherever the user is.
    Remote,
}

/// What kinds of population there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PopulationKind {
    /// Everyone.
    Everyone,
    /// The subjects of studies.
    StudySubjects,
    /// Whoever has rows that meet criteria.
    Criteria,
    /// Whoever had rows that met criteria when it was decided.
    Frozen,
    /// Persons who were named.
    Listed,
    /// The patients of one holder, as that holder knows them.
    OwnPatients,
}

/// Whose objection takes a person out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OptOut {
    /// The opt-out of Art. 71.
    Article71,
    /// What the provision says.
    AsTheLawSays,
    /// Consent to the study, and its withdrawal.
    StudyConsent,
    /// Nobody's.
    None,
}

/// What one legal basis allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether a document grants it. `care` follows from a hospital's token instead.
    pub by_document: bool,
    /// Whether the health data access body itself decides (Art. 68 and 69): then it comes out of an application, which a second
    /// person decides. The others record what was decided elsewhere: by law, by a hospital with an ethics committee, by a mandate.
    pub by_application: bool,
    /// Whether rows carry the hospitals' own identifiers.
    pub identified: bool,
    /// Whether only statistics are given.
    pub statistics_only: bool,
    /// Whether it can open all tables without naming them.
    pub all_tables: bool,
    /// Which populations it can cover.
    pub populations: &'static [PopulationKind],
    /// How current its answers can be.
    pub cadences: &'static [Cadence],
    /// Whether the cadence `live` needs a reason of its own.
    pub live_is_justified: bool,
    /// Where its rows can be shown.
    pub deliveries: &'static [Delivery],
    /// Whether it rests on a provision of law or a mandate, which must be named.
    pub provision: bool,
    /// Whether the provision must say how long rows are kept.
    pub retention: bool,
    /// Who can be out.
    pub opt_out: OptOut,
    /// Whether the population must name the versions of consent that allow it.
    pub consent_versions: bool,
}

use Cadence::{Daily, Frozen, Live, Monthly, Weekly};
use Delivery::{Enclave, Remote};
use PopulationKind::{Criteria, Everyone, Listed, OwnPatients, StudySubjects};

const ALL_CADENCES: &[Cadence] = &[Live, Daily, Weekly, Monthly, Frozen];

/// Of the pseudonymised bases whose persons the centre decides on.
const ALL_PERSONS: &[PopulationKind] = &[Everyone, Criteria, PopulationKind::Frozen, Listed];

/// The strictest basis; the others say where they differ.
const STRICT: Rules = Rules {
    by_document: true,
    by_application: false,
    identified: false,
    statistics_only: false,
    all_tables: false,
    populations: &[],
    cadences: &[],
    live_is_justified: false,
    deliveries: &[Enclave],
    provision: false,
    retention: false,
    opt_out: OptOut::None,
    consent_versions: false,
};

const EHDS_PERMIT: Rules = Rules {
    by_application: true,
    populations: ALL_PERSONS,
    cadences: ALL_CADENCES,
    live_is_justified: true,
    opt_out: OptOut::Article71,
    ..STRICT
};

/// Statistics keep to the calendar of epochs, so `live` cannot be.
const EHDS_REQUEST: Rules = Rules {
    by_application: true,
    statistics_only: true,
    populations: &[Everyone],
    cadences: &[Daily, Weekly, Monthly, Frozen],
    deliveries: &[Enclave, Remote],
    opt_out: OptOut::Article71,
    ..STRICT
};

/// Pseudonymised here. A register that the law allows to identify persons does so through its own provision's interface, which a
/// later release brings together with opt-outs under that law.
const STATUTORY_REGISTER: Rules = Rules {
    populations: ALL_PERSONS,
    cadences: ALL_CADENCES,
    deliveries: &[Enclave, Remote],
    provision: true,
    retention: true,
    opt_out: OptOut::AsTheLawSays,
    ..STRICT
};

const TRIAL_PROTOCOL: Rules = Rules {
    populations: &[StudySubjects],
    cadences: ALL_CADENCES,
    deliveries: &[Enclave, Remote],
    opt_out: OptOut::StudyConsent,
    ..STRICT
};

const DIRECT_ACCESS: Rules = Rules {
    identified: true,
    populations: &[StudySubjects],
    cadences: &[Live, Frozen],
    opt_out: OptOut::StudyConsent,
    consent_versions: true,
    ..STRICT
};

const INSPECTION: Rules =
    Rules { identified: true, populations: &[Everyone, StudySubjects], cadences: &[Live, Frozen], provision: true, ..STRICT };

const CARE: Rules = Rules {
    by_document: false,
    identified: true,
    all_tables: true,
    populations: &[OwnPatients],
    cadences: &[Live],
    deliveries: &[Remote],
    ..STRICT
};

impl Basis {
    /// All of them, in the order of the table in DESIGN.md.
    pub const ALL: [Basis; 7] = [
        Basis::EhdsPermit,
        Basis::EhdsRequest,
        Basis::StatutoryRegister,
        Basis::TrialProtocol,
        Basis::DirectAccess,
        Basis::Inspection,
        Basis::Care,
    ];

    /// What it allows.
    pub fn rules(self) -> &'static Rules {
        match self {
            Basis::EhdsPermit => &EHDS_PERMIT,
            Basis::EhdsRequest => &EHDS_REQUEST,
            Basis::StatutoryRegister => &STATUTORY_REGISTER,
            Basis::TrialProtocol => &TRIAL_PROTOCOL,
            Basis::DirectAccess => &DIRECT_ACCESS,
            Basis::Inspection => &INSPECTION,
            Basis::Care => &CARE,
        }
    }

    /// Its name, as documents write it.
    pub fn name(self) -> &'static str {
        match self {
            Basis::EhdsPermit => "ehds_permit",
            Basis::EhdsRequest => "ehds_request",
            Basis::StatutoryRegister => "statutory_register",
            Basis::TrialProtocol => "trial_protocol",
            Basis::DirectAccess => "direct_access",
            Basis::Inspection => "inspection",
            Basis::Care => "care",
        }
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Cadence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Live => "live",
            Daily => "daily",
            Weekly => "weekly",
            Monthly => "monthly",
            Frozen => "frozen",
        })
    }
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Enclave => "enclave",
            Remote => "remote",
        })
    }
}

impl fmt::Display for PopulationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Everyone => "everyone",
            StudySubjects => "study_subjects",
            Criteria => "criteria",
            PopulationKind::Frozen => "frozen",
            Listed => "listed",
            OwnPatients => "own_patients",
        })
    }
}
