#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::audit::VerifierKey;
use crate::permit::procedure::{By, CENTRE};
use ed25519_dalek::SigningKey;
use std::collections::BTreeMap;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn table(csv: &str) -> Table {
    Table::parse(csv, &BTreeMap::new()).unwrap()
}

fn kinds(table: &Table, sql: Option<&str>, earlier: &[Earlier]) -> Vec<&'static str> {
    check(table, sql, earlier).into_iter().map(|finding| finding.kind.name()).collect()
}

const COUNTS: &str = "SELECT gender, count(DISTINCT patient_key) AS persons FROM patient GROUP BY gender";

#[test]
fn csv_is_read_strictly() {
    let read = table("a,\"b \"\"x\"\", y\"\r\n1,\"two\nlines\"\r\n,\n");
    assert_eq!(read.columns().iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["a", "b \"x\", y"]);
    assert_eq!(read.rows(), [vec!["1".to_owned(), "two\nlines".to_owned()], vec![String::new(), String::new()]]);
    assert_eq!(table("a,b\n1,2").rows().len(), 1, "the last line end may be absent");
    for (wrong, why) in [
        ("", "no header"),
        ("a,a\n1,2\n", "a name twice"),
        ("a,\n1,2\n", "no name"),
        ("a,b\n1\n", "too few"),
        ("a\n1,2\n", "too many"),
        ("a\n\"1\n", "an open quote"),
        ("a\n\"1\"2\n", "after a quote"),
        ("a\n1\"2\n", "a quote inside"),
        ("a\n1\r2\n", "a lone carriage return"),
    ] {
        assert!(Table::parse(wrong, &BTreeMap::new()).is_err(), "{why}");
    }
    let unknown = BTreeMap::from([("z".to_owned(), Role::Measure)]);
    assert!(Table::parse("a\n1\n", &unknown).is_err());
}

#[test]
fn columns_are_taken_for_the_strictest_that_fits() {
    let csv = "patient_key,code,reference,gender,age,n,count(*),mean,note,started\n\
               k1,C50,11111111111,female,61,12,3,4.5,one two three four five six seven,2026-01-01\n";
    let roles: Vec<&str> = table(csv).columns().iter().map(|c| c.role.name()).collect();
    let quasi = "quasi_identifier";
    assert_eq!(roles, ["identifier", quasi, "identifier", quasi, quasi, "count", "count", "measure", "free_text", quasi]);
}

#[test]
fn small_cells_are_found_by_row_and_without_their_value() {
    let found = check(&table("gender,persons\nfemale,5\nmale,4\nother,0\nunknown,< 5\n"), Some(COUNTS), &[]);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].kind, found[0].column.as_deref(), found[0].rows.as_slice()),
        (FindingKind::SmallCell, Some("persons"), &[2, 3][..])
    );
    assert!(!found[0].what.contains("male"));
    assert_eq!(kinds(&table("gender,persons\nfemale,5\nmale,6\n"), Some(COUNTS), &[]), [] as [&str; 0]);
}

#[test]
fn groups_without_a_count_are_looked_at_by_their_persons() {
    let rows = |females: usize, males: usize| {
        let line = |gender: &'static str| move |n: usize| format!("{gender},1960,{n}.5\n");
        format!(
            "gender,birth_year,value\n{}{}",
            (0..females).map(line("female")).collect::<String>(),
            (0..males).map(line("male")).collect::<String>()
        )
    };
    assert_eq!(kinds(&table(&rows(5, 5)), Some("SELECT"), &[]), ["no_person_count"]);
    let found = check(&table(&rows(5, 4)), Some("SELECT"), &[]);
    assert_eq!((found[1].kind, found[1].rows.as_slice()), (FindingKind::KAnonymity, &[6, 7, 8, 9][..]));
    // With keys, persons are counted: five rows of one person are one.
    let keyed = "patient_key,gender\na,female\na,female\na,female\na,female\na,female\n";
    let found = check(&table(keyed), Some("SELECT"), &[]);
    assert_eq!(found.iter().map(|f| f.kind.name()).collect::<Vec<_>>(), ["identifier", "k_anonymity"]);
    assert!(found[1].what.contains("the smallest has 1"));
    assert_eq!(kinds(&table("gender\n"), Some("SELECT"), &[]), [] as [&str; 0], "an empty table shows nobody");
}

