//! Purposes (Art. 53) and prohibited uses (Art. 54) of secondary use under Regulation (EU) 2025/327.

use serde::{Deserialize, Serialize};

/// A purpose of Art. 53(1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// (a) The public interest in public or occupational health: surveillance, threats to health, safety of care and medicines.
    PublicHealth,
    /// (b) Policy-making and regulatory activities of public sector bodies.
    PolicyMaking,
    /// (c) Official statistics.
    Statistics,
    /// (d) Education and teaching in the health or care sector.
    Education,
    /// (e) Scientific research related to the health or care sector, with development and the testing of algorithms.
    Research,
    /// (f) Improving the delivery of care and treatment.
    CareImprovement,
}

impl Purpose {
    /// All of them, in the regulation's order.
    pub const ALL: [Purpose; 6] = [
        Purpose::PublicHealth,
        Purpose::PolicyMaking,
        Purpose::Statistics,
        Purpose::Education,
        Purpose::Research,
        Purpose::CareImprovement,
    ];

    /// Its point of Art. 53(1).
    pub fn point(self) -> char {
        match self {
            Purpose::PublicHealth => 'a',
            Purpose::PolicyMaking => 'b',
            Purpose::Statistics => 'c',
            Purpose::Education => 'd',
            Purpose::Research => 'e',
            Purpose::CareImprovement => 'f',
        }
    }

    /// Whether only public sector bodies and Union institutions may pursue it (Art. 53(2)).
    pub fn for_public_bodies_only(self) -> bool {
        matches!(self, Purpose::PublicHealth | Purpose::PolicyMaking | Purpose::Statistics)
    }
}

/// A use that Art. 54 prohibits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProhibitedUse {
    /// (a) Decisions to the detriment of a person or group, based on their health data.
    DetrimentalDecisions,
    /// (b) Decisions about job offers, insurance, credit or other terms, or that discriminate.
    Discrimination,
    /// (c) Advertising and marketing.
    Marketing,
    /// (d) Products or services that may harm persons, public health or society.
    HarmfulProducts,
    /// (e) What national law holds unethical.
    UnethicalUse,
}

impl ProhibitedUse {
    /// All of them, in the regulation's order.
    pub const ALL: [ProhibitedUse; 5] = [
        ProhibitedUse::DetrimentalDecisions,
        ProhibitedUse::Discrimination,
        ProhibitedUse::Marketing,
        ProhibitedUse::HarmfulProducts,
        ProhibitedUse::UnethicalUse,
    ];

    /// Its name, as documents write it.
    pub fn name(self) -> &'static str {
        match self {
            ProhibitedUse::DetrimentalDecisions => "detrimental_decisions",
            ProhibitedUse::Discrimination => "discrimination",
            ProhibitedUse::Marketing => "marketing",
            ProhibitedUse::HarmfulProducts => "harmful_products",
            ProhibitedUse::UnethicalUse => "unethical_use",
        }
    }

    /// The question that an applicant answers.
    pub fn question(self) -> &'static str {
        match self {
            ProhibitedUse::DetrimentalDecisions => {
                "Will decisions with legal, social or economic effect be taken to the detriment of persons or groups, based on their health data (Art. 54(a))?"
            }
            ProhibitedUse::Discrimination => {
                "Will the data bear on job offers, insurance, credit or other terms for persons or groups, or discriminate against them (Art. 54(b))?"
            }
            ProhibitedUse::Marketing => "Will the data serve advertising or marketing (Art. 54(c))?",
            ProhibitedUse::HarmfulProducts => {
                "Will products or services be developed that may harm persons, public health or society (Art. 54(d))?"
            }
            ProhibitedUse::UnethicalUse => "Is any of the planned activities against ethical provisions of national law (Art. 54(e))?",
        }
    }
}
