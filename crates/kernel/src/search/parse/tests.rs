#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::super::parameters::Kind;
use super::super::query::{Criterion, Hierarchy, Include, Match, Moments, Operand, Prefix, Reference, System, Test, Token, Total, Unit};
use super::*;
use crate::limits::{MAX_SEARCH_DEPTH, MAX_SEARCH_PAGE, MAX_SEARCH_PARAMETERS};
use proptest::prelude::*;

fn environment() -> Environment<'static> {
    Environment { now: "2026-06-01T00:00:00Z".parse().unwrap(), base: "https://here.example/fhir", known: Known::standard() }
}

fn asked(resource_type: &str, query: &str) -> Result<Query, Vec<Issue>> {
    super::query(resource_type, &pairs(query).map_err(|r| vec![r.into()])?, &environment())
}

/// The one criterion of a query.
#[track_caller]
fn criterion(resource_type: &str, query: &str) -> Criterion {
    let query = asked(resource_type, query).unwrap_or_else(|issues| panic!("{query}: {issues:?}"));
    assert!(query.ignored.is_empty(), "{:?}", query.ignored);
    let [criterion] = query.search.criteria.as_slice() else { panic!("{:?}", query.search.criteria) };
    criterion.clone()
}

#[track_caller]
fn test_of(resource_type: &str, query: &str) -> Test {
    match criterion(resource_type, query) {
        Criterion::Is { test, .. } => test,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn operand(resource_type: &str, query: &str) -> Operand {
    match test_of(resource_type, query) {
        Test::Any(mut operands) if operands.len() == 1 => operands.remove(0),
        other => panic!("{other:?}"),
    }
}

/// What a query is refused with: places and diagnostics.
#[track_caller]
fn refused(resource_type: &str, query: &str) -> Vec<(String, String)> {
    let Err(issues) = asked(resource_type, query) else { panic!("{query} was taken") };
    issues.into_iter().map(|i| (i.expression.unwrap_or_default(), i.diagnostics)).collect()
}

fn token(system: System, code: Option<&str>) -> Token {
    Token { system, code: code.map(Into::into) }
}

#[test]
fn tokens_with_and_without_systems() {
    let is = |s: &str| System::Is(s.into());
    for (text, expected) in [
        ("code=1234-5", token(System::Any, Some("1234-5"))),
        ("code=http://loinc.org|1234-5", token(is("http://loinc.org"), Some("1234-5"))),
        ("code=%7C1234-5", token(System::Absent, Some("1234-5"))),
        ("code=http://loinc.org|", token(is("http://loinc.org"), None)),
        (r"code=s\|1|a\,b", token(is("s|1"), Some("a,b"))),
    ] {
        assert_eq!(operand("Observation", text), Operand::Token(expected), "{text}");
    }
    assert_eq!(operand("Observation", "code:text=heart"), Operand::Text("heart".into()));
    assert!(matches!(test_of("Observation", "status:not=final,amended"), Test::None(o) if o.len() == 2));
    assert_eq!(test_of("Observation", "code:missing=true"), Test::Missing(true));
    assert_eq!(
        operand("Patient", "identifier:of-type=http://t|MR|12345"),
        Operand::OfType { of: token(is("http://t"), Some("MR")), value: "12345".into() }
    );
    for wrong in ["code=a|b|c", "code=|", r"code=a\b", "code=a,,b", "code:missing=maybe"] {
        assert_eq!(refused("Observation", wrong).len(), 1, "{wrong}");
    }
}

#[test]
fn strings_and_uris() {
    let string = |text: &str, how| Operand::String { text: text.into(), how };
    assert_eq!(operand("Patient", "name=J%C3%B8rgen+Moe"), string("Jørgen Moe", Match::Begins));
    assert_eq!(operand("Patient", "name:exact=Moe"), string("Moe", Match::Exact));
    assert_eq!(operand("Patient", r"address:contains=a\,b\\"), string(r"a,b\", Match::Contains));
    assert_eq!(operand("ValueSet", "url:below=http://x/"), Operand::Uri { uri: "http://x/".into(), how: Hierarchy::Below });
    assert_eq!(operand("ValueSet", "url:above=http://x/y"), Operand::Uri { uri: "http://x/y".into(), how: Hierarchy::Above });
    assert_eq!(operand("Patient", "_profile=http://p|1"), Operand::Uri { uri: "http://p|1".into(), how: Hierarchy::Exact });
}

#[test]
fn references() {
    let patient = |id: &str| Operand::Reference(Reference::Resource { resource_type: "Patient", id: id.into() });
    for text in
        ["subject=Patient/1", "subject:Patient=1", "subject:Patient=Patient/1", "patient=1", "subject=https://here.example/fhir/Patient/1"]
    {
        assert_eq!(operand("Observation", text), patient("1"), "{text}");
    }
    assert_eq!(operand("Observation", "subject=1"), Operand::Reference(Reference::Id("1".into())));
    for url in ["https://elsewhere.example/fhir/Patient/1", "urn:uuid:0191a7a0-0000-7000-8000-000000000001"] {
        assert_eq!(operand("Observation", &format!("subject={url}")), Operand::Reference(Reference::Url(url.into())));
    }
    assert_eq!(operand("Observation", "subject:identifier=s|v"), Operand::Identifier(token(System::Is("s".into()), Some("v"))));
    for wrong in ["subject:Practitioner=1", "subject:Patient=Group/1", "subject=Patience/1", "subject=Patient/1/_history/2", "subject=a b"]
    {
        assert_eq!(refused("Observation", wrong).len(), 1, "{wrong}");
    }
}

#[track_caller]
fn number(text: &str) -> (Prefix, f64, f64, f64) {
    match operand("RiskAssessment", &format!("probability={text}")) {
        Operand::Number(c) => (c.prefix, c.value.value, c.value.low, c.value.high),
        other => panic!("{other:?}"),
    }
}

/// The specification's examples (FHIR R4, section 3.1.1.4.8).
#[test]
fn numbers_are_as_precise_as_their_digits() {
    assert_eq!(number("100"), (Prefix::Equal, 100.0, 99.5, 100.5));
    assert_eq!(number("100.00"), (Prefix::Equal, 100.0, 99.995, 100.005));
    assert_eq!(number("1e2"), (Prefix::Equal, 100.0, 50.0, 150.0));
    assert_eq!(number("lt5.4"), (Prefix::Less, 5.4, 5.35, 5.45));
    assert_eq!(number("-0.1"), (Prefix::Equal, -0.1, -0.15, -0.05));
    assert_eq!(number("ap100"), (Prefix::Approximately, 100.0, 90.0, 110.0));
    assert_eq!(number("5.40e-3"), (Prefix::Equal, 0.0054, 0.005395, 0.005405));
    for wrong in ["", "ge", "x", "1,", "0x10", "1e999", "NaN", "inf", "--1", "1e"] {
        assert!(asked("RiskAssessment", &format!("probability={wrong}")).is_err() || wrong.is_empty(), "{wrong}");
    }
}

#[test]
fn quantities() {
    let unit = |text: &str| match operand("Observation", &format!("value-quantity={text}")) {
        Operand::Quantity { unit, .. } => unit,
        other => panic!("{other:?}"),
    };
    assert_eq!(unit("5.4"), Unit::Any);
    assert_eq!(unit("ge5.4||mg"), Unit::Named("mg".into()));
    assert_eq!(unit("5.4|http://unitsofmeasure.org|mg"), Unit::Coded { system: "http://unitsofmeasure.org".into(), code: "mg".into() });
    for wrong in ["5.4|mg", "5.4|http://unitsofmeasure.org|", "mg", "5.4|a|b|c"] {
        assert_eq!(refused("Observation", &format!("value-quantity={wrong}")).len(), 1, "{wrong}");
    }
}

#[track_caller]
fn date(text: &str) -> (Prefix, Moments) {
    match operand("Observation", &format!("date={text}")) {
        Operand::Date(c) => (c.prefix, c.value),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn between(low: &str, high: &str) -> Moments {
    let micros = |text: &str| text.parse::<Timestamp>().unwrap().as_microsecond();
    Moments { low: micros(low), high: micros(high) }
}

#[test]
fn dates_are_as_long_as_their_precision() {
    for (text, low, high) in [
        ("2026", "2025-12-31T23:00:00Z", "2026-12-31T23:00:00Z"),
        ("2026-07", "2026-06-30T22:00:00Z", "2026-07-31T22:00:00Z"),
        ("2026-03-29", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
        ("2026-03-14T09:26Z", "2026-03-14T09:26:00Z", "2026-03-14T09:27:00Z"),
        ("2026-03-14T09:26:53%2B01:00", "2026-03-14T08:26:53Z", "2026-03-14T08:26:54Z"),
        ("2026-03-14T09:26:53+01:00", "2026-03-14T08:26:53Z", "2026-03-14T08:26:54Z"),
        ("2026-03-14T09:26:53.25-05:30", "2026-03-14T14:56:53.25Z", "2026-03-14T14:56:53.26Z"),
    ] {
        assert_eq!(date(text), (Prefix::Equal, between(low, high)), "{text}");
    }
    assert_eq!(date("ge2026-01-01").0, Prefix::GreaterOrEqual);
    let (_, near) = date("ap2025-06-01T00:00:00Z");
    assert_eq!(near, between("2025-04-25T12:00:00Z", "2025-07-07T12:00:00.9Z"), "a tenth of 365 days on each side");
    for wrong in [
        "26",
        "2026-13",
        "2026-02-30",
        "2026-1-1",
        "2026-03-14T25:00Z",
        "2026T09:26",
        "2026-03-14T09:26:53X",
        "now",
        "2026-03-14T09:26:53.Z",
        "éé",
    ] {
        assert_eq!(refused("Observation", &format!("date={wrong}")).len(), 1, "{wrong}");
    }
}

#[test]
fn composites() {
    let Operand::Composite(parts) = operand("Observation", "code-value-quantity=http://loinc.org|1$gt5.4||mg") else { panic!() };
    assert!(matches!(parts.as_slice(), [Operand::Token(_), Operand::Quantity { number, .. }] if number.prefix == Prefix::Greater));
    for wrong in ["code-value-quantity=1", "code-value-quantity=1$2$3", "code-value-quantity=1$", "code-value-quantity:missing=true"] {
        assert_eq!(refused("Observation", wrong).len(), 1, "{wrong}");
    }
}

#[test]
fn places() {
    let expected = Operand::Near { latitude: 60.39, longitude: 5.32, distance_m: 1_500.0 };
    assert_eq!(operand("Location", "near=60.39|5.32|1.5|km"), expected);
    assert_eq!(operand("Location", "near=60.39|5.32|1500|m"), expected);
    for wrong in ["60.39", "95|5", "60|5|-1", "60|5|1|parsec", "60|5|1|km|x"] {
        assert_eq!(refused("Location", &format!("near={wrong}")).len(), 1, "{wrong}");
    }
}

#[test]
fn chains() {
    let Criterion::Chain { parameter, of } = criterion("Observation", "subject:Patient.name:exact=Moe") else { panic!() };
    assert_eq!(parameter.code, "subject");
    assert!(matches!(of.as_slice(), [("Patient", Criterion::Is { test: Test::Any(_), .. })]));
    let Criterion::Chain { of, .. } = criterion("Observation", "subject.identifier=1") else { panic!() };
    let types: Vec<&str> = of.iter().map(|(t, _)| *t).collect();
    assert_eq!(types.len(), 4, "Group, Device, Patient and Location have identifiers: {types:?}");
    let Criterion::Chain { of, .. } = criterion("Observation", "patient.organization.name=x") else { panic!() };
    assert!(matches!(of.as_slice(), [("Patient", Criterion::Chain { of, .. })] if of[0].0 == "Organization"));
    for wrong in ["code.name=x", "subject:Practitioner.name=x", "subject:Patient.birthdate=x"] {
        assert_eq!(refused("Observation", wrong).len(), 1, "{wrong}");
    }
    assert_eq!(asked("Observation", "subject:Patient.nonsense=x").unwrap().ignored.len(), 1);
    assert_eq!(asked("Observation", "subject.nonsense=x").unwrap().ignored.len(), 1);
}

#[test]
fn reverse_chains() {
    let Criterion::Has { resource_type, reference, criterion: inner } = criterion("Patient", "_has:Observation:patient:code:not=1") else {
        panic!()
    };
    assert_eq!((resource_type, reference.code), ("Observation", "patient"));
    assert!(matches!(*inner, Criterion::Is { test: Test::None(_), .. }));
    let nested = criterion("Patient", "_has:Observation:patient:_has:Provenance:target:agent=Practitioner/1");
    assert!(matches!(nested, Criterion::Has { criterion, .. } if matches!(*criterion, Criterion::Has { .. })));
    let chained = criterion("Patient", "_has:Observation:patient:performer:Practitioner.name=x");
    assert!(matches!(chained, Criterion::Has { criterion, .. } if matches!(*criterion, Criterion::Chain { .. })));
    for wrong in [
        "_has:Observation:patient=1",
        "_has:Observation:encounter:code=1",
        "_has:Nonsense:patient:code=1",
        "_has:Observation:code:status=1",
    ] {
        assert_eq!(refused("Patient", wrong).len(), 1, "{wrong}");
    }
}

#[test]
fn modifiers_are_those_of_r4() {
    for (resource_type, wrong, allowed) in [
        ("Patient", "name:below=x", ":contains"),
        ("Patient", "birthdate:exact=2000", ":missing"),
        ("Observation", "code:exact=x", ":not"),
        ("Observation", "code:of-type=a|b|c", ":text"),
        ("Observation", "code:in=vs", "expected the value set's URL"),
        ("Observation", "code:below=C50", "expected `system|code`"),
        ("Observation", "code:above=http://a|", "expected `system|code`"),
        ("Observation", "subject:contains=x", ":identifier"),
        ("Observation", "value-quantity:not=1", ":missing"),
        ("ValueSet", "url:contains=x", ":below"),
    ] {
        let issues = refused(resource_type, wrong);
        let name = wrong.split('=').next().unwrap();
        assert_eq!(issues[0].0, format!("http.{name}"));
        assert!(issues[0].1.contains(name) && issues[0].1.contains(allowed), "{issues:?}");
    }
}

#[test]
fn the_answer() {
    let query = asked("Observation", "_sort=-date,code&_count=20&_total=accurate&_include=Observation:subject&_include:iterate=Patient:general-practitioner:Organization&_revinclude=Provenance:target&_format=json").unwrap();
    let sort: Vec<_> = query.search.sort.iter().map(|s| (s.parameter.code, s.descending)).collect();
    assert_eq!((sort, query.search.count, query.search.total), (vec![("date", true), ("code", false)], Some(20), Total::Accurate));
    let codes = |include: &Include| include.parameters.iter().map(|p| p.code).collect::<Vec<_>>();
    let include: Vec<_> = query.search.include.iter().map(|i| (i.reverse, i.iterate, i.source, codes(i), i.target)).collect();
    let expected = [
        (false, false, "Observation", vec!["subject"], None),
        (false, true, "Patient", vec!["general-practitioner"], Some("Organization")),
        (true, false, "Provenance", vec!["target"], None),
    ];
    assert_eq!(include, expected);
    assert_eq!(query.used.len(), 7);
    let all = asked("Observation", "_include=*&_revinclude=Provenance:*").unwrap().search.include;
    assert!(all.iter().all(|i| i.parameters.len() > 2 && i.parameters.iter().all(|p| p.kind == Kind::Reference)));
    assert!(codes(&all[1]).contains(&"agent"));
    assert_eq!(asked("Patient", "_count=100000").unwrap().search.count, Some(MAX_SEARCH_PAGE));
    for wrong in [
        "_sort=nonsense",
        "_sort=code&_sort=date",
        "_sort=code-value-quantity",
        "_count=-1",
        "_count=1&_count=2",
        "_total=some",
        "_include=Observation",
        "_include=Observation:code",
        "_include=Observation:subject:Practitioner",
        "_include=Nonsense:x",
        "_revinclude=*",
        "_include:forever=Observation:subject",
        "_summary=some",
        "_elements=nonsense",
        "_summary=true&_elements=code",
        "_summary=text&_include=Observation:subject",
    ] {
        assert_eq!(refused("Observation", wrong).len(), 1, "{wrong}");
    }
}

#[test]
fn parts_of_resources() {
    assert_eq!(asked("Patient", "_summary=true").unwrap().subset, Some(Subset::Summary));
    assert_eq!(
        asked("Patient", "_elements=name,birthDate&_elements=gender").unwrap().subset,
        Some(Subset::Elements(vec!["name".into(), "birthDate".into(), "gender".into()]))
    );
    for count in ["_summary=count", "_count=0"] {
        let query = asked("Patient", count).unwrap();
        assert_eq!((query.subset, query.count_only, query.search.total), (None, true, Total::Accurate));
    }
}

#[test]
fn a_read_has_parts_too() {
    let part = |query: &str| super::part("Patient", &pairs(query).unwrap());
    assert_eq!(part("_summary=text&_pretty=true&nonsense=1"), Ok(Some(Subset::Text)));
    assert_eq!(part("_elements=name"), Ok(Some(Subset::Elements(vec!["name".into()]))));
    assert_eq!(part(""), Ok(None));
    assert!(part("_elements=nonsense").is_err());
}

/// What is unknown is left out and said; the rest is done.
#[test]
fn what_is_not_known_is_told_apart() {
    let query = asked("Patient", "name=x&shoe-size=44&_filter=a&name:exact=&_content=y").unwrap();
    assert_eq!(query.search.criteria.len(), 1);
    assert_eq!(query.used, [("name".to_owned(), "x".to_owned())]);
    let places: Vec<_> = query.ignored.iter().map(|i| i.expression.as_deref().unwrap()).collect();
    assert_eq!(places, ["http.shoe-size", "http._filter", "http.name:exact", "http._content"]);
    assert!(query.ignored[0].diagnostics.contains("birthdate"), "says what there is");
    assert!(query.ignored.iter().all(|i| i.severity == Severity::Warning));
}

/// What is told never repeats a value, and no name that may be one.
#[test]
fn values_are_not_repeated() {
    for query in [
        "birthdate=Nordmann",
        "Ola+Nordmann=1",
        "name:Nordmann%20x=1",
        "gender:exact=Nordmann",
        "identifier=a|b|Nordmann",
        "_count=Nordmann",
        "_include=Nordmann",
    ] {
        let told = match asked("Patient", query) {
            Ok(query) => query.ignored,
            Err(issues) => issues,
        };
        assert_eq!(told.len(), 1, "{query}");
        assert!(!format!("{told:?}").contains("Nordmann"), "{told:?}");
    }
}

#[test]
fn work_is_bounded() {
    let many = vec!["1"; MAX_SEARCH_VALUES + 1].join(",");
    assert!(refused("Patient", &format!("_id={many}"))[0].1.contains("values"));
    let pairs = vec!["name=x"; MAX_SEARCH_PARAMETERS + 1].join("&");
    assert!(asked("Patient", &pairs).is_err());
    let deep = format!("{}name=x", "link:Patient.".repeat(MAX_SEARCH_DEPTH + 1));
    assert!(refused("Patient", &deep)[0].1.contains("references"));
    let wide = refused("Provenance", "target.focus.focus.focus._id=1");
    assert!(wide[0].1.contains("criteria"), "{wide:?}");
    let has = format!("{}code=1", "_has:Observation:has-member:".repeat(MAX_SEARCH_DEPTH + 1));
    assert!(refused("Observation", &has)[0].1.contains("references"));
}

#[test]
fn percent_encoding_must_be_valid() {
    for wrong in ["name=%", "name=%4", "name=%zz", "name=%ff", "%ff=1"] {
        assert!(pairs(wrong).is_err(), "{wrong}");
    }
    assert_eq!(pairs("&a&=b&c=d=e").unwrap(), [("a".into(), String::new()), (String::new(), "b".into()), ("c".into(), "d=e".into())]);
}

proptest! {
    #[test]
    fn what_is_encoded_is_read_again(name in ".{1,20}", value in ".{0,40}") {
        let mut text = String::new();
        encode(&name, &mut text);
        text.push('=');
        encode(&value, &mut text);
        prop_assert_eq!(pairs(&text).unwrap(), [(name, value)]);
    }

    #[test]
    fn nothing_that_is_sent_panics(query in r"(([a-z_]{0,8}|name|date|code|value-quantity|subject|_has|_sort|_include|code-value-quantity)([:.](missing|Patient|exact|name|_has|.{0,4})){0,3}=.{0,20}&){0,4}") {
        let _: Result<Query, Vec<Issue>> = asked("Observation", &query);
    }

    #[test]
    fn a_date_is_within_its_own_range(text in "(eq|ap)?[0-9]{4}(-[01][0-9](-[0-3][0-9](T[0-2][0-9]:[0-5][0-9](:[0-5][0-9](\\.[0-9]{1,9})?)?(Z|[+-]0[0-9]:00)?)?)?)?") {
        if let Ok(read) = range::date(&text, environment().now) {
            prop_assert!(read.value.low < read.value.high, "{}", text);
        }
    }
}
