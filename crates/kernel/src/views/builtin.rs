//! The views that every Dugnad database has.

use super::View;

/// A built-in view and the name of its table.
#[derive(Debug)]
pub struct Builtin {
    /// The table: the resource in snake_case.
    pub table: &'static str,
    /// One sentence for the catalogue.
    pub description: &'static str,
    /// Compiled.
    pub view: View,
    /// Its ViewDefinition as JSON.
    pub definition: &'static str,
}

macro_rules! definitions {
    ($($table:literal: $description:literal,)*) => {
        /// Table, description and ViewDefinition.
        const DEFINITIONS: &[(&str, &str, &str)] =
            &[$(($table, $description, include_str!(concat!("../../data/views/", $table, ".json")))),*];
    };
}

definitions! {
    "patient": "Patients: one row for each Patient resource.",
    "encounter": "Encounters of patients with hospitals and outpatient departments.",
    "condition": "Diagnoses and other problems, with stage.",
    "procedure": "What was done to a patient: surgery, radiotherapy and other procedures.",
    "medication_administration": "Medications as they were given.",
    "medication_request": "Medications as they were prescribed.",
    "observation": "Measurements and findings: one row for each observation and one for each of its components.",
    "diagnostic_report": "Reports of examinations.",
    "immunization": "Vaccines as they were given.",
    "specimen": "Samples that were taken from patients.",
    "adverse_event": "Events that harmed a patient, or could have.",
    "consent": "Consents of patients.",
    "research_study": "Clinical studies.",
    "research_subject": "Patients who take part in clinical studies.",
}

/// The built-in ViewDefinitions, compiled; `data/views/*.json`.
pub fn builtin_views() -> Vec<Builtin> {
    compiled(DEFINITIONS)
}

#[expect(clippy::expect_used, reason = "the definitions are part of the program; a test compiles each")]
fn compiled(definitions: &[(&'static str, &'static str, &'static str)]) -> Vec<Builtin> {
    let compile = |&(table, description, definition): &(&'static str, &'static str, &'static str)| {
        let json = serde_json::from_str(definition).expect("a built-in view is JSON");
        Builtin { table, description, view: View::compile(&json).expect("a built-in view compiles"), definition }
    };
    definitions.iter().map(compile).collect()
}

/// Views of the program's own, whose tables no permit opens: what permits depend on. (Their tables' names begin with what no
/// other's may begin with.)
const INTERNAL: &[(&str, &str, &str)] = &[
    (OPT_OUT, "Opt-outs that stand.", include_str!("../../data/views/internal/opt_out.json")),
    (PROTECTED, "Patients who are protected.", include_str!("../../data/views/internal/protected.json")),
    (STUDY_CONSENT, "Consents: whether each stands, and its version.", include_str!("../../data/views/internal/study_consent.json")),
];

/// The table of opt-outs (Regulation (EU) 2025/327, Art. 71): a row for each Consent that is one and stands.
pub const OPT_OUT: &str = "_opt_out";

/// The table of Patients with a label of restricted confidentiality, such as those with a protected address.
pub const PROTECTED: &str = "_protected";

/// The table of Consents.
pub const STUDY_CONSENT: &str = "_study_consent";

/// The program's own views, compiled; `data/views/internal/*.json`.
pub fn internal_views() -> Vec<Builtin> {
    compiled(INTERNAL)
}

/// `treatment`, the SQLView over them: its name and SQL (DataFusion's dialect).
///
/// Whatever was done to a patient, one row each; what was not done, is in preparation or was entered in error is left
/// out. Categories: SNOMED CT 387713003 surgical procedure, 108290001 radiation oncology and 1287742003 radiotherapy;
/// a code of NCSP is surgery whatever its category.
pub const TREATMENT: (&str, &str) = ("treatment", include_str!("../../data/views/treatment.sql"));
