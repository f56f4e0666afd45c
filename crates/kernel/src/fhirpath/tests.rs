#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::{Environment, Expression, Focus, Item, Literal};
use crate::fhir::json::{self, Value};
use bumpalo::Bump;
use proptest::prelude::*;

const PATIENT: &str = r##"{
  "resourceType": "Patient", "id": "p1", "active": true, "birthDate": "1970-06-15",
  "_birthDate": {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/patient-birthTime", "valueDateTime": "1970-06-15T10:00:00+01:00"}]},
  "name": [
    {"use": "official", "family": "Nord", "given": ["Kari", "Anne"], "period": {"start": "2001-01-01", "end": "2010-05"}},
    {"use": "usual", "family": "Sør", "given": [null, "Kaja"], "_given": [{"extension": [{"url": "u", "valueCode": "x"}]}, null]}
  ],
  "deceasedBoolean": false,
  "multipleBirthInteger": 3,
  "managingOrganization": {"reference": "Organization/o-1/_history/2"},
  "generalPractitioner": [{"reference": "#gp"}, {"reference": "Practitioner/d1"}, {"reference": "urn:uuid:1"}],
  "contained": [{"resourceType": "Practitioner", "id": "gp"}],
  "extension": [
    {"url": "quantity", "valueQuantity": {"value": 1.50, "unit": "mg"}},
    {"url": "age", "valueAge": {"value": 3}},
    {"url": "set", "valueSet": "no choice"},
    {"url": "time", "valueTime": "12:30:00"},
    {"url": "instant", "valueInstant": "2024-03-10T23:30:00Z"},
    {"url": "small", "valueDecimal": 0.10},
    {"url": "big", "valueDecimal": 1e2},
    {"url": "text", "valueMarkdown": "a"}
  ],
  "contact": [{"name": {"family": "K"}, "period": {"start": "2024-02-29T12:00:00+01:00"}}]
}"##;

fn show(item: Item<'_>) -> String {
    match item {
        Item::Element { value, .. } => {
            let mut out = Vec::new();
            value.write(&mut out);
            String::from_utf8(out).unwrap()
        }
        Item::Boolean(value) => value.to_string(),
        Item::Integer(value) => value.to_string(),
        Item::Decimal(text) => text.to_owned(),
        Item::Text(text) => format!("'{text}'"),
        Item::Date(text) | Item::DateTime(text) => format!("@{text}"),
        Item::Time(text) => format!("@T{text}"),
        Item::Quantity { value, unit } => format!("{value} '{unit}'"),
        Item::Key { resource_type, id } => format!("{resource_type}/{id}"),
    }
}

fn environment() -> Environment {
    let mut environment = Environment::default();
    environment.define("use", Literal::Text("usual".to_owned()));
    environment.define("day", Literal::Date("1970-06-15".to_owned()));
    environment.define("least", Literal::Integer(i64::MIN));
    environment
}

/// The items of an expression on [`PATIENT`], or what went wrong.
fn evaluate(expression: &str) -> String {
    let arena = Bump::new();
    let resource = json::parse(PATIENT.as_bytes(), &arena).unwrap();
    let expression = match Expression::compile(expression, &environment()) {
        Ok(expression) => expression,
        Err(error) => {
            let error = error.to_string();
            // The list of what is supported grows.
            return format!("refused {}", error.split_once(". Supported are abs, all, ").map_or(&*error, |(why, _)| why));
        }
    };
    match expression.items(&Focus::resource(resource, &arena)) {
        Ok(items) => items.iter().map(|i| show(*i)).collect::<Vec<_>>().join(" "),
        Err(error) => format!("failed {error}"),
    }
}

#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (expression, expected) in cases {
        assert_eq!(evaluate(expression), *expected, "{expression}");
    }
}

