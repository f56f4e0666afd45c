//! A table that can hand out its keys and codes as numbers.

use super::{Kind, Texts};
use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableSource, TableType};
use datafusion::physical_plan::ExecutionPlan;
use std::sync::Arc;

/// A table in two forms. It is the one with texts; planning may put the one with numbers in its place.
#[derive(Clone, Debug)]
pub struct Numbered {
    /// As its users see it.
    pub shown: Arc<dyn TableProvider>,
    /// The same columns, some as numbers.
    pub numbers: Arc<dyn TableProvider>,
    /// What each column's numbers stand for; `None` for one that is the same in both.
    pub kinds: Arc<[Option<Kind>]>,
    /// How the numbers show.
    pub texts: Arc<dyn Texts>,
}

impl Numbered {
    /// The table behind a scan, if it is one of these.
    pub(super) fn of(source: &Arc<dyn TableSource>) -> Option<Self> {
        let provider = source_as_provider(source).ok()?;
        provider.downcast_ref::<Self>().cloned()
    }
}

#[async_trait]
impl TableProvider for Numbered {
    fn schema(&self) -> SchemaRef {
        self.shown.schema()
    }

    fn table_type(&self) -> TableType {
        self.shown.table_type()
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        self.shown.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.shown.scan(session, projection, filters, limit).await
    }
}
