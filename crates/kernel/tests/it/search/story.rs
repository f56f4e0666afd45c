//! Random resources and random searches, and the searches as the database takes them.

use dugnad_kernel::search::parameters::parameter;
use dugnad_kernel::search::query::{
    Comparison, Criterion, Match, Moments, Number, Operand, Prefix, Reference, Search, Sort, System, Test, Token, Total, Unit,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// One condition.
#[derive(Clone, Debug)]
pub struct Ask {
    pub parameter: &'static str,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    Token(Vec<String>),
    NotToken(Vec<String>),
    String(String),
    Contains(String),
    Exact(String),
    Reference(String),
    Date(&'static str, String),
    Quantity(&'static str, String, Option<String>),
    /// In a unit of UCUM.
    Measured(&'static str, String, &'static str),
    CodeAndQuantity(String, &'static str, String),
    Missing(bool),
    Chain(Box<Ask>),
    Has(Box<Ask>),
}

#[derive(Clone, Copy, Debug)]
pub struct Sorted {
    pub parameter: &'static str,
    pub descending: bool,
}

/// What happens to a resource.
#[derive(Clone, Debug)]
pub enum Step {
    Put(Value),
    Delete(&'static str, String),
}

fn prefix() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["eq", "ne", "gt", "lt", "ge", "le", "sa", "eb"])
}

fn date() -> impl Strategy<Value = String> {
    prop_oneof![
        (2023..=2025_i16).prop_map(|y| y.to_string()),
        (2023..=2025_i16, 1..=12_i16).prop_map(|(y, m)| format!("{y}-{m:02}")),
        (2023..=2025_i16, 1..=12_i16, 1..=28_i16).prop_map(|(y, m, d)| format!("{y}-{m:02}-{d:02}")),
        (2024..=2024_i16, 1..=2_i16, 1..=3_i16, 0..24_i16).prop_map(|(y, m, d, h)| format!("{y}-{m:02}-{d:02}T{h:02}:00:00Z")),
    ]
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        (4..=6_i16).prop_map(|n| n.to_string()),
        (40..=60_i16).prop_map(|n| format!("{}.{}", n / 10, n % 10)),
        Just("5.05".to_owned()),
        Just("5.00".to_owned())
    ]
}

fn coding() -> impl Strategy<Value = Value> {
    (prop::sample::select(vec!["", "s1", "s2"]), prop::sample::select(vec!["a", "b", "c"]))
        .prop_map(|(system, code)| if system.is_empty() { json!({"code": code}) } else { json!({"system": system, "code": code}) })
}

fn token() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "|a", "|c", "s1|a", "s1|b", "s2|c", "s1|", "s2|", "s3|a", "x"]).prop_map(str::to_owned)
}

static NAMES: [&str; 6] = ["Åse", "Ase", "åsen", "René", "Müller", "asem"];

fn quantity() -> impl Strategy<Value = Value> {
    (number(), prop::sample::select(vec!["mg", "g", "ug"])).prop_map(|(n, unit)| {
        // Micrograms of the same masses.
        let n = if unit == "ug" { super::reference::thousandths(&n).to_string() } else { n };
        json!({"value": serde_json::from_str::<Value>(&n).unwrap(), "unit": unit, "system": "http://unitsofmeasure.org", "code": unit})
    })
}

fn with(mut json: Value, name: &str, value: Option<Value>) -> Value {
    if let Some(value) = value {
        json[name] = value;
    }
    json
}

fn patient_id() -> impl Strategy<Value = String> {
    (1..=4_i16).prop_map(|n| format!("p{n}"))
}

fn patient() -> impl Strategy<Value = Value> {
    let name = prop::option::of(
        prop::collection::vec(prop::sample::select(&NAMES[..]), 1..3).prop_map(|given| json!([{"family": "Hansen", "given": given}])),
    );
    let gender = prop::option::of(prop::sample::select(vec!["male", "female"]).prop_map(|g| json!(g)));
    let born = prop::option::of((2023..=2025_i16, 1..=3_i16).prop_map(|(y, m)| json!(format!("{y}-{m:02}-01"))));
    let identifier =
        prop::option::of(coding().prop_map(|c| json!([with(json!({"value": c["code"]}), "system", c.get("system").cloned())])));
    (patient_id(), name, gender, born, identifier).prop_map(|(id, name, gender, born, identifier)| {
        let json = with(json!({"resourceType": "Patient", "id": id}), "name", name);
        with(with(with(json, "gender", gender), "birthDate", born), "identifier", identifier)
    })
}

