#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use arrow::array::{ArrayRef, DictionaryArray, Float64Array, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::UInt32Type;

fn rows() -> RecordBatch {
    let code: DictionaryArray<UInt32Type> = [Some("C50"), None].into_iter().collect();
    let started = TimestampMicrosecondArray::from(vec![Some(1_772_366_400_000_000), None]).with_timezone("Europe/Oslo");
    RecordBatch::try_from_iter_with_nullable([
        ("code", Arc::new(code) as ArrayRef, true),
        ("started", Arc::new(started) as ArrayRef, true),
        ("text", Arc::new(StringViewArray::from(vec![Some("a \"b\", c"), None])) as ArrayRef, true),
        ("value", Arc::new(Float64Array::from(vec![Some(1.5), None])) as ArrayRef, true),
    ])
    .unwrap()
}

fn encode(format: Format, batches: &[RecordBatch]) -> Vec<u8> {
    let mut encoder = Encoder::new(format, &rows().schema()).unwrap();
    let mut out = Vec::new();
    for batch in batches {
        encoder.write(batch).unwrap();
        out.extend(encoder.take());
    }
    out.extend(encoder.finish().unwrap());
    out
}

fn text(format: Format, batches: &[RecordBatch]) -> String {
    String::from_utf8(encode(format, batches)).unwrap()
}

#[test]
fn json_is_one_array_with_nulls_and_columns_in_order() {
    let expected = concat!(
        r#"[{"code":"C50","started":"2026-03-01T13:00:00+01:00","text":"a \"b\", c","value":1.5},"#,
        r#"{"code":null,"started":null,"text":null,"value":null}]"#,
        "\n"
    );
    assert_eq!(text(Format::Json, &[rows()]), expected);
    assert_eq!(text(Format::Json, &[]), "[]\n");
    assert_eq!(text(Format::Ndjson, &[rows(), rows()]).lines().count(), 4);
}

#[test]
fn csv_has_a_header_even_without_rows() {
    assert_eq!(text(Format::Csv, &[rows()]), "code,started,text,value\nC50,2026-03-01T13:00:00+01:00,\"a \"\"b\"\", c\",1.5\n,,,\n");
    assert_eq!(text(Format::Csv, &[]), "code,started,text,value\n");
}

#[test]
fn binary_formats_begin_and_end() {
    let parquet = encode(Format::Parquet, &[rows()]);
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
    let arrow = encode(Format::Arrow, &[rows()]);
    let read: Vec<RecordBatch> = arrow::ipc::reader::StreamReader::try_new(arrow.as_slice(), None).unwrap().map(Result::unwrap).collect();
    assert_eq!(read[0].num_rows(), 2);
}

#[test]
fn a_table_is_bounded_and_says_so() {
    let table = text(Format::Table, &vec![rows(); TABLE_ROWS]);
    assert!(
        table.ends_with(&format!("{TABLE_ROWS} row(s), {TABLE_ROWS} more are not shown; ask for csv, json, ndjson, parquet or arrow\n"))
    );
}

#[test]
fn accept_names_a_format() {
    assert_eq!(Format::accepted("text/csv;q=0.9, application/json"), Some(Format::Csv));
    assert_eq!(Format::accepted("*/*"), Some(Format::Json));
    assert_eq!(Format::accepted("application/xml"), None);
}
