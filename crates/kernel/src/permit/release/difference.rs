//! Differencing: two tables that are each harmless can show a few persons by what is between them.

use super::check::{Finding, FindingKind, MIN_PERSONS, count};
use super::table::{Role, Table};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// An output that the same group of organisations has got, or asked for.
pub struct Earlier {
    /// The release's id.
    pub id: String,
    /// Its table.
    pub table: Table,
}

/// A finding for each earlier output that `table` differs from by few persons.
pub fn differences(table: &Table, earlier: &[Earlier]) -> Vec<Finding> {
    earlier.iter().filter_map(|other| difference(table, other)).collect()
}

fn difference(table: &Table, earlier: &Earlier) -> Option<Finding> {
    let (cells, rows) = (cells(table, &earlier.table), rows(table, &earlier.table));
    let mut said = Vec::new();
    if !cells.is_empty() {
        said.push(format!("{} counts differ by 1 to {} persons", cells.len(), MIN_PERSONS - 1));
    }
    if let Some((_, few)) = &rows {
        said.push(format!("it is the same table but for {few} rows"));
    }
    if said.is_empty() {
        return None;
    }
    let numbers: BTreeSet<usize> = cells.into_iter().chain(rows.into_iter().flat_map(|(numbers, _)| numbers)).collect();
    let what = format!("against the release {}: {}", earlier.id, said.join("; "));
    let finding = Finding::new(FindingKind::Difference, what).at(numbers.into_iter());
    Some(Finding { release: Some(earlier.id.clone()), ..finding })
}

/// The sums of a count over the rows that agree in `dimensions`, and the rows of each.
fn sums<'a>(table: &'a Table, dimensions: &[&str], counted: usize) -> HashMap<Vec<&'a str>, (u64, Vec<usize>)> {
    let place = |name: &&str| table.columns().iter().position(|column| column.name == *name);
    let places: Vec<usize> = dimensions.iter().filter_map(place).collect();
    let mut sums: HashMap<Vec<&str>, (u64, Vec<usize>)> = HashMap::new();
    for (number, row) in table.rows().iter().enumerate() {
        let Some(n) = row.get(counted).and_then(|text| count(text)) else { continue };
        let key = places.iter().map(|at| row.get(*at).map_or("", String::as_str)).collect();
        let (sum, rows) = sums.entry(key).or_default();
        *sum += n;
        rows.push(number);
    }
    sums
}

fn names(table: &Table, roles: &[Role]) -> BTreeSet<String> {
    table.columns().iter().filter(|c| roles.contains(&c.role)).map(|c| c.name.clone()).collect()
}

/// Rows of `table` whose count, summed over the dimensions that both tables have, differs from the earlier one by fewer than five:
/// the same table over other persons, or one that is a sum of the other.
fn cells(table: &Table, earlier: &Table) -> Vec<usize> {
    let dimensions = |table| names(table, &[Role::QuasiIdentifier, Role::FreeText]);
    let both: Vec<String> = dimensions(table).intersection(&dimensions(earlier)).cloned().collect();
    let both: Vec<&str> = both.iter().map(String::as_str).collect();
    let mut found = BTreeSet::new();
    for (mine, theirs) in counted_alike(table, earlier) {
        let (mine, theirs) = (sums(table, &both, mine), sums(earlier, &both, theirs));
        for (key, (sum, rows)) in &mine {
            let before = theirs.get(key).map_or(0, |(sum, _)| *sum);
            if (1..MIN_PERSONS).contains(&sum.abs_diff(before)) {
                found.extend(rows);
            }
        }
        // A cell that is gone shows in no row of this table.
        if theirs.iter().any(|(key, (sum, _))| !mine.contains_key(key) && (1..MIN_PERSONS).contains(sum)) {
            found.insert(0);
        }
    }
    found.into_iter().collect()
}

/// The count columns of both tables that can be compared: those of one name, or the only one of each.
fn counted_alike(table: &Table, earlier: &Table) -> Vec<(usize, usize)> {
    let (mine, theirs) = (table.places(Role::Count), earlier.places(Role::Count));
    if let ([mine], [theirs]) = (mine.as_slice(), theirs.as_slice()) {
        return vec![(*mine, *theirs)];
    }
    let name = |table: &Table, at: usize| table.columns().get(at).map(|column| column.name.clone());
    let same = |mine: usize| theirs.iter().find(|their| name(earlier, **their) == name(table, mine)).map(|their| (mine, *their));
    mine.into_iter().filter_map(same).collect()
}

/// Whether both are the same table but for fewer than five rows on either side: the rows of `table` that are new, and how many
/// differ. Rows that only repeat others count too.
fn rows(table: &Table, earlier: &Table) -> Option<(Vec<usize>, usize)> {
    let all = |table: &Table| table.columns().iter().map(|c| c.name.clone()).collect::<BTreeSet<_>>();
    if all(table) != all(earlier) {
        return None;
    }
    let order: Vec<usize> = table.columns().iter().filter_map(|c| earlier.columns().iter().position(|e| e.name == c.name)).collect();
    let mut left: BTreeMap<Vec<&str>, usize> = BTreeMap::new();
    for row in earlier.rows() {
        *left.entry(order.iter().map(|at| row.get(*at).map_or("", String::as_str)).collect()).or_default() += 1;
    }
    let mut added = Vec::new();
    for (number, row) in table.rows().iter().enumerate() {
        match left.get_mut(&row.iter().map(String::as_str).collect::<Vec<_>>()) {
            Some(there) if *there > 0 => *there -= 1,
            _ => added.push(number),
        }
    }
    let gone: usize = left.values().sum();
    let common = table.rows().len() - added.len();
    let few = added.len() < MIN_PERSONS as usize && gone < MIN_PERSONS as usize;
    let differ = added.len() + gone;
    (differ > 0 && few && common > 0).then_some((added, differ))
}
