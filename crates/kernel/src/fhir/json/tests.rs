#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::fhir::testdata;
use proptest::prelude::*;

fn round_trip(text: &str) -> String {
    let arena = Bump::new();
    let mut out = Vec::new();
    parse(text.as_bytes(), &arena).unwrap().write(&mut out);
    String::from_utf8(out).unwrap()
}

fn error(text: &[u8]) -> JsonError {
    parse(text, &Bump::new()).unwrap_err()
}

#[test]
fn order_repeated_names_and_the_text_of_numbers_are_kept() {
    let text = r#"{"b":1.10,"a":[-0,1E+2,0.000,12345678901234567890.12345678901234567890],"b":null,"c":{},"d":[],"e":[true,false]}"#;
    assert_eq!(round_trip(text), text);
}

#[test]
fn escapes_are_resolved_and_written_again() {
    assert_eq!(round_trip(r#" "\u00e6\/\b\f\n\r\t\"\\\ud83d\ude00\u0000" "#), "\"æ/\\u0008\\u000c\\n\\r\\t\\\"\\\\😀\\u0000\"");
}

#[test]
fn the_suite_of_parsing_cases_is_answered_as_it_says() {
    let mut wrong = Vec::new();
    for (name, content) in testdata::files("bad-input/json-parsing") {
        let accepted = parse(&content, &Bump::new()).is_ok();
        if (name.starts_with("y_") && !accepted) || (name.starts_with("n_") && accepted) {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn what_strangers_send_is_refused_with_its_place() {
    let JsonError::Syntax { line, column, .. } = error(b"{\n  \"a\": tru\n}") else { panic!("a syntax error") };
    assert_eq!((line, column), (2, 11));
    for text in [
        &b""[..],
        b" ",
        b"\xef\xbb\xbf{}",
        b"{} {}",
        b"[1,]",
        b"{\"a\":1,}",
        b"'a'",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"\"\xff\"",
        b"\"\xed\xa0\x80\"",
        b"{\"\xff\":1}",
        b"\"\x01\"",
        b"01",
        b"1.",
        b"+1",
        b".5",
        b"{a:1}",
        b"[1 2]",
        b"// comment\n1",
    ] {
        assert!(matches!(error(text), JsonError::Syntax { .. }), "{:?}", String::from_utf8_lossy(text));
    }
}

#[test]
fn depth_is_bounded() {
    let nested = |open: &str, close: &str, depth: usize| format!("{}{}{}", open.repeat(depth), 1, close.repeat(depth));
    assert!(parse(nested("[", "]", MAX_JSON_DEPTH).as_bytes(), &Bump::new()).is_ok());
    assert_eq!(error(nested("[", "]", MAX_JSON_DEPTH + 1).as_bytes()), JsonError::TooDeep);
    assert_eq!(error(nested("{\"a\":", "}", 100_000).as_bytes()), JsonError::TooDeep);
    assert_eq!(error("[".repeat(10_000_000).as_bytes()), JsonError::TooDeep);
}

#[test]
fn the_number_of_values_is_bounded() {
    let many = format!("[{}1]", "1,".repeat(MAX_JSON_VALUES));
    assert_eq!(error(many.as_bytes()), JsonError::TooLarge);
    let names = format!("{{{}\"a\":1}}", "\"a\":1,".repeat(MAX_JSON_VALUES));
    assert_eq!(error(names.as_bytes()), JsonError::TooLarge);
}

#[test]
fn members_are_found_by_name() {
    let arena = Bump::new();
    let value = parse(br#"{"a":"x","b":{"c":[1]},"a":"y"}"#, &arena).unwrap();
    assert_eq!(value.str("a"), Some("x"));
    assert_eq!(value.get("b").unwrap().get("c").unwrap().items(), [Value::Number("1")]);
    assert_eq!((value.get("d"), value.str("b"), Value::Null.get("a"), Value::Null.items().len()), (None, None, None, 0));
}

/// A JSON value that owns itself.
#[derive(Clone, Debug)]
enum Owned {
    Null,
    Boolean(bool),
    Number(String),
    String(String),
    Array(Vec<Owned>),
    Object(Vec<(String, Owned)>),
}

impl Owned {
    fn value<'a>(&self, arena: &'a Bump) -> Value<'a> {
        match self {
            Self::Null => Value::Null,
            Self::Boolean(b) => Value::Boolean(*b),
            Self::Number(text) => Value::Number(arena.alloc_str(text)),
            Self::String(text) => Value::String(arena.alloc_str(text)),
            Self::Array(items) => Value::Array(arena.alloc_slice_fill_iter(items.iter().map(|item| item.value(arena)))),
            Self::Object(members) => Value::Object(
                arena.alloc_slice_fill_iter(members.iter().map(|(name, value)| (&*arena.alloc_str(name), value.value(arena)))),
            ),
        }
    }
}

fn owned() -> impl Strategy<Value = Owned> {
    let leaf = prop_oneof![
        Just(Owned::Null),
        any::<bool>().prop_map(Owned::Boolean),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?".prop_map(Owned::Number),
        any::<String>().prop_map(Owned::String),
    ];
    leaf.prop_recursive(6, 100, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Owned::Array),
            prop::collection::vec((any::<String>(), inner), 0..8).prop_map(Owned::Object),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(value in owned()) {
        let arena = Bump::new();
        let value = value.value(&arena);
        let mut text = Vec::new();
        value.write(&mut text);
        prop_assert_eq!(parse(&text, &arena), Ok(value));
    }

    #[test]
    fn serde_json_reads_what_is_written(value in owned()) {
        let arena = Bump::new();
        let mut text = Vec::new();
        value.value(&arena).write(&mut text);
        prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_ok());
    }

    #[test]
    fn bytes_never_make_it_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&text, &Bump::new());
    }

    #[test]
    fn almost_json_never_makes_it_panic(text in "[\\[\\]{}\":,0-9eE.+\\\\u\\- tfn]{0,60}") {
        let _ = parse(text.as_bytes(), &Bump::new());
    }
}
