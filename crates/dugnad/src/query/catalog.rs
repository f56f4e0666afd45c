//! The catalogue of a permit's session: one catalog, one schema with its tables, and an `information_schema` that
//! describes those and nothing else. DataFusion's own `information_schema` is off: it would also list settings.

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::{CatalogProvider, CatalogProviderList, MemTable, SchemaProvider, TableProvider};
use datafusion::error::Result;
use dugnad_sql::{CATALOG, INFORMATION_SCHEMA, SCHEMA};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The tables of a schema, fixed when the session begins.
#[derive(Debug, Default)]
pub(super) struct Tables(pub BTreeMap<String, Arc<dyn TableProvider>>);

/// Descriptions of columns, by table and column.
pub(super) type Descriptions = BTreeMap<(String, String), String>;

/// The `information_schema`: its tables are made when a question names them.
#[derive(Debug)]
struct Information {
    public: Arc<Tables>,
    descriptions: Descriptions,
}

/// The catalog, and the list of catalogs that holds only it.
#[derive(Clone, Debug)]
pub(super) struct Catalog {
    public: Arc<Tables>,
    information: Arc<Information>,
}

impl Catalog {
    /// A catalog of `tables`.
    pub fn new(tables: Tables, descriptions: Descriptions) -> Self {
        let public = Arc::new(tables);
        Self { public: public.clone(), information: Arc::new(Information { public, descriptions }) }
    }
}

#[async_trait]
impl SchemaProvider for Tables {
    fn table_names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(self.0.get(name).cloned())
    }

    fn table_exist(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

#[async_trait]
impl SchemaProvider for Information {
    fn table_names(&self) -> Vec<String> {
        ["columns", "schemata", "tables"].map(str::to_owned).into()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(Some(match name {
            "columns" => columns_table(&self.public, &self.descriptions)?,
            "schemata" => schemata_table()?,
            "tables" => tables_table(&self.public)?,
            _ => return Ok(None),
        }))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.table_names().iter().any(|table| table == name)
    }
}

impl CatalogProvider for Catalog {
    fn schema_names(&self) -> Vec<String> {
        vec![SCHEMA.to_owned(), INFORMATION_SCHEMA.to_owned()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match name {
            SCHEMA => Some(self.public.clone()),
            INFORMATION_SCHEMA => Some(self.information.clone()),
            _ => None,
        }
    }
}

impl CatalogProviderList for Catalog {
    fn register_catalog(&self, _name: String, _catalog: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None // a session cannot grow
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == CATALOG).then(|| Arc::new(self.clone()) as Arc<dyn CatalogProvider>)
    }
}

fn texts(values: impl IntoIterator<Item = String>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn table(columns: Vec<(&str, ArrayRef)>) -> Result<Arc<dyn TableProvider>> {
    let fields: Vec<Field> = columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), columns.into_iter().map(|(_, array)| array).collect())?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
}

fn tables_table(tables: &Tables) -> Result<Arc<dyn TableProvider>> {
    let rows = tables.0.len();
    let kind = |t: &Arc<dyn TableProvider>| if t.get_logical_plan().is_some() { "VIEW" } else { "BASE TABLE" }.to_owned();
    table(vec![
        ("table_catalog", texts(vec![CATALOG.to_owned(); rows])),
        ("table_schema", texts(vec![SCHEMA.to_owned(); rows])),
        ("table_name", texts(tables.0.keys().cloned())),
        ("table_type", texts(tables.0.values().map(kind))),
    ])
}

fn columns_table(tables: &Tables, descriptions: &Descriptions) -> Result<Arc<dyn TableProvider>> {
    let mut rows = Vec::new();
    for (name, provider) in &tables.0 {
        for (position, field) in provider.schema().fields().iter().enumerate() {
            let key = (name.clone(), field.name().clone());
            let description = descriptions.get(&key).cloned().unwrap_or_default();
            rows.push((key, position as u64 + 1, type_name(field.data_type()), description));
        }
    }
    table(vec![
        ("table_catalog", texts(vec![CATALOG.to_owned(); rows.len()])),
        ("table_schema", texts(vec![SCHEMA.to_owned(); rows.len()])),
        ("table_name", texts(rows.iter().map(|r| r.0.0.clone()))),
        ("column_name", texts(rows.iter().map(|r| r.0.1.clone()))),
        ("ordinal_position", Arc::new(UInt64Array::from_iter_values(rows.iter().map(|r| r.1)))),
        ("data_type", texts(rows.iter().map(|r| r.2.clone()))),
        ("is_nullable", texts(vec!["YES".to_owned(); rows.len()])),
        ("description", texts(rows.iter().map(|r| r.3.clone()))),
    ])
}

fn schemata_table() -> Result<Arc<dyn TableProvider>> {
    table(vec![("catalog_name", texts([CATALOG.to_owned()])), ("schema_name", texts([SCHEMA.to_owned()]))])
}

/// SQL's name of a type: how text is encoded is no business of the reader's.
fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Float64 => "double precision".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Timestamp(_, _) => "timestamp with time zone".to_owned(),
        DataType::Utf8 | DataType::Utf8View | DataType::Dictionary(_, _) => "text".to_owned(),
        other => other.to_string(),
    }
}
