//! SQLViews of a permit, such as `treatment`: published SQL over live tables, planned over the rows and keys of the same
//! permit. The permit need not hold the tables behind it, only the view's columns.

use super::session::Session;
use super::transform;
use super::world::{SqlView, World};
use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::view::ViewTable;
use datafusion::common::Column;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use dugnad_kernel::permit::{TableGrant, Transform};
use dugnad_sql::{QueryError, engine};

/// A view with the columns that the permit holds of it, and whether it depends on when it is planned. Its plan carries the world's
/// keys in its scans, and finds its rows where the world's do.
pub(super) async fn plan(world: &World, view: &SqlView, grant: &TableGrant) -> Result<(ViewTable, bool), QueryError> {
    let name = &view.name;
    let broken = |what: String| QueryError::Internal(format!("the view {name} cannot be planned: {what}"));
    let statement = engine::trusted(&view.sql).map_err(|e| broken(e.to_string()))?;
    let tables = engine::tables_of(&statement).map_err(|e| broken(e.to_string()))?;
    let behind = world.behind(view, tables);
    // A box, because a session may hold views and a view is planned in a session.
    let session = Box::pin(Session::open(&behind)).await?;
    let plan = session.logical(statement).await.map_err(|e| broken(e.to_string()))?;
    let timed = session.depends_on_time(&plan);
    let shown: Vec<Expr> = plan
        .schema()
        .iter()
        .filter_map(|(qualifier, field)| {
            if !world.shows(name, field.name()) {
                return None;
            }
            let transform = grant.covers(field.name()).filter(|t| transform::fits(*t, field.data_type()))?;
            let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
            Some(transformed(column, transform).alias(field.name()))
        })
        .collect();
    let plan = LogicalPlanBuilder::from(plan).project(shown).and_then(LogicalPlanBuilder::build);
    Ok((ViewTable::new(plan.map_err(|e| broken(e.to_string()))?, None), timed))
}

fn transformed(column: Expr, transform: Transform) -> Expr {
    if transform == Transform::Keep {
        return column;
    }
    ScalarUDF::from(TransformFunction { transform, signature: Signature::any(1, Volatility::Immutable) }).call(vec![column])
}

/// A transform as an expression. It is in no registry: nobody can call it, or take it away.
#[derive(Debug, PartialEq, Eq, Hash)]
struct TransformFunction {
    transform: Transform,
    signature: Signature,
}

impl ScalarUDFImpl for TransformFunction {
    fn name(&self) -> &str {
        "permit_transform"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(transform::data_type(self.transform, arguments.first().unwrap_or(&DataType::Null)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let column = columns.first().ok_or_else(|| datafusion::error::DataFusionError::Internal("no argument".to_owned()))?;
        Ok(ColumnarValue::Array(transform::apply(self.transform, column)?))
    }
}
