//! A small hospital's live tables, made by hand.

use crate::query::keys::{Keys, Names};
use crate::query::seat::Ground;
use crate::query::source::{Source, Sources};
use crate::query::world::{Blind, Lens, SqlView, World, whole};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMicrosecondArray, UInt32Array, UInt64Array,
};
use datafusion::arrow::datatypes::{Field, Schema, UInt32Type};
use dugnad_kernel::disclosure::Pseudonyms;
use dugnad_kernel::ids::{HolderId, PatientOrdinal, ResourceOrdinal};
use dugnad_kernel::live::schema::{LiveColumn, Storage, TableSchema, ZONE};
use dugnad_kernel::live::{Condition, Damaged, RowFilter, Visible};
use dugnad_kernel::permit::{Columns, TableGrant, Transform};
use dugnad_kernel::views::About;
use roaring::RoaringBitmap;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(in crate::query) const NORTH: &str = "Sykehuset Nord";
pub(in crate::query) const SOUTH: &str = "Sykehuset Sør";

/// `treatment` as far as these tables go.
pub(in crate::query) fn view() -> SqlView {
    let sql = "SELECT resource_id, patient_key, holder, 'surgery' AS kind, code, started FROM procedure WHERE status = 'completed' \
     UNION ALL \
     SELECT resource_id, patient_key, holder, 'drug_administration' AS kind, code, started FROM medication_administration \
     WHERE status = 'completed'";
    SqlView::new("treatment", sql)
}

#[derive(Debug)]
struct Rows {
    schema: Arc<TableSchema>,
    parts: Vec<RecordBatch>,
}

impl Source for Rows {
    fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    fn parts(&self) -> usize {
        self.parts.len()
    }

    fn rows(&self, part: usize) -> usize {
        self.parts[part].num_rows()
    }

    fn column(&self, part: usize, position: usize) -> Result<ArrayRef, Damaged> {
        Ok(self.parts[part].column(position).clone())
    }

    fn may_meet(&self, _part: usize, _condition: &Condition) -> bool {
        true
    }

    fn visible(&self, part: usize, filter: &RowFilter) -> Result<Visible, Damaged> {
        let batch = &self.parts[part];
        let patients = self.schema.patient_column().map(|c| batch.column(c).as_primitive::<UInt32Type>().clone());
        let holders =
            batch.columns().last().unwrap().as_dictionary::<UInt32Type>().downcast_dict::<datafusion::arrow::array::StringArray>().unwrap();
        let visible = (0..batch.num_rows()).map(|row| {
            let patient = patients.as_ref().filter(|p| p.is_valid(row)).map(|p| p.value(row));
            let person = match (patient, &filter.patients) {
                (None, _) => filter.without_patient,
                (Some(_), None) => true,
                (Some(patient), Some(only)) => only.contains(patient),
            };
            let holder = match filter.holder {
                None => true,
                Some(HolderId(1)) => holders.into_iter().nth(row).flatten() == Some(NORTH),
                Some(_) => holders.into_iter().nth(row).flatten() == Some(SOUTH),
            };
            person && holder
        });
        Ok(Visible::Rows(visible.collect()))
    }
}

/// All tables of the hospital.
#[derive(Clone, Default)]
pub(in crate::query) struct Hospital {
    tables: BTreeMap<String, Arc<Rows>>,
}

impl Sources for Hospital {
    fn schema(&self, name: &str) -> Option<Arc<TableSchema>> {
        Some(self.tables.get(name)?.schema.clone())
    }

    fn table(&self, name: &str) -> Option<Arc<dyn Source>> {
        Some(self.tables.get(name)?.clone())
    }
}

struct TestNames;

impl Names for TestNames {
    fn patients(&self, ordinals: &[PatientOrdinal]) -> Result<Vec<Option<String>>, String> {
        Ok(ordinals.iter().map(|o| Some(format!("pat-{}", o.0))).collect())
    }

    fn resources(&self, ordinals: &[ResourceOrdinal]) -> Result<Vec<Option<String>>, String> {
        Ok(ordinals.iter().map(|o| Some(format!("res-{}", o.0))).collect())
    }
}

fn schema(table: &str, columns: &[(&str, Storage)]) -> Arc<TableSchema> {
    let column = |(name, storage): &(&str, Storage)| LiveColumn {
        name: (*name).to_owned(),
        storage: *storage,
        description: format!("The {name} of a {table}."),
    };
    let columns: Vec<LiveColumn> = columns.iter().chain(&[("holder", Storage::Holder)]).map(column).collect();
    let about = columns.iter().position(|c: &LiveColumn| c.storage == Storage::Patient).map_or(About::Nobody, About::Patient);
    Arc::new(TableSchema { name: table.to_owned(), description: format!("A {table}."), columns, about, hidden: false })
}

pub(in crate::query) fn codes<'a>(values: impl IntoIterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<DictionaryArray<UInt32Type>>())
}

