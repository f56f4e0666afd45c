//! The published lists that the program carries, and how a value becomes a node of one.

use super::hierarchy::{CodeDocument, Hierarchy, HierarchyDocument, LevelDocument, Node};
use jiff::civil::Date;

/// The first year of the dimension `time` that is a category of its own: electronic records of hospitals thin out before.
const FIRST_YEAR: i16 = 2000;

/// The county of holders that no list places.
const UNPLACED: &str = "unplaced";

const HOLDERS: &str = include_str!("../../data/statistics/holders.tsv");
const POPULATION: &str = include_str!("../../data/statistics/population.tsv");

/// The dimensions of the program, but for those of time and place: name and document.
pub fn carried() -> Vec<HierarchyDocument> {
    let tsv = HierarchyDocument::from_tsv;
    vec![
        flat(
            "sex",
            "Administrative gender",
            "HL7 FHIR R4, value set administrative-gender",
            &[("female", "Female"), ("male", "Male"), ("other", "Other")],
        ),
        age(),
        flat(
            "treatment_kind",
            "Kind of treatment",
            "The table treatment of this database",
            &[
                ("surgery", "Surgery"),
                ("radiotherapy", "Radiotherapy"),
                ("drug_administration", "Administration of a drug"),
                ("immunization", "Immunisation"),
                ("other_procedure", "Any other procedure"),
            ],
        )
        .with_level("kind"),
        flat(
            "stay_days",
            "Length of stay in days",
            "This database",
            &[
                ("0", "Less than a day"),
                ("1", "1 day"),
                ("2-3", "2 to 3 days"),
                ("4-7", "4 to 7 days"),
                ("8-14", "8 to 14 days"),
                ("15-30", "15 to 30 days"),
                ("31+", "31 days or longer"),
            ],
        ),
        tsv(
            "icd10",
            &[("icd10_chapter", "Chapter of ICD-10"), ("icd10_block", "Block of ICD-10"), ("icd10_category", "Category of ICD-10")],
            include_str!("../../data/statistics/icd10.tsv"),
        ),
        atc(""),
        atc("_before"),
        follow_up(),
        exit(),
        tsv(
            "procedure",
            &[("procedure_chapter", "Chapter of NCSP"), ("procedure_group", "Group of NCSP")],
            include_str!("../../data/statistics/ncsp.tsv"),
        ),
        tsv("encounter_class", &[("encounter_class", "Class of encounter")], include_str!("../../data/statistics/encounter_class.tsv")),
        tsv(
            "tumour_stage",
            &[("stage", "TNM stage group"), ("substage", "TNM stage subgroup")],
            include_str!("../../data/statistics/tumour_stage.tsv"),
        ),
        tsv("laboratory_test", &[("test", "Laboratory test or measurement")], include_str!("../../data/statistics/tests.tsv")),
    ]
}

impl HierarchyDocument {
    /// The same, whose only level has another name than the dimension.
    fn with_level(mut self, name: &str) -> Self {
        self.levels.iter_mut().for_each(|level| name.clone_into(&mut level.name));
        self.codes.iter_mut().for_each(|code| name.clone_into(&mut code.level));
        self
    }
}

fn code(level: &str, code: impl Into<String>, parent: Option<String>, label: impl Into<String>) -> CodeDocument {
    CodeDocument { level: level.to_owned(), code: code.into(), parent, label: label.into(), also: Vec::new() }
}

fn level(name: &str, title: &str) -> LevelDocument {
    LevelDocument { name: name.to_owned(), title: title.to_owned() }
}

fn flat(name: &str, title: &str, source: &str, codes: &[(&str, &str)]) -> HierarchyDocument {
    HierarchyDocument {
        name: name.to_owned(),
        title: title.to_owned(),
        source: source.to_owned(),
        levels: vec![level(name, title)],
        codes: codes.iter().map(|(c, label)| code(name, *c, None, *label)).collect(),
    }
}

