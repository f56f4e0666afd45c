#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::ids::{PatientOrdinal, ResourceOrdinal};
use jiff::civil::date;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashSet;

fn released(persons: u32, method: &Method) -> Released {
    let mut tally = Tally::new(1);
    (0..persons).for_each(|p| tally.add(0, PatientOrdinal(p + 1)));
    release(tally.into_raw().remove(0), method)
}

#[test]
fn none_and_few_look_the_same() {
    let method = Method::default();
    let few: HashSet<String> = (0..5).map(|n| released(n, &method).to_string()).collect();
    assert_eq!(few, HashSet::from(["< 5".to_owned()]));
    assert_eq!((0..5).map(|n| released(n, &method)).collect::<Vec<_>>(), vec![released(0, &method); 5]);
    assert_eq!(released(5, &method).to_string(), "5");
    assert_eq!(released(5, &method).persons(), Some(5));
    assert_eq!(released(4, &method).persons(), None);
    assert_eq!(serde_json::to_string(&[released(3, &method), released(12, &method)]).unwrap(), r#"["< 5","12"]"#);
}

#[test]
fn rounding_shows_no_more() {
    let method = Method::default();
    let shown = |persons| released(persons, &method).rounded(10).to_string();
    assert_eq!([4, 5, 14, 15, 104].map(shown), ["< 5", "10", "10", "20", "100"]);
    assert_eq!(released(7, &method).rounded(0), released(7, &method));
}

#[test]
fn a_threshold_that_would_hide_nothing_is_raised() {
    assert_eq!(Method::threshold(0), Method::threshold(2));
    assert_eq!(released(1, &Method::threshold(1)).to_string(), "< 2");
}

#[test]
fn few_sort_below_any_number() {
    let method = Method::default();
    let mut cells = [released(7, &method), released(1, &method), released(200, &method), released(0, &method)];
    cells.sort();
    assert_eq!(cells.map(|c| c.to_string()), ["< 5", "< 5", "7", "200"]);
}

#[test]
fn a_person_counts_once() {
    let mut tally = Tally::new(2);
    (0..3).for_each(|_| (1..=6).for_each(|p| tally.add(1, PatientOrdinal(p))));
    tally.add(9, PatientOrdinal(1));
    let cells: Vec<_> = tally.into_raw().into_iter().map(|raw| release(raw, &Method::default()).to_string()).collect();
    assert_eq!(cells, ["< 5", "6"]);
}

#[test]
fn every_list_ends_with_unknown_and_names_each_code_once() {
    let all = [
        Dimension::sex(),
        Dimension::age_band(),
        Dimension::treatment_kind(),
        Dimension::year(2000, 2026),
        Dimension::holder(["Sykehuset Innlandet", "Helse Bergen", UNKNOWN]),
        Dimension::icd10_chapter(),
        Dimension::neoplasm_block(),
    ];
    for dimension in all {
        let codes: HashSet<_> = dimension.categories().iter().map(|c| &c.code).collect();
        assert_eq!(codes.len(), dimension.categories().len(), "{}", dimension.name());
        assert_eq!(dimension.categories().last().unwrap().code, UNKNOWN);
        assert_eq!(dimension.position_or_unknown(Some("no such code")), dimension.unknown());
        assert_eq!(dimension.position_or_unknown(None), dimension.unknown());
    }
}

#[test]
fn ages_change_on_birthdays() {
    let bands = Dimension::age_band();
    let code = |birth, at| bands.categories()[age_band(&bands, birth, at)].code.clone();
    assert_eq!(code(Some(date(1976, 11, 21)), date(2026, 11, 20)), "40-49");
    assert_eq!(code(Some(date(1976, 11, 21)), date(2026, 11, 21)), "50-59");
    assert_eq!(code(Some(date(1920, 1, 1)), date(2026, 11, 21)), "90+");
    assert_eq!(code(Some(date(2026, 11, 21)), date(2026, 11, 21)), "0-9");
    assert_eq!(code(Some(date(2026, 11, 22)), date(2026, 11, 21)), UNKNOWN);
    assert_eq!(code(None, date(2026, 11, 21)), UNKNOWN);
}

#[test]
fn codes_fall_into_chapters_and_blocks() {
    const NO: &str = "urn:oid:2.16.578.1.12.4.1.1.7110";
    let (chapters, blocks) = (Dimension::icd10_chapter(), Dimension::neoplasm_block());
    let both = |system, code| {
        let chapter = chapters.categories()[icd10_chapter(&chapters, system, code)].code.clone();
        (chapter, blocks.categories()[neoplasm_block(&blocks, system, code)].code.clone())
    };
    let expect = |chapter: &str, block: &str| (chapter.to_owned(), block.to_owned());
    assert_eq!(both(Some(NO), Some("C50.4")), expect("II", "C50-C50"));
    assert_eq!(both(Some(NO), Some("D489")), expect("II", "D37-D48"));
    assert_eq!(both(Some(NO), Some("D50")), expect("III", "other"));
    assert_eq!(both(Some(NO), Some("C98")), expect("II", "other"), "in the chapter, but in none of its blocks");
    assert_eq!(both(Some("http://snomed.info/sct"), Some("C50")), expect(UNKNOWN, UNKNOWN));
    assert_eq!(both(None, Some("C50")), expect(UNKNOWN, UNKNOWN));
    assert_eq!(both(Some(NO), Some("å50")), expect(UNKNOWN, UNKNOWN));
    assert_eq!(both(Some(NO), Some("C5")), expect(UNKNOWN, UNKNOWN));
}

#[test]
fn years_before_the_list_are_one_category() {
    let years = Dimension::year(2000, 2026);
    let code = |y| years.categories()[year(&years, y)].code.clone();
    assert_eq!(code(Some(1969)), "before 2000");
    assert_eq!(code(Some(2000)), "2000");
    assert_eq!(code(Some(2026)), "2026");
    assert_eq!(code(Some(2027)), UNKNOWN);
    assert_eq!(code(None), UNKNOWN);
}

#[test]
fn epochs_follow_the_calendar() {
    let minute = Calendar::every(SignedDuration::from_secs(60));
    let epoch = minute.epoch("2026-11-21T19:31:59.999Z".parse().unwrap());
    assert_eq!(epoch.cite(), "2026-11-21T19:31:00Z");
    assert_eq!(epoch.next.to_string(), "2026-11-21T19:32:00Z");
    assert_eq!(minute.epoch(epoch.next).number, epoch.number + 1);
    let day = Calendar::default().epoch("2026-11-21T19:31:59Z".parse().unwrap());
    assert_eq!(day.cite(), "2026-11-21T00:00:00Z");
    let before: Timestamp = "1969-12-31T23:59:59Z".parse().unwrap();
    assert_eq!(Calendar::default().epoch(before).cite(), "1969-12-31T00:00:00Z");
}

#[test]
fn pseudonyms_are_a_function_of_permit_domain_and_ordinal() {
    let (one, other) = (Pseudonyms::of_permit(&[7; 32], "surveillance"), Pseudonyms::of_permit(&[7; 32], "study"));
    assert_eq!(one.patient(PatientOrdinal(1)), Pseudonyms::of_permit(&[7; 32], "surveillance").patient(PatientOrdinal(1)));
    let mut seen = HashSet::new();
    for n in 1..500 {
        for permit in [&one, &other] {
            assert!(seen.insert(permit.patient(PatientOrdinal(n))));
            assert!(seen.insert(permit.resource(ResourceOrdinal(u64::from(n)))));
        }
    }
    assert!(seen.iter().flatten().all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(b)));
    assert_ne!(one.patient(PatientOrdinal(1)), Pseudonyms::of_permit(&[8; 32], "surveillance").patient(PatientOrdinal(1)));
    assert_eq!(format!("{one:?}"), "Pseudonyms(..)");
}