fn instants(values: impl IntoIterator<Item = Option<&'static str>>) -> ArrayRef {
    let micros = values.into_iter().map(|t| t.map(|t| t.parse::<jiff::Timestamp>().unwrap().as_microsecond()));
    Arc::new(micros.collect::<TimestampMicrosecondArray>().with_timezone(ZONE))
}

fn holders(patients: &[Option<u32>]) -> ArrayRef {
    codes(patients.iter().map(|p| Some(if p.unwrap_or(1) % 2 == 1 { NORTH } else { SOUTH })))
}

impl Hospital {
    /// Twelve patients, odd ones in the north; treatments of most of them; one study with two subjects.
    pub fn new() -> Self {
        let mut hospital = Self::default();
        hospital.add_patients();
        hospital.add_procedures();
        hospital.add_drugs();
        hospital.add_studies();
        hospital
    }

    fn add(&mut self, name: &str, columns: &[(&str, Storage)], parts: Vec<Vec<ArrayRef>>) {
        let schema = schema(name, columns);
        let fields: Vec<Field> = schema.columns.iter().map(|c| Field::new(&c.name, c.storage.arrow(), true)).collect();
        let arrow = Arc::new(Schema::new(fields));
        let parts = parts.into_iter().map(|columns| RecordBatch::try_new(arrow.clone(), columns).unwrap()).collect();
        self.tables.insert(name.to_owned(), Arc::new(Rows { schema, parts }));
    }

    fn add_patients(&mut self) {
        let columns = [
            ("resource_id", Storage::Resource),
            ("patient_key", Storage::Patient),
            ("gender", Storage::Code),
            ("birth_date", Storage::Date),
            ("postal_code", Storage::Code),
            ("remark", Storage::String),
        ];
        let part = |patients: std::ops::RangeInclusive<u32>| {
            let keys: Vec<Option<u32>> = patients.clone().map(Some).collect();
            let genders = patients.clone().map(|p| [Some("female"), Some("male"), None][p as usize % 3]);
            let births = patients.clone().map(|p| Some(-10_000 + 900 * p as i32));
            let remarks: Vec<String> = patients.clone().map(|p| format!("the remark about patient number {p}")).collect();
            vec![
                Arc::new(patients.clone().map(|p| Some(u64::from(p) + 100)).collect::<UInt64Array>()) as ArrayRef,
                Arc::new(UInt32Array::from(keys.clone())),
                codes(genders),
                Arc::new(births.collect::<Date32Array>()),
                codes(patients.clone().map(|p| Some(["0450", "5021", "9019"][p as usize % 3]))),
                Arc::new(remarks.iter().map(Some).collect::<StringViewArray>()),
                holders(&keys),
            ]
        };
        self.add("patient", &columns, vec![part(1..=5), part(6..=12)]);
    }

    fn add_procedures(&mut self) {
        let columns = [
            ("resource_id", Storage::Resource),
            ("patient_key", Storage::Patient),
            ("code", Storage::Code),
            ("status", Storage::Code),
            ("started", Storage::Instant),
            ("minutes", Storage::Integer),
        ];
        // The last one's patient is unknown.
        let patients = [Some(1), Some(2), Some(3), Some(4), Some(4), None];
        let times = [
            Some("2025-12-31T23:30:00Z"), // already 2026 in Oslo
            Some("2026-03-15T10:00:00Z"),
            Some("2026-03-16T10:00:00Z"),
            None,
            Some("2026-04-01T10:00:00Z"),
            Some("2026-04-02T10:00:00Z"),
        ];
        let part = vec![
            Arc::new((1..=6).map(|n| Some(n + 200)).collect::<UInt64Array>()) as ArrayRef,
            Arc::new(UInt32Array::from(patients.to_vec())),
            codes([Some("HAC20"), Some("HAC20"), Some("HAB40"), Some("HAB40"), None, Some("HAC20")]),
            codes(["completed", "completed", "completed", "not-done", "completed", "completed"].map(Some)),
            instants(times),
            Arc::new(Int64Array::from(vec![Some(95), Some(130), None, Some(-5), Some(61), Some(20)])),
            holders(&patients),
        ];
        self.add("procedure", &columns, vec![part]);
    }

    fn add_drugs(&mut self) {
        let columns = [
            ("resource_id", Storage::Resource),
            ("patient_key", Storage::Patient),
            ("code", Storage::Code),
            ("status", Storage::Code),
            ("started", Storage::Instant),
            ("value", Storage::Decimal),
        ];
        let patients: Vec<Option<u32>> = (1..=12).map(Some).collect();
        let part = vec![
            Arc::new((1..=12).map(|n| Some(n + 300)).collect::<UInt64Array>()) as ArrayRef,
            Arc::new(UInt32Array::from(patients.clone())),
            codes((1..=12).map(|n| Some(["L01XC03", "L01BC02"][n % 2]))),
            codes((1..=12).map(|_| Some("completed"))),
            instants((1..=12).map(|_| Some("2026-05-01T08:00:00Z"))),
            Arc::new((1..=12).map(|n| Some(f64::from(n) * 10.5)).collect::<Float64Array>()),
            holders(&patients),
        ];
        self.add("medication_administration", &columns, vec![part]);
    }

