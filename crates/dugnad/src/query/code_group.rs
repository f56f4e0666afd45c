//! The table `code_group`: the groups that each code of the published dimensions is in, so that SQL can join codes with their
//! chapters, blocks and groups. It is about nobody, and is what is published now, whatever commit is asked about.

use super::source::Source;
use super::statistics::DIMENSION;
use datafusion::arrow::array::{Array, ArrayRef, DictionaryArray};
use datafusion::arrow::datatypes::UInt32Type;
use dugnad_kernel::database::Database;
use dugnad_kernel::disclosure::{HierarchyDocument, carried};
use dugnad_kernel::live::schema::{LiveColumn, Storage, TableSchema};
use dugnad_kernel::live::{Condition, Damaged, RowFilter, Visible};
use dugnad_kernel::views::About;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// Its name, which permits name like that of any other table.
pub(super) const CODE_GROUP: &str = "code_group";

const COLUMNS: [(&str, &str); 7] = [
    ("dimension", "The list that the code is of, such as icd10, atc or procedure."),
    ("level", "The level of the code in it."),
    ("code", "The code."),
    ("display", "What it means."),
    ("group_level", "The level of a group that it is in; its own level for itself."),
    ("group_code", "The code of that group."),
    ("group_display", "What that group is."),
];

/// Its columns.
pub(super) static SCHEMA: LazyLock<Arc<TableSchema>> = LazyLock::new(|| {
    let column = |(name, description): &(&str, &str)| LiveColumn {
        name: (*name).to_owned(),
        storage: Storage::Code,
        description: (*description).to_owned(),
    };
    let columns = COLUMNS.iter().map(column).collect();
    let description = "The groups of codes: each code of the published dimensions with every group that it is in.".to_owned();
    Arc::new(TableSchema { name: CODE_GROUP.to_owned(), description, columns, about: About::Nobody, hidden: false })
});

/// Its rows.
#[derive(Debug)]
pub(super) struct CodeGroups {
    columns: Vec<ArrayRef>,
}

/// The rows of the dimensions that the program carries.
static CARRIED: LazyLock<Arc<CodeGroups>> = LazyLock::new(|| Arc::new(CodeGroups::of(&carried())));

impl CodeGroups {
    /// What is published now.
    pub fn published(database: &Database) -> Arc<Self> {
        let documents = database.documents(DIMENSION).unwrap_or_default();
        let own: Vec<HierarchyDocument> = documents.iter().filter_map(|document| HierarchyDocument::parse(&document.json).ok()).collect();
        if own.is_empty() {
            return Arc::clone(&CARRIED);
        }
        let others = carried().into_iter().filter(|carried| own.iter().all(|own| own.name != carried.name));
        Arc::new(Self::of(&others.chain(own.iter().cloned()).collect::<Vec<_>>()))
    }

    fn of(dimensions: &[HierarchyDocument]) -> Self {
        let mut rows: Vec<[&str; COLUMNS.len()]> = Vec::new();
        for dimension in dimensions {
            let levels: HashMap<&str, usize> = dimension.levels.iter().enumerate().map(|(at, level)| (&*level.name, at)).collect();
            let codes: HashMap<(usize, &str), _> =
                dimension.codes.iter().filter_map(|code| Some(((*levels.get(&*code.level)?, &*code.code), code))).collect();
            for code in &dimension.codes {
                let (mut group, mut level) = (code, levels.get(&*code.level).copied().unwrap_or_default());
                loop {
                    for name in std::iter::once(&code.code).chain(&code.also) {
                        rows.push([&dimension.name, &code.level, name, &code.label, &group.level, &group.code, &group.label]);
                    }
                    let above = group
                        .parent
                        .as_deref()
                        .zip(level.checked_sub(1))
                        .and_then(|(parent, above)| Some((above, *codes.get(&(above, parent))?)));
                    let Some((above, parent)) = above else { break };
                    (group, level) = (parent, above);
                }
            }
        }
        let column = |at: usize| -> ArrayRef { Arc::new(rows.iter().map(|row| Some(row[at])).collect::<DictionaryArray<UInt32Type>>()) };
        Self { columns: (0..COLUMNS.len()).map(column).collect() }
    }
}

impl Source for CodeGroups {
    fn schema(&self) -> &Arc<TableSchema> {
        &SCHEMA
    }

    fn parts(&self) -> usize {
        1
    }

    fn rows(&self, _part: usize) -> usize {
        self.columns.first().map_or(0, |column| column.len())
    }

    fn visible(&self, _part: usize, _filter: &RowFilter) -> Result<Visible, Damaged> {
        Ok(Visible::All)
    }

    fn column(&self, _part: usize, position: usize) -> Result<ArrayRef, Damaged> {
        let nowhere = || Damaged { file: CODE_GROUP.to_owned(), what: format!("there is no column {position}") };
        self.columns.get(position).cloned().ok_or_else(nowhere)
    }

    fn may_meet(&self, _part: usize, _condition: &Condition) -> bool {
        true
    }
}