/// ATC, its levels with this at the end of their names: a table can have it twice.
fn atc(end: &str) -> HierarchyDocument {
    let levels = [("atc_1", "Anatomical main group"), ("atc_2", "Therapeutic subgroup"), ("atc_3", "Pharmacological subgroup")];
    let mut atc = HierarchyDocument::from_tsv("atc", &levels, include_str!("../../data/statistics/atc.tsv"));
    atc.name.push_str(end);
    atc.levels.iter_mut().for_each(|level| level.name.push_str(end));
    atc.codes.iter_mut().for_each(|code| code.level.push_str(end));
    atc
}

/// Months since the beginning: years, quarters of a year, months, for ten years.
fn follow_up() -> HierarchyDocument {
    let mut codes = Vec::new();
    for year in 0..10 {
        let name = |from: i32, months: i32| format!("{from}-{}", from + months - 1);
        let of_year = name(12 * year, 12);
        codes.push(code("follow_up_year", &of_year, None, format!("Year {} after the beginning", year + 1)));
        for quarter in 0..4 {
            let of_quarter = name(12 * year + 3 * quarter, 3);
            codes.push(code("follow_up_quarter", &of_quarter, Some(of_year.clone()), format!("Months {of_quarter}")));
            let months = (0..3).map(|month| (12 * year + 3 * quarter + month).to_string());
            codes.extend(months.map(|month| code("follow_up_month", &month, Some(of_quarter.clone()), format!("Month {month}"))));
        }
    }
    HierarchyDocument {
        name: "follow_up".to_owned(),
        title: "Months since the beginning".to_owned(),
        source: "This database".to_owned(),
        levels: vec![
            level("follow_up_year", "Year since the beginning, in months"),
            level("follow_up_quarter", "Quarter since the beginning, in months"),
            level("follow_up_month", "Month since the beginning"),
        ],
        codes,
    }
}

/// What follow-up ended with, and then when: so that events and censored of a step are no parts of a cell that can be asked for.
fn exit() -> HierarchyDocument {
    let steps = follow_up();
    let mut codes = Vec::new();
    for (outcome, label) in [("event", "Death"), ("censored", "Alive at the epoch")] {
        codes.push(code("outcome", outcome, None, label));
        let of = |name: &str| format!("{outcome} {name}");
        let step = |step: &CodeDocument| {
            let parent = step.parent.as_deref().map_or_else(|| outcome.to_owned(), of);
            code(&format!("exit_{}", step.level), of(&step.code), Some(parent), format!("{label}: {}", step.label))
        };
        codes.extend(steps.codes.iter().map(step));
    }
    let levels = steps.levels.iter().map(|l| level(&format!("exit_{}", l.name), &format!("Outcome, and {}", l.title.to_lowercase())));
    HierarchyDocument {
        name: "exit".to_owned(),
        title: "What follow-up ended with, and when".to_owned(),
        source: "This database".to_owned(),
        levels: std::iter::once(level("outcome", "What follow-up ended with")).chain(levels).collect(),
        codes,
    }
}

/// Bands of twenty years and of ten.
fn age() -> HierarchyDocument {
    let groups = [("0-19", 0, 2), ("20-39", 2, 4), ("40-59", 4, 6), ("60-79", 6, 8), ("80+", 8, 10)];
    let mut codes = Vec::new();
    for (group, from, to) in groups {
        codes.push(code("age_group", group, None, format!("{group} years")));
        let band = |decade: i32| if decade == 9 { "90+".to_owned() } else { format!("{}-{}", decade * 10, decade * 10 + 9) };
        codes.extend((from..to).map(|d| code("age_band", band(d), Some(group.to_owned()), format!("{} years", band(d)))));
    }
    HierarchyDocument {
        name: "age".to_owned(),
        title: "Age at the epoch".to_owned(),
        source: "This database".to_owned(),
        levels: vec![level("age_group", "Age, in bands of twenty years"), level("age_band", "Age, in bands of ten years")],
        codes,
    }
}