    fn add_studies(&mut self) {
        let study = [("resource_id", Storage::Resource), ("title", Storage::String)];
        let part = vec![
            Arc::new(UInt64Array::from(vec![900])) as ArrayRef,
            Arc::new(StringViewArray::from(vec![Some("An open-label study of something")])),
            codes([Some(NORTH)]),
        ];
        self.add("research_study", &study, vec![part]);
        let subject = [
            ("resource_id", Storage::Resource),
            ("patient_key", Storage::Patient),
            ("study_key", Storage::Resource),
            ("status", Storage::Code),
        ];
        let patients = [Some(1), Some(2), Some(3), Some(4), None];
        let part = vec![
            Arc::new(UInt64Array::from(vec![501, 502, 503, 504, 505])) as ArrayRef,
            Arc::new(UInt32Array::from(patients.to_vec())),
            Arc::new(UInt64Array::from(vec![Some(900), Some(900), Some(900), Some(901), Some(900)])),
            codes(["on-study", "withdrawn", "candidate", "on-study", "on-study"].map(Some)),
            holders(&patients),
        ];
        self.add("research_subject", &subject, vec![part]);
    }

    /// Everything of a table `observation` of so many parts and rows in each, with values of all sizes.
    pub fn of_parts(parts: u32, rows: u32) -> World {
        let columns =
            [("resource_id", Storage::Resource), ("patient_key", Storage::Patient), ("code", Storage::Code), ("value", Storage::Decimal)];
        let part = |part: u32| {
            let numbers = || part * rows..(part + 1) * rows;
            let mixed = |n: u32| n.wrapping_mul(2_654_435_761) >> 7;
            let patients: Vec<Option<u32>> = numbers().map(|n| Some(mixed(n) % 500 + 1)).collect();
            let value = |n: u32| (f64::from(mixed(n) % 2_000_001) - 1e6) * 10_f64.powi((n % 9) as i32 - 4) / 7.0;
            vec![
                Arc::new(numbers().map(|n| Some(u64::from(n) + 1)).collect::<UInt64Array>()) as ArrayRef,
                Arc::new(UInt32Array::from(patients.clone())),
                codes(numbers().map(|n| Some(["a", "b", "c", "d", "e"][mixed(n) as usize % 5]))),
                Arc::new(numbers().map(|n| (n % 11 != 0).then(|| value(n))).collect::<Float64Array>()),
                holders(&patients),
            ]
        };
        let mut hospital = Self::default();
        hospital.add("observation", &columns, (0..parts).map(part).collect());
        hospital.world("all", vec![whole("observation".to_owned())])
    }

    /// A world over it: everyone, pseudonyms of `permit`, the tables that `grants` names.
    pub fn world(&self, permit: &str, grants: Vec<TableGrant>) -> World {
        World {
            grants: grants.into_iter().map(|g| (g.table.clone(), g)).collect(),
            views: vec![view()],
            ground: Ground::new(Arc::new(self.clone()), RowFilter::everything()),
            lens: Lens::new(Keys::Pseudonyms(Arc::new(Pseudonyms::of_permit(&[3; 32], permit))), Blind::default()),
            now: "2026-11-21T19:31:00Z".parse().unwrap(),
            memory: dugnad_sql::limits::QUESTION_MEMORY,
        }
    }

    /// Everything of everyone.
    pub fn everything(&self) -> World {
        let views = std::iter::once("treatment".to_owned());
        self.world("all", self.tables.keys().cloned().chain(views).map(whole).collect())
    }

    /// Some tables of some patients.
    pub fn of_patients(&self, permit: &str, tables: &[&str], patients: impl IntoIterator<Item = u32>) -> World {
        let mut world = self.world(permit, tables.iter().map(|t| whole((*t).to_owned())).collect());
        world.ground.filter.patients = Some(Arc::new(patients.into_iter().collect::<RoaringBitmap>()));
        world
    }

    /// A hospital's own rows, identified.
    pub fn care(&self, holder: HolderId) -> World {
        let mut world = self.everything();
        world.ground.filter = RowFilter { holder: Some(holder), ..RowFilter::everything() };
        world.lens = Lens::new(Keys::Names(Arc::new(TestNames)), Blind::default());
        world
    }
}

/// A table with some of its columns, some of them transformed.
pub(in crate::query) fn grant(table: &str, columns: &[&str], transforms: &[(&str, Transform)]) -> TableGrant {
    TableGrant {
        table: table.to_owned(),
        columns: Columns::List(columns.iter().map(|c| (*c).to_owned()).collect()),
        transforms: transforms.iter().map(|(c, t)| ((*c).to_owned(), *t)).collect(),
    }
}