#[test]
fn what_is_said_about_a_column_is_compared_with_what_it_looks_like() {
    let declared = |name: &str, role| BTreeMap::from([(name.to_owned(), role)]);
    let read = Table::parse("gender,n\nfemale,2\n", &declared("n", Role::Measure)).unwrap();
    assert_eq!(kinds(&read, Some(COUNTS), &[]), ["declared", "no_person_count", "k_anonymity"]);
    let hidden = Table::parse("patient_key,n\nk,20\n", &declared("patient_key", Role::QuasiIdentifier)).unwrap();
    assert_eq!(kinds(&hidden, Some(COUNTS), &[]), ["declared", "identifier"], "a key stays one");
}

#[test]
fn counts_of_rows_and_supplied_tables_are_found() {
    let counted = table("gender,n\nfemale,20\n");
    assert_eq!(kinds(&counted, Some("SELECT gender, count(*) AS n FROM treatment GROUP BY gender"), &[]), ["rows_not_persons"]);
    assert_eq!(kinds(&counted, Some("SELECT sex, persons FROM statistics.patients GROUP BY sex"), &[]), [] as [&str; 0]);
    assert_eq!(kinds(&counted, None, &[]), ["supplied"]);
}

fn against(new: &str, old: &str) -> Vec<usize> {
    let earlier = [Earlier { id: "r0".into(), table: table(old) }];
    let found = check(&table(new), Some(COUNTS), &earlier);
    found.into_iter().filter(|f| f.kind == FindingKind::Difference).flat_map(|f| if f.rows.is_empty() { vec![0] } else { f.rows }).collect()
}

#[test]
fn differences_against_earlier_outputs() {
    let old = "county,gender,persons\nOslo,female,100\nOslo,male,90\nTroms,female,50\nTroms,male,40\n";
    assert_eq!(against(old, old), [] as [usize; 0], "the same again shows nothing new");
    assert_eq!(against(&old.replace("90", "91"), old), [2], "one person more");
    assert_eq!(against(&old.replace("90", "95"), old), [2], "one row is another one");
    assert_eq!(against("county,persons\nOslo,194\nTroms,90\n", old), [1], "a sum of it, over other persons");
    assert_eq!(against("county,persons\nOslo,190\nTroms,90\n", old), [] as [usize; 0], "a sum of it");
    assert_eq!(against("gender,persons\nfemale,153\nmale,130\n", old), [1]);
    assert_eq!(
        against("persons,gender,county\n100,female,Oslo\n90,male,Oslo\n50,female,Troms\n38,male,Troms\n", old),
        [4],
        "columns in another order"
    );
    assert_eq!(against("code,persons\nC50,1000\nC61,900\n", old), [] as [usize; 0], "another table");
    let listed = |rows: &[&str]| format!("code,value\n{}", rows.iter().map(|r| format!("{r}\n")).collect::<String>());
    let all = ["a,1.5", "a,1.5", "b,2.5", "c,3.5", "d,4.5", "e,5.5"];
    assert_eq!(against(&listed(&all), &listed(&all[1..])), [2], "one row more, although one like it was there");
    assert_eq!(against(&listed(&all[1..]), &listed(&all)), [0], "one row fewer shows in no row");
    assert_eq!(against(&listed(&["x,1.5", "y,2.5"]), &listed(&all)), [] as [usize; 0]);
}

fn actor(user: &str, organisation: &str, centre: bool) -> Actor {
    Actor { by: By { user: user.into(), organisation: organisation.into() }, group: organisation.into(), centre }
}

