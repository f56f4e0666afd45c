//! SQLViews: `treatment`, and the Libraries of type `sql-view` that the centre has published. Each is a name that permits may
//! hold like a table's; it is planned anew for every question, over the rows that the permit shows.

use super::code_group::CODE_GROUP;
use super::keys::Keys;
use super::library::{LibraryError, LibraryKind, SqlLibrary};
use super::seat::Ground;
use super::session::Session;
use super::source::Tables;
use super::world::{Blind, Lens, SqlView, World, whole};
use super::{QueryService, Shared};
use dugnad_kernel::database::ViewStatus;
use dugnad_kernel::disclosure::Pseudonyms;
use dugnad_kernel::live::RowFilter;
use dugnad_kernel::views::builtin::TREATMENT;
use dugnad_sql::bind::bind;
use dugnad_sql::limits::QUESTION_MEMORY;
use dugnad_sql::{QueryError, with_labels};
use serde_json::Value;
use std::sync::{Arc, PoisonError};

/// The resource type, which is also the kind of document.
pub const LIBRARY: &str = "Library";

/// Why a Library cannot be published or asked.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// It does not say what it has to.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// Its SQL cannot be planned over the tables that there are.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// Another table has its name.
    #[error("there is a table or view of the name {0} already; choose another")]
    Name(String),
}

impl QueryService {
    /// The published Libraries by id, those that cannot be read left out.
    pub fn libraries(&self) -> Vec<(String, SqlLibrary)> {
        let documents = self.shared.database.documents(LIBRARY).unwrap_or_default();
        documents.into_iter().filter_map(|d| Some((d.id, SqlLibrary::parse(d.json.as_bytes()).ok()?))).collect()
    }

    /// Takes note of what is published now. To be called after each change.
    pub fn find_views(&self) {
        let libraries = self.libraries();
        let view = |(_, library): &(String, SqlLibrary)| {
            let table = library.table.as_deref()?;
            let sql = self
                .labelled(library, &libraries, &library.sql)
                .inspect_err(|e| tracing::error!("the view {table} cannot be used: {e}"))
                .ok()?;
            Some(SqlView::new(table, &sql))
        };
        let treatment = SqlView::new(TREATMENT.0, TREATMENT.1);
        let views: Arc<[SqlView]> = std::iter::once(treatment).chain(libraries.iter().filter_map(view)).collect();
        *self.shared.views.write().unwrap_or_else(PoisonError::into_inner) = views;
    }

    /// Whether a SQLView, or a table of the program's that is no live table, has this name.
    pub fn has_view(&self, table: &str) -> bool {
        table == CODE_GROUP || self.shared.views().iter().any(|view| *view.name == *table)
    }

    /// The SQL of a Library, its parameters replaced, with the names that the Library gives to what it depends on.
    pub fn sql(&self, library: &SqlLibrary, bound: &str) -> Result<String, PublishError> {
        self.labelled(library, &self.libraries(), bound)
    }

    fn labelled(&self, library: &SqlLibrary, published: &[(String, SqlLibrary)], sql: &str) -> Result<String, PublishError> {
        let table = |(i, (label, canonical)): (usize, &(String, String))| {
            let view = published.iter().find(|(_, l)| l.is(canonical)).and_then(|(_, l)| l.table.clone());
            let table = view.or_else(|| self.view_of(canonical).map(|view| view.table)).ok_or_else(|| LibraryError {
                at: format!("Library.relatedArtifact[{i}].resource"),
                what: format!("there is no ViewDefinition and no SQLView of the URL {canonical} here"),
            })?;
            Ok((label.clone(), table))
        };
        let tables = library.depends_on.iter().enumerate().map(table).collect::<Result<Vec<_>, LibraryError>>()?;
        Ok(with_labels(sql, &tables)?)
    }

    /// The registered ViewDefinition that a canonical URL names, with or without `|version`.
    pub fn view_of(&self, canonical: &str) -> Option<ViewStatus> {
        let (url, version) = canonical.split_once('|').map_or((canonical, None), |(url, version)| (url, Some(version)));
        let database = &self.shared.database;
        database.views().into_iter().find(|view| {
            let definition = database.view_definition(&view.id).ok().flatten();
            let json: Value = definition.and_then(|d| serde_json::from_str(&d).ok()).unwrap_or_default();
            let text = |member: &str| json.get(member).and_then(Value::as_str);
            text("url") == Some(url) && (version.is_none() || text("version") == version)
        })
    }

    /// Whether a Library can be published under this id: a view's name is free, and its SQL can be planned.
    pub async fn check_library(&self, id: &str, library: &SqlLibrary) -> Result<(), PublishError> {
        let mut published = self.libraries();
        published.retain(|(other, _)| other != id);
        let unknown = library.parameters.iter().map(|p| (p.name.clone(), "NULL".to_owned())).collect();
        let sql = self.labelled(library, &published, &bind(&library.sql, &unknown)?)?;
        if library.kind == LibraryKind::Query {
            return Ok(()); // planned when it is asked: its parameters have no values yet
        }
        let table = library.table.clone().unwrap_or_default();
        let live = self.shared.database.views().iter().any(|view| view.table == table) || self.shared.has_table(&table);
        if live || table == TREATMENT.0 || table == CODE_GROUP || published.iter().any(|(_, other)| other.table.as_deref() == Some(&*table))
        {
            return Err(PublishError::Name(table));
        }
        self.shared.plan_view(&SqlView::new(&table, &sql)).await.map_err(PublishError::Query)
    }
}

impl Shared {
    /// The views that permits may name.
    pub(super) fn views(&self) -> Arc<[SqlView]> {
        self.views.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn has_table(&self, name: &str) -> bool {
        self.database.snapshot().table(name).is_some()
    }

    /// Plans a view over all that there is; nothing is read.
    async fn plan_view(&self, view: &SqlView) -> Result<(), QueryError> {
        let snapshot = self.database.snapshot();
        let names = snapshot.tables().iter().map(|t| t.schema().name.clone());
        let views: Vec<SqlView> = self.views().iter().filter(|other| other.name != view.name).cloned().collect();
        let names = names.chain(views.iter().map(|view| view.name.to_string()));
        let grants = names.map(|name| (name.clone(), whole(name))).collect();
        let keys = Keys::Pseudonyms(Arc::new(Pseudonyms::of_permit(&[0; 32], LIBRARY))); // keys are text, as in every permit
        let lens = Lens::new(keys, Blind::default());
        let (now, sources) = (snapshot.time(), Arc::new(Tables::of(snapshot, &self.database)));
        let world = World { grants, views, now, ground: Ground::new(sources, RowFilter::default()), lens, memory: QUESTION_MEMORY };
        let sql = view.sql.clone();
        let deadline = super::run::Deadline::after(self.time);
        self.threads.run(deadline, async move { Session::open(&world).await?.plan(&sql).await.map(drop) }).await
    }
}
