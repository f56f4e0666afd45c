//! With which method a version was written.

/// An HTTP method of FHIR's interactions, as `Bundle.entry.request.method` of a history has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A create whose id the server gave.
    Post,
    /// An update, or a create with the client's id.
    Put,
    /// A patch.
    Patch,
    /// A deletion.
    Delete,
}

impl Method {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
        }
    }

    /// What stands in the journal. 0, 1 and NULL take no byte of a record's body, so that SQLite reads them without reading the JSON
    /// before them.
    pub(super) fn code(self) -> Option<i64> {
        match self {
            Method::Post => Some(0),
            Method::Patch => Some(1),
            Method::Put | Method::Delete => None,
        }
    }

    pub(super) fn read(deleted: bool, code: Option<i64>) -> Self {
        match (deleted, code) {
            (true, _) => Method::Delete,
            (false, Some(0)) => Method::Post,
            (false, Some(_)) => Method::Patch,
            (false, None) => Method::Put,
        }
    }
}