/// The calendar up to a year: that of the epoch.
pub fn time(last: i16) -> HierarchyDocument {
    let before = format!("before {FIRST_YEAR}");
    let mut codes = vec![code("year", &before, None, format!("Before {FIRST_YEAR}"))];
    for year in FIRST_YEAR..=last {
        codes.push(code("year", year.to_string(), None, year.to_string()));
        for quarter in 1..=4 {
            let name = format!("{year}-Q{quarter}");
            codes.push(code("quarter", &name, Some(year.to_string()), &name));
            let month = |m: i32| format!("{year}-{m:02}");
            codes.extend((quarter * 3 - 2..=quarter * 3).map(|m| code("month", month(m), Some(name.clone()), month(m))));
        }
    }
    HierarchyDocument {
        name: "time".to_owned(),
        title: "When it began".to_owned(),
        source: "The calendar of Europe/Oslo".to_owned(),
        levels: vec![level("year", "Year"), level("quarter", "Quarter"), level("month", "Month")],
        codes,
    }
}

/// The registered holders in their counties.
pub fn provider<'a>(holders: impl IntoIterator<Item = &'a str>) -> HierarchyDocument {
    let placed = HierarchyDocument::from_tsv("provider", &[("county", "County"), ("holder", "Hospital")], HOLDERS);
    let mut codes: Vec<CodeDocument> = placed.codes.iter().filter(|c| c.level == "county").cloned().collect();
    let mut unplaced = false;
    for holder in holders {
        let county = placed.codes.iter().find(|c| c.level == "holder" && c.code == holder).and_then(|c| c.parent.clone());
        unplaced |= county.is_none();
        codes.push(code("holder", holder, Some(county.unwrap_or_else(|| UNPLACED.to_owned())), holder));
    }
    if unplaced {
        codes.push(code("county", UNPLACED, None, "A hospital whose county is in no list"));
    }
    HierarchyDocument { title: "Where it was written".to_owned(), codes, ..placed }
}

/// The inhabitants of a county (all if none is named), of a sex (both) and of an age band of ten years (all), as Statistics Norway
/// counted them; nobody where it counted nobody.
pub fn inhabitants(county: Option<&str>, sex: Option<&str>, age_band: Option<&str>) -> u64 {
    let is = |wanted: Option<&str>, has: &str| wanted.is_none_or(|wanted| wanted == has);
    let row = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [in_county, of_sex, in_band, persons] = fields.as_slice() else { return 0 };
        let counts = is(county, in_county) && is(sex, of_sex) && is(age_band, in_band);
        if counts { persons.parse().unwrap_or(0) } else { 0 }
    };
    POPULATION.lines().filter(|line| !line.starts_with('#')).map(row).sum()
}

impl Hierarchy {
    /// The node of the dimension `time` of a day.
    pub fn node_of_month(&self, day: Date) -> Node {
        if day.year() < FIRST_YEAR {
            self.node(&format!("before {FIRST_YEAR}"))
        } else {
            self.node(&format!("{}-{:02}", day.year(), day.month()))
        }
    }

    /// The node of the dimension `age` of who was born on `birth`, at the day `at`. A birth after that day is unknown.
    pub fn node_of_age(&self, birth: Date, at: Date) -> Node {
        if birth > at {
            return self.nothing();
        }
        let had_birthday = (at.month(), at.day()) >= (birth.month(), birth.day());
        self.node_of_number(f64::from(at.year() - birth.year() - i16::from(!had_birthday)))
    }

    /// The node of a number, in bands of the finest level.
    pub fn node_of_number(&self, number: f64) -> Node {
        let finest = self.levels().last();
        let within = |code: &&str| band(code).is_some_and(|(from, to)| number >= from && to.is_none_or(|to| number < to));
        let code = finest.and_then(|level| level.categories().iter().map(|c| c.code.as_str()).find(within));
        code.map_or_else(|| self.nothing(), |code| self.node(code))
    }
}

