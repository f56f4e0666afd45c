//! The rows that a statistic counts, read once an epoch.

use super::published::{Published, Table};
use crate::query::keys::Keys;
use crate::query::seat::Ground;
use crate::query::session::{Planned, Session};
use crate::query::source::Sources;
use crate::query::world::{Blind, Lens, SqlView, World, whole};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringViewArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Date32Type, Float64Type, TimeUnit, TimestampSecondType, UInt32Type};
use dugnad_kernel::disclosure::{Epoch, Facts, FactsBuilder, Hierarchy, Holds, Node, Reading, Statistic};
use dugnad_kernel::ids::PatientOrdinal;
use dugnad_kernel::live::RowFilter;
use dugnad_kernel::live::schema::ZONE;
use dugnad_sql::QueryError;
use dugnad_sql::engine::{tables_of, trusted};
use dugnad_sql::limits::QUESTION_MEMORY;
use futures::StreamExt;
use jiff::Timestamp;
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use std::collections::HashMap;
use std::sync::Arc;

/// Whose rows are counted, as of when.
pub(in crate::query) struct Population {
    pub epoch: Epoch,
    /// The data at the epoch.
    pub sources: Arc<dyn Sources>,
    /// The published views over them.
    pub views: Vec<SqlView>,
    /// Who counts.
    pub filter: RowFilter,
}

/// Checks that the SQL of a statistic can be planned, and that it has the columns that its dimensions name.
pub(in crate::query) async fn check_statistic(
    statistic: &Statistic,
    published: &Published,
    population: &Population,
) -> Result<(), QueryError> {
    let refused = |what: String| QueryError::Refused(format!("the statistic {}: {what}", statistic.name));
    if let Some(reading) = statistic.dimensions.iter().find(|r| published.dimension(&r.dimension).is_none()) {
        return Err(refused(format!("there is no dimension {}; publish it first", reading.dimension)));
    }
    let planned = plan(&statistic.sql, population).await?;
    let systems = statistic.dimensions.iter().filter_map(|r| r.system.as_ref());
    let named = statistic.dimensions.iter().map(|r| &r.column).chain(systems).chain(statistic.value.iter().map(|v| &v.column));
    let person = "person".to_owned();
    let absent = std::iter::once(&person).chain(named).find(|column| planned.schema.column_with_name(column).is_none());
    absent.map_or(Ok(()), |column| Err(refused(format!("its SQL has no column {column}"))))
}

/// Where the rows of a statistic go, in any order.
pub(super) trait Rows {
    /// A row: whose it is, its day, its node of each dimension, its value. As [`FactsBuilder::add`].
    fn add(&mut self, person: PatientOrdinal, day: Option<i32>, nodes: &[Node], value: Option<f64>);
}

impl Rows for FactsBuilder {
    fn add(&mut self, person: PatientOrdinal, day: Option<i32>, nodes: &[Node], value: Option<f64>) {
        self.add(person, day, nodes, value);
    }
}

/// The rows that a statistic counts.
pub(super) async fn facts(table: &Table, population: &Population) -> Result<Facts, QueryError> {
    let facts = FactsBuilder::new(table.hierarchies.clone(), table.statistic.value.is_some());
    Ok(read(table, population, facts).await?.finish())
}

/// The rows of a statistic. They have the stored ordinals of persons, which never leave the statistics.
pub(super) async fn read<R: Rows>(table: &Table, population: &Population, rows: R) -> Result<R, QueryError> {
    let planned = plan(&table.statistic.sql, population).await?;
    let mut reader = Reader::new(table, population.epoch.start, rows);
    let mut batches = planned.execute().map_err(QueryError::running)?;
    while let Some(batch) = batches.next().await {
        reader.add(&batch.map_err(QueryError::running)?)?;
    }
    Ok(reader.rows)
}

/// Plans SQL over everybody's rows.
async fn plan(sql: &str, population: &Population) -> Result<Planned, QueryError> {
    let tables = trusted(sql).and_then(|statement| tables_of(&statement)).map_err(QueryError::running)?;
    let world = World {
        grants: tables.into_iter().map(|name| (name.clone(), whole(name))).collect(),
        views: population.views.clone(),
        ground: Ground::new(population.sources.clone(), population.filter.clone()),
        lens: Lens::new(Keys::Ordinals, Blind::default()),
        now: population.epoch.start,
        memory: QUESTION_MEMORY,
    };
    Session::open(&world).await?.plan(sql).await
}

struct Reader<'a, R> {
    table: &'a Table,
    rows: R,
    zone: TimeZone,
    day: Date,
    /// For each dimension, the nodes of the codes that were met, by code system.
    codes: Vec<HashMap<Option<String>, HashMap<String, Node>>>,
    /// The day of each hour that was met, in hours since 1970.
    hours: HashMap<i64, Date>,
}