const CSV: &str = "gender,persons\nfemale,12\nmale,3\n";

fn requested() -> Release {
    let read = table(CSV);
    Release::request(Document {
        id: "r1".into(),
        title: "Persons by sex".into(),
        reason: "For a paper".into(),
        permit: "p1".into(),
        basis: Basis::EhdsPermit,
        organisation: "pharma".into(),
        group: "pharma".into(),
        requested: Signed { by: By { user: "anne".into(), organisation: "pharma".into() }, at: at("2026-03-10T09:00:00Z") },
        source: Source::Sql { sql: COUNTS.into(), commit: Some(7), timeline: Some("t".into()), epoch: None },
        program: "0.1.0".into(),
        columns: read.columns().to_vec(),
        rows: read.rows().len() as u64,
        findings: check(&read, Some(COUNTS), &[]),
        recipients: vec!["authority".into()],
        publish: false,
        files: vec![digest("result.csv", "text/csv", CSV.as_bytes())],
        outcome: None,
    })
    .unwrap()
}

fn end(release: &Release, who: &Actor, act: ReleaseAct) -> Result<Release, ProcedureError> {
    release.end(who, &["anne".into()], act, "Reasons", BTreeSet::from([FindingKind::SmallCell]), at("2026-03-11T09:00:00Z"))
}

fn approved() -> Release {
    end(&requested(), &actor("dag", CENTRE, true), ReleaseAct::Approve).unwrap()
}

#[test]
fn every_state_of_a_release_and_every_act() {
    let (anne, dag) = (actor("anne", "pharma", false), actor("dag", CENTRE, true));
    let acts = [(ReleaseAct::Approve, &dag), (ReleaseAct::Reject, &dag), (ReleaseAct::Withdraw, &anne)];
    let ends = [ReleaseState::Approved, ReleaseState::Rejected, ReleaseState::Withdrawn];
    let mut states = vec![requested()];
    states.extend(acts.iter().map(|(act, who)| end(&requested(), who, *act).unwrap()));
    assert_eq!(states.iter().map(Release::state).collect::<Vec<_>>(), ReleaseState::ALL);
    for release in &states {
        assert_eq!(Release::parse(&release.to_json().unwrap()).unwrap(), *release);
        for ((act, who), to) in acts.iter().zip(ends) {
            match end(release, who, *act) {
                Ok(after) => assert_eq!((release.state(), after.state()), (ReleaseState::Requested, to)),
                Err(error) => assert!(release.state() != ReleaseState::Requested && matches!(error, ProcedureError::State(_)), "{error}"),
            }
        }
        assert_eq!(Manifest::of(release).is_ok(), release.state() == ReleaseState::Approved);
    }
}

#[test]
fn who_asked_cannot_decide_and_findings_are_accepted_by_name() {
    for who in [actor("anne", "pharma", false), actor("anne", CENTRE, true), actor("erik", "pharma", true)] {
        for act in [ReleaseAct::Approve, ReleaseAct::Reject] {
            assert!(matches!(end(&requested(), &who, act), Err(ProcedureError::Person(_))), "{who:?}");
        }
    }
    assert!(matches!(end(&requested(), &actor("dag", CENTRE, true), ReleaseAct::Withdraw), Err(ProcedureError::Person(_))));
    let dag = actor("dag", CENTRE, true);
    let silent = requested().end(&dag, &[], ReleaseAct::Approve, "Reasons", BTreeSet::new(), at("2026-03-11T09:00:00Z"));
    assert!(matches!(silent, Err(ProcedureError::Field { field, what }) if field == "accepts" && what.contains("small_cell")));
    let mut document = requested().document().clone();
    document.findings = check(&table("patient_key\nk\n"), Some(COUNTS), &[]);
    let everything = document.findings.iter().map(|f| f.kind).collect();
    let keys = Release::request(document).unwrap().end(&dag, &[], ReleaseAct::Approve, "Reasons", everything, at("2026-03-11T09:00:00Z"));
    assert!(matches!(keys, Err(ProcedureError::State(said)) if said.contains("identifier")), "keys never leave");
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&std::array::from_fn(|i| i as u8))
}