fn observation() -> impl Strategy<Value = Value> {
    let codes = prop::collection::vec(coding(), 1..3);
    let subject = prop::option::of(patient_id().prop_map(|id| json!({"reference": format!("Patient/{id}")})));
    let when = prop_oneof![
        Just(None::<(&'static str, Value)>),
        date().prop_map(|d| Some(("effectiveDateTime", json!(d)))),
        (prop::sample::select(vec!["", "2022", "2022-06", "2022-12-31"]), date()).prop_map(|(start, end)| {
            let start = Some(json!(start)).filter(|s| s != "");
            Some(("effectivePeriod", with(json!({"end": end}), "start", start)))
        }),
    ];
    let tag = prop::option::of(coding().prop_map(|c| json!({"tag": [c]})));
    let component = prop::collection::vec((coding(), quantity()), 0..3)
        .prop_map(|all| json!(all.into_iter().map(|(c, q)| json!({"code": {"coding": [c]}, "valueQuantity": q})).collect::<Vec<_>>()));
    (1..=6_i16, codes, subject, when, prop::option::of(quantity()), tag, component).prop_map(
        |(n, codes, subject, when, quantity, tag, component)| {
            let json = json!({"resourceType": "Observation", "id": format!("o{n}"), "status": "final", "code": {"coding": codes}});
            let json = with(with(with(json, "subject", subject), "valueQuantity", quantity), "meta", tag);
            let json = with(json, "component", Some(component).filter(|c| c.as_array().is_some_and(|a| !a.is_empty())));
            match when {
                Some((name, value)) => with(json, name, Some(value)),
                None => json,
            }
        },
    )
}

pub fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => patient().prop_map(Step::Put),
        6 => observation().prop_map(Step::Put),
        1 => patient_id().prop_map(|id| Step::Delete("Patient", id)),
        1 => (1..=6_i16).prop_map(|n| Step::Delete("Observation", format!("o{n}"))),
    ]
}

fn ask(parameter: &'static str, what: impl Strategy<Value = What> + 'static) -> BoxedStrategy<Ask> {
    what.prop_map(move |what| Ask { parameter, what }).boxed()
}

fn tokens() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(token(), 1..3)
}

fn dates() -> impl Strategy<Value = What> {
    (prefix(), date()).prop_map(|(p, d)| What::Date(p, d))
}

fn of_patient() -> BoxedStrategy<Ask> {
    let name = || prop::sample::select(vec!["a", "ase", "Åse", "re", "Müller", "hansen", "sen", ""]).prop_map(str::to_owned);
    prop_oneof![
        ask("identifier", tokens().prop_map(What::Token)),
        ask("_id", patient_id().prop_map(|id| What::Token(vec![id]))),
        ask("gender", Just(What::Token(vec!["http://hl7.org/fhir/administrative-gender|male".to_owned()]))),
        ask("gender", Just(What::NotToken(vec!["male".to_owned()]))),
        ask("gender", any::<bool>().prop_map(What::Missing)),
        ask("name", name().prop_map(What::String)),
        ask("name", name().prop_map(What::Contains)),
        ask("family", name().prop_map(What::String)),
        ask("name", prop::sample::select(&NAMES[..]).prop_map(|n| What::Exact(n.to_owned()))),
        ask("birthdate", dates()),
        ask("birthdate", any::<bool>().prop_map(What::Missing)),
    ]
    .boxed()
}

fn of_observation() -> BoxedStrategy<Ask> {
    prop_oneof![
        ask("code", tokens().prop_map(What::Token)),
        ask("code", tokens().prop_map(What::NotToken)),
        ask("combo-code", tokens().prop_map(What::Token)),
        ask("_tag", tokens().prop_map(What::Token)),
        ask("_tag", tokens().prop_map(What::NotToken)),
        ask("subject", patient_id().prop_map(What::Reference)),
        ask("subject", patient_id().prop_map(|id| What::Reference(format!("Patient/{id}")))),
        ask("subject", any::<bool>().prop_map(What::Missing)),
        ask("date", dates()),
        ask("date", any::<bool>().prop_map(What::Missing)),
        ask("value-quantity", (prefix(), number(), prop::option::of(Just("mg".to_owned()))).prop_map(|(p, n, u)| What::Quantity(p, n, u))),
        ask(
            "value-quantity",
            (prefix(), number(), prop::sample::select(vec!["mg", "g", "ug", "kg", "mL"])).prop_map(|(p, n, u)| What::Measured(p, n, u)),
        ),
        ask("component-code-value-quantity", (token(), prefix(), number()).prop_map(|(c, p, n)| What::CodeAndQuantity(c, p, n))),
    ]
    .boxed()
}

fn updated() -> BoxedStrategy<Ask> {
    let time = (0..20_i16).prop_map(|minutes| format!("2026-11-21T12:{minutes:02}:00Z"));
    ask("_lastUpdated", (prefix(), time).prop_map(|(p, t)| What::Date(p, t)))
}

fn sorted(parameters: &'static [&'static str]) -> BoxedStrategy<Option<Sorted>> {
    prop::option::of((prop::sample::select(parameters), any::<bool>()).prop_map(|(parameter, descending)| Sorted { parameter, descending }))
        .boxed()
}

