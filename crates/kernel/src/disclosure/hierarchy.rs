//! Dimensions: published hierarchies of codes, from which the rows of every statistics table come.
//!
//! A hierarchy has levels, the coarsest first (county > hospital), and each code of a level has one parent on the level above. Each
//! level has a category more than codes: [`UNKNOWN`], for what is missing or in no list. A value is a *node*: a code of some level,
//! or nothing. What it is on a finer level than its own is unknown.

use crate::limits::{MAX_HIERARCHY_CODES, MAX_HIERARCHY_LEVELS};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// The category of what is missing, or in no list.
pub const UNKNOWN: &str = "unknown";

/// The document of a hierarchy, as the centre publishes it: of the kind `dimension`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HierarchyDocument {
    /// Its name: a letter, then letters, digits and `_`.
    pub name: String,
    /// What it is, for people.
    pub title: String,
    /// Where the list comes from, and which edition it is.
    pub source: String,
    /// Its levels, the coarsest first.
    pub levels: Vec<LevelDocument>,
    /// Its codes, in the order of tables.
    pub codes: Vec<CodeDocument>,
}

/// A level of a hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LevelDocument {
    /// Its name, as SQL names it.
    pub name: String,
    /// What it is, for people.
    pub title: String,
}

/// A code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeDocument {
    /// The name of its level.
    pub level: String,
    /// The code; no two on one level are equal.
    pub code: String,
    /// The code on the level above that it belongs to; none on the first level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// What it means.
    pub label: String,
    /// Other codes that data have for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
}

/// Why a hierarchy cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the dimension {name}: {what}")]
pub struct HierarchyError {
    name: String,
    what: String,
}

/// A value in a hierarchy: a code of some level, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Node(pub(super) u16);

/// A hierarchy that has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    name: String,
    title: String,
    source: String,
    levels: Vec<Level>,
    /// The node of each code, with its level.
    nodes: HashMap<String, Vec<(usize, Node)>>,
    count: usize,
}

/// A level of a hierarchy that has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    name: String,
    title: String,
    categories: Vec<Category>,
    /// The category of each node, with that of nothing at the end.
    of_node: Vec<u16>,
    /// The category on the level above of each category. That of unknown is unknown, which says nothing.
    above: Vec<u16>,
}

/// One row of a statistics table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Category {
    /// What the table shows, and what `WHERE dimension IN (...)` names.
    pub code: String,
    /// What it means.
    pub label: String,
}

impl HierarchyDocument {
    /// Reads the document's JSON.
    pub fn parse(json: &str) -> Result<Self, HierarchyError> {
        serde_json::from_str(json).map_err(|e| HierarchyError { name: "(unread)".to_owned(), what: e.to_string() })
    }

    /// Reads a list as the program carries them: lines of level, code, parent and label, parted by tabs, after lines that begin
    /// with `#` and one with the names of the columns. A fifth field has other codes for the same. The `# title:` and `# source:` lines say what it is.
    pub(super) fn from_tsv(name: &str, levels: &[(&str, &str)], text: &str) -> Self {
        let said = |what: &str| text.lines().find_map(|line| Some(line.strip_prefix('#')?.trim().strip_prefix(what)?.trim().to_owned()));
        let code = |line: &str| {
            let mut fields = line.split('\t').map(str::to_owned);
            let mut next = || fields.next().unwrap_or_default();
            let (level, code, parent, label, also) = (next(), next(), next(), next(), next());
            let also = also.split_whitespace().map(str::to_owned).collect();
            CodeDocument { level, code, parent: Some(parent).filter(|p| !p.is_empty()), label, also }
        };
        Self {
            name: name.to_owned(),
            title: said("title:").unwrap_or_default(),
            source: said("source:").unwrap_or_default(),
            levels: levels.iter().map(|(name, title)| LevelDocument { name: (*name).to_owned(), title: (*title).to_owned() }).collect(),
            codes: text.lines().filter(|l| !l.starts_with('#') && !l.is_empty()).skip(1).map(code).collect(),
        }
    }
}