impl<'a, R: Rows> Reader<'a, R> {
    fn new(table: &'a Table, at: Timestamp, rows: R) -> Self {
        let zone = TimeZone::get(ZONE).unwrap_or(TimeZone::UTC);
        let day = at.to_zoned(zone.clone()).date();
        Self { table, rows, zone, day, codes: vec![HashMap::new(); table.hierarchies.len()], hours: HashMap::new() }
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<(), QueryError> {
        let absent =
            |name: &str| QueryError::Internal(format!("the rows of statistics.{} have no usable column {name}", self.table.statistic.name));
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| absent(name));
        let persons = column("person")?.as_primitive_opt::<UInt32Type>().ok_or_else(|| absent("person"))?.clone();
        let started = batch.column_by_name("started").map(|array| self.days(array)).transpose().map_err(|_| absent("started"))?;
        let statistic = Arc::clone(&self.table.statistic);
        let value = match &statistic.value {
            Some(value) => Some(cast(column(&value.column)?, &DataType::Float64).map_err(|_| absent(&value.column))?),
            None => None,
        };
        let value = value.as_ref().and_then(|v| v.as_primitive_opt::<Float64Type>());
        let mut nodes: Vec<Vec<Node>> = Vec::new();
        for (at, reading) in statistic.dimensions.iter().enumerate() {
            let system = reading.system.as_deref().map(column).transpose()?.cloned();
            let values = column(&reading.column)?.clone();
            nodes.push(self.nodes(at, reading, &values, system.as_ref()).ok_or_else(|| absent(&reading.column))?);
        }
        let mut of_row = vec![Node::default(); nodes.len()];
        for row in 0..batch.num_rows() {
            if persons.is_null(row) {
                continue;
            }
            of_row.iter_mut().zip(&nodes).for_each(|(node, column)| *node = column[row]);
            let day = started.as_ref().and_then(|days| days[row]).map(|day| (day - date(1970, 1, 1)).get_days());
            let value = value.filter(|v| v.is_valid(row)).map(|v| v.value(row));
            self.rows.add(PatientOrdinal(persons.value(row)), day, &of_row, value);
        }
        Ok(())
    }

    fn nodes(&mut self, at: usize, reading: &Reading, values: &ArrayRef, systems: Option<&ArrayRef>) -> Option<Vec<Node>> {
        let hierarchy = Arc::clone(&self.table.hierarchies[at]);
        let nothing = hierarchy.nothing();
        Some(match reading.holds {
            Holds::Time => {
                let days = self.days(values).ok()?;
                days.into_iter().map(|day| day.map_or(nothing, |day| hierarchy.node_of_month(day))).collect()
            }
            Holds::Birth => {
                let days = cast(values, &DataType::Date32).ok()?;
                let days = days.as_primitive_opt::<Date32Type>()?;
                let known = |days: i32| {
                    Some(hierarchy.node_of_age(date(1970, 1, 1).checked_add(jiff::Span::new().try_days(days).ok()?).ok()?, self.day))
                };
                days.iter().map(|d| d.and_then(known).unwrap_or(nothing)).collect()
            }
            Holds::Number => {
                let numbers = cast(values, &DataType::Float64).ok()?;
                let numbers = numbers.as_primitive_opt::<Float64Type>()?;
                numbers.iter().map(|n| n.map_or(nothing, |n| hierarchy.node_of_number(n.floor()))).collect()
            }
            Holds::Code | Holds::Prefix(_) => {
                let codes = texts(values)?;
                let systems = match systems {
                    Some(systems) => Some(texts(systems)?),
                    None => None,
                };
                let system = |row: usize| systems.as_ref().filter(|s| s.is_valid(row)).map(|s| s.value(row));
                let code = |row: usize| codes.is_valid(row).then(|| codes.value(row));
                (0..codes.len()).map(|row| self.coded(at, reading, &hierarchy, code(row), system(row))).collect()
            }
        })
    }

    /// The node of a code; each distinct one is looked up once.
    fn coded(&mut self, at: usize, reading: &Reading, hierarchy: &Hierarchy, code: Option<&str>, system: Option<&str>) -> Node {
        let Some(code) = code else { return hierarchy.nothing() };
        let of_system = self.codes[at].iter().find(|(known, _)| known.as_deref() == system);
        if let Some(node) = of_system.and_then(|(_, codes)| codes.get(code)) {
            return *node;
        }
        let node = reading.node(hierarchy, Some(code), system);
        self.codes[at].entry(system.map(str::to_owned)).or_default().insert(code.to_owned(), node);
        node
    }

    /// The days, in Norway, of instants. The zone is asked once for each hour.
    fn days(&mut self, values: &ArrayRef) -> Result<Vec<Option<Date>>, datafusion::arrow::error::ArrowError> {
        let seconds = cast(values, &DataType::Timestamp(TimeUnit::Second, Some("UTC".into())))?;
        let seconds = seconds.as_primitive::<TimestampSecondType>();
        let mut day = |second: i64| {
            let hour = second.div_euclid(3_600);
            if let Some(day) = self.hours.get(&hour) {
                return Some(*day);
            }
            let day = Timestamp::from_second(second).ok()?.to_zoned(self.zone.clone()).date();
            self.hours.insert(hour, day);
            Some(day)
        };
        Ok(seconds.iter().map(|second| second.and_then(&mut day)).collect())
    }
}

fn texts(values: &ArrayRef) -> Option<StringViewArray> {
    cast(values, &DataType::Utf8View).ok().and_then(|array| array.as_string_view_opt().cloned())
}
