//! A session: DataFusion over the world of one permit, for one question.

use super::catalog::{Catalog, Tables};
use super::delivered::Delivered;
use super::scan::PermitTable;
use super::transform;
use super::view;
use super::world::World;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::parser::Statement;
use dugnad_kernel::live::schema::ZONE;
use dugnad_sql::{Engine, QueryError, guard};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

/// What all sessions share; it has no table.
static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new(ZONE));

/// A session over one world.
pub(super) struct Session {
    engine: Engine,
    tables: Vec<String>,
    delivered: Delivered,
}

/// A question that is ready to run. Nothing has been read yet.
pub(super) struct Planned {
    plan: Arc<dyn ExecutionPlan>,
    engine: Engine,
    /// The permit's tables that it names, sorted.
    pub tables: Vec<String>,
    /// Whose rows it has read.
    pub delivered: Delivered,
    /// The columns of its answer.
    pub schema: SchemaRef,
}

impl Session {
    /// A session in which `world` is all that exists.
    pub async fn open(world: &World) -> Result<Self, QueryError> {
        let mut tables: BTreeMap<String, Arc<dyn TableProvider>> = BTreeMap::new();
        let mut descriptions = BTreeMap::new();
        for (name, source, columns) in world.tables() {
            for column in columns.iter().filter(|c| !c.description.is_empty()) {
                let description = transform::describe(&column.description, column.transform);
                descriptions.insert((name.to_owned(), column.name.clone()), description);
            }
            tables.insert(name.to_owned(), Arc::new(PermitTable::new(source, columns, world.lens.clone()).numbered()));
        }
        for (view, grant) in world.granted_views() {
            // A view whose tables have gone has gone with them.
            match view::plan(world, view, grant).await {
                Ok(table) => drop(tables.insert(view.name.to_string(), Arc::new(table))),
                Err(error) => tracing::error!("{error}"),
            }
        }
        let names = tables.keys().cloned().collect();
        let catalog = Arc::new(Catalog::new(Tables(tables), descriptions));
        let engine = ENGINE.over(catalog, SystemTime::from(world.now), world.memory);
        Ok(Self { engine, tables: names, delivered: world.lens.delivered.clone() })
    }

    /// Guards and plans a question.
    pub async fn plan(&self, sql: &str) -> Result<Planned, QueryError> {
        let statement = guard::check(sql)?;
        let tables = self.named(&statement)?;
        let logical = self.logical(statement).await?;
        let plan = self.engine.physical(&logical).await?;
        Ok(Planned { schema: plan.schema(), plan, engine: self.engine.clone(), tables, delivered: self.delivered.clone() })
    }

    /// The logical plan of a statement that has been checked.
    pub async fn logical(&self, statement: Statement) -> Result<LogicalPlan, QueryError> {
        self.engine.logical(statement).await
    }

    /// The tables of the permit that a statement names (names of common table expressions are not among them).
    pub fn named(&self, statement: &Statement) -> Result<Vec<String>, QueryError> {
        let mut tables = self.engine.tables(statement)?;
        tables.retain(|t| self.tables.contains(t));
        tables.sort();
        tables.dedup();
        Ok(tables)
    }
}

impl Planned {
    /// Starts it.
    pub fn execute(&self) -> Result<SendableRecordBatchStream, DataFusionError> {
        self.engine.execute(self.plan.clone())
    }
}