impl Hierarchy {
    /// Checks a document and makes it usable.
    pub fn new(document: &HierarchyDocument) -> Result<Self, HierarchyError> {
        let failed = |what: String| HierarchyError { name: document.name.clone(), what };
        let names = std::iter::once(&document.name).chain(document.levels.iter().map(|l| &l.name));
        if let Some(name) = names.into_iter().find(|name| !is_name(name)) {
            return Err(failed(format!("`{name}` is no name; write a lower-case letter, then at most 62 of a-z 0-9 _")));
        }
        if document.levels.is_empty() || document.levels.len() > MAX_HIERARCHY_LEVELS {
            return Err(failed(format!("it has {} levels; it needs 1 to {MAX_HIERARCHY_LEVELS}", document.levels.len())));
        }
        if document.codes.len() > MAX_HIERARCHY_CODES {
            return Err(failed(format!("it has {} codes, more than {MAX_HIERARCHY_CODES}", document.codes.len())));
        }
        let mut levels: Vec<Level> = Vec::new();
        let mut nodes: HashMap<String, Vec<(usize, Node)>> = HashMap::new();
        let mut seen = HashSet::new();
        for (depth, level) in document.levels.iter().enumerate() {
            if !seen.insert(&level.name) {
                return Err(failed(format!("it has two levels {}", level.name)));
            }
            let mut categories: Vec<Category> = Vec::new();
            let mut of_node = vec![u16::MAX; document.codes.len() + 1];
            let mut above = Vec::new();
            for (node, code) in document.codes.iter().enumerate().filter(|(_, code)| code.level == level.name) {
                let bad = |what: &str| failed(format!("the code `{}` of the level {} {what}", code.code, level.name));
                if code.code.is_empty() || code.code == UNKNOWN {
                    return Err(bad("has a name that is taken"));
                }
                let known = nodes.entry(code.code.clone()).or_default();
                if known.iter().any(|(at, _)| *at == depth) {
                    return Err(bad("is there twice"));
                }
                let node_id = u16::try_from(node).map_err(|_| bad("is one too many"))?;
                known.push((depth, Node(node_id)));
                code.also.iter().for_each(|also| nodes.entry(also.clone()).or_default().push((depth, Node(node_id))));
                match (levels.last(), &code.parent) {
                    (None, None) => above.push(0),
                    (None, Some(_)) => return Err(bad("has a parent, on the first level")),
                    (Some(_), None) => return Err(bad("has no parent")),
                    (Some(upper), Some(parent)) => {
                        let position = upper.position(parent).filter(|p| *p != upper.unknown());
                        above.push(position.ok_or_else(|| bad(&format!("has the parent `{parent}`, which the level above has not")))? as u16);
                    }
                }
                of_node[node] = categories.len() as u16;
                categories.push(Category { code: code.code.clone(), label: code.label.clone() });
            }
            if categories.is_empty() {
                return Err(failed(format!("the level {} has no code", level.name)));
            }
            above.push(levels.last().map_or(0, |upper| upper.unknown() as u16));
            categories.push(Category { code: UNKNOWN.to_owned(), label: "Missing, or in no list".to_owned() });
            levels.push(Level { name: level.name.clone(), title: level.title.clone(), categories, of_node, above });
        }
        if let Some(code) = document.codes.iter().find(|code| !seen.contains(&code.level)) {
            return Err(failed(format!("the code `{}` is of the level {}, which there is not", code.code, code.level)));
        }
        spread(&mut levels);
        Ok(Self {
            name: document.name.clone(),
            title: document.title.clone(),
            source: document.source.clone(),
            levels,
            nodes,
            count: document.codes.len(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is, for people.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Where it comes from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Its levels, the coarsest first.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// The position of the level of this name.
    pub fn level(&self, name: &str) -> Option<usize> {
        self.levels.iter().position(|level| level.name == name)
    }

    /// The node of a code of whatever level; of several, the finest.
    pub fn node(&self, code: &str) -> Node {
        let nodes = self.nodes.get(code).and_then(|nodes| nodes.iter().max_by_key(|(level, _)| *level));
        nodes.map_or_else(|| self.nothing(), |(_, node)| *node)
    }

    /// The node of the longest code of at least so many bytes that `code` begins with: `C50.9` is `C50`, where that is the finest.
    pub fn node_by_prefix(&self, code: &str, least: usize) -> Node {
        let ends = (least.max(1)..=code.len()).rev().filter(|end| code.is_char_boundary(*end));
        let known = ends.map(|end| self.node(&code[..end])).find(|node| *node != self.nothing());
        known.unwrap_or_else(|| self.nothing())
    }

    /// The node of what is missing or in no list.
    pub fn nothing(&self) -> Node {
        Node(self.count as u16)
    }
}

/// A code's category on coarser levels than its own is that of its ancestors; on finer ones it is unknown.
fn spread(levels: &mut [Level]) {
    for depth in (0..levels.len()).rev() {
        let (coarser, finer) = levels.split_at_mut(depth);
        let Some(level) = finer.first_mut() else { continue };
        if let Some(upper) = coarser.last_mut() {
            for (node, category) in level.of_node.iter().enumerate().filter(|(_, category)| **category != u16::MAX) {
                upper.of_node[node] = level.above[usize::from(*category)];
            }
        }
        let unknown = level.unknown() as u16;
        level.of_node.iter_mut().filter(|category| **category == u16::MAX).for_each(|category| *category = unknown);
    }
}

impl Level {
    /// Its name, as SQL names it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is, for people.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Its categories, in the order of the list; the last is [`UNKNOWN`].
    pub fn categories(&self) -> &[Category] {
        &self.categories
    }

    /// The position of [`UNKNOWN`].
    pub fn unknown(&self) -> usize {
        self.categories.len() - 1
    }

    /// The position of a category.
    pub fn position(&self, code: &str) -> Option<usize> {
        self.categories.iter().position(|category| category.code == code)
    }

    /// The category of a node.
    pub fn category(&self, node: Node) -> usize {
        usize::from(self.of(node))
    }

    pub(super) fn of(&self, node: Node) -> u16 {
        self.of_node.get(usize::from(node.0)).copied().unwrap_or(self.unknown() as u16)
    }

    /// The category on the level above that a category belongs to.
    pub fn above(&self, category: usize) -> usize {
        self.above.get(category).map_or(0, |above| usize::from(*above))
    }
}

/// Whether it is a name that SQL takes without quotes.
pub fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= 63
        && bytes.next().is_some_and(|b| b.is_ascii_lowercase())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn places() -> HierarchyDocument {
        let text = "# title: Places\n# source: a list\nlevel\tcode\tparent\tlabel\n\
                    county\t03\t\tOslo\ncounty\t46\t\tVestland\nholder\tUllevål\t03\tUllevål\nholder\tHaukeland\t46\tHaukeland\n";
        HierarchyDocument::from_tsv("place", &[("county", "County"), ("holder", "Hospital")], text)
    }

    #[test]
    fn a_node_has_a_category_on_every_level() {
        let places = Hierarchy::new(&places()).unwrap();
        let on = |code: &str| {
            [0, 1].map(|level| {
                let level = &places.levels()[level];
                level.categories()[usize::from(level.of(places.node(code)))].code.clone()
            })
        };
        assert_eq!(on("Haukeland"), ["46", "Haukeland"]);
        assert_eq!(on("03"), ["03", UNKNOWN], "finer than it is, it is unknown");
        assert_eq!(on("Rikshospitalet"), [UNKNOWN, UNKNOWN]);
        assert_eq!((places.title(), places.source()), ("Places", "a list"));
        let holders = &places.levels()[1];
        assert_eq!([0, 1, 2].map(|category| holders.above(category)), [0, 1, 2]);
        assert_eq!(places.node_by_prefix("Ullevål sykehus", 1), places.node("Ullevål"));
        assert_eq!(places.node_by_prefix("Ø", 1), places.nothing());
    }

    #[test]
    fn what_is_no_hierarchy_is_refused() {
        type Change = fn(&mut HierarchyDocument);
        let changes: [(Change, &str); 9] = [
            (|d| d.name = "Place".to_owned(), "is no name"),
            (|d| d.levels.clear(), "it has 0 levels"),
            (|d| d.levels[1].name = "county".to_owned(), "two levels county"),
            (|d| d.codes[2].parent = None, "has no parent"),
            (|d| d.codes[2].parent = Some("99".to_owned()), "the parent `99`"),
            (|d| d.codes[2].parent = Some(UNKNOWN.to_owned()), "the parent `unknown`"),
            (|d| d.codes[0].parent = Some("46".to_owned()), "on the first level"),
            (|d| d.codes[1].code = "03".to_owned(), "is there twice"),
            (|d| d.codes[3].level = "ward".to_owned(), "the level ward"),
        ];
        for (change, told) in changes {
            let mut document = places();
            change(&mut document);
            let error = Hierarchy::new(&document).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        let json = serde_json::to_string(&places()).unwrap();
        assert_eq!(HierarchyDocument::parse(&json).unwrap(), places());
    }
}
