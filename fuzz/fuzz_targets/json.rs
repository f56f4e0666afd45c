//! JSON in: whatever is taken is what another parser takes, is written as it came, and can be validated.
#![no_main]

use bumpalo::Bump;
use dugnad_kernel::fhir::json::parse;
use dugnad_kernel::fhir::validate::{advise, validate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let arena = Bump::new();
    let Ok(value) = parse(bytes, &arena) else { return };
    let mut written = Vec::new();
    value.write(&mut written);
    let again = parse(&written, &arena).expect("what was written can be read");
    assert_eq!(value, again, "it is the same");
    let ours: serde_json::Value = serde_json::from_slice(&written).expect("another parser reads what was written");
    let theirs: serde_json::Value = serde_json::from_slice(bytes).expect("another parser takes what was taken");
    assert_eq!(ours, theirs, "another parser reads the same");
    let (issues, advice) = (validate(&value), advise(&value));
    assert!(issues.iter().chain(&advice).all(|issue| !issue.diagnostics.is_empty()), "each issue says what is wrong");
});
