#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use proptest::prelude::*;

/// A value of a code in base units, with their powers.
fn canonical(value: f64, code: &str) -> (f64, String) {
    let unit = Unit::parse(code).unwrap_or_else(|| panic!("{code}"));
    let of = unit.dimension().0.iter().map(|(unit, power)| format!("{unit}{power}")).collect::<Vec<_>>().join(" ");
    (unit.canonical(value), of)
}

fn same(a: (f64, &str), b: (f64, &str)) {
    let (one, other) = (canonical(a.0, a.1), canonical(b.0, b.1));
    assert!(is_near(one.0, other.0) && one.1 == other.1, "{a:?} is {one:?}, {b:?} is {other:?}");
}

#[test]
fn all_of_the_table_is_understood() {
    let lines: Vec<_> =
        include_str!("../../data/ucum.tsv").lines().filter(|line| !line.starts_with(['#']) && !line.starts_with("prefix")).collect();
    assert_eq!(lines.len(), parse::codes().count());
    for code in parse::codes() {
        let unit = Unit::parse(code).unwrap();
        assert!(unit.factor > 0.0 && unit.factor.is_finite(), "{code}");
    }
}

#[test]
fn what_is_the_same_in_other_units() {
    same((5.4, "mg"), (0.0054, "g"));
    same((5.4, "mg"), (5400.0, "ug"));
    same((1.0, "L"), (1000.0, "mL"));
    same((1.0, "L"), (1.0, "dm3"));
    same((140.0, "mmol/L"), (0.14, "mol/L"));
    same((140.0, "mmol/L"), (140.0, "meq/L"));
    same((13.5, "g/dL"), (135.0, "g/L"));
    same((13.5, "g/dL"), (13.5, "g%"));
    same((4.5, "10*6/uL"), (4.5, "10*12/L"));
    same((7.2, "10*3/uL"), (7.2, "10*9/L"));
    same((7.2, "10*3/uL"), (7200.0, "/uL"));
    same((120.0, "mm[Hg]"), (120.0 * 133.322387415, "Pa"));
    same((72.0, "/min"), (72.0, "{beats}/min"));
    same((72.0, "/min"), (1.2, "Hz"));
    same((36.8, "Cel"), (309.95, "K"));
    same((98.6, "[degF]"), (37.0, "Cel"));
    same((150.0, "[lb_av]"), (68.0388555, "kg"));
    same((6.0, "[ft_i]"), (182.88, "cm"));
    same((30.0, "kg/m2"), (3.0, "g/cm2"));
    same((50.0, "%"), (0.5, "1"));
    same((2.0, "h"), (7200.0, "s"));
    same((1.0, "a"), (12.0, "mo"));
    same((40.0, "U/L"), (40.0 / 60.0, "ukat/L"));
    same((1.0, "m[IU]/L"), (1.0, "m[iU]/L"));
    same((1.0, "(mg/dL).(L/mg)"), (10.0, "1"));
    same((1.0, "[wood'U]"), (60.0, "[PRU].mL/L"));
    assert_eq!(canonical(1.0, "mL/min/{1.73_m2}"), canonical(1.0, "mL/min"));
    assert_eq!(canonical(1.0, "kg").1, "g1");
    same((2.0, "[psi]"), (2.0 * 6894.757293168361, "Pa"));
    assert!(!is_near(5.4, 5.400_000_001) && !is_near(0.0, 1e-300) && is_near(0.1 + 0.2, 0.3));
}

#[test]
fn what_is_not_of_one_kind() {
    let kind = |code: &str| Unit::parse(code).unwrap().dimension().clone();
    for (a, b) in [("mg", "mL"), ("mmol/L", "mg/dL"), ("[iU]/L", "U/L"), ("[arb'U]", "[iU]"), ("Cel", "1"), ("[pH]", "1"), ("rad", "1")] {
        assert_ne!(kind(a), kind(b), "{a} and {b}");
    }
    assert_eq!(kind("%"), kind("[ppm]"));
}

#[test]
fn what_is_no_code_of_the_table() {
    let wrong = [
        "",
        "mmHg",
        "KG",
        "mg/",
        "mg//dL",
        "mg.",
        "(mg",
        "mg)",
        "{",
        "{a",
        "mg{a{b}}",
        "kCel",
        "Cel/m",
        "Cel2",
        "k[degF]",
        "kmin",
        "mcg",
        "0",
        "m200",
        "bpm",
        "/",
        "mg dL",
        "ø",
        "10*3é",
        "[",
        "]",
        "m--1",
        "kk",
        "(((((((((m)))))))))",
    ];
    for code in wrong {
        assert!(Unit::parse(code).is_none(), "{code}: {:?}", Unit::parse(code));
    }
    assert!(Unit::parse(&"m.".repeat(10_000)).is_none());
}

fn code() -> impl Strategy<Value = String> {
    let atoms: Vec<&'static str> = parse::codes().filter(|code| !matches!(*code, "Cel" | "[degF]" | "10*" | "10^")).collect();
    let simple = (prop::sample::select(atoms), prop_oneof![Just(""), Just("2"), Just("-1"), Just("+3"), Just("{a}")])
        .prop_map(|(a, e)| format!("{a}{e}"));
    prop::collection::vec((simple, prop::bool::ANY), 1..4).prop_map(|parts| {
        let (first, rest) = parts.split_first().unwrap();
        rest.iter().fold(first.0.clone(), |code, (part, divided)| format!("{code}{}{part}", if *divided { "/" } else { "." }))
    })
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(text in ".{0,40}") {
        Unit::parse(&text);
    }

    #[test]
    fn near_codes_do_not_make_it_panic(text in "[mgLd/.(){}0-9*\\[\\]+-]{0,12}") {
        Unit::parse(&text);
    }

    /// A product is a product: in any order, and divided by itself it is 1.
    #[test]
    fn products(a in code(), b in code()) {
        let product = |text: String| Unit::parse(&text).map(|unit| (unit.dimension().clone(), unit.canonical(1.0)));
        let (one, other) = (product(format!("({a}).({b})")), product(format!("({b}).({a})")));
        let (Some(one), Some(other)) = (one, other) else { return Ok(()) };
        prop_assert!(one.0 == other.0 && is_near(one.1, other.1));
        let Some(ratio) = product(format!("({a})/({a})")) else { return Ok(()) }; // too long
        prop_assert!(ratio.0 == Dimension::default() && is_near(ratio.1, 1.0));
    }

    /// Whatever the prefix, the number in base units is the same.
    #[test]
    fn prefixes(digits in 1_u32..100_000, unit in prop::sample::select(vec!["g", "L", "mol", "m", "Pa", "s", "[iU]", "m[Hg]"])) {
        let value = f64::from(digits) / 100.0;
        for (prefix, factor) in [("m", 1e3), ("u", 1e6), ("n", 1e9), ("k", 1e-3), ("d", 10.0), ("c", 100.0)] {
            same((value, unit), (value * factor, &format!("{prefix}{unit}")));
        }
    }

    /// To base units keeps the order.
    #[test]
    fn order(a in 0.0_f64..1e6, b in 0.0_f64..1e6, code in code()) {
        let Some(unit) = Unit::parse(&code) else { return Ok(()) };
        prop_assert!(a <= b || unit.canonical(a) >= unit.canonical(b));
    }
}
