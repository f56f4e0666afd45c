#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::query::Basis;
use crate::query::tests::{block_on, codes};
use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, ListArray, NullArray, StringViewArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{Field, Int64Type, Schema};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use dugnad_kernel::ids::Commit;
use dugnad_kernel::live::schema::ZONE;
use std::sync::Arc;

/// Every type that a permit's table has, and a list, in two batches with different dictionaries; names that repeat.
fn batches() -> Vec<RecordBatch> {
    let batch = |code: [Option<&str>; 2], text: [Option<&str>; 2]| {
        let instants = TimestampMicrosecondArray::from(vec![Some(1_795_289_460_000_000), None]).with_timezone(ZONE);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("code", codes(code)),
            ("text", Arc::new(StringViewArray::from(text.to_vec()))),
            ("text", Arc::new(StringViewArray::from(vec![Some("again"), Some("a text that is longer than twelve bytes")]))),
            ("number", Arc::new(Float64Array::from(vec![Some(1.5), None]))),
            ("count", Arc::new(Int64Array::from(vec![Some(-7), Some(7)]))),
            ("yes", Arc::new(BooleanArray::from(vec![Some(true), None]))),
            ("day", Arc::new(Date32Array::from(vec![Some(20_778), None]))),
            ("at", Arc::new(instants)),
            ("nothing", Arc::new(NullArray::new(2))),
        ];
        let fields: Vec<Field> = columns.iter().map(|(n, a)| Field::new(*n, a.data_type().clone(), true)).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, a)| a).collect()).unwrap()
    };
    vec![
        batch([Some("HAC20"), None], [Some("a \"quoted\", text"), Some("two\nlines")]),
        batch([Some("HAB40"), Some("HAC20")], [None, Some("")]),
    ]
}

fn answer(batches: Vec<RecordBatch>) -> Answer {
    let schema = batches[0].schema();
    let stream = stream::iter(batches.into_iter().map(Ok));
    Answer {
        id: String::new(),
        basis: Basis::Commit(Commit(1)),
        schema: schema.clone(),
        delivered: None,
        batches: Box::pin(RecordBatchStreamAdapter::new(schema, stream)),
    }
}

fn bytes(answer: Answer, format: Format) -> Vec<u8> {
    let chunks: Vec<_> = block_on(encode(answer, format).collect());
    chunks.into_iter().flat_map(Result::unwrap).collect()
}

fn text(format: Format) -> String {
    String::from_utf8(bytes(answer(batches()), format)).unwrap()
}

#[test]
fn csv_is_rfc_4180() {
    let lines = [
        "code,text,text_2,number,count,yes,day,at,nothing\r\n",
        "HAC20,\"a \"\"quoted\"\", text\",again,1.5,-7,true,2026-11-21,2026-11-21T20:31:00+01:00,\r\n",
        ",\"two\nlines\",a text that is longer than twelve bytes,,7,,,,\r\n",
        "HAB40,,again,1.5,-7,true,2026-11-21,2026-11-21T20:31:00+01:00,\r\n",
        "HAC20,,a text that is longer than twelve bytes,,7,,,,\r\n",
    ];
    assert_eq!(text(Format::Csv), lines.concat());
}

#[test]
fn json_is_one_array_of_whole_objects() {
    let rows: serde_json::Value = serde_json::from_str(&text(Format::Json)).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 4);
    let first = serde_json::json!({
        "code": "HAC20", "text": "a \"quoted\", text", "text_2": "again", "number": 1.5, "count": -7, "yes": true,
        "day": "2026-11-21", "at": "2026-11-21T20:31:00+01:00", "nothing": null,
    });
    assert_eq!(rows[0], first);
    let nulls = rows[1].as_object().unwrap().values().filter(|v| v.is_null()).count();
    assert_eq!((rows[1].as_object().unwrap().len(), nulls), (9, 6), "NULL is written");
}

#[test]
fn ndjson_is_the_same_by_lines() {
    let lines: Vec<serde_json::Value> = text(Format::Ndjson).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let array: Vec<serde_json::Value> = serde_json::from_str(&text(Format::Json)).unwrap();
    assert_eq!(lines, array);
}