/// From where up to but not including where a code such as `20-29`, `7` or `90+` of whole numbers goes.
pub fn band(code: &str) -> Option<(f64, Option<f64>)> {
    let number = |text: &str| text.parse::<u32>().ok().map(f64::from);
    match (code.strip_suffix('+'), code.split_once('-')) {
        (Some(from), _) => Some((number(from)?, None)),
        (None, Some((from, to))) => Some((number(from)?, Some(number(to)? + 1.0))),
        (None, None) => number(code).map(|n| (n, Some(n + 1.0))),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use jiff::civil::date;

    fn on(document: &HierarchyDocument, node: impl Fn(&Hierarchy) -> Node) -> Vec<String> {
        let hierarchy = Hierarchy::new(document).unwrap();
        let node = node(&hierarchy);
        hierarchy.levels().iter().map(|level| level.categories()[usize::from(level.of(node))].code.clone()).collect()
    }

    #[test]
    fn every_list_is_a_hierarchy_with_a_source() {
        for document in carried() {
            let hierarchy = Hierarchy::new(&document).unwrap_or_else(|e| panic!("{e}"));
            assert!(!hierarchy.source().is_empty() && !hierarchy.title().is_empty(), "{}", hierarchy.name());
        }
        let count = |name: &str| {
            let hierarchy = Hierarchy::new(carried().iter().find(|d| d.name == name).unwrap()).unwrap();
            hierarchy.levels().iter().map(|l| l.categories().len() - 1).collect::<Vec<_>>()
        };
        // ICD-10 has 22 chapters; ATC has 14 main groups.
        assert_eq!((count("icd10")[0], count("atc")[0]), (22, 14));
        assert!(count("icd10")[2] > 2_000 && count("atc")[2] > 250);
    }

    #[test]
    fn codes_find_their_place() {
        let named = |name: &str| carried().into_iter().find(|d| d.name == name).unwrap();
        assert_eq!(on(&named("icd10"), |h| h.node_by_prefix("C50.9", 3)), ["II", "C50-C50", "C50"]);
        assert_eq!(on(&named("icd10"), |h| h.node_by_prefix("I0X", 3)), ["unknown"; 3], "not chapter I");
        assert_eq!(on(&named("atc"), |h| h.node_by_prefix("L01XX05", 1)), ["L", "L01", "L01X"]);
        assert_eq!(on(&named("age"), |h| h.node_of_age(date(1930, 6, 1), date(2026, 5, 31))), ["80+", "90+"]);
        assert_eq!(on(&named("age"), |h| h.node_of_age(date(2016, 6, 1), date(2026, 5, 31))), ["0-19", "0-9"]);
        assert_eq!(on(&named("age"), |h| h.node_of_age(date(2027, 6, 1), date(2026, 5, 31))), ["unknown"; 2]);
        assert_eq!(on(&named("stay_days"), |h| h.node_of_number(7.0)), ["4-7"]);
        assert_eq!(on(&time(2026), |h| h.node_of_month(date(2026, 11, 30))), ["2026", "2026-Q4", "2026-11"]);
        assert_eq!(on(&time(2026), |h| h.node_of_month(date(1999, 1, 1))), ["before 2000", "unknown", "unknown"]);
        assert_eq!(on(&time(2026), |h| h.node_of_month(date(2027, 1, 1))), ["unknown"; 3]);
        let provider = provider(["OUS Radiumhospitalet", "Et nytt sykehus"]);
        assert_eq!(on(&provider, |h| h.node("OUS Radiumhospitalet")), ["03", "OUS Radiumhospitalet"]);
        assert_eq!(on(&named("tumour_stage"), |h| h.node("c1A")), ["I", "IA"]);
        assert_eq!(on(&named("exit"), |h| h.node("event 13")), ["event", "event 12-23", "event 12-14", "event 13"]);
        assert_eq!(on(&named("follow_up"), |h| h.node_of_number(13.0)), ["12-23", "12-14", "13"]);
        assert_eq!(on(&provider, |h| h.node("Et nytt sykehus")), [UNPLACED, "Et nytt sykehus"]);
    }

    #[test]
    fn inhabitants_add_up() {
        let all = inhabitants(None, None, None);
        assert!((5_300_000..6_000_000).contains(&all), "{all}");
        let parts = inhabitants(None, Some("female"), None) + inhabitants(None, Some("male"), None);
        assert_eq!(parts, all);
        assert_eq!(inhabitants(Some("03"), Some("female"), Some("0-9")), 36_125);
        assert_eq!(inhabitants(Some("99"), None, None), 0);
    }
}
