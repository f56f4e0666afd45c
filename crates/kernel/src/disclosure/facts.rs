//! What statistics count: rows of a live table at an epoch, each with its person and a node of every dimension.

use super::hierarchy::{Hierarchy, Node};
use crate::ids::PatientOrdinal;
use std::sync::Arc;

/// The rows that the cells of one statistics table are counted from, in the order of persons and, for one person, of time.
pub struct Facts {
    hierarchies: Vec<Arc<Hierarchy>>,
    persons: Vec<u32>,
    /// For each dimension, the node of each row.
    nodes: Vec<Vec<u16>>,
    /// What is added up, where the table has something that can be.
    values: Option<Vec<f64>>,
}

/// Rows that are being collected, in any order.
pub struct FactsBuilder {
    hierarchies: Vec<Arc<Hierarchy>>,
    rows: Vec<(u32, i32, u32)>,
    nodes: Vec<Vec<u16>>,
    values: Option<Vec<f64>>,
}

impl FactsBuilder {
    /// For a table with these dimensions, and with values or not.
    pub fn new(hierarchies: Vec<Arc<Hierarchy>>, with_values: bool) -> Self {
        let nodes = vec![Vec::new(); hierarchies.len()];
        Self { hierarchies, rows: Vec::new(), nodes, values: with_values.then(Vec::new) }
    }

    /// A row: whose it is, its day (days since 1970-01-01; what has none is the earliest), its node of each dimension in their
    /// order, its value. What is no number is no value.
    pub fn add(&mut self, person: PatientOrdinal, day: Option<i32>, nodes: &[Node], value: Option<f64>) {
        self.rows.push((person.0, day.unwrap_or(i32::MIN), self.rows.len() as u32));
        for (column, node) in self.nodes.iter_mut().zip(nodes) {
            column.push(node.0);
        }
        if let Some(values) = &mut self.values {
            values.push(value.filter(|v| v.is_finite()).unwrap_or(f64::NAN));
        }
    }

    /// The rows, in their order.
    pub fn finish(mut self) -> Facts {
        self.rows.sort_unstable();
        let in_order = |column: &Vec<u16>| self.rows.iter().map(|(_, _, at)| column[*at as usize]).collect();
        let nodes = self.nodes.iter().map(in_order).collect();
        let values = self.values.as_ref().map(|v| self.rows.iter().map(|(_, _, at)| v[*at as usize]).collect());
        Facts { hierarchies: self.hierarchies, persons: self.rows.iter().map(|(person, _, _)| *person).collect(), nodes, values }
    }
}

impl Facts {
    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.persons.len()
    }

    /// The dimensions, in the order of the nodes.
    pub fn hierarchies(&self) -> &[Arc<Hierarchy>] {
        &self.hierarchies
    }

    /// Whose row it is.
    pub(super) fn person(&self, row: usize) -> u32 {
        self.persons[row]
    }

    /// The nodes of a dimension.
    pub(super) fn nodes(&self, dimension: usize) -> &[u16] {
        &self.nodes[dimension]
    }

    /// The value of a row; 0 where it has none.
    pub(super) fn value(&self, row: usize) -> f64 {
        self.values.as_ref().map_or(0.0, |values| if values[row].is_nan() { 0.0 } else { values[row] })
    }

    /// Whether a row has a value.
    pub(super) fn has_value(&self, row: usize) -> bool {
        self.values.as_ref().is_some_and(|values| !values[row].is_nan())
    }

    /// How many bytes it takes.
    pub fn bytes(&self) -> usize {
        let row = 4 + 2 * self.nodes.len() + if self.values.is_some() { 8 } else { 0 };
        row * self.persons.len()
    }
}