#[test]
fn tables_are_aligned() {
    let lines = [
        "code   text              text_2                                   number  count  yes   day         at                         nothing",
        "-----  ----------------  ---------------------------------------  ------  -----  ----  ----------  -------------------------  -------",
        "HAC20  a \"quoted\", text  again                                       1.5     -7  true  2026-11-21  2026-11-21T20:31:00+01:00",
        "       two lines         a text that is longer than twelve bytes              7",
        "HAB40                    again                                       1.5     -7  true  2026-11-21  2026-11-21T20:31:00+01:00",
        "HAC20                    a text that is longer than twelve bytes              7",
        "(4 rows)",
    ];
    assert_eq!(text(Format::Table).lines().collect::<Vec<_>>(), lines);
}

#[test]
fn arrow_and_parquet_come_back() {
    let stream = bytes(answer(batches()), Format::Arrow);
    let reader = datafusion::arrow::ipc::reader::StreamReader::try_new(stream.as_slice(), None).unwrap();
    let arrow: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    let file = bytes::Bytes::from(bytes(answer(batches()), Format::Parquet));
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let parquet: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    let show = |batches: &[RecordBatch]| datafusion::arrow::util::pretty::pretty_format_batches(batches).unwrap().to_string();
    assert_eq!(show(&arrow), show(&parquet));
    assert_eq!(arrow[0].schema().field(0).data_type().to_string(), "Dictionary(Int32, Utf8)");
    assert_eq!(arrow[0].schema().field(2).name(), "text_2");
    assert_eq!(parquet[0].schema().field(7).data_type(), arrow[0].schema().field(7).data_type());
}

#[test]
fn answers_without_rows_are_whole() {
    let empty = || answer(vec![batches()[0].slice(0, 0)]);
    assert_eq!(String::from_utf8(bytes(empty(), Format::Json)).unwrap(), "[]\n");
    assert_eq!(bytes(empty(), Format::Ndjson), b"");
    assert!(String::from_utf8(bytes(empty(), Format::Csv)).unwrap().starts_with("code,text,text_2,"));
    assert!(String::from_utf8(bytes(empty(), Format::Table)).unwrap().ends_with("(0 rows)\n"));
    for format in [Format::Parquet, Format::Arrow] {
        assert!(bytes(empty(), format).len() > 100);
    }
}

#[test]
fn lists_are_written_where_the_format_has_them() {
    let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1), None]), None]));
    let one = || {
        let field = Field::new("list", list.data_type().clone(), true);
        answer(vec![RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![list.clone()]).unwrap()])
    };
    assert_eq!(String::from_utf8(bytes(one(), Format::Ndjson)).unwrap(), "{\"list\":[1,null]}\n{\"list\":null}\n");
    bytes(one(), Format::Parquet);
    let chunks: Vec<_> = block_on(encode(one(), Format::Csv).collect());
    assert!(matches!(chunks.as_slice(), [Err(QueryError::Refused(_))]), "{chunks:?}");
}

#[test]
fn a_failure_ends_the_bytes_without_the_formats_end() {
    let schema = batches()[0].schema();
    let items = vec![Ok(batches().remove(0)), Err(QueryError::Limit("too long".to_owned()).into())];
    let stream = RecordBatchStreamAdapter::new(schema.clone(), stream::iter(items));
    let answer = Answer { id: String::new(), basis: Basis::Commit(Commit(1)), schema, delivered: None, batches: Box::pin(stream) };
    let chunks: Vec<_> = block_on(encode(answer, Format::Json).collect());
    assert_eq!(chunks.len(), 2);
    assert!(chunks[0].as_ref().unwrap().starts_with(b"[{"));
    assert!(matches!(&chunks[1], Err(QueryError::Limit(message)) if message == "too long"));
}

#[test]
fn formats_have_names() {
    for format in Format::ALL {
        assert_eq!(format.name().parse::<Format>().unwrap(), format);
        assert_eq!(serde_json::to_value(format).unwrap(), format.name());
    }
    assert!("xml".parse::<Format>().unwrap_err().to_string().contains("parquet"));
}

/// Files for a look with other readers: `DUGNAD_FORMATS=folder cargo test -p dugnad --lib files_for_other_readers`.
#[test]
fn files_for_other_readers() {
    let Some(folder) = std::env::var_os("DUGNAD_FORMATS") else { return };
    for format in Format::ALL {
        let path = std::path::Path::new(&folder).join(format!("answer.{}", format.name()));
        std::fs::write(path, bytes(answer(batches()), format)).unwrap();
    }
}
