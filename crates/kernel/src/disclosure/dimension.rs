//! Dimensions: the published code lists that the rows of statistics tables come from.

use super::icd10::{CHAPTERS, NEOPLASM_BLOCKS};

/// The category of what is missing, or in no list.
pub const UNKNOWN: &str = "unknown";

/// One row of a statistics table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Category {
    /// What the table shows and what `WHERE dimension IN (...)` names.
    pub code: String,
    /// What it means.
    pub label: String,
}

/// A published list of categories. The last one is always [`UNKNOWN`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dimension {
    name: &'static str,
    description: &'static str,
    categories: Vec<Category>,
}

impl Dimension {
    /// Its name, as SQL names it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// One sentence for the catalogue, with the source of the list.
    pub fn description(&self) -> &'static str {
        self.description
    }

    /// Its categories, in the order of the list.
    pub fn categories(&self) -> &[Category] {
        &self.categories
    }

    /// The position of a category.
    pub fn position(&self, code: &str) -> Option<usize> {
        self.categories.iter().position(|c| c.code == code)
    }

    /// The position of [`UNKNOWN`].
    pub fn unknown(&self) -> usize {
        self.categories.len() - 1
    }

    /// The position of a category, or of [`UNKNOWN`] for a code that is absent or in no list.
    pub fn position_or_unknown(&self, code: Option<&str>) -> usize {
        code.and_then(|code| self.position(code)).unwrap_or_else(|| self.unknown())
    }

    fn new<C: Into<String>, L: Into<String>>(
        name: &'static str,
        description: &'static str,
        categories: impl IntoIterator<Item = (C, L)>,
    ) -> Self {
        let mut categories: Vec<Category> =
            categories.into_iter().map(|(code, label)| Category { code: code.into(), label: label.into() }).collect();
        categories.retain(|c| c.code != UNKNOWN);
        categories.push(Category { code: UNKNOWN.to_owned(), label: "Missing, or in no list".to_owned() });
        Self { name, description, categories }
    }

    /// Administrative gender.
    pub fn sex() -> Self {
        let list = [("female", "Female"), ("male", "Male"), ("other", "Other")];
        Self::new("sex", "Administrative gender (FHIR value set administrative-gender).", list)
    }

    /// Age in bands of ten years; see [`super::age_band`].
    pub fn age_band() -> Self {
        let bands = (0..9).map(|decade| {
            let band = format!("{}-{}", decade * 10, decade * 10 + 9);
            (band.clone(), format!("{band} years"))
        });
        let bands = bands.chain([("90+".to_owned(), "90 years or older".to_owned())]);
        Self::new("age_band", "Age at the epoch, in bands of ten years.", bands)
    }

    /// What was done to the patient: the kinds of the table `treatment`.
    pub fn treatment_kind() -> Self {
        let list = [
            ("surgery", "Surgery"),
            ("radiotherapy", "Radiotherapy"),
            ("drug_administration", "Administration of a drug"),
            ("immunization", "Immunisation"),
            ("other_procedure", "Any other procedure"),
        ];
        Self::new("kind", "Kind of treatment, as the table treatment of this database defines it.", list)
    }

    /// Calendar years up to the year of the epoch; see [`super::year`].
    pub fn year(first: i16, last: i16) -> Self {
        let before = std::iter::once((format!("before {first}"), format!("Before {first}")));
        let years = (first..=last).map(|year| (year.to_string(), year.to_string()));
        Self::new("year", "Calendar year in which it began (Europe/Oslo).", before.chain(years))
    }

    /// The registered health data holders.
    pub fn holder<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self::new("holder", "Registered health data holder (hospital) that wrote it.", names.into_iter().map(|n| (n, n)))
    }

    /// Chapters of ICD-10; see [`super::icd10_chapter`].
    pub fn icd10_chapter() -> Self {
        let list = CHAPTERS.iter().map(|c| (c.code, c.label));
        Self::new("icd10_chapter", "Chapter of ICD-10 (WHO); conditions in other code systems are unknown.", list)
    }

    /// The blocks of chapter II of ICD-10 (neoplasms); see [`super::neoplasm_block`].
    pub fn neoplasm_block() -> Self {
        let list = NEOPLASM_BLOCKS.iter().map(|b| (b.code, b.label));
        let other = std::iter::once(("other", "Another ICD-10 code, outside C00-D48"));
        Self::new("neoplasm_block", "Block of ICD-10 chapter II, neoplasms (WHO).", list.chain(other))
    }
}
