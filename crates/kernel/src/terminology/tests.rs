#![expect(clippy::unwrap_used, reason = "tests")]

use super::builtin::builtin;
use super::code_system::Subsumption;
use super::value_set::{Filter, Part};
use super::*;
use std::collections::HashMap;

/// Definitions of a test.
#[derive(Default)]
struct Written {
    systems: HashMap<String, Arc<CodeSystem>>,
    sets: HashMap<String, Arc<ValueSet>>,
}

impl Source for Written {
    fn code_system(&self, url: &str) -> Option<Arc<CodeSystem>> {
        self.systems.get(url).cloned()
    }

    fn value_set(&self, url: &str) -> Option<Arc<ValueSet>> {
        self.sets.get(url).cloned()
    }
}

/// animal > (bird > (owl, swan), fish), and `swan` is below fish too, for a diamond.
fn animals(content: Content) -> Written {
    let mut system = CodeSystem::new("urn:animals".into(), "1".into(), "Animals".into(), content);
    let animal = system.add("animal".into(), "Animal".into(), None);
    let bird = system.add("bird".into(), "Bird".into(), Some(animal));
    let fish = system.add("fish".into(), "Fish".into(), Some(animal));
    system.add("owl".into(), "Owl".into(), Some(bird));
    system.add("swan".into(), "Swan".into(), Some(bird));
    system.add("swan".into(), "".into(), Some(fish));
    let mut written = Written::default();
    written.systems.insert("urn:animals".to_owned(), Arc::new(system));
    written
}

fn of(parts: Vec<Part>) -> ValueSet {
    ValueSet { url: "urn:set".into(), version: "".into(), title: "".into(), include: parts, exclude: Vec::new() }
}

fn system_part() -> Part {
    Part { system: Some("urn:animals".into()), ..Part::default() }
}

fn filtered(property: &'static str, operator: &'static str, value: &'static str) -> Part {
    Part { filters: vec![Filter { property: property.into(), operator: operator.into(), value: value.into() }], ..system_part() }
}

fn codes(set: &ValueSet, source: &dyn Source) -> Result<String, ExpandError> {
    Ok(expand(set, source)?.iter().map(|member| &*member.code).collect::<Vec<_>>().join(" "))
}

#[test]
fn hierarchies() {
    let written = animals(Content::Complete);
    let system = written.code_system("urn:animals").unwrap();
    assert_eq!(system.subsumption("animal", "owl"), Some(Subsumption::Subsumes));
    assert_eq!(system.subsumption("owl", "bird"), Some(Subsumption::SubsumedBy));
    assert_eq!(system.subsumption("swan", "fish"), Some(Subsumption::SubsumedBy));
    assert_eq!(system.subsumption("owl", "fish"), Some(Subsumption::NotSubsumed));
    assert_eq!(system.subsumption("owl", "owl"), Some(Subsumption::Equivalent));
    assert_eq!(system.subsumption("owl", "cow"), None);
    assert_eq!(system.below("fish").unwrap().codes, ["fish", "swan"]);
    assert_eq!(system.above("swan").unwrap(), ["animal", "bird", "fish", "swan"]);
    assert!(system.below("cow").is_none() && system.above("swans").is_none());
    assert_eq!(system.concepts().len(), 5);
    assert_eq!(system.children("animal").map(|c| &*c.code).collect::<Vec<_>>(), ["bird", "fish"]);
}

#[test]
fn expansions() {
    let mut written = animals(Content::Complete);
    let all = of(vec![system_part()]);
    assert_eq!(codes(&all, &written).unwrap(), "animal bird fish owl swan");
    assert_eq!(codes(&of(vec![filtered("concept", "is-a", "bird")]), &written).unwrap(), "bird owl swan");
    assert_eq!(codes(&of(vec![filtered("concept", "descendent-of", "bird")]), &written).unwrap(), "owl swan");
    assert_eq!(codes(&of(vec![filtered("concept", "is-not-a", "bird")]), &written).unwrap(), "animal fish");
    assert_eq!(codes(&of(vec![filtered("code", "regex", "[a-z]{4}")]), &written).unwrap(), "bird fish swan");
    assert_eq!(codes(&of(vec![filtered("parent", "=", "animal")]), &written).unwrap(), "bird fish");
    assert_eq!(codes(&of(vec![filtered("concept", "in", "owl, cow")]), &written).unwrap(), "owl");
    let mut without = all.clone();
    without.exclude = vec![filtered("concept", "is-a", "fish")];
    assert_eq!(codes(&without, &written).unwrap(), "animal bird owl");
    // A set of a set, cut with codes that are named; the display comes of the code system.
    written.sets.insert("urn:all".to_owned(), Arc::new(all));
    let named = vec![("owl".into(), "".into()), ("cow".into(), "Cow".into())];
    let part = Part { codes: Some(named.clone()), value_sets: vec!["urn:all".into()], ..system_part() };
    assert_eq!(codes(&of(vec![part]), &written).unwrap(), "owl");
    let members = expand(&of(vec![Part { codes: Some(named), ..system_part() }]), &written).unwrap();
    assert_eq!(members.iter().map(|m| &*m.display).collect::<Vec<_>>(), ["Owl", "Cow"]);
}

