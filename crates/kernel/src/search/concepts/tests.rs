#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::terminology::builtin::builtin;

const ICD: &str = "http://hl7.org/fhir/sid/icd-10";
const ATC: &str = "http://www.whocc.no/atc";

fn below(system: &str, code: &str) -> Result<Codes, SearchError> {
    codes(&Concepts::Below { system: system.to_owned(), code: code.to_owned() }, builtin())
}

fn above(system: &str, code: &str) -> Codes {
    codes(&Concepts::Above { system: system.to_owned(), code: code.to_owned() }, builtin()).unwrap()
}

#[test]
fn icd_10_by_chapter_block_category_and_beginning() {
    for code in ["II", "C50-C50", "C50"] {
        let found = below(ICD, code).unwrap();
        assert!(
            found.contains(ICD, "C50") && found.contains(ICD, "C50.9") && !found.contains(ICD, "D50") && !found.contains("", "C50"),
            "{code}"
        );
        assert!(found.named().is_none(), "nobody can name all subcategories");
    }
    let one = below(ICD, "C50.9").unwrap();
    assert!(one.contains(ICD, "C50.9") && !one.contains(ICD, "C50") && !one.contains(ICD, "C50.1"));
    let up = above(ICD, "C50.9");
    for code in ["C50.9", "C50", "C50-C50", "II"] {
        assert!(up.contains(ICD, code), "{code}");
    }
    assert!(!up.contains(ICD, "C51") && !up.contains(ICD, "I"));
    assert!(!below(ICD, "I").unwrap().contains(ICD, "I21"), "chapter I is not what begins with I");
    assert!(matches!(below(ICD, "XYZ"), Err(SearchError::Terminology(_))));
}

#[test]
fn atc_by_level() {
    let found = below(ATC, "A02").unwrap();
    assert!(found.contains(ATC, "A02") && found.contains(ATC, "A02B") && found.contains(ATC, "A02BC01") && !found.contains(ATC, "A03"));
    assert!(above(ATC, "A02BC01").contains(ATC, "A02B"));
}

#[test]
fn value_sets_of_hl7_and_what_is_refused() {
    let set = |url: &str| codes(&Concepts::In(url.to_owned()), builtin());
    let clinical = set("http://hl7.org/fhir/ValueSet/condition-clinical").unwrap();
    assert!(clinical.contains("http://terminology.hl7.org/CodeSystem/condition-clinical", "active"));
    assert!(!clinical.contains("http://snomed.info/sct", "active") && clinical.named().unwrap().count() == 6);
    for url in
        ["http://example.org/none", "http://hl7.org/fhir/ValueSet/condition-code", "http://hl7.org/fhir/ValueSet/condition-clinical|9"]
    {
        assert!(matches!(set(url), Err(SearchError::Terminology(_))), "{url}");
    }
    let snomed = below("http://snomed.info/sct", "404684003").unwrap_err().to_string();
    assert!(snomed.contains("http://snomed.info/sct is not known here"), "{snomed}");
}
