#![expect(clippy::unwrap_used, reason = "tests")]

use super::count::Counted;
use super::keys::{CellId, Limit};
use super::protect::{Rules, protect};
use super::*;
use crate::ids::{PatientOrdinal, ResourceOrdinal};
use jiff::Timestamp;
use proptest::prelude::*;
use roaring::RoaringBitmap;
use std::collections::HashSet;
use std::sync::Arc;

/// A hierarchy of two levels: `groups` groups of `each` codes.
fn hierarchy(name: &str, groups: usize, each: usize) -> Arc<Hierarchy> {
    let (coarse, fine) = (format!("{name}_group"), format!("{name}_code"));
    let group =
        |g: usize| CodeDocument { level: coarse.clone(), code: format!("g{g}"), parent: None, label: String::new(), also: Vec::new() };
    let code = |g: usize, c: usize| CodeDocument {
        level: fine.clone(),
        code: format!("g{g}c{c}"),
        parent: Some(format!("g{g}")),
        label: String::new(),
        also: Vec::new(),
    };
    let codes = (0..groups).flat_map(|g| std::iter::once(group(g)).chain((0..each).map(move |c| code(g, c))));
    let level = |name: &str| LevelDocument { name: name.to_owned(), title: String::new() };
    let levels = vec![level(&coarse), level(&fine)];
    let document = HierarchyDocument { name: name.to_owned(), title: String::new(), source: String::new(), levels, codes: codes.collect() };
    Arc::new(Hierarchy::new(&document).unwrap())
}

/// Rows of persons with a code of each of two dimensions; 99 is none.
type Rows = Vec<(u32, usize, usize)>;

fn facts(rows: &Rows, dimensions: &[Arc<Hierarchy>; 2]) -> Facts {
    let mut facts = FactsBuilder::new(dimensions.to_vec(), true);
    for (person, a, b) in rows {
        let node = |hierarchy: &Hierarchy, code: usize| hierarchy.node(&format!("g{}c{}", code / 3, code % 3));
        let nodes = [node(&dimensions[0], *a), node(&dimensions[1], *b)];
        facts.add(PatientOrdinal(*person), Some(*a as i32), &nodes, Some(f64::from(*person) / 7.0));
    }
    facts.finish()
}

fn dimensions() -> [Arc<Hierarchy>; 2] {
    [hierarchy("a", 2, 3), hierarchy("b", 2, 3)]
}

fn shape(levels: &[(usize, usize)]) -> Shape {
    Shape { levels: levels.to_vec(), ..Shape::default() }
}

fn small() -> Method {
    Method::new(MethodDocument::CellKey { threshold: 3, difference: 4, bound: 2, variance: 1.0, patience: 4 }).unwrap()
}

fn cells(facts: &Facts, shape: &Shape, cohort: Option<&str>) -> Cells {
    let (table, hierarchies) = ("t".to_owned(), facts.hierarchies().to_vec());
    Cells { table, hierarchies, shape: shape.clone(), cohort: cohort.map(str::to_owned) }
}

fn ask(facts: &Facts, shape: &Shape, anchors: &mut Anchors) -> ReleasedTable {
    ask_at(Timestamp::UNIX_EPOCH, facts, shape, anchors)
}

fn ask_at(epoch: Timestamp, facts: &Facts, shape: &Shape, anchors: &mut Anchors) -> ReleasedTable {
    let (seed, method) = (Seed::of(&[7; 32]), small());
    let cells = cells(facts, shape, None);
    Asked { cells: &cells, epoch, facts, members: None, before: &[], seed: &seed, method: &method }.release(anchors).unwrap()
}

/// Every cell of a table of two dimensions.
fn all(table: &ReleasedTable, sizes: (usize, usize)) -> Vec<Released> {
    (0..sizes.0).flat_map(|a| (0..sizes.1).map(move |b| [a, b])).map(|cell| table.cell(&cell)).collect()
}

fn rows() -> impl Strategy<Value = Rows> {
    // Some codes are rare, and some are of no list.
    let code = prop_oneof![8 => 0..2_usize, 3 => 0..6_usize, 1 => Just(99_usize)];
    prop::collection::vec((0..120_u32, code.clone(), code), 0..400)
}

