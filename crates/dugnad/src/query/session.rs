//! A session: DataFusion over the world of one permit, for one question.

use super::catalog::{CATALOG, Catalog, SCHEMA, Tables};
use super::error::QueryError;
use super::scan::PermitTable;
use super::transform;
use super::view;
use super::world::World;
use super::{functions, guard};
use crate::limits::QUESTION_MEMORY;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::config::Dialect;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::SessionStateDefaults;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement;
use dugnad_kernel::live::schema::ZONE;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A session over one world.
pub(super) struct Session {
    state: SessionState,
    tables: Vec<String>,
}

/// A question that is ready to run. Nothing has been read yet.
pub(super) struct Planned {
    plan: Arc<dyn ExecutionPlan>,
    state: SessionState,
    /// The permit's tables that it names, sorted.
    pub tables: Vec<String>,
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
            tables.insert(name.to_owned(), Arc::new(PermitTable::new(source, columns, world.lens.clone())));
        }
        for ((name, sql), grant) in world.granted_views() {
            tables.insert(name.to_owned(), Arc::new(view::plan(world, (name, sql), grant).await?));
        }
        let names = tables.keys().cloned().collect();
        let catalog = Catalog::new(Tables(tables), &descriptions).map_err(QueryError::running)?;
        Ok(Self { state: state(world, catalog)?, tables: names })
    }

    /// Guards and plans a question.
    pub async fn plan(&self, sql: &str) -> Result<Planned, QueryError> {
        let statement = guard::check(sql)?;
        let tables = self.named(&statement)?;
        let logical = self.logical(statement).await?;
        guard::check_plan(&logical)?;
        let plan = self.state.create_physical_plan(&logical).await.map_err(QueryError::planning)?;
        Ok(Planned { schema: plan.schema(), plan, state: self.state.clone(), tables })
    }

    /// The logical plan of a statement that has been checked.
    pub async fn logical(&self, statement: Statement) -> Result<LogicalPlan, QueryError> {
        self.state.statement_to_plan(statement).await.map_err(QueryError::planning)
    }

    /// The tables of the permit that a statement names (names of common table expressions are not among them).
    pub fn named(&self, statement: &Statement) -> Result<Vec<String>, QueryError> {
        let references = self.state.resolve_table_references(statement).map_err(QueryError::planning)?;
        let mut tables: Vec<String> = references.iter().map(|r| r.table().to_owned()).filter(|t| self.tables.contains(t)).collect();
        tables.sort();
        tables.dedup();
        Ok(tables)
    }
}

impl Planned {
    /// Starts it.
    pub fn execute(&self) -> Result<SendableRecordBatchStream, DataFusionError> {
        execute_stream(self.plan.clone(), self.state.task_ctx())
    }
}

fn state(world: &World, catalog: Catalog) -> Result<SessionState, QueryError> {
    let config = config();
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(QUESTION_MEMORY)))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .build_arc()
        .map_err(QueryError::running)?;
    let commit_time = std::time::SystemTime::from(world.now);
    let mut properties = ExecutionProps::new().with_query_execution_start_time(commit_time.into());
    properties.config_options = Some(config.options().clone());
    Ok(SessionStateBuilder::new()
        .with_session_id("question".to_owned()) // the default is random
        .with_config(config)
        .with_runtime_env(runtime)
        .with_execution_props(properties)
        .with_catalog_list(Arc::new(catalog))
        .with_expr_planners(SessionStateDefaults::default_expr_planners())
        .with_scalar_functions(functions::scalar_functions())
        .with_higher_order_functions(SessionStateDefaults::default_higher_order_functions())
        .with_aggregate_functions(SessionStateDefaults::default_aggregate_functions())
        .with_window_functions(SessionStateDefaults::default_window_functions())
        .with_table_functions(functions::table_functions())
        .build())
}

fn config() -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(false)
        // One partition: sums of floating-point numbers depend on the order in which partial sums are added, and with
        // several partitions that is the order in which threads finish.
        .with_target_partitions(1);
    let options = config.options_mut();
    options.sql_parser.dialect = Dialect::Generic;
    options.sql_parser.collect_spans = true;
    options.execution.time_zone = Some(ZONE.to_owned());
    options.execution.enable_recursive_ctes = false;
    options.execution.collect_statistics = false;
    options.explain.show_sizes = false;
    config
}
