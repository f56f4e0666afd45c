//! FHIRPath: an expression on the first line, a resource below. What compiles can be evaluated; what is said of it holds.
#![no_main]

use bumpalo::Bump;
use dugnad_kernel::fhir::json::parse;
use dugnad_kernel::fhirpath::{Environment, Expression, Focus};
use libfuzzer_sys::fuzz_target;

const PATIENT: &str = r#"{"resourceType":"Patient","id":"p","extension":[{"url":"urn:x","valueDecimal":1.10}],"identifier":[{"system":"urn:a","value":"1"}],"active":true,"name":[{"use":"official","family":"Moe","given":["Kari","Anne"]},{"family":"Dahl"}],"birthDate":"1970-01-01","deceasedDateTime":"2020-02-29T12:00:00+01:00","contact":[{"period":{"start":"2020"}}]}"#;

fuzz_target!(|text: &str| {
    let (expression, resource) = text.split_once('\n').unwrap_or((text, PATIENT));
    let Ok(expression) = Expression::compile(expression, &Environment::default()) else { return };
    let arena = Bump::new();
    let Ok(resource) = parse(resource.as_bytes(), &arena) else { return };
    let focus = Focus::resource(resource, &arena);
    let items = expression.items(&focus);
    // The ways of asking agree with one another.
    if let (Ok(items), Ok(single)) = (&items, expression.single(&focus)) {
        assert_eq!(items.len(), usize::from(single.is_some()), "a single item is the only one");
    }
    if let Ok(truth) = expression.truth(&focus)
        && truth == Some(false)
    {
        let present = |name: &str| Some(resource.get(name).is_some() || resource.get(&format!("_{name}")).is_some());
        assert!(expression.can_fail(&present), "what is false can fail");
    }
});