#[test]
fn paths_and_choice_elements() {
    check(&[
        ("name.family", r#""Nord" "Sør""#),
        ("Patient.name.family", r#""Nord" "Sør""#),
        ("Observation.name.family", ""),
        ("DomainResource.id", r#""p1""#),
        ("`name`.`family`[1]", r#""Sør""#),
        ("name.given", r#""Kari" "Anne" "Kaja""#),
        ("name[1].given[0]", r#""Kaja""#),
        ("name[5]", ""),
        ("name[-1]", ""),
        ("nothing.at.all", ""),
        ("deceased", "false"),
        ("deceased.ofType(boolean)", "false"),
        ("deceased.ofType(dateTime)", ""),
        ("(deceased as boolean)", "false"),
        ("deceased is boolean", "true"),
        ("deceased is dateTime", "false"),
        ("multipleBirth.ofType(integer) + 1", "4"),
        ("extension('quantity').value.ofType(Quantity).value", "1.50"),
        ("extension('quantity').value.unit", r#""mg""#),
        // Age is a kind of Quantity, markdown a kind of string.
        ("extension.value.ofType(Quantity).value", "1.50 3"),
        ("extension.value.ofType(FHIR.string)", r#""a""#),
        ("extension.where(value is Quantity).url", r#""quantity" "age""#),
        ("extension('age').value is Age", "true"),
        // `valueSet` is no variant of `value[x]`.
        ("extension('set').value", ""),
        ("contained.ofType(Practitioner).id", r#""gp""#),
        ("contained.ofType(Patient)", ""),
        ("birthDate.extension('http://hl7.org/fhir/StructureDefinition/patient-birthTime').value", r#""1970-06-15T10:00:00+01:00""#),
        ("name.given.extension('u').value.ofType(code)", r#""x""#),
        ("name.first().family.extension.url", ""),
        ("contact.name.children()", r#""K""#),
        ("contact.descendants().count()", "4"),
    ]);
}

#[test]
fn filters_and_subsets() {
    check(&[
        ("name.where(use = %use).family", r#""Sør""#),
        ("name.where($index = 1).family", r#""Sør""#),
        ("name.where(given.count() > 1).use", r#""official""#),
        ("name.select(given.first())", r#""Kari" "Kaja""#),
        ("name.select(given.select($this & '!'))", "'Kari!' 'Anne!' 'Kaja!'"),
        ("name.exists(use = 'official')", "true"),
        ("name.all(family.exists())", "true"),
        ("name.all(use = 'official')", "false"),
        ("nothing.all(false)", "true"),
        ("name.first().family | name.last().family | name.first().family", r#""Nord" "Sør""#),
        ("(1 | 2 | 2).count()", "2"),
        ("(1).combine(1).count()", "2"),
        ("(1).combine(1).distinct()", "1"),
        ("(1).combine(1).isDistinct()", "false"),
        ("(1 | 2 | 3).tail()", "2 3"),
        ("(1 | 2 | 3).skip(2)", "3"),
        ("(1 | 2 | 3).take(2)", "1 2"),
        ("(1 | 2 | 3).take(0)", ""),
        ("(1 | 2 | 3).intersect(2 | 3 | 4)", "2 3"),
        ("(1 | 2 | 3).exclude(2)", "1 3"),
        ("(1 | 2).subsetOf(1 | 2 | 3)", "true"),
        ("(1 | 4).subsetOf(1 | 2 | 3)", "false"),
        ("(1 | 2 | 3).supersetOf(1)", "true"),
        ("name.single()", "failed at character 6 of the expression: more than one value where one at most is possible"),
        ("contact.single().name.family", r#""K""#),
        ("contact.repeat(name | family)", r#"{"family":"K"} "K""#),
        ("name.family.join('; ')", "'Nord; Sør'"),
        ("name.empty()", "false"),
        ("{}.exists()", "false"),
        ("(true | false).anyTrue()", "true"),
        ("(true | false).allTrue()", "false"),
        ("(true | false).anyFalse()", "true"),
        ("(true | false).allFalse()", "false"),
        ("active.hasValue()", "true"),
        ("name.hasValue()", "false"),
        ("name.family.first().getValue()", r#""Nord""#),
    ]);
}

#[test]
fn keys() {
    check(&[
        ("getResourceKey()", "Patient/p1"),
        ("managingOrganization.getReferenceKey()", "Organization/o-1"),
        ("managingOrganization.getReferenceKey(Organization)", "Organization/o-1"),
        ("managingOrganization.getReferenceKey(Patient)", ""),
        ("generalPractitioner.getReferenceKey()", "Practitioner/d1"),
        ("name.getResourceKey()", ""),
        ("contained.getResourceKey()", "Practitioner/gp"),
        ("getResourceKey() = id", "true"),
        ("generalPractitioner.getReferenceKey(quantity)", "refused at character 37: `quantity` is no type of FHIR R4"),
    ]);
}

#[test]
fn three_valued_logic() {
    let values = ["true", "false", "{}"];
    let table = |operator: &str| {
        let rows = values.map(|a| values.map(|b| format!("{:5}", evaluate(&format!("{a} {operator} {b}")))).join("|"));
        rows.join("/").replace(' ', "")
    };
    assert_eq!(table("and"), "true|false|/false|false|false/|false|");
    assert_eq!(table("or"), "true|true|true/true|false|/true||");
    assert_eq!(table("xor"), "false|true|/true|false|/||");
    assert_eq!(table("implies"), "true|false|/true|true|true/true||");
    check(&[
        ("true.not()", "false"),
        ("{}.not()", ""),
        ("(1).not()", "false"),
        ("true or (1 | 2)", "true"),
        ("false or (true | false)", "failed at character 7 of the expression: more than one value where one at most is possible"),
        ("iif(active, 'yes', 'no')", "'yes'"),
        ("iif({}, 'yes', 'no')", "'no'"),
        ("iif(false, 'yes')", ""),
        ("name.first().iif(use = 'official', family, 'no')", r#""Nord""#),
    ]);
}

#[test]
fn equality_and_order() {
    check(&[
        ("1 = 1.0", "true"),
        ("extension('small').value = 0.1", "true"),
        ("extension('big').value = 100", "true"),
        ("0.1 + 0.2 = 0.3", "true"),
        ("1 = '1'", "false"),
        ("'a' != 'b'", "true"),
        ("{} = 1", ""),
        ("(1 | 2) = (1 | 2)", "true"),
        ("(1 | 2) = (2 | 1)", "false"),
        ("(1 | 2) ~ (2 | 1)", "true"),
        ("'Sør  Nord' ~ 'sør nord'", "true"),
        ("1.23 ~ 1.2", "true"),
        ("1.23 !~ 1.3", "true"),
        ("{} ~ {}", "true"),
        ("name[0] = name[0]", "true"),
        ("name[0] = name[1]", "false"),
        ("name.family = 'Nord'", "false"),
        ("'Nord' in name.family", "true"),
        ("name.family contains 'Sør'", "true"),
        ("'a' < 'b'", "true"),
        ("2 > 10", "false"),
        ("1 > 'a'", "failed at character 3 of the expression: values of these types have no order"),
        ("name < 1", "failed at character 6 of the expression: more than one value where one at most is possible"),
        ("-multipleBirth = -3", "true"),
        ("1 < {}", ""),
    ]);
}

#[test]
fn dates_and_times_know_their_precision() {
    check(&[
        ("birthDate = @1970-06-15", "true"),
        ("birthDate = %day", "true"),
        ("birthDate = @1970-06", ""),
        ("birthDate = @1971-06", "false"),
        ("birthDate < @1970-07", "true"),
        ("birthDate < @1970-06", ""),
        ("@2024-03-11T00:30:00+01:00 = extension('instant').value", "true"),
        ("extension('instant').value > @2024-03-10T23:29:59.999Z", "true"),
        ("extension('instant').value > @2024-03-10T23:29:59.999", ""),
        ("extension('instant').value > @2024", ""),
        ("extension('instant').value > @2023", "true"),
        ("@2024-01-01T00:00Z = @2023-12-31T23:00-01:00", "true"),
        ("name.period.start < name.period.end", "true"),
        ("extension('time').value = @T12:30:00", "true"),
        ("extension('time').value < @T12:30:00.001", "true"),
        ("contact.period.start.toDate()", "@2024-02-29"),
        ("@2024T = @2024T", "true"),
        ("@2023-02-29", "refused at character 1: no date or time as FHIRPath writes it, such as @2014-01-25T14:30:00Z"),
        ("@T25", "refused at character 1: no date or time as FHIRPath writes it, such as @2014-01-25T14:30:00Z"),
        // A string literal makes it a comparison of strings.
        ("birthDate > 'soon'", "false"),
    ]);
}

#[test]
fn boundaries() {
    check(&[
        ("(1.0).lowBoundary()", "0.95000000"),
        ("(1.0).highBoundary()", "1.05000000"),
        ("(-1.5).lowBoundary(2)", "-1.55"),
        ("(1.587).lowBoundary(2)", "1.58"),
        ("(1.587).highBoundary(2)", "1.59"),
        ("@2014.lowBoundary(6)", "@2014-01"),
        ("@2024-02.highBoundary()", "@2024-02-29"),
        ("@2014-01-01T08.lowBoundary(17)", "@2014-01-01T08:00:00.000+14:00"),
        ("@2014-01-01T08:05+05:00.highBoundary()", "@2014-01-01T08:05:59.999+05:00"),
        ("@T10:30.highBoundary(9)", "@T10:30:59.999"),
        ("@2014.lowBoundary(5)", ""),
        ("'x'.lowBoundary()", ""),
    ]);
}

#[test]
fn arithmetic() {
    check(&[
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("7 / 2", "3.5"),
        ("1 / 3", "0.3333333333333333"),
        ("2 / 3", "0.6666666666666667"),
        ("1 / 0", ""),
        ("7 div 2", "3"),
        ("-7 div 2", "-3"),
        ("7 mod -2", "1"),
        ("5.5 mod 0.7", "0.6"),
        ("1 mod 0", ""),
        ("1.10 + 1", "2.10"),
        ("1.5 * 1.5", "2.25"),
        ("9223372036854775807 + 1", ""),
        ("-%least", ""),
        ("- -1", "1"),
        ("+1", "1"),
        ("'a' + 'b'", "'ab'"),
        ("'a' + {}", ""),
        ("'a' & {} & 'b'", "'ab'"),
        ("'a' - 'b'", "failed at character 5 of the expression: numbers were expected"),
        ("(-5).abs()", "5"),
        ("(-5.5).abs()", "5.5"),
        ("(1.1).ceiling()", "2"),
        ("(-1.1).ceiling()", "-1"),
        ("(-1.1).floor()", "-2"),
        ("(1.9).truncate()", "1"),
        ("(-1.9).truncate()", "-1"),
        ("(2.5).round()", "3"),
        ("(-2.45).round(1)", "-2.5"),
        ("(1).round(200)", "failed at character 5 of the expression: 0 to 28 digits were expected"),
    ]);
}

#[test]
fn strings() {
    check(&[
        (r"'it\'s \u00e5 \\ `'", r"'it's å \ `'"),
        ("'Sørlandet'.startsWith('Sør')", "true"),
        ("'Sørlandet'.endsWith('Sør')", "false"),
        ("'Sørlandet'.contains('rl')", "true"),
        ("'Sørlandet'.indexOf('r')", "2"),
        ("'Sørlandet'.lastIndexOf('x')", "-1"),
        ("'Sørlandet'.substring(1, 3)", "'ørl'"),
        ("'Sørlandet'.substring(7)", "'et'"),
        ("'Sørlandet'.substring(9)", ""),
        ("'Sørlandet'.substring(-1)", ""),
        ("'Sørlandet'.length()", "9"),
        ("'Sør'.upper() & 'SØR'.lower()", "'SØRsør'"),
        ("' a '.trim()", "'a'"),
        ("'a,b'.split(',')", "'a' 'b'"),
        ("'åb'.toChars()", "'å' 'b'"),
        ("'abcb'.replace('b', '-')", "'a-c-'"),
        ("'abc'.matches('b')", "true"),
        ("'abc'.matchesFull('b')", "false"),
        ("'11/30'.replaceMatches('([0-9]+)/([0-9]+)', '$2-$1')", "'30-11'"),
        ("'a'.matches(name.family.first())", "refused at character 5: a regular expression must be written as a string or be a constant"),
        ("(1).startsWith('1')", "failed at character 5 of the expression: a string was expected"),
        ("{}.length()", ""),
    ]);
}

#[test]
fn durations_are_added_in_the_precision_of_the_date() {
    check(&[
        ("birthDate + 18 years", "@1988-06-15"),
        ("birthDate - 6 months", "@1969-12-15"),
        ("birthDate + 2 weeks", "@1970-06-29"),
        ("birthDate - 15 days", "@1970-05-31"),
        ("birthDate + 1.9 years", "@1971-06-15"),
        // The last day of a month where the day does not exist.
        ("@2024-02-29 + 1 year", "@2025-02-28"),
        ("@2024-01-31 + 1 month", "@2024-02-29"),
        ("@2024-12-31 + 1 day", "@2025-01-01"),
        ("@2024-03-01 - 1 day", "@2024-02-29"),
        // What is finer than the date is left out.
        ("@2014 + 24 months", "@2016"),
        ("@2014 + 23 months", "@2015"),
        ("@2014 + 364 days", "@2014"),
        ("@2014 - 365 days", "@2013"),
        ("@2014-05 + 59 days", "@2014-06"),
        ("@2014-05-05 + 23 hours", "@2014-05-05"),
        ("@2014-05-05 - 24 hours", "@2014-05-04"),
        ("@2014-05-05T10 + 90 minutes", "@2014-05-05T11"),
        ("@2014-05-05T10:00 + 90 minutes", "@2014-05-05T11:30"),
        // Zones and fractions stay.
        ("@2014-05-05T23:59:59.5+01:00 + 1 second", "@2014-05-06T00:00:00.5+01:00"),
        ("@2014-05-05T00:00:00Z - 1 millisecond", "@2014-05-04T23:59:59.999Z"),
        ("@2014-05-05T00:00:00Z + 1.5 's'", "@2014-05-05T00:00:01.5Z"),
        ("@2014-05-05T00:00:00Z + 1 month", "@2014-06-05T00:00:00Z"),
        ("@T23:30 + 1 hour", "@T00:30"),
        ("@T00:00:01 - 2 seconds", "@T23:59:59"),
        ("extension('instant').value + 30 minutes", "@2024-03-11T00:00:00Z"),
        // Of age at a time: @2024-06-15 is the birthday, the day before is not.
        ("birthDate + 54 years <= @2024-06-15", "true"),
        ("birthDate + 54 years <= @2024-06-14", "false"),
        ("birthDate + 54 years <= @2024", ""),
        // A year that four digits do not write.
        ("@9999-12-31 + 1 day", ""),
        ("@0001 - 1 year", ""),
        ("birthDate + {}", ""),
        (
            "'soon' + 1 day",
            "failed at character 8 of the expression: a date or a time was expected before a duration that is added or subtracted",
        ),
    ]);
}

#[test]
fn quantities_are_compared_in_one_unit() {
    check(&[
        ("extension('quantity').value > 1 'mg'", "true"),
        ("extension('quantity').value = 1.5 'mg'", "true"),
        // Nothing is converted: the answer is not known.
        ("extension('quantity').value < 1 'kg'", ""),
        ("extension('quantity').value = 1.5 'g'", ""),
        ("extension('quantity').value < extension('quantity').value", "false"),
        ("extension('quantity').value < extension('age').value", ""),
        ("1 week = 1 'wk'", "true"),
        ("2 days > 1 day", "true"),
        ("1 year = 1 'a'", ""),
        ("'5.4 \\'mg\\''.toQuantity()", "5.4 'mg'"),
        ("'18 years'.toQuantity()", "18 'year'"),
        ("(3).toQuantity()", "3 '1'"),
        ("'5 stones'.toQuantity()", ""),
        ("'5 mg'.convertsToQuantity()", "false"),
        ("'5'.convertsToQuantity()", "true"),
        ("'5 days'.toQuantity('hours')", ""),
        ("(5 'mg').toString()", "'5 'mg''"),
        ("(5 days).toString()", "'5 day'"),
        ("5 'mg' is Quantity", "true"),
        ("extension('quantity').value > 1", "failed at character 29 of the expression: values of these types have no order"),
    ]);
}

#[test]
fn roots_logarithms_and_powers() {
    check(&[
        ("(81).sqrt()", "9"),
        ("(2).sqrt()", "1.41421356237"),
        ("(-1).sqrt()", ""),
        ("(0).exp()", "1"),
        ("(1).exp()", "2.71828182846"),
        ("(1).ln()", "0"),
        ("(0).ln()", ""),
        ("(16).log(2)", "4"),
        ("(100.0).log(10.0)", "2"),
        ("(100.0).log({})", ""),
        ("(2).power(3)", "8"),
        ("(2.5).power(2)", "6.25"),
        ("(2).power(-1)", "0.5"),
        ("(-1).power(0.5)", ""),
        ("(9).power(0.5)", "3"),
        ("(10).power(64)", ""),
        ("'a'.sqrt()", "failed at character 5 of the expression: a number was expected"),
    ]);
}

#[test]
fn codings_and_choices() {
    check(&[
        ("'Sør'.encode('hex')", "'53c3b872'"),
        ("'53c3b872'.decode('hex')", "'Sør'"),
        ("'5g'.decode('hex')", ""),
        ("'123'.decode('hex')", ""),
        ("'ff'.decode('hex')", ""),
        ("'a?>'.encode('base64')", "'YT8+'"),
        ("'a?>'.encode('urlbase64')", "'YT8-'"),
        ("'YT8-'.decode('urlbase64')", "'a?>'"),
        ("coalesce(nothing, name.family, 'none')", r#""Nord" "Sør""#),
        ("coalesce(nothing, {}, 'none')", "'none'"),
        ("coalesce(nothing)", ""),
        ("name.select(coalesce(given[1], family)).first()", r#""Anne""#),
    ]);
}

#[test]
fn conversions() {
    check(&[
        ("multipleBirth.toString()", "'3'"),
        ("'3'.toInteger()", "3"),
        ("'3.5'.toInteger()", ""),
        ("'3.50'.toDecimal()", "3.50"),
        ("'x'.toDecimal()", ""),
        ("'Yes'.toBoolean()", "true"),
        ("(2).toBoolean()", ""),
        ("'2024-01'.toDate()", "@2024-01"),
        ("'2024-01-01T10:00'.toDate()", "@2024-01-01"),
        ("'2024'.toDateTime()", "@2024"),
        ("'10:00'.toTime()", "@T10:00"),
        ("'10:00'.convertsToTime()", "true"),
        ("'x'.convertsToInteger()", "false"),
        ("name.first().toString()", ""),
        ("1 is Integer", "true"),
        ("1 is System.String", "false"),
        ("'1' is System.String", "true"),
    ]);
}

#[test]
fn what_is_not_supported_is_refused_by_name_and_position() {
    check(&[
        (
            "birthDate < today()",
            "refused at character 13: today() is refused: the result may depend on the resource only, not on when it is computed",
        ),
        ("now()", "refused at character 1: now() is refused: the result may depend on the resource only, not on when it is computed"),
        (
            "name.resolve()",
            "refused at character 6: resolve() is refused: the result may depend on this resource only; use getReferenceKey() and a join",
        ),
        ("code.memberOf('x')", "refused at character 6: memberOf() is refused: there is no terminology service here"),
        ("name.nonsense()", "refused at character 6: there is no function nonsense()"),
        ("name.first(1)", "refused at character 6: first() takes no argument, not 1"),
        ("iif(true)", "refused at character 1: iif() takes 2 to 3 arguments, not 1"),
        ("name.where()", "refused at character 6: where() takes 1 argument, not 0"),
        (
            "birthDate + 1 'a'",
            "refused at character 11: 'a' is no calendar duration: years, months, weeks, days, hours, minutes, seconds, milliseconds are, such as 18 years",
        ),
        (
            "2 * 5 'mg'",
            "refused at character 3: quantities can be compared and a duration added to a date; for other arithmetic use their value",
        ),
        ("'a'.encode('rot13')", "refused at character 5: encode() and decode() know 'hex', 'base64' and 'urlbase64', not 'rot13'"),
        ("%nobody", "refused at character 1: no constant is named `%nobody`"),
        ("$total", "refused at character 1: `$total` is not supported"),
        ("$index", "refused at character 1: `$index` stands only inside where(), select(), all(), exists() and repeat()"),
        ("value.ofType(Quantum)", "refused at character 14: `Quantum` is no type of FHIR R4"),
        ("name.", "refused at character 6: the name of an element or a function was expected here, not the end"),
        ("name name", "refused at character 6: an operator or the end was expected here, not `name`"),
        ("(name", "refused at character 6: `)` was expected here, not the end"),
        ("'open", "refused at character 1: this ' has no partner"),
        ("a /* b", "refused at character 3: this comment has no end"),
        ("a # b", "refused at character 3: `#` has no meaning in FHIRPath"),
        ("'\\q'", "refused at character 2: an escape that FHIRPath does not have"),
        ("99999999999999999999", "refused at character 1: an integer beyond 64 bits"),
        ("", "refused at character 1: a value, a name or `(` was expected here, not the end"),
        (
            "'a'.matches('(')",
            "refused at character 5: this regular expression is not valid, too large, or uses look-around or back-references",
        ),
    ]);
}

#[test]
fn comments_and_words_that_are_names() {
    check(&[("1 // one\n + /* two */ 2", "3"), ("contains.is.as.in", ""), ("`div`.`mod`", ""), ("active and true // all", "true")]);
}

#[test]
fn expressions_are_bounded() {
    let nested = format!("{}1{}", "(".repeat(5_000), ")".repeat(4_999));
    assert!(evaluate(&nested).contains("nests deeper"));
    assert!(evaluate(&format!("a{}", ".a".repeat(4_000))).contains("nests deeper"));
    assert!(evaluate(&format!("1{}", " + 1".repeat(2_000))).contains("nests deeper"));
    assert!(evaluate(&"-".repeat(9_000)).contains("was expected"));
    assert!(evaluate(&format!("'{}'", "a".repeat(20_000))).contains("longer than"));
    assert!(evaluate("name.family.repeat($this & 'x')").contains("come to an end"));
    for doubling in ["select($this & $this)", "replace('x', 'xx')", "replaceMatches('x', 'xx')", "select(('a' | $this | 'b').join($this))"]
    {
        assert!(evaluate(&format!("'x'{}", format!(".{doubling}").repeat(60))).contains("too much text"), "{doubling}");
    }
    let product = format!("name{}.count()", ".select(%resource.descendants())".repeat(6));
    assert!(evaluate(&product).contains("too many steps"));
}

#[test]
fn an_absent_context_is_the_empty_collection() {
    let arena = Bump::new();
    let focus = Focus { resource: Value::Null, context: None, row_index: 4, arena: &arena };
    let value = |text: &str| Expression::compile(text, &Environment::default()).unwrap().single(&focus).unwrap();
    assert_eq!(value("name.exists()"), Some(Item::Boolean(false)));
    assert_eq!(value("%context"), None);
    assert_eq!(value("%rowIndex + 1"), Some(Item::Integer(5)));
}

/// What a mutated expression is made of.
const PIECES: [&str; 40] = [
    "name",
    "value",
    ".",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "'",
    "'a'",
    "`",
    "1",
    "1.5",
    "@2024",
    "@T10:00",
    "%",
    "%use",
    "$this",
    "$index",
    "and",
    "is",
    "as",
    "in",
    "contains",
    "div",
    "-",
    "+",
    "&",
    "|",
    "=",
    "~",
    ",",
    "ofType(",
    "where(",
    "first()",
    "iif(",
    "matches('",
    "å",
    "\u{0}",
];

proptest! {
    #[test]
    fn no_expression_makes_the_compiler_or_the_evaluator_panic(pieces in prop::collection::vec(0..PIECES.len(), 0..30), spaced in any::<bool>()) {
        let words: Vec<&str> = pieces.iter().map(|i| PIECES[*i]).collect();
        let _: String = evaluate(&words.join(if spaced { " " } else { "" }));
    }

    #[test]
    fn no_mutation_of_a_valid_expression_makes_anything_panic(which in 0..VALID.len(), at in 0..200_usize, length in 0..5_usize, piece in 0..PIECES.len()) {
        let text: Vec<char> = VALID[which].chars().collect();
        let at = at.min(text.len());
        let end = (at + length).min(text.len());
        let mutated: String = text[..at].iter().chain(&PIECES[piece].chars().collect::<Vec<_>>()).chain(&text[end..]).collect();
        let _: String = evaluate(&mutated);
    }

    #[test]
    fn no_text_makes_the_compiler_panic(text in "\\PC{0,60}") {
        let _: String = evaluate(&text);
    }
}

const VALID: [&str; 8] = [
    "name.where(use = %use and family.startsWith('S')).given.first().substring(0, 1)",
    "extension('quantity').value.ofType(Quantity).value.lowBoundary(2) + 1.5 * -2",
    "iif(deceased.ofType(dateTime).exists(), true, deceased.ofType(boolean)) implies active",
    "birthDate >= @1970-01-01 or (name.period.start | name.period.end).last() < @2024-01-01T10:00:00.5+01:00",
    "(1 | 2 | 3).select($this * $index).exclude(2).combine({}).all($this is Integer)",
    "name.given.join(', ').replaceMatches('a', 'b') & managingOrganization.getReferenceKey(Organization)",
    "contact.repeat(name | family).descendants().count() mod 3 div 2",
    "'10:00'.toTime() = @T10:00 xor '1.0'.toDecimal().round(2) in (1 | 1.0)",
];
