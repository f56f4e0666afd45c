//! DataFusion over one catalogue, for one question.

use crate::aggregate;
use crate::days::{self, with_days};
use crate::error::QueryError;
use crate::first::FirstRows;
use crate::functions;
use crate::guard;
use crate::limits::QUESTION_MEMORY;
use crate::numbers::{CountDistinctNumbers, lower};
use crate::parallel::Runs;
use crate::zone::Zone;
use crate::{CATALOG, SCHEMA};
use datafusion::catalog::CatalogProviderList;
use datafusion::config::Dialect;
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::execution::{SendableRecordBatchStream, SessionStateDefaults, TaskContext};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::{LogicalPlan, ScalarUDF};
use datafusion::optimizer::{Optimizer, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::resolve::resolve_table_references;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::SystemTime;

/// DataFusion over one catalogue.
#[derive(Clone)]
pub struct Engine {
    state: SessionState,
    /// What takes the day of an instant.
    day: Arc<ScalarUDF>,
    /// How many bytes the operators of a question may hold.
    memory: usize,
}

impl Engine {
    /// An engine without any table: functions, rules and settings, which take longer to put together than a small question
    /// takes. `zone` is the zone of instants.
    pub fn new(zone: &str) -> Self {
        let table = Arc::new(Zone::new(zone));
        let state = SessionStateBuilder::new()
            .with_session_id("question".to_owned()) // the default is random
            .with_config(config(zone))
            .with_expr_planners(SessionStateDefaults::default_expr_planners())
            .with_scalar_functions(functions::scalar_functions(&table))
            .with_higher_order_functions(SessionStateDefaults::default_higher_order_functions())
            .with_aggregate_functions(aggregate::functions())
            .with_window_functions(SessionStateDefaults::default_window_functions())
            .with_table_functions(functions::table_functions())
            .with_optimizer_rules(optimizer_rules())
            .with_physical_optimizer_rules(physical_rules())
            .build();
        Self { state, day: days::day(&table), memory: QUESTION_MEMORY }
    }

    /// The same in which `catalog` is all that exists. `now` is what `now()` returns; `memory` is how many bytes a question's
    /// operators may hold.
    #[must_use]
    pub fn over(&self, catalog: Arc<dyn CatalogProviderList>, now: SystemTime, memory: usize) -> Self {
        let mut state = self.state.clone();
        state.register_catalog_list(catalog);
        // New ones, because they also number the names that planning makes up: a number that went on from question to question
        // would tell in an EXPLAIN what others ask.
        let mut properties = ExecutionProps::new().with_query_execution_start_time(now.into());
        properties.config_options = Some(state.config_options().clone());
        *state.execution_props_mut() = properties;
        Self { state, day: Arc::clone(&self.day), memory }
    }

    /// The logical plan of a statement, as it is written.
    pub fn logical(&self, statement: Statement) -> BoxFuture<'_, Result<LogicalPlan, QueryError>> {
        Box::pin(async move { self.state.statement_to_plan(statement).await.map_err(QueryError::planning) })
    }

    /// Guards a logical plan and makes it ready to run.
    pub fn physical<'a>(&'a self, logical: &'a LogicalPlan) -> BoxFuture<'a, Result<Arc<dyn ExecutionPlan>, QueryError>> {
        Box::pin(async move {
            guard::check_plan(logical)?;
            let optimized =
                self.state.optimize(logical).and_then(|plan| with_days(plan, &self.day)).and_then(lower).map_err(QueryError::planning)?;
            self.state.query_planner().create_physical_plan(&optimized, &self.state).await.map_err(QueryError::planning)
        })
    }

    /// The tables that a statement names; names of common table expressions are not among them.
    pub fn tables(&self, statement: &Statement) -> Result<Vec<String>, QueryError> {
        let references = self.state.resolve_table_references(statement).map_err(QueryError::planning)?;
        Ok(references.iter().map(|r| r.table().to_owned()).collect())
    }

    /// What runs the plans of this engine.
    pub fn runner(&self) -> Runner {
        Runner { config: self.state.config().clone(), memory: self.memory }
    }
}

/// Runs plans: what of an engine is needed for it, without tables and functions.
#[derive(Clone, Debug)]
pub struct Runner {
    config: SessionConfig,
    /// How many bytes the operators of a question may hold.
    memory: usize,
}

impl Runner {
    /// Starts a plan, with memory of its own.
    pub fn execute(&self, plan: Arc<dyn ExecutionPlan>) -> Result<SendableRecordBatchStream, DataFusionError> {
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(self.memory)))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build_arc()?;
        let context = TaskContext::default().with_session_config(self.config.clone()).with_runtime(runtime);
        execute_stream(plan, Arc::new(context))
    }
}

/// Parses SQL of the program's own, which needs no guard.
pub fn trusted(sql: &str) -> Result<Statement, DataFusionError> {
    let mut statements = DFParser::parse_sql(sql)?;
    statements.pop_front().ok_or_else(|| DataFusionError::Internal("it has no SQL".to_owned()))
}

/// The tables that a statement names.
pub fn tables_of(statement: &Statement) -> Result<Vec<String>, DataFusionError> {
    let (references, _) = resolve_table_references(statement, true)?;
    Ok(references.iter().map(|r| r.table().to_owned()).collect())
}

/// DataFusion's rules, and before the one that it has for COUNT(DISTINCT) ours.
fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = Optimizer::new().rules;
    let place = rules.iter().position(|rule| rule.name() == "single_distinct_aggregation_to_group_by");
    rules.insert(place.unwrap_or(0), Arc::new(CountDistinctNumbers));
    rules
}

/// DataFusion's rules, `FirstRows` in the place of the one that it has for the first rows of partitions, and last ours for all cores.
fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    let place = rules.iter().position(|rule| rule.name() == "WindowTopN");
    rules.insert(place.unwrap_or(0), Arc::new(FirstRows));
    rules.push(Arc::new(Runs { count: cores() }));
    rules
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn config(zone: &str) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(false)
        // One partition: with several, the order of rows, and whatever depends on it, is the order in which threads finish.
        // What can be done on several cores all the same, `Runs` does.
        .with_target_partitions(1);
    let options = config.options_mut();
    options.sql_parser.dialect = Dialect::Generic;
    options.sql_parser.collect_spans = true;
    options.execution.time_zone = Some(zone.to_owned());
    options.execution.enable_recursive_ctes = false;
    options.execution.collect_statistics = false;
    // Sorted batch by batch and merged, whatever their size: the size of a column depends on values that only other rows have.
    options.execution.sort_in_place_threshold_bytes = 0;
    // What reads the inputs of a UNION in turns begins with any of them.
    options.optimizer.prefer_existing_union = true;
    // No scan takes them, and a plan that has one cannot run again.
    options.optimizer.enable_dynamic_filter_pushdown = false;
    options.optimizer.enable_topk_dynamic_filter_pushdown = false;
    options.optimizer.enable_join_dynamic_filter_pushdown = false;
    options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    options.explain.show_sizes = false;
    config
}
