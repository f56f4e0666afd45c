use super::*;

#[test]
fn a_bundle_gives_its_entries() {
    let arena = Bump::new();
    let text = br#"{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient"}},{"fullUrl":"x"},{"resource":{"resourceType":"Basic"}}]}"#;
    let bundle = json::parse(text, &arena).unwrap_or(Value::Null);
    let places: Vec<String> = resources(bundle, "Patient").into_iter().map(|(place, _)| place).collect();
    assert_eq!(places, ["Bundle.entry[0]: ", "Bundle.entry[2]: "]);
    assert_eq!(resources(bundle, "Bundle").len(), 1);
}
