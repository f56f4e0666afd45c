//! Where in a resource something stands, without allocating until somebody asks.

use std::fmt;

/// A place: a chain of names on the stack, from the innermost outwards.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'p> {
    parent: Option<&'p Place<'p>>,
    name: &'p str,
    index: Option<usize>,
}

impl<'p> Place<'p> {
    /// The root: a resource type.
    pub(super) fn root(name: &'p str) -> Self {
        Self { parent: None, name, index: None }
    }

    /// An element inside.
    pub(super) fn child(&'p self, name: &'p str) -> Self {
        Self { parent: Some(self), name, index: None }
    }

    /// One of the element's repetitions.
    pub(super) fn at(self, index: usize) -> Self {
        Self { index: Some(index), ..self }
    }
}

/// FHIRPath as OperationOutcome.issue.expression wants it: element names, `.` and indexes.
impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            write!(f, "{parent}.")?;
        }
        f.write_str(self.name)?;
        self.index.map_or(Ok(()), |index| write!(f, "[{index}]"))
    }
}
