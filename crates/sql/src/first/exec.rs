//! The operator.

use super::all::FirstOfAll;
use super::each::FirstOfEach;
use super::{Keep, can_be_kept, cannot_fail};
use crate::parallel::only;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, PlanProperties, ReplaceChildrenOptions,
};
use futures::{StreamExt, TryStreamExt, stream};
use std::fmt;
use std::sync::Arc;

/// Of the rows of each partition of its input the first in `order`; of rows that are equal in that, those that come first.
#[derive(Clone, Debug)]
pub(crate) struct First {
    input: Arc<dyn ExecutionPlan>,
    of: Of,
    order: Vec<PhysicalSortExpr>,
    properties: Arc<PlanProperties>,
}

/// Which of them.
#[derive(Clone, Debug)]
enum Of {
    /// One of those that agree in these. They come in the order in which the values of these first came.
    Each(Vec<Arc<dyn PhysicalExpr>>),
    /// So many of all, sorted.
    All(usize),
}

impl First {
    /// The first row of each of the partitions that `by` makes.
    pub fn of_each(input: Arc<dyn ExecutionPlan>, by: Vec<Arc<dyn PhysicalExpr>>, order: Vec<PhysicalSortExpr>) -> Result<Self> {
        Self::new(input, Of::Each(by), order)
    }

    /// The first `most` rows, sorted; `None` if that is not done here, but by sorting.
    pub fn of_all(input: Arc<dyn ExecutionPlan>, most: usize, order: &LexOrdering) -> Result<Option<Self>> {
        // Whatever is sorted by is evaluated again for rows that are left: it must not be able to fail.
        let kept = most > 0 && cannot_fail(&order.first().expr) && can_be_kept(order, &input.schema())?;
        kept.then(|| Self::new(input, Of::All(most), order.to_vec())).transpose()
    }

    fn new(input: Arc<dyn ExecutionPlan>, of: Of, order: Vec<PhysicalSortExpr>) -> Result<Self> {
        let mut equivalences = input.equivalence_properties().clone();
        match of {
            Of::Each(_) => equivalences.clear_orderings(),
            Of::All(_) => drop(equivalences.reorder(order.clone())?),
        }
        let properties = PlanProperties::clone(input.properties()).with_eq_properties(equivalences);
        let properties = Arc::new(properties.with_emission_type(EmissionType::Final));
        Ok(Self { input, of, order, properties })
    }

    pub fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    /// The same over another input.
    pub fn over(&self, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(input, self.of.clone(), self.order.clone())?))
    }

    fn keep(&self) -> Result<Box<dyn Keep>> {
        Ok(match &self.of {
            Of::Each(by) => Box::new(FirstOfEach::new(self.schema(), by, &self.order)?),
            Of::All(most) => Box::new(FirstOfAll::new(self.schema(), &self.order, *most)?),
        })
    }
}

impl DisplayAs for First {
    fn fmt_as(&self, _style: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let order: Vec<String> = self.order.iter().map(ToString::to_string).collect();
        match &self.of {
            Of::Each(by) => {
                let by: Vec<String> = by.iter().map(ToString::to_string).collect();
                write!(f, "FirstOfEach: by=[{}], order=[{}]", by.join(", "), order.join(", "))
            }
            Of::All(most) => write!(f, "FirstOfAll: fetch={most}, order=[{}]", order.join(", ")),
        }
    }
}

impl ExecutionPlan for First {
    fn name(&self) -> &str {
        match self.of {
            Of::Each(_) => "FirstOfEach",
            Of::All(_) => "FirstOfAll",
        }
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
        let by = match &self.of {
            Of::Each(by) => by.as_slice(),
            Of::All(_) => &[],
        };
        for expression in by.iter().chain(self.order.iter().map(|by| &by.expr)) {
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
        self.over(only(children)?)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut input = self.input.execute(partition, Arc::clone(&context))?;
        let mut kept = self.keep()?;
        let held = MemoryConsumer::new(self.name()).register(context.memory_pool());
        let rows_of_batch = context.session_config().batch_size();
        let first = async move {
            while let Some(batch) = input.next().await {
                let batch = batch?;
                if batch.num_rows() > 0 {
                    kept.add(&batch)?;
                }
                held.try_resize(kept.size())?;
            }
            drop(input);
            let rows = kept.finish()?;
            let slices = (0..rows.num_rows()).step_by(rows_of_batch).map(move |at| {
                let _ = &held; // until the rows have been handed out
                Ok(rows.slice(at, rows_of_batch.min(rows.num_rows() - at)))
            });
            Ok::<_, DataFusionError>(stream::iter(slices))
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream::once(first).try_flatten())))
    }
}