/// A resource type, conditions, an order.
pub fn search() -> impl Strategy<Value = (&'static str, Vec<Ask>, Option<Sorted>)> {
    let has = of_observation().prop_map(|inner| Ask { parameter: "_has", what: What::Has(Box::new(inner)) });
    let chain = of_patient().prop_map(|inner| Ask { parameter: "subject", what: What::Chain(Box::new(inner)) });
    let patients = prop::collection::vec(prop_oneof![4 => of_patient(), 1 => has, 1 => updated()], 0..3);
    let observations = prop::collection::vec(prop_oneof![6 => of_observation(), 1 => chain, 1 => updated()], 0..3);
    prop_oneof![
        (Just("Patient"), patients, sorted(&["birthdate", "name", "_id", "_lastUpdated"])),
        (Just("Observation"), observations, sorted(&["date", "code", "value-quantity", "_id", "_lastUpdated"])),
    ]
}

fn comparison<T>(prefix: &str, value: T) -> Comparison<T> {
    let prefix = match prefix {
        "eq" => Prefix::Equal,
        "ne" => Prefix::NotEqual,
        "gt" => Prefix::Greater,
        "lt" => Prefix::Less,
        "ge" => Prefix::GreaterOrEqual,
        "le" => Prefix::LessOrEqual,
        "sa" => Prefix::StartsAfter,
        "eb" => Prefix::EndsBefore,
        other => panic!("{other}"),
    };
    Comparison { prefix, value }
}

fn token_of(text: &str) -> Token {
    match text.split_once('|') {
        None => Token { system: System::Any, code: Some(text.to_owned()) },
        Some(("", code)) => Token { system: System::Absent, code: Some(code.to_owned()) },
        Some((system, code)) => Token { system: System::Is(system.to_owned()), code: Some(code.to_owned()).filter(|c| !c.is_empty()) },
    }
}

fn quantity_of(prefix: &str, text: &str, unit: Option<&String>) -> Operand {
    let unit = unit.map_or(Unit::Any, |unit| Unit::Named(unit.clone()));
    Operand::Quantity { number: comparison(prefix, Number::parse(text).unwrap()), unit }
}

fn criterion(resource_type: &'static str, ask: &Ask) -> Criterion {
    if let What::Has(inner) = &ask.what {
        let reference = parameter("Observation", "subject").unwrap();
        return Criterion::Has { resource_type: "Observation", reference, criterion: Box::new(criterion("Observation", inner)) };
    }
    let parameter = parameter(resource_type, ask.parameter).unwrap();
    let any = |operand| Test::Any(vec![operand]);
    let string = |text: &String, how| any(Operand::String { text: text.clone(), how });
    let tokens = |wanted: &[String]| wanted.iter().map(|t| Operand::Token(token_of(t))).collect::<Vec<_>>();
    let test = match &ask.what {
        What::Token(wanted) => Test::Any(tokens(wanted)),
        What::NotToken(wanted) => Test::None(tokens(wanted)),
        What::String(text) => string(text, Match::Begins),
        What::Contains(text) => string(text, Match::Contains),
        What::Exact(text) => string(text, Match::Exact),
        What::Reference(text) => any(Operand::Reference(match text.strip_prefix("Patient/") {
            Some(id) => Reference::Resource { resource_type: "Patient", id: id.to_owned() },
            None => Reference::Id(text.clone()),
        })),
        What::Date(prefix, text) => any(Operand::Date(comparison(prefix, Moments::parse(text).unwrap()))),
        What::Quantity(prefix, text, unit) => any(quantity_of(prefix, text, unit.as_ref())),
        What::Measured(prefix, text, code) => {
            let unit = Unit::Coded { system: "http://unitsofmeasure.org".to_owned(), code: (*code).to_owned() };
            any(Operand::Quantity { number: comparison(prefix, Number::parse(text).unwrap()), unit })
        }
        What::CodeAndQuantity(code, prefix, text) => {
            any(Operand::Composite(vec![Operand::Token(token_of(code)), quantity_of(prefix, text, None)]))
        }
        What::Missing(missing) => Test::Missing(*missing),
        What::Chain(inner) => return Criterion::Chain { parameter, of: vec![("Patient", criterion("Patient", inner))] },
        What::Has(_) => unreachable!("it is above"),
    };
    Criterion::Is { parameter, test }
}

/// The search as the database takes it.
pub fn as_search(resource_type: &'static str, asks: &[Ask], sort: Option<Sorted>) -> Search {
    let sort = sort.map(|by| Sort { parameter: parameter(resource_type, by.parameter).unwrap(), descending: by.descending });
    Search {
        criteria: asks.iter().map(|ask| criterion(resource_type, ask)).collect(),
        sort: sort.into_iter().collect(),
        total: Total::Accurate,
        ..Search::all(resource_type)
    }
}
