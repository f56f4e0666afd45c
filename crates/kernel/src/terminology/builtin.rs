//! The code systems and value sets that come with the program: those that R4 is bound to.
// The table `data/terminology-r4.tsv` is made from HL7's CC0 files by `examples/reduce_terminology.rs`.

use super::value_set::{Filter, Part};
use super::{CodeSystem, Content, Source, Text, ValueSet, canonical};
use crate::hash::HashMap;
use std::sync::{Arc, LazyLock};

static BUILTIN: LazyLock<Builtin> = LazyLock::new(|| {
    let mut builtin = load(include_str!("../../data/terminology-r4.tsv"));
    for (urls, title, stems, table) in HIERARCHIES {
        for url in *urls {
            let system = hierarchy(url, title, stems, table);
            builtin.systems.insert(system.url.clone(), Arc::new(system));
        }
    }
    builtin
});

/// The hierarchies that statistics have, as code systems: their URLs (HL7's and the Norwegian OIDs), their title, the levels whose codes
/// others begin with, and their table.
const HIERARCHIES: &[(&[&str], &str, &[&str], &str)] = &[
    (
        &["http://hl7.org/fhir/sid/icd-10", "urn:oid:2.16.578.1.12.4.1.1.7110"],
        "ICD-10: chapters, blocks and three-character categories",
        &["icd10_category"],
        include_str!("../../data/statistics/icd10.tsv"),
    ),
    (
        &["http://www.whocc.no/atc", "urn:oid:2.16.578.1.12.4.1.1.7180"],
        "ATC: levels 1 to 3",
        &["atc_1", "atc_2", "atc_3"],
        include_str!("../../data/statistics/atc.tsv"),
    ),
];

/// The definitions that come with the program.
pub fn builtin() -> &'static Builtin {
    &BUILTIN
}

/// See [`builtin`].
#[derive(Default)]
pub struct Builtin {
    systems: HashMap<Text, Arc<CodeSystem>>,
    sets: HashMap<Text, Arc<ValueSet>>,
}

impl Builtin {
    /// All code systems, in no order.
    pub fn code_systems(&self) -> impl Iterator<Item = &Arc<CodeSystem>> {
        self.systems.values()
    }

    /// All value sets, in no order.
    pub fn value_sets(&self) -> impl Iterator<Item = &Arc<ValueSet>> {
        self.sets.values()
    }
}

impl Source for Builtin {
    fn code_system(&self, url: &str) -> Option<Arc<CodeSystem>> {
        let (url, version) = canonical(url);
        self.systems.get(url).filter(|system| version.is_none_or(|v| v == system.version)).cloned()
    }

    fn value_set(&self, url: &str) -> Option<Arc<ValueSet>> {
        let (url, version) = canonical(url);
        self.sets.get(url).filter(|set| version.is_none_or(|v| v == set.version)).cloned()
    }
}

/// A table of level, code, parent and label. Codes that it lacks are below the one that they begin with.
fn hierarchy(url: &'static str, title: &'static str, stems: &[&str], table: &'static str) -> CodeSystem {
    let mut system = CodeSystem::new(url.into(), "".into(), title.into(), Content::Part);
    for line in table.lines().filter(|line| !line.starts_with('#')).skip(1) {
        let mut columns = line.split('\t');
        let mut next = || columns.next().unwrap_or_default();
        let (level, code, parent, label) = (next(), next(), next(), next());
        let parent = system.place(parent);
        let at = system.add(code.into(), label.into(), parent);
        if stems.contains(&level) {
            system.set_stem(at);
        }
    }
    system
}

/// What the lines of the table are about.
enum Open {
    Nothing,
    System(CodeSystem),
    Set(ValueSet),
}

/// Reads the table. It is part of the program, and a test holds that all of it is understood: nothing here returns an error.
fn load(table: &'static str) -> Builtin {
    let (mut builtin, mut open) = (Builtin::default(), Open::Nothing);
    // The concepts that are open, one for each level.
    let mut above: Vec<u32> = Vec::new();
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let mut columns = line.split('\t');
        let mut next = || Text::Borrowed(columns.next().unwrap_or_default());
        match (&mut open, &*next()) {
            (_, "CodeSystem") => {
                let (url, version, content, title) = (next(), next(), next(), next());
                let content = if content == "complete" { Content::Complete } else { Content::Part };
                builtin.close(std::mem::replace(&mut open, Open::System(CodeSystem::new(url, version, title, content))));
            }
            (_, "ValueSet") => {
                let set = ValueSet { url: next(), version: next(), title: next(), include: Vec::new(), exclude: Vec::new() };
                builtin.close(std::mem::replace(&mut open, Open::Set(set)));
            }
            (Open::System(system), "") => concept(system, line, &mut above),
            (Open::Set(set), "+") => set.include.push(part(line)),
            (Open::Set(set), _) => set.exclude.push(part(line)),
            _ => {}
        }
    }
    builtin.close(open);
    builtin
}

impl Builtin {
    fn close(&mut self, open: Open) {
        match open {
            Open::Nothing => {}
            Open::System(system) => drop(self.systems.insert(system.url.clone(), Arc::new(system))),
            Open::Set(set) => drop(self.sets.insert(set.url.clone(), Arc::new(set))),
        }
    }
}

fn concept(system: &mut CodeSystem, line: &'static str, above: &mut Vec<u32>) {
    let text = line.trim_start_matches('\t');
    let level = line.len() - text.len() - 1;
    let (code, display) = text.split_once('\t').unwrap_or((text, ""));
    above.truncate(level);
    let also = code.strip_prefix('>').filter(|code| !code.is_empty() && !text.contains('\t'));
    let at = system.add(also.unwrap_or(code).into(), display.into(), above.last().copied());
    if also.is_none() {
        system.describe(at, display.into());
        above.push(at);
    }
}

fn part(line: &'static str) -> Part {
    let mut part = Part::default();
    for column in line.split('\t').skip(1) {
        match column.split_once('=') {
            Some(("system", url)) => part.system = Some(url.into()),
            Some(("valueSet", url)) => part.value_sets.push(url.into()),
            Some(("code", code)) => part.codes.get_or_insert_default().push((code.into(), "".into())),
            Some(("filter", filter)) => {
                let mut words = filter.splitn(3, ' ');
                let mut next = || Text::Borrowed(words.next().unwrap_or_default());
                part.filters.push(Filter { property: next(), operator: next(), value: next() });
            }
            _ => part.elsewhere = true,
        }
    }
    part
}