#[test]
fn only_a_pseudonym_of_the_permit_and_domain_leads_back() {
    let (one, other) = (Pseudonyms::of_permit(&[7; 32], "surveillance"), Pseudonyms::of_permit(&[7; 32], "study"));
    for ordinal in [0, 1, 77, u64::from(u32::MAX)] {
        let text = one.resource(ResourceOrdinal(ordinal));
        let text = std::str::from_utf8(&text).unwrap();
        assert_eq!(one.ordinal(Domain::Resource, text), Some(ordinal));
        assert_eq!(one.ordinal(Domain::Patient, text), None);
        assert_eq!(other.ordinal(Domain::Resource, text), None);
        for near in [text.to_uppercase(), format!("{text}a"), text[1..].to_owned(), text.replace(&text[..1], "1"), String::new()] {
            assert_eq!(one.ordinal(Domain::Resource, &near), None, "{near}");
        }
    }
    // The last character carries three bits; another one with the same three would be a second name.
    let text = one.patient(PatientOrdinal(5));
    let mut near = text;
    near[25] = if near[25] == b'b' { b'c' } else { b'b' };
    assert_eq!(one.ordinal(Domain::Patient, std::str::from_utf8(&text).unwrap()), Some(5));
    assert_eq!(one.ordinal(Domain::Patient, std::str::from_utf8(&near).unwrap()), None);
}

/// The construction is part of what a database promises for ever (the same patient, the same pseudonym): pin it.
#[test]
fn pseudonyms_do_not_change_between_versions() {
    let pseudonyms = Pseudonyms::of_permit(&[0; 32], "permit");
    assert_eq!(std::str::from_utf8(&pseudonyms.patient(PatientOrdinal(1))).unwrap(), "n3ngb6ojolp2gos3x2i5lbxz64");
}

#[test]
fn many_at_once_equals_one_by_one() {
    let pseudonyms = Pseudonyms::of_permit(&[1; 32], "p");
    for count in [0_u64, 1, 63, 64, 65, 200] {
        let mut many = Vec::new();
        pseudonyms.encode(Domain::Resource, 0..count, |text| many.push(*text));
        let single: Vec<_> = (0..count).map(|n| pseudonyms.resource(ResourceOrdinal(n))).collect();
        assert_eq!(many, single);
    }
}

#[test]
fn ranks_compare_as_texts_do() {
    for permit in ["one", "two"] {
        let pseudonyms = Pseudonyms::of_permit(&[7; 32], permit);
        let (mut texts, mut ranks) = (Vec::new(), Vec::new());
        pseudonyms.encode(Domain::Patient, 0..5_000, |text| texts.push(*text));
        pseudonyms.ranks(Domain::Patient, 0..5_000, |rank| ranks.push(*rank));
        let order = |compare: &dyn Fn(usize, usize) -> std::cmp::Ordering| {
            let mut order: Vec<usize> = (0..5_000).collect();
            order.sort_by(|a, b| compare(*a, *b));
            order
        };
        assert_eq!(order(&|a, b| ranks[a].cmp(&ranks[b])), order(&|a, b| texts[a].cmp(&texts[b])));
        assert_eq!(ranks.iter().collect::<HashSet<_>>().len(), 5_000);
    }
}
