//! Patches: whatever can be read as one either says what is wrong, or makes JSON that can be written and read again.
#![no_main]

use bumpalo::Bump;
use dugnad_kernel::fhir::json::parse;
use dugnad_kernel::fhir::patch::{Format, Patch};
use libfuzzer_sys::fuzz_target;

const PATIENT: &str = r#"{"resourceType":"Patient","id":"p","identifier":[{"system":"urn:a","value":"1"},{"system":"urn:b","value":"2"}],"active":true,"name":[{"use":"official","family":"Moe","given":["Kari","Anne"],"_given":[null,{"id":"g"}]}],"gender":"female","birthDate":"1970-01-01"}"#;

fuzz_target!(|bytes: &[u8]| {
    let arena = Bump::new();
    let Ok(document) = parse(bytes, &arena) else { return };
    let resource = parse(PATIENT.as_bytes(), &arena).expect("it is JSON");
    for format in [Format::JsonPatch, Format::MergePatch, Format::Json, Format::Resource] {
        let Ok(patch) = Patch::read(format, document, &arena) else { continue };
        let Ok(patched) = patch.apply(resource, &arena) else { continue };
        let mut written = Vec::new();
        patched.write(&mut written);
        assert_eq!(parse(&written, &arena).expect("it can be read again"), patched);
    }
});
