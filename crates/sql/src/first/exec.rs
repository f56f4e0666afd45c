//! The operator.

use super::kept::Kept;
use crate::parallel::only;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, PlanProperties, ReplaceChildrenOptions,
};
use futures::{StreamExt, TryStreamExt, stream};
use std::fmt;
use std::sync::Arc;

/// Of the rows of each partition of its input that agree in `by` the first in `order`; of rows that are equal in that, the one that
/// comes first. They come in the order in which the values of `by` first came.
#[derive(Clone, Debug)]
pub(crate) struct FirstOfEach {
    input: Arc<dyn ExecutionPlan>,
    by: Vec<Arc<dyn PhysicalExpr>>,
    order: Vec<PhysicalSortExpr>,
    properties: Arc<PlanProperties>,
}

impl FirstOfEach {
    pub fn new(input: Arc<dyn ExecutionPlan>, by: Vec<Arc<dyn PhysicalExpr>>, order: Vec<PhysicalSortExpr>) -> Self {
        let mut equivalences = input.equivalence_properties().clone();
        equivalences.clear_orderings();
        let properties = PlanProperties::clone(input.properties()).with_eq_properties(equivalences);
        let properties = Arc::new(properties.with_emission_type(EmissionType::Final));
        Self { input, by, order, properties }
    }

    pub fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    /// The same over another input.
    pub fn over(&self, input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self::new(input, self.by.clone(), self.order.clone()))
    }
}

impl DisplayAs for FirstOfEach {
    fn fmt_as(&self, _style: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let by: Vec<String> = self.by.iter().map(ToString::to_string).collect();
        let order: Vec<String> = self.order.iter().map(ToString::to_string).collect();
        write!(f, "FirstOfEach: by=[{}], order=[{}]", by.join(", "), order.join(", "))
    }
}

impl ExecutionPlan for FirstOfEach {
    fn name(&self) -> &str {
        "FirstOfEach"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::SinglePartition])
    }

    fn apply_expressions(&self, f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>) -> Result<TreeNodeRecursion> {
        for expression in self.by.iter().chain(self.order.iter().map(|by| &by.expr)) {
            if f(expression)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self.over(only(children)?))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut input = self.input.execute(partition, Arc::clone(&context))?;
        let mut kept = Kept::new(self.schema(), &self.by, &self.order)?;
        let held = MemoryConsumer::new(self.name()).register(context.memory_pool());
        let most = context.session_config().batch_size();
        let first = async move {
            while let Some(batch) = input.next().await {
                kept.add(&batch?)?;
                held.try_resize(kept.size())?;
            }
            drop(input);
            let rows = kept.finish()?;
            let slices = (0..rows.num_rows()).step_by(most).map(move |at| {
                let _ = &held; // until the rows have been handed out
                Ok(rows.slice(at, most.min(rows.num_rows() - at)))
            });
            Ok::<_, DataFusionError>(stream::iter(slices))
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream::once(first).try_flatten())))
    }
}