/// The cells by the rules, with limits that are known: each is the difference.
fn protected(facts: &Facts, shape: &Shape, counted: &Counted, method: &Method) -> Vec<Raw> {
    let apart = |_: u32, _: usize| method.difference();
    let rules = Rules { threshold: method.threshold(), difference: method.difference(), most: method.difference(), apart: &apart };
    let protected = protect(facts, shape, counted, &HashSet::new(), &rules);
    (0..counted.cells.len()).map(|nth| protected.raw(counted, nth)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_cell_is_the_same_however_it_is_asked_for(rows in rows(), shuffle in any::<u64>()) {
        let [a, b] = dimensions();
        let table = ask(&facts(&rows, &[a.clone(), b.clone()]), &shape(&[(0, 1), (1, 0)]), &mut Anchors::default());
        // Another order of rows, and of dimensions.
        let mut other: Rows = rows.iter().map(|(person, a, b)| (*person, *b, *a)).collect();
        other.sort_by_key(|(person, a, b)| (u64::from(*person) * 31 + *a as u64 * 7 + *b as u64).wrapping_mul(shuffle | 1));
        let turned = ask(&facts(&other, &[b, a]), &shape(&[(0, 0), (1, 1)]), &mut Anchors::default());
        for (x, y) in (0..7).flat_map(|x| (0..3).map(move |y| (x, y))) {
            let (one, other) = (table.cell(&[x, y]), turned.cell(&[y, x]));
            prop_assert_eq!((one.persons(), one.rows()), (other.persons(), other.rows()));
        }
    }

    #[test]
    fn an_unchanged_database_gives_the_same_for_ever(rows in rows()) {
        let facts = facts(&rows, &dimensions());
        let mut anchors = Anchors::default();
        let first = all(&ask(&facts, &shape(&[(0, 1), (1, 1)]), &mut anchors), (7, 7));
        for _ in 0..3 {
            prop_assert_eq!(&all(&ask(&facts, &shape(&[(0, 1), (1, 1)]), &mut anchors), (7, 7)), &first);
            anchors = Anchors::from_bytes(&anchors.to_bytes().unwrap()).unwrap();
        }
        prop_assert_eq!(&all(&ask(&facts, &shape(&[(0, 1), (1, 1)]), &mut Anchors::default()), (7, 7)), &first);
    }

    #[test]
    fn a_cell_never_moves_by_fewer_than_the_difference(epochs in prop::collection::vec(rows(), 1..4), steps in prop::collection::vec(0..40_usize, 12)) {
        // Rows come and go a few at a time between the states.
        let dimensions = dimensions();
        let mut present: Rows = Vec::new();
        let mut anchors = Anchors::default();
        let mut shown = vec![Released::default(); 49];
        for (n, step) in steps.into_iter().enumerate() {
            let towards = &epochs[n * epochs.len() / 12];
            present.drain(..step.min(present.len() / 2));
            present.extend(towards.iter().skip(n * 7).take(step));
            let before = anchors.persons();
            let now = all(&ask(&facts(&present, &dimensions), &shape(&[(0, 1), (1, 1)]), &mut anchors), (7, 7));
            let after = anchors.persons();
            let nobody = (Released::default(), RoaringBitmap::new());
            let mut moved = 0;
            for cell in before.keys().chain(after.keys()).collect::<HashSet<_>>() {
                let (was, is) = (before.get(cell).unwrap_or(&nobody), after.get(cell).unwrap_or(&nobody));
                moved += usize::from(was.0 != is.0);
                prop_assert!(was == is || was.1.symmetric_difference_len(&is.1) >= 4, "{:?} became {:?}", was, is);
            }
            prop_assert_eq!(shown.iter().zip(&now).filter(|(was, is)| was != is).count(), moved, "what is shown is what anchors say");
            shown = now;
        }
    }

    #[test]
    fn a_coarser_cell_less_its_shown_parts_is_nobody_or_many(rows in rows()) {
        let facts = facts(&rows, &dimensions());
        let method = small();
        for levels in [vec![(0, 0), (1, 1)], vec![(0, 1), (1, 1)], vec![(0, 1)], vec![(1, 0)]] {
            let shape = shape(&levels);
            let counted = Counted::of(&facts, &shape, None).unwrap();
            let raw = protected(&facts, &shape, &counted, &method);
            let persons = |nth: usize| counted.contributors(nth).iter().map(|c| c.person).collect::<HashSet<u32>>();
            for (at, (_, level)) in levels.iter().enumerate() {
                // The parts of each coarser cell, by what they have in common.
                let mut families = std::collections::HashMap::<_, Vec<usize>>::new();
                for (nth, cell) in counted.cells.iter().enumerate() {
                    families.entry((counted.layout.without(*cell, at), counted.parent(&facts, &shape, *cell, at))).or_default().push(nth);
                }
                for ((_, parent), parts) in families {
                    let unknown_alone = parent.is_none() && *level > 0;
                    let whole: HashSet<u32> = parts.iter().flat_map(|nth| persons(*nth)).collect();
                    let shown: Vec<usize> = parts.iter().copied().filter(|nth| !raw[*nth].hides(&method)).collect();
                    let counted_with: HashSet<u32> = shown.iter().flat_map(|nth| raw[*nth].persons()).collect();
                    let inside: HashSet<u32> = shown.iter().flat_map(|nth| persons(*nth)).collect();
                    let left: Vec<&u32> = whole.difference(&inside).collect();
                    let counted = left.iter().all(|person| counted_with.contains(person));
                    prop_assert!(shown.is_empty() || unknown_alone || left.len() >= 4 || counted, "{} of {} are left", left.len(), whole.len());
                }
            }
        }
    }

    #[test]
    fn a_shown_cell_is_not_near_any_coarser_one(rows in rows()) {
        let facts = facts(&rows, &dimensions());
        let of = |levels: &[(usize, usize)]| {
            let shape = shape(levels);
            let counted = Counted::of(&facts, &shape, None).unwrap();
            let raw = protected(&facts, &shape, &counted, &small());
            (counted.cells.clone(), counted.layout.clone(), (0..counted.cells.len()).map(|n| counted.contributors(n).len()).collect::<Vec<_>>(), raw)
        };
        let (cells, layout, counts, raw) = of(&[(0, 1), (1, 0)]);
        let (wider, _, wide, _) = of(&[(1, 0)]);
        for ((cell, count), raw) in cells.iter().zip(&counts).zip(&raw) {
            let coarser = wider.iter().position(|c| *c == layout.without(*cell, 0)).map_or(0, |n| wide[n]);
            if !raw.hides(&small()) && layout.category(*cell, 0) == 6 {
                prop_assert!(coarser >= count + 4, "unknown: {} of {}", count, coarser);
            }
            prop_assert!(raw.hides(&small()) || *count >= 3);
        }
    }

    #[test]
    fn damaged_anchors_are_found(rows in rows(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut anchors = Anchors::default();
        ask(&facts(&rows, &dimensions()), &shape(&[(0, 1)]), &mut anchors);
        let bytes = anchors.to_bytes().unwrap();
        prop_assert_eq!(Anchors::from_bytes(&bytes).unwrap().to_bytes().unwrap(), bytes.clone());
        let mut other = bytes.clone();
        other[at.index(bytes.len())] ^= 1 << bit;
        prop_assert!(Anchors::from_bytes(&other).is_err());
        prop_assert!(Anchors::from_bytes(&bytes[..at.index(bytes.len())]).is_err());
    }
}

#[test]
fn persons_count_once_and_rows_each_time() {
    // Twenty persons with two rows each, in one cell; forty others elsewhere, so that it is not near any coarser cell.
    let rows: Rows = (0..60).flat_map(|p| [(p, if p < 20 { 0 } else { 4 }, 0); 2]).collect();
    let table = ask(&facts(&rows, &dimensions()), &shape(&[(0, 0)]), &mut Anchors::default());
    let cell = table.cell(&[0]);
    assert!((18..=22).contains(&cell.persons().unwrap()), "{cell}");
    let rows = cell.rows().unwrap() as f64 / cell.persons().unwrap() as f64;
    assert!((1.6..=2.4).contains(&rows), "{rows} rows of a person");
    assert_eq!(table.cell(&[2]), Released::default(), "nobody");
    assert_eq!((table.cell(&[7]), table.cell(&[])), (Released::default(), Released::default()), "no such cell");
}

#[test]
fn only_the_first_row_of_a_person_starts() {
    // Each person has a row of the code 0 (earlier) and one of 4 (later); `b` is the same.
    let rows: Rows = (0..60).flat_map(|p| [(p, 4, 0), (p, 0, 0), (p + 100, 4, 3)]).collect();
    let facts = facts(&rows, &dimensions());
    let starts = Shape { levels: vec![(0, 1), (1, 1)], first_of: Some(0), valued: false };
    let counted = Counted::of(&facts, &starts, None).unwrap();
    let of: Vec<(u32, usize)> = counted.cells.iter().enumerate().map(|(n, cell)| (*cell, counted.contributors(n).len())).collect();
    assert_eq!(of, [(0, 60), (4 * 7 + 3, 60)], "those who began with 0 did not begin with 4");
}

#[test]
fn a_cohort_alone_counts() {
    let rows: Rows = (0..100).map(|p| (p, 0, 0)).chain((100..200).map(|p| (p, 4, 0))).collect();
    let (facts, seed, method) = (facts(&rows, &dimensions()), Seed::of(&[7; 32]), small());
    let members: RoaringBitmap = (50..150).collect();
    let shape = shape(&[(0, 0)]);
    let of = |cohort: Option<&str>| {
        let (cells, members) = (cells(&facts, &shape, cohort), cohort.map(|_| &members));
        let asked =
            Asked { cells: &cells, epoch: Timestamp::UNIX_EPOCH, facts: &facts, members, before: &[], seed: &seed, method: &method };
        asked.release(&mut Anchors::default()).unwrap().cell(&[0]).persons().unwrap()
    };
    let (all, some) = (of(None), of(Some("c")));
    assert!((98..=102).contains(&all) && (48..=52).contains(&some), "{all} {some}");
}

#[test]
fn a_cell_of_a_cohort_is_away_from_everyone_and_from_earlier_cohorts() {
    let rows: Rows = (0..300).map(|p| (p, if p < 200 { 0 } else { 4 }, 0)).collect();
    let (facts, seed, method) = (facts(&rows, &dimensions()), Seed::of(&[7; 32]), small());
    let (one, other): (RoaringBitmap, RoaringBitmap) = ((0..150).chain(200..230).collect(), (3..280).collect());
    let far: RoaringBitmap = (100..270).collect();
    let shape = shape(&[(0, 0)]);
    let of = |cohort, before: &[&RoaringBitmap]| {
        let cells = cells(&facts, &shape, Some("c"));
        let asked = Asked {
            cells: &cells,
            epoch: Timestamp::UNIX_EPOCH,
            facts: &facts,
            members: Some(cohort),
            before,
            seed: &seed,
            method: &method,
        };
        let table = asked.release(&mut Anchors::default()).unwrap();
        [0, 1].map(|code| table.cell(&[code]).persons().is_some())
    };
    assert_eq!(of(&one, &[]), [true, true]);
    assert_eq!(of(&other, &[]), [false, true], "three of the first code are not in it");
    assert_eq!(of(&far, &[]), [true, true]);
    assert_eq!(of(&far, &[&one, &other]), [true, true]);
    assert_eq!(of(&far, &[&(98..290).collect()]), [false, true], "two persons more, or less");
}

#[test]
fn limits_are_the_difference_at_least_and_each_cells_own() {
    let (seed, method) = (Seed::of(&[7; 32]), Method::default());
    let of = |n: u64| method.limit(|| seed.limit(CellId(u128::from(n)), Limit::Coarser(u128::from(n))));
    let all: Vec<u32> = (0..4_000).map(of).collect();
    assert!(all.iter().all(|limit| (10..=method.most_limit()).contains(limit)));
    let mean = f64::from(all.iter().sum::<u32>()) / 4_000.0;
    assert!((mean - 25.0).abs() < 0.5, "{mean}");
    let step = |of| seed.limit(CellId(1), of);
    assert!(step(Limit::Anchor(1)) != step(Limit::Coarser(1)) && step(Limit::Coarser(1)) != step(Limit::Coarser(2)));
}

#[test]
fn a_table_that_is_too_fine_is_refused() {
    let dimensions = [hierarchy("a", 100, 3), hierarchy("b", 100, 3)];
    let facts = facts(&vec![(1, 0, 0)], &dimensions);
    assert_eq!(shape(&[(0, 1), (0, 0)]).check(facts.hierarchies()), Err(ShapeError::Twice));
    assert_eq!(shape(&[(0, 0); 5]).check(facts.hierarchies()), Err(ShapeError::Dimensions(5)));
    let wide = FactsBuilder::new(vec![hierarchy("a", 700, 3), hierarchy("b", 700, 3)], false).finish();
    assert_eq!(shape(&[(0, 1), (1, 1)]).check(wide.hierarchies()), Err(ShapeError::Cells(2_101 * 2_101)));
    assert!(shape(&[(0, 1), (1, 0)]).check(wide.hierarchies()).is_ok());
}

#[test]
fn who_is_erased_is_gone_from_anchors_and_counts_as_a_difference() {
    let rows =
        |out: std::ops::Range<u32>| -> Rows { (0..100).filter(|p| !out.contains(p)).map(|p| (p, if p < 50 { 0 } else { 4 }, 0)).collect() };
    let mut anchors = Anchors::default();
    let of = |rows: &Rows, anchors: &mut Anchors| ask(&facts(rows, &dimensions()), &shape(&[(0, 0)]), anchors).cell(&[0]);
    let before = of(&rows(0..0), &mut anchors);
    let gone: RoaringBitmap = (0..3).collect();
    assert!(anchors.erase(&gone) && !anchors.erase(&gone));
    let bytes = anchors.to_bytes().unwrap();
    let mut anchors = Anchors::from_bytes(&bytes).unwrap();
    assert_eq!(of(&rows(0..3), &mut anchors), before, "three who are erased do not show");
    let later = of(&rows(0..10), &mut anchors);
    assert_ne!(later, before, "ten who are gone do, whatever became of them");
}

/// What was shown in an epoch is shown for it ever after, and nothing else.
#[test]
fn an_earlier_epoch_shows_what_it_showed() {
    let shape = shape(&[(0, 0)]);
    let codes = |table: &ReleasedTable| (0..3).map(|code| table.cell(&[code])).collect::<Vec<_>>();
    let at = |n: i64| Timestamp::from_second(n * 60).unwrap();
    let rows = |n: i64| -> Rows { (0..40 + 7 * n as u32).map(|p| (p, usize::from(p % 3 == 0) * 4, 0)).filter(|_| n != 7).collect() };
    let (mut anchors, mut shown) = (Anchors::default(), Vec::new());
    for n in 3..10 {
        let facts = facts(&rows(n), &dimensions());
        shown.push((n, codes(&ask_at(at(n), &facts, &shape, &mut anchors))));
        anchors = Anchors::from_bytes(&anchors.to_bytes().unwrap()).unwrap();
    }
    let cells = cells(&facts(&rows(9), &dimensions()), &shape, None);
    for (n, then) in &shown {
        let recalled = cells.recall(&anchors, at(*n)).unwrap();
        assert_eq!(codes(&recalled), *then, "epoch {n}");
    }
    assert!(shown.windows(2).filter(|pair| pair[0].1 != pair[1].1).count() > 2, "{shown:?}");
    assert_eq!(cells.recall(&anchors, at(2)).err(), Some(RecallError::NotAsked(Some(at(3)))));
    assert_eq!(cells.recall(&Anchors::default(), at(9)).err(), Some(RecallError::NotAsked(None)));
}

#[test]
fn rounding_is_the_other_method() {
    let method = Method::new(serde_json::from_str(r#"{"method":"rounding"}"#).unwrap()).unwrap();
    assert_eq!((method.threshold(), method.least_shown(), method.perturbation().is_none()), (8, 10, true));
    let rows: Rows = (0..63).map(|p| (p, 0, 0)).chain((100..112).map(|p| (p, 4, 0))).chain((200..207).map(|p| (p, 99, 0))).collect();
    let (facts, seed) = (facts(&rows, &dimensions()), Seed::of(&[7; 32]));
    let shape = shape(&[(0, 0)]);
    let cells = cells(&facts, &shape, None);
    let asked =
        Asked { cells: &cells, epoch: Timestamp::UNIX_EPOCH, facts: &facts, members: None, before: &[], seed: &seed, method: &method };
    let table = asked.release(&mut Anchors::default()).unwrap();
    // Those without a code are fewer than 8: they are redacted, and counted with the first shown group.
    assert_eq!([0, 1, 2].map(|code| table.cell(&[code]).persons()), [Some(70), Some(10), None]);
    assert_eq!([0, 1].map(|code| table.cell(&[code]).sum()), [None, None], "a sum would be exact");
}

#[test]
fn a_method_that_hides_nothing_is_refused() {
    for json in [
        r#"{"method":"cell_key","threshold":1}"#,
        r#"{"method":"cell_key","difference":1}"#,
        r#"{"method":"cell_key","bound":0}"#,
        r#"{"method":"rounding","redact":0}"#,
        r#"{"method":"rounding","to":1}"#,
    ] {
        assert!(Method::new(serde_json::from_str(json).unwrap()).is_err(), "{json}");
    }
    assert_eq!(Method::default().document(), &MethodDocument::default());
    assert!(serde_json::from_str::<MethodDocument>(r#"{"method":"none"}"#).is_err());
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