#[test]
fn what_cannot_be_expanded_is_refused_with_its_name() {
    let written = animals(Content::Part);
    let fails = |part: Part, source: &Written| codes(&of(vec![part]), source).unwrap_err().to_string();
    assert!(fails(system_part(), &written).contains("urn:animals only a part is here"));
    let unknown = Part { system: Some("http://snomed.info/sct".into()), ..Part::default() };
    assert!(fails(unknown, &written).contains("the code system http://snomed.info/sct is not known"));
    let set = Part { value_sets: vec!["urn:none".into()], ..Part::default() };
    assert!(fails(set, &written).contains("the value set urn:none is not known"));
    assert!(fails(Part::default(), &written).contains("names neither"));
    assert!(fails(filtered("colour", "=", "red"), &animals(Content::Complete)).contains("`colour =` is not supported"));
    let mut circle = Written::default();
    let itself = of(vec![Part { value_sets: vec!["urn:set".into()], ..Part::default() }]);
    circle.sets.insert("urn:set".to_owned(), Arc::new(itself.clone()));
    assert!(codes(&itself, &circle).unwrap_err().to_string().contains("is one part of itself?"));
}

#[test]
fn all_of_the_table_is_understood() {
    let systems: usize = builtin().code_systems().count();
    let concepts: usize = builtin().code_systems().map(|system| system.concepts().len()).sum();
    assert!(systems > 400 && concepts > 8_000, "{systems}, {concepts}");
    let (mut expanded, mut refused) = (0, Vec::new());
    for set in builtin().value_sets() {
        assert!(!set.include.is_empty(), "{}", set.url);
        match expand(set, builtin()) {
            Ok(members) => expanded += usize::from(!members.is_empty()),
            Err(ExpandError::Elsewhere(_) | ExpandError::UnknownCodeSystem(_) | ExpandError::IncompleteCodeSystem(_)) => {
                refused.push(&set.url)
            }
            Err(ExpandError::UnknownValueSet(_) | ExpandError::Filter { .. }) => refused.push(&set.url),
            Err(error) => panic!("{}: {error}", set.url),
        }
    }
    assert!(expanded > 400 && refused.len() < 200, "{expanded} {}", refused.len());
    assert!(builtin().code_system("http://hl7.org/fhir/administrative-gender|4.0.1").is_some());
    assert!(builtin().code_system("http://hl7.org/fhir/administrative-gender|3.0.0").is_none());
    let act = builtin().code_system("http://terminology.hl7.org/CodeSystem/v3-ActCode").unwrap();
    let class = act.concept("IMP").unwrap();
    assert_eq!(&*class.display, "inpatient encounter");
    assert!(act.is_a(class, "_ActEncounterCode") && !act.is_a(class, "_ActIncidentCode"));
    // Codes that HL7 puts below several others, such as this one, are below each of them.
    let several = builtin().code_systems().flat_map(|s| s.concepts().iter().map(move |c| s.parents(c).count())).filter(|n| *n > 1).count();
    assert!(several > 100, "{several}");
}

#[test]
fn what_somebody_wrote() {
    let arena = bumpalo::Bump::new();
    let json = br#"{"resourceType":"CodeSystem","url":"urn:s","version":"2","content":"complete","concept":[
        {"code":"a","display":"A","concept":[{"code":"b"}]},{"code":"c","display":"C","property":[{"code":"parent","valueCode":"b"}]},
        {"code":"d","property":[{"code":"child","valueCode":"a"},{"code":"parent","valueCode":"none"}]}]}"#;
    let system = written::code_system(crate::fhir::json::parse(json, &arena).unwrap());
    assert_eq!((&*system.url, &*system.version, system.content, system.concepts().len()), ("urn:s", "2", Content::Complete, 4));
    assert_eq!(system.above("c").unwrap(), ["a", "b", "c", "d"]);
    let mut source = Written::default();
    source.systems.insert("urn:s|2".to_owned(), Arc::new(system));
    let json = br#"{"resourceType":"ValueSet","url":"urn:v","compose":{"include":[{"system":"urn:s","version":"2",
        "filter":[{"property":"concept","op":"is-a","value":"b"}]},{"system":"urn:x","concept":[{"code":"x","display":"X"}]}],
        "exclude":[{"system":"urn:s","concept":[{"code":"b"}]}]}}"#;
    let set = written::value_set(crate::fhir::json::parse(json, &arena).unwrap());
    assert_eq!(codes(&set, &source).unwrap(), "c x");
    let json = br#"{"resourceType":"ValueSet","url":"urn:e","expansion":{"contains":[{"system":"urn:x","abstract":true,"code":"g",
        "contains":[{"system":"urn:x","code":"x"}]},{"system":"urn:x","code":"y"}]}}"#;
    let set = written::value_set(crate::fhir::json::parse(json, &arena).unwrap());
    assert_eq!(codes(&set, &source).unwrap(), "x y");
}
