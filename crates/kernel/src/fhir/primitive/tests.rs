use super::*;

fn text(primitive: Primitive, accepted: &[&str], refused: &[&str]) {
    for value in accepted {
        assert!(primitive.accepts(&Value::String(value)), "{primitive:?} {value:?}");
    }
    for value in refused {
        assert!(!primitive.accepts(&Value::String(value)), "{primitive:?} {value:?}");
    }
    assert!(!primitive.accepts(&Value::Null) && !primitive.accepts(&Value::Boolean(true)) && !primitive.accepts(&Value::Number("1")));
}

fn number(primitive: Primitive, accepted: &[&str], refused: &[&str]) {
    for value in accepted {
        assert!(primitive.accepts(&Value::Number(value)), "{primitive:?} {value:?}");
        assert!(!primitive.accepts(&Value::String(value)), "{primitive:?} {value:?} in quotes");
    }
    for value in refused {
        assert!(!primitive.accepts(&Value::Number(value)), "{primitive:?} {value:?}");
    }
}

#[test]
fn the_table_has_the_order_of_the_variants() {
    for (i, (name, primitive, _)) in PRIMITIVES.iter().enumerate() {
        assert_eq!(*primitive as usize, i, "{name}");
        assert_eq!(Primitive::from_name(name), Some(*primitive));
    }
    assert_eq!(Primitive::ResourceType as usize + 1, PRIMITIVES.len());
}

#[test]
fn dates() {
    let wrong = [
        "",
        "0000",
        "19",
        "1999-",
        "1999-00",
        "1999-13",
        "1999-1",
        "1999-01-",
        "1999-01-00",
        "1999-01-32",
        "2023-02-29",
        "1900-02-29",
        "2024-04-31",
    ];
    text(Primitive::Date, &["0001", "1999", "1999-12", "1999-12-31", "2024-02-29", "2000-02-29"], &wrong);
    text(Primitive::Date, &[], &["1999-12-31T", "1999-12-31T00:00:00Z", " 1999", "1999 ", "1999/12", "１９９９", "-999", "1999-12-31-01"]);
    text(Primitive::DateTime, &["1999", "1999-12", "1999-12-31", "1999-12-31T23:59:60Z", "1999-12-31T00:00:00.123456789+14:00"], &wrong);
    text(Primitive::DateTime, &["1999-12-31T00:00:00-13:59"], &["1999-12-31T00:00:00", "1999-12-31T00:00Z", "1999-12-31T24:00:00Z"]);
    text(
        Primitive::Instant,
        &["2015-02-07T13:28:17.239+02:00", "2017-01-01T00:00:00Z"],
        &["2015", "2015-02", "2015-02-07", "2015-02-30T00:00:00Z"],
    );
    for zone in ["", "z", "+1:00", "+14:01", "+15:00", "+01:60", "+0100", "Z ", "±01:00"] {
        let value = format!("1999-12-31T00:00:00{zone}");
        text(Primitive::DateTime, &[], &[&value]);
        text(Primitive::Instant, &[], &[&value]);
    }
    text(
        Primitive::Time,
        &["00:00:00", "23:59:60", "12:00:00.5"],
        &["", "24:00:00", "12:60:00", "12:00", "12:00:61", "12:00:00.", "12:00:00Z", "1:00:00"],
    );
}

#[test]
fn names_and_strings() {
    text(Primitive::Id, &["a", "A-1.b", &"x".repeat(64)], &["", "a b", "a_b", "æ", "a/b", &"x".repeat(65)]);
    text(Primitive::Code, &["a", "a b", "entered-in-error", ">=", "å"], &["", " a", "a ", "a  b", "a\tb", "a\nb"]);
    for primitive in [Primitive::String, Primitive::Markdown] {
        text(primitive, &["a", " ", "a\tb\r\n", "æøå", "\u{7f}"], &["", "\u{0}", "a\u{b}b", "a\u{1f}"]);
        text(primitive, &[&"x".repeat(1 << 20), &"å".repeat(1 << 20)], &[&"x".repeat((1 << 20) + 1)]);
    }
    for primitive in [Primitive::Uri, Primitive::Url, Primitive::Canonical, Primitive::ElementId, Primitive::ExtensionUrl] {
        text(primitive, &["a", "http://a.b/c?d#e", "urn:oid:1.2", "http://a|1.0"], &["", " ", "a b", "a\n"]);
    }
    text(
        Primitive::Oid,
        &["urn:oid:1.2.3", "urn:oid:2.16.578.1.12.4.1.1.7110", "urn:oid:0.0"],
        &["urn:oid:", "urn:oid:1", "urn:oid:3.1", "1.2.3"],
    );
    text(Primitive::Oid, &[], &["urn:oid:1.02", "urn:oid:1..2", "urn:oid:1.2.", "urn:oid:1.a"]);
    text(
        Primitive::Uuid,
        &["urn:uuid:c757873d-ec9a-4326-a141-556f43239520"],
        &["c757873d-ec9a-4326-a141-556f43239520", "urn:uuid:c757873d"],
    );
    text(Primitive::Uuid, &[], &["urn:uuid:C757873D-EC9A-4326-A141-556F43239520", "urn:uuid:c757873dec9a-4326-a141-556f4323-9520"]);
    text(
        Primitive::Base64Binary,
        &["AAAA", "AAA=", "AA==", "AAAA\r\nAAAA", " AAAA "],
        &["", " ", "AAA", "A===", "AA=A", "AA-_", "AA AA", "AAAA="],
    );
}

#[test]
fn numbers() {
    number(Primitive::Integer, &["0", "-0", "-1", "2147483647", "-2147483648"], &["2147483648", "1.0", "1e2", "-2147483649"]);
    number(Primitive::UnsignedInt, &["0", "1", "2147483647"], &["-1", "-0", "2147483648", "1.5"]);
    number(Primitive::PositiveInt, &["1", "2147483647"], &["0", "-1", "2147483648", "1E3"]);
    number(Primitive::Decimal, &["0", "-1.50", "1e-3", "123456789012345678901234567890.1"], &[]);
    number(Primitive::Boolean, &[], &["1"]);
    assert!(Primitive::Boolean.accepts(&Value::Boolean(false)) && !Primitive::Boolean.accepts(&Value::String("true")));
}

#[test]
fn narratives() {
    let xmlns = "xmlns=\"http://www.w3.org/1999/xhtml\"";
    let good = [
        format!("<div {xmlns}><p>a<br/>b</p></div>"),
        format!("\n<div {xmlns}/> "),
        "<div><!-- <b> --><img alt=\"a>b\" src='#x'/></div>".to_owned(),
    ];
    let bad = [
        "",
        "text",
        "<p>a</p>",
        "<divx>a</divx>",
        "<div>a",
        "<div>a</div><div>b</div>",
        "<div>a</div>b",
        "<div><p>a</div>",
        "<div></p></div></div>",
        "<div><script>alert(1)</script></div>",
        "<div><SCRIPT src='x'/></div>",
        "<div><iframe/></div>",
        "<!DOCTYPE div><div/>",
        "<div><!ENTITY a 'b'></div>",
        "<div><?php ?></div>",
        "<div <",
        "<div a=\">",
    ];
    text(Primitive::Xhtml, &[&good[0], &good[1], &good[2]], &bad);
}
