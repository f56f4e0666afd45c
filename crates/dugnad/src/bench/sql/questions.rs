//! What analysts ask.

/// A question that both engines understand.
pub(super) struct Question {
    pub name: &'static str,
    pub sql: &'static str,
    /// Whether it is asked as of a commit in the middle of the history.
    pub then: bool,
    /// Whether it counts patients: the figure to beat is another one.
    pub counts_patients: bool,
}

const fn rows(name: &'static str, sql: &'static str) -> Question {
    Question { name, sql, then: false, counts_patients: false }
}

const fn patients(name: &'static str, sql: &'static str) -> Question {
    Question { name, sql, then: false, counts_patients: true }
}

const fn then(question: Question) -> Question {
    Question { then: true, ..question }
}

/// All of them. `{patient}` is the key of a patient.
pub(super) const QUESTIONS: &[Question] = &[
    rows("count_filtered", "SELECT COUNT(*) FROM observation WHERE status = 'final' AND value > 10"),
    rows("count_since", "SELECT COUNT(*) FROM observation WHERE started >= TIMESTAMP '2026-06-01 00:00:00' AND category = 'laboratory'"),
    rows("group_by_code", "SELECT code, COUNT(*) FROM observation GROUP BY code"),
    rows(
        "group_by_code_and_unit",
        "SELECT code, unit, COUNT(value), SUM(value), AVG(value), MIN(value), MAX(value) FROM observation GROUP BY code, unit",
    ),
    rows("top_values", "SELECT code, value FROM observation WHERE value IS NOT NULL ORDER BY value DESC, resource_id LIMIT 20"),
    rows("by_month", "SELECT CAST(date_trunc('month', started) AS DATE) AS month, COUNT(*) FROM encounter GROUP BY month ORDER BY month"),
    rows(
        "join_patients",
        "SELECT c.code, p.gender, COUNT(*), AVG(o.value) FROM observation o JOIN condition c ON c.patient_key = o.patient_key \
         JOIN patient p ON p.patient_key = o.patient_key WHERE o.value IS NOT NULL GROUP BY c.code, p.gender",
    ),
    rows(
        "join_encounters",
        "SELECT e.code, o.code AS observed, COUNT(*) FROM observation o JOIN encounter e ON e.resource_id = o.encounter_key \
         GROUP BY e.code, o.code",
    ),
    rows(
        "newest_per_patient",
        "SELECT COUNT(*), SUM(value) FROM (SELECT value, ROW_NUMBER() OVER (PARTITION BY patient_key ORDER BY started DESC, resource_id) \
         AS place FROM observation WHERE value IS NOT NULL) AS ordered WHERE place = 1",
    ),
    rows(
        "median",
        "SELECT code, percentile_cont(0.5) WITHIN GROUP (ORDER BY value) FROM observation WHERE value IS NOT NULL GROUP BY code",
    ),
    rows("like", "SELECT COUNT(*) FROM observation WHERE code_display LIKE '%antigen%' OR value_code_display LIKE '%disease%'"),
    rows("distinct", "SELECT DISTINCT code, code_system, code_display FROM procedure"),
    rows("one_patient", "SELECT code, value, unit, CAST(started AS DATE) AS day FROM observation WHERE patient_key = '{patient}'"),
    rows("treatment", "SELECT kind, CAST(date_trunc('month', started) AS DATE) AS month, COUNT(*) FROM treatment GROUP BY kind, month"),
    rows("per_patient", "SELECT MAX(n), AVG(n) FROM (SELECT patient_key, COUNT(*) AS n FROM observation GROUP BY patient_key) AS counted"),
    then(rows("group_by_code_then", "SELECT code, COUNT(*) FROM observation GROUP BY code")),
    patients("patients", "SELECT COUNT(DISTINCT patient_key) FROM observation"),
    patients("patients_by_code", "SELECT code, COUNT(DISTINCT patient_key) FROM observation GROUP BY code"),
    patients(
        "patients_by_code_and_hospital",
        "SELECT code, holder, COUNT(DISTINCT patient_key), COUNT(*) FROM observation GROUP BY code, holder",
    ),
    patients(
        "patients_by_month",
        "SELECT CAST(date_trunc('month', started) AS DATE) AS month, COUNT(DISTINCT patient_key) FROM observation \
         WHERE status = 'final' GROUP BY month",
    ),
    patients("patients_treated", "SELECT kind, holder, COUNT(DISTINCT patient_key) FROM treatment GROUP BY kind, holder"),
    then(patients("patients_by_code_then", "SELECT code, COUNT(DISTINCT patient_key) FROM observation GROUP BY code")),
];
