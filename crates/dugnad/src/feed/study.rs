//! Clinical studies that the synthetic patients take part in.

use super::hospital::Hospital;
use serde::Deserialize;
use std::sync::OnceLock;

const STUDIES: &str = include_str!("../../data/cancer_studies_2019.json");

/// The study behind the demo's company permit: two radiation doses in small cell lung cancer. A radiation dose cannot be
/// blinded, so it is open-label; it has sites in all four health regions. (That a company sponsors it is made up.)
pub const OPEN_LABEL_STUDY: &str = "88137";

/// A study of the list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Study {
    /// Its number in the list.
    pub id: String,
    /// Norwegian title.
    pub title: String,
    /// As listed: `Åpen for rekruttering` (recruiting) or `Pågående` (under way).
    pub status: String,
    /// The leading hospital.
    pub led_by: String,
    /// The other trusts.
    pub taking_part: Vec<String>,
}

#[derive(Deserialize)]
struct File {
    studies: Vec<Study>,
}

/// The cancer studies of the list; its source stands in the file.
pub fn studies() -> &'static [Study] {
    static PARSED: OnceLock<Vec<Study>> = OnceLock::new();
    PARSED.get_or_init(|| serde_json::from_str::<File>(STUDIES).map(|file| file.studies).unwrap_or_default())
}

/// Who can be a subject of which study, by the beginning of the ICD-10 code, and how many of them are: an interpretation of
/// the titles, good enough for synthetic subjects.
const ELIGIBLE: &[(&str, &[&str], f64)] = &[
    ("88127", &["C62"], 0.6),
    ("88131", &["C18", "C20", "C50", "C56", "C90", "C64"], 0.03),
    ("88137", &["C34.9"], 0.85),
    ("88138", &["C83.1"], 0.6),
    ("88306", &["C50"], 0.1),
    ("88307", &["C50"], 0.1),
    ("88319", &["C50", "C18", "C20"], 0.12),
    ("88318", &["C71"], 0.5),
];

impl Study {
    /// The logical id of its ResearchStudy, the same at every hospital.
    pub fn resource_id(&self) -> String {
        format!("study-{}", self.id)
    }

    /// Whether the hospital's trust leads it or takes part.
    pub fn has_site(&self, hospital: &Hospital) -> bool {
        std::iter::once(&self.led_by).chain(&self.taking_part).any(|trust| hospital.trust.starts_with(trust.as_str()))
    }

    /// The share of patients with this ICD-10 code that become subjects (0 to 1).
    pub fn share_of(&self, icd10: &str) -> f64 {
        ELIGIBLE
            .iter()
            .filter(|(id, codes, _)| *id == self.id && codes.iter().any(|code| icd10.starts_with(code)))
            .map(|(_, _, share)| *share)
            .sum()
    }
}
