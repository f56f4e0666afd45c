//! A session: DataFusion over the world of one permit, for one question.

use super::catalog::{Catalog, Tables};
use super::delivered::Delivered;
use super::scan::PermitTable;
use super::seat::{Ground, Seat};
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
use dugnad_sql::engine::Runner;
use dugnad_sql::{Engine, QueryError, again, guard};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

/// What all sessions share; it has no table.
pub(super) static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new(ZONE));

/// A session over one world.
pub(super) struct Session {
    engine: Engine,
    tables: Vec<String>,
    ground: Ground,
    seat: Seat,
    /// Whether a view depends on when it is planned.
    timed: bool,
}

/// A question that is ready to run. Nothing has been read yet.
pub(super) struct Planned {
    plan: Arc<dyn ExecutionPlan>,
    runner: Runner,
    ground: Ground,
    seat: Seat,
    /// Whether the plan can run again on other rows.
    again: bool,
    /// The permit's tables that it names, sorted.
    pub tables: Vec<String>,
    /// The columns of its answer.
    pub schema: SchemaRef,
}

/// The plan of a question, without anything to read.
pub(super) struct Plan {
    plan: Arc<dyn ExecutionPlan>,
    runner: Runner,
    seat: Seat,
    tables: Vec<String>,
}

impl Session {
    /// A session in which `world` is all that exists.
    pub async fn open(world: &World) -> Result<Self, QueryError> {
        let mut tables: BTreeMap<String, Arc<dyn TableProvider>> = BTreeMap::new();
        let mut descriptions = BTreeMap::new();
        for (name, schema, columns) in world.tables() {
            for column in columns.iter().filter(|c| !c.description.is_empty()) {
                let description = transform::describe(&column.description, column.transform);
                descriptions.insert((name.to_owned(), column.name.clone()), description);
            }
            tables.insert(name.to_owned(), Arc::new(PermitTable::new(schema, columns, world.lens.clone()).numbered()));
        }
        let mut timed = false;
        for (view, grant) in world.granted_views() {
            // A view whose tables have gone has gone with them.
            match view::plan(world, view, grant).await {
                Ok((table, view_is_timed)) => {
                    tables.insert(view.name.to_string(), Arc::new(table));
                    timed |= view_is_timed;
                }
                Err(error) => tracing::error!("{error}"),
            }
        }
        let names = tables.keys().cloned().collect();
        let catalog = Arc::new(Catalog::new(Tables(tables), descriptions));
        let engine = ENGINE.over(catalog, SystemTime::from(world.now), world.memory);
        Ok(Self { engine, tables: names, ground: world.ground.clone(), seat: world.lens.seat.clone(), timed })
    }

    /// Guards and plans a question.
    pub async fn plan(&self, sql: &str) -> Result<Planned, QueryError> {
        let statement = guard::check(sql)?;
        let tables = self.named(&statement)?;
        let logical = self.logical(statement).await?;
        let plan = self.engine.physical(&logical).await?;
        let again = !self.depends_on_time(&logical) && again::is_renewable(&plan);
        let (ground, seat) = (self.ground.clone(), self.seat.clone());
        Ok(Planned { schema: plan.schema(), plan, runner: self.engine.runner(), ground, seat, again, tables })
    }

    /// Whether a plan over its tables depends on when it is made.
    pub fn depends_on_time(&self, plan: &LogicalPlan) -> bool {
        self.timed || again::depends_on_time(plan)
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
        self.seat.take(&self.ground);
        self.runner.execute(self.plan.clone())
    }

    /// Whose rows it has read.
    pub fn delivered(&self) -> &Delivered {
        &self.ground.delivered
    }

    /// Its plan, once it has run to its end; `None` for one that cannot run again.
    pub fn into_plan(self) -> Option<Plan> {
        self.seat.leave();
        let Self { plan, runner, seat, tables, again, .. } = self;
        again.then_some(Plan { plan, runner, seat, tables })
    }
}

impl Plan {
    /// The same question of these rows.
    pub fn over(self, ground: Ground) -> Result<Planned, QueryError> {
        let plan = again::renewed(&self.plan).map_err(QueryError::planning)?;
        Ok(Planned { schema: plan.schema(), plan, runner: self.runner, ground, seat: self.seat, again: true, tables: self.tables })
    }
}