fn verifier() -> VerifierKey {
    VerifierKey::new("dugnad.example/releases", key().verifying_key()).unwrap()
}

/// What `dugnad release verify` does: the manifest's signature, then the files.
fn holds(manifest: &[u8], csv: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(manifest) else { return false };
    Manifest::open(text, &verifier()).is_ok_and(|m| verify_files(&m, &[("result.csv".to_owned(), csv.to_vec())]).is_empty())
}

#[test]
fn every_changed_byte_of_a_release_is_found() {
    let manifest = Manifest::of(&approved()).unwrap().sign("dugnad.example/releases", &key()).unwrap().into_bytes();
    assert!(holds(&manifest, CSV.as_bytes()));
    for at in 0..manifest.len() {
        for bit in 0..8 {
            let mut changed = manifest.clone();
            changed[at] ^= 1 << bit;
            assert!(!holds(&changed, CSV.as_bytes()), "bit {bit} of byte {at} of the manifest");
        }
        assert!(!holds(&manifest[..at], CSV.as_bytes()), "cut at {at}");
    }
    for at in 0..CSV.len() {
        for bit in 0..8 {
            let mut changed = CSV.as_bytes().to_vec();
            changed[at] ^= 1 << bit;
            assert!(!holds(&manifest, &changed), "bit {bit} of byte {at} of the file");
        }
        assert!(!holds(&manifest, &CSV.as_bytes()[..at]));
    }
}

#[test]
fn files_that_are_missing_or_added_are_named() {
    let manifest = Manifest::of(&approved()).unwrap();
    assert_eq!(verify_files(&manifest, &[]), [VerifyError::Missing("result.csv".into())]);
    let files = [("result.csv".to_owned(), CSV.as_bytes().to_vec()), ("more.csv".to_owned(), Vec::new())];
    assert_eq!(verify_files(&manifest, &files), [VerifyError::Added("more.csv".into())]);
}

#[test]
fn another_key_or_another_kind_of_note_is_not_taken() {
    let manifest = Manifest::of(&approved()).unwrap();
    let other = SigningKey::from_bytes(&[7; 32]);
    let signed = manifest.sign("dugnad.example/releases", &other).unwrap();
    assert!(matches!(Manifest::open(&signed, &verifier()), Err(ManifestError::Note(_))));
    let checkpoint = crate::audit::Checkpoint { origin: "dugnad.example/releases".into(), size: 0, root: crate::audit::empty_root() };
    assert!(matches!(Manifest::open(&checkpoint.sign(&key()).unwrap(), &verifier()), Err(ManifestError::Form(_))));
    assert!(crate::audit::Checkpoint::open(&manifest.sign("dugnad.example/releases", &key()).unwrap(), &verifier()).is_err());
}

/// The bytes that docs/formats/release.md shows.
#[test]
fn the_format_is_as_documented() {
    let signed = Manifest::of(&approved()).unwrap().sign("dugnad.example/releases", &key()).unwrap();
    let documented = include_str!("../../../../../docs/formats/release.md");
    assert!(documented.contains(&format!("```\n{signed}```")), "docs/formats/release.md should show:\n{signed}");
    assert!(documented.contains(&verifier().to_string()), "{}", verifier());
    assert_eq!(Manifest::open(&signed, &verifier()).unwrap(), Manifest::of(&approved()).unwrap());
}

#[test]
fn chart_data_have_numbers() {
    let chart = table("gender,persons,mean\nfemale,12,1.50\n,< 5,\n").chart();
    assert_eq!(chart["rows"], serde_json::json!([["female", 12, 1.5], [null, "< 5", null]]));
    assert_eq!(chart["columns"][1], serde_json::json!({"name": "persons", "role": "count"}));
}
