//! Values as they are: JSON and Parquet read exactly, columns that nobody asked for, one name for one label,
//! what is carried through, and batches bounded in bytes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{Int32Builder, ListBuilder};
use arrow_array::types::{Int8Type, Int32Type};
use arrow_array::{
    Array as _, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray,
    Float16Array, Float32Array, Float64Array, Int8Array, Int64Array, LargeStringArray, NullArray,
    RecordBatch, StringArray, StringViewArray, StructArray, Time64MicrosecondArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;

use crate::harness::{
    backbone, command, directory, finish, frosthead, frosthead_reading, root, started, text,
};

const TEXTS: [&str; 12] = [
    "the battery lasts long",
    "the plot is dull",
    "screen cracked on day one",
    "actors shine here",
    "great phone for the price",
    "boring film sadly",
    "charger broke fast",
    "lovely movie night",
    "speaker sounds tinny",
    "a film to remember",
    "keyboard feels cheap",
    "the director did well",
];

fn texts() -> ArrayRef {
    Arc::new(StringArray::from(TEXTS.to_vec()))
}

fn write_parquet(path: &Path, fields: Vec<Field>, columns: Vec<ArrayRef>) {
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let properties = WriterProperties::builder().set_dictionary_page_size_limit(64 << 20).build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn parquet(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let fields =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    write_parquet(path, fields, columns.into_iter().map(|(_, array)| array).collect());
}

fn read_parquet(path: &Path) -> RecordBatch {
    let file = std::fs::File::open(path).unwrap();
    let mut batches = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let batch = batches.next().unwrap().unwrap();
    assert!(batches.next().is_none(), "the test's tables are small");
    batch
}

fn written(directory: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// A table of two classes, whose names are written so.
fn csv(labels: [&str; 2]) -> String {
    let rows = TEXTS.iter().enumerate().map(|(row, text)| format!("{text},{}\n", labels[row % 2]));
    format!("text,label\n{}", rows.collect::<String>())
}

fn jsonl(labels: [&str; 2]) -> String {
    let rows = TEXTS.iter().enumerate();
    rows.map(|(row, text)| format!("{{\"text\": {text:?}, \"label\": {}}}\n", labels[row % 2])).collect()
}

fn train(data: &Path, out: &Path, more: &[&str]) {
    let arguments = ["train", text(data), "--backbone", backbone(), "--task", "label", "--out", text(out)];
    frosthead(&[&arguments[..], more].concat()).success();
}

#[test]
fn one_value_is_one_label_in_every_format() {
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    let run = path("run");
    train(&written(directory.path(), "train.csv", csv(["1.0", "0"])), &run, &[]);
    let mut tables = vec![
        written(directory.path(), "whole.csv", csv(["1", "0.0"])),
        written(directory.path(), "whole.jsonl", jsonl(["1", "0"])),
        written(directory.path(), "float.jsonl", jsonl(["1.0", "-0.0"])),
        written(directory.path(), "scientific.jsonl", jsonl(["10e-1", "0e5"])),
        written(directory.path(), "text.jsonl", jsonl(["\"1\"", "\"0\""])),
        written(
            directory.path(),
            "array.json",
            format!("[{}]", jsonl(["1", "0"]).trim_end().replace('\n', ",\n")),
        ),
    ];
    let labels = |row: usize| i32::from(row.is_multiple_of(2));
    let all = 0..TEXTS.len();
    let arrays: Vec<(&str, ArrayRef)> = vec![
        ("int8", Arc::new(all.clone().map(|row| Some(labels(row) as i8)).collect::<Int8Array>())),
        ("int64", Arc::new(all.clone().map(|row| Some(i64::from(labels(row)))).collect::<Int64Array>())),
        (
            "f16",
            Arc::new(Float16Array::from_iter_values(
                all.clone().map(|row| half::f16::from_f32(labels(row) as f32)),
            )),
        ),
        ("f32", Arc::new(all.clone().map(|row| Some(labels(row) as f32)).collect::<Float32Array>())),
        ("f64", Arc::new(all.clone().map(|row| Some(f64::from(labels(row)))).collect::<Float64Array>())),
        (
            "text",
            Arc::new(all.clone().map(|row| Some(labels(row).to_string())).collect::<LargeStringArray>()),
        ),
        (
            "view",
            Arc::new(all.clone().map(|row| Some(format!("{}.0", labels(row)))).collect::<StringViewArray>()),
        ),
        (
            "dictionary",
            Arc::new(all.clone().map(|row| Some(["1", "0"][row % 2])).collect::<DictionaryArray<Int8Type>>()),
        ),
        (
            "decimal",
            Arc::new(
                all.clone()
                    .map(|row| Some(i128::from(labels(row)) * 100))
                    .collect::<Decimal128Array>()
                    .with_precision_and_scale(10, 2)
                    .unwrap(),
            ),
        ),
    ];
    for (name, array) in arrays {
        tables.push(path(&format!("{name}.parquet")));
        parquet(tables.last().unwrap(), vec![("text", texts()), ("label", array)]);
    }
    let eval = |table: &Path| {
        let finished =
            frosthead(&["eval", text(table), "--model", text(&run), "--rows", "all", "--json"]).success();
        finished.json()["tasks"]["label"].clone()
    };
    let expected = eval(&path("train.csv"));
    assert_eq!(expected["rows"], 12, "{expected}");
    for table in &tables {
        assert_eq!(eval(table), expected, "{}", table.display());
    }
    let predicted =
        frosthead(&["predict", text(&path("train.csv")), "--model", text(&run)]).success().json_lines();
    assert!(predicted.iter().all(|row| ["0", "1"].contains(&row["label_predicted"].as_str().unwrap())));
}

#[test]
fn texts_that_look_like_numbers_stay_apart() {
    let directory = directory();
    let (run, eval) = (directory.path().join("run"), directory.path().join("run"));
    let table = TEXTS
        .iter()
        .enumerate()
        .map(|(row, text)| format!("{text},{}\n", ["1.1", "1.10", "01", "1"][row % 4]));
    let data = written(directory.path(), "a.csv", format!("text,label\n{}", table.collect::<String>()));
    train(&data, &run, &[]);
    let report =
        frosthead(&["eval", text(&data), "--model", text(&eval), "--rows", "all", "--json"]).success().json();
    let labels = report["tasks"]["label"]["labels"].to_string();
    for label in ["\"1.1\"", "\"1.10\"", "\"01\"", "\"1\""] {
        assert!(report.to_string().contains(label), "{label}: {labels}");
    }
    // Beside numbers, too: a code with a zero in front is none.
    let rows = TEXTS.iter().enumerate().map(|(row, text)| {
        format!("{{\"text\":\"{text}\",\"label\":{}}}\n", ["\"001\"", "\"002\"", "1"][row % 3])
    });
    let codes = written(directory.path(), "codes.jsonl", rows.collect::<String>());
    let run = directory.path().join("codes");
    train(&codes, &run, &[]);
    let report =
        frosthead(&["eval", text(&codes), "--model", text(&run), "--rows", "all", "--json"]).success().json();
    assert_eq!(report["tasks"]["label"]["labels"], serde_json::json!(["001", "002", "1"]));
}

#[test]
fn large_numbers_stay_themselves() {
    let directory = directory();
    let (big, bigger) = ("36893488147419103232", "36893488147419103233");
    let data = written(directory.path(), "a.jsonl", jsonl([big, bigger]));
    let run = directory.path().join("run");
    train(&data, &run, &[]);
    let predicted = frosthead(&["predict", text(&data), "--model", text(&run)]).success().stdout;
    for part in [
        format!("\"label\":{big},"),
        format!("\"label\":{bigger},"),
        format!("\"label_predicted\":\"{big}\""),
    ] {
        assert!(predicted.contains(&part), "{part}: {predicted}");
    }
}

#[test]
fn nan_and_null_are_no_label() {
    let directory = directory();
    let labels = [f64::NAN, 1.0, 2.0];
    let floats = (0..12).map(|row| (row != 3).then_some(labels[row % 3])).collect::<Float64Array>();
    let unlabelled = floats.iter().filter(|label| label.is_none_or(f64::is_nan)).count();
    let data = directory.path().join("a.parquet");
    parquet(&data, vec![("text", texts()), ("label", Arc::new(floats))]);
    let run = directory.path().join("run");
    train(&data, &run, &["--alpha", "1"]);
    let metrics: serde_json::Value =
        serde_json::from_slice(&std::fs::read(run.join("metrics.json")).unwrap()).unwrap();
    assert_eq!(metrics["unlabelled"]["label"], unlabelled, "{metrics}");
    let predicted = frosthead(&["predict", text(&data), "--model", text(&run)]).success().json_lines();
    assert_eq!((&predicted[0]["label"], &predicted[1]["label"]), (&serde_json::Value::Null, &1.0.into()));
    assert!(predicted.iter().all(|row| ["1", "2"].contains(&row["label_predicted"].as_str().unwrap())));
}

#[test]
fn what_predict_carries_keeps_type_and_digits() {
    let directory = directory();
    let run = directory.path().join("run");
    train(&written(directory.path(), "train.csv", csv(["a", "b"])), &run, &[]);
    let rows = [
        r#"{"text":"good phone","id":1234567890123456789012,"price":1.10,"new":true,"tags":["a",{"b":1e400}]}"#,
        r#"{"text":"bad film","id":null,"price":-0.0,"tags":{},"late":[1.50]}"#,
    ];
    let expected = [
        r#""text":"good phone","id":1234567890123456789012,"price":1.10,"new":true,"tags":["a",{"b":1e400}],"#,
        r#""text":"bad film","id":null,"price":-0.0,"new":null,"tags":{},"#,
    ];
    let data = written(directory.path(), "a.jsonl", rows.join("\n"));
    let array = written(directory.path(), "a.json", format!("[{}]", rows.join(",\n")));
    let from_files = [&data, &array].map(|data| frosthead(&["predict", text(data), "--model", text(&run)]));
    let from_stream =
        [("jsonl", rows.join("\n")), ("json", format!("[{}]", rows.join(",")))].map(|(format, rows)| {
            frosthead_reading(rows.as_bytes(), &["predict", "-", "--format", format, "--model", text(&run)])
        });
    for finished in from_files.into_iter().chain(from_stream) {
        let finished = finished.success();
        for (line, expected) in finished.stdout.lines().zip(expected) {
            assert!(line.contains(expected), "{}: {line} should hold {expected}", finished.command);
        }
        assert!(
            finished.stdout.lines().nth(1).unwrap().ends_with(r#","late":[1.50]}"#),
            "{}",
            finished.stdout
        );
    }
    // CSV has its columns in the first line: of a file they are all known, of a stream those of the first
    // row.
    let as_csv = ["--model", text(&run), "--output-format", "csv"];
    let csv = frosthead(&[&["predict", text(&data)], &as_csv[..]].concat()).success();
    assert!(csv.stdout.starts_with("row,text,id,price,new,tags,late,label_predicted,"), "{}", csv.stdout);
    assert!(csv.stdout.contains(",1234567890123456789012,1.10,true,"), "{}", csv.stdout);
    let stream = [&["predict", "-", "--format", "jsonl"], &as_csv[..]].concat();
    let csv = frosthead_reading(rows.join("\n").as_bytes(), &stream).success();
    assert!(csv.stdout.starts_with("row,text,id,price,new,tags,label_predicted,"), "{}", csv.stdout);
    assert!(csv.stderr.contains("\"late\""), "{}", csv.stderr);
}

/// A Parquet with a column of every kind that Arrow and Parquet both have.
fn many_types(path: &Path) -> RecordBatch {
    let all = 0..TEXTS.len();
    let mut lists = ListBuilder::new(Int32Builder::new());
    all.clone().for_each(|row| lists.append_option((row != 1).then(|| vec![Some(row as i32), None])));
    let inner = vec![Field::new("a", DataType::Int8, false)];
    let structs = StructArray::new(inner.into(), vec![Arc::new(Int8Array::from(vec![5; 12]))], None);
    let microseconds = || all.clone().map(|row| Some(row as i64 * 1_500_000));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("text", texts()),
        (
            "large",
            Arc::new(
                all.clone().map(|row| (row != 2).then(|| format!("é{row}"))).collect::<LargeStringArray>(),
            ),
        ),
        ("view", Arc::new(StringViewArray::from(TEXTS.to_vec()))),
        ("bytes", Arc::new(BinaryArray::from(vec![&b"\xff\x00"[..]; 12]))),
        (
            "category",
            Arc::new(all.clone().map(|row| Some(["x", "y"][row % 2])).collect::<DictionaryArray<Int8Type>>()),
        ),
        ("decimal", Arc::new(Decimal128Array::from(vec![110; 12]).with_precision_and_scale(12, 2).unwrap())),
        ("half", Arc::new(Float16Array::from_iter_values(vec![half::f16::from_f32(0.1); 12]))),
        ("single", Arc::new(Float32Array::from(vec![0.1; 12]))),
        ("flag", Arc::new(BooleanArray::from(vec![true; 12]))),
        ("date", Arc::new(Date32Array::from(vec![19_753; 12]))),
        (
            "at",
            Arc::new(microseconds().collect::<TimestampMicrosecondArray>().with_timezone("Europe/Berlin")),
        ),
        ("time", Arc::new(microseconds().collect::<Time64MicrosecondArray>())),
        ("list", Arc::new(lists.finish())),
        ("struct", Arc::new(structs)),
        ("nothing", Arc::new(NullArray::new(12))),
        ("embedding", Arc::new(Float64Array::from(vec![2.0; 12]))),
    ];
    let metadata = [("unit".to_owned(), "EUR".to_owned())];
    let fields = columns.iter().map(|(name, array)| {
        let field = Field::new(*name, array.data_type().clone(), *name != "flag");
        if *name == "decimal" { field.with_metadata(metadata.clone()) } else { field }
    });
    write_parquet(path, fields.collect(), columns.iter().map(|(_, array)| Arc::clone(array)).collect());
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn embed_carries_arrow_columns_as_they_are() {
    let directory = directory();
    let (data, out, again) = (
        directory.path().join("a.parquet"),
        directory.path().join("out.parquet"),
        directory.path().join("again.parquet"),
    );
    let given = many_types(&data);
    let embed = |data: &Path, out: &Path| {
        let arguments = ["embed", text(data), "--backbone", backbone(), "--keep-text", "--out", text(out)];
        frosthead(&arguments).success();
        read_parquet(out)
    };
    let carried = embed(&data, &out);
    for (field, array) in given.schema().fields().iter().zip(given.columns()) {
        let name = if field.name() == "embedding" { "input_embedding" } else { field.name() };
        let own = carried.column_by_name(name).unwrap_or_else(|| panic!("{name} is not there"));
        assert_eq!(own.to_data(), array.to_data(), "{name}");
    }
    let schema = carried.schema();
    assert_eq!(schema.field_with_name("decimal").unwrap().metadata()["unit"], "EUR");
    assert!(!schema.field_with_name("flag").unwrap().is_nullable());
    assert_eq!(crate::harness::features(&out, None).width, crate::tiny::NUMBERS);
    // What embed has written can be embedded: its columns step aside.
    let carried = embed(&out, &again);
    for name in ["text_hash", "input_text_hash", "input_input_embedding", "input_embedding", "embedding"] {
        assert_eq!(carried.column_by_name(name).is_some(), name != "input_input_embedding", "{name}");
    }
    assert_eq!(carried.column_by_name("input_embedding").unwrap().data_type(), &DataType::Float64);
}

#[test]
fn predict_writes_arrow_columns_as_json() {
    let directory = directory();
    let (run, data) = (directory.path().join("run"), directory.path().join("a.parquet"));
    train(&written(directory.path(), "train.csv", csv(["a", "b"])), &run, &[]);
    many_types(&data);
    let finished = frosthead(&["predict", text(&data), "--model", text(&run)]).success();
    let second = finished.stdout.lines().nth(1).unwrap();
    let expected = r#""large":"é1","view":"the plot is dull","bytes":"ff00","category":"y","decimal":1.10,"half":0.1,"single":0.1,"flag":true,"date":"2024-01-31","at":"1970-01-01T00:00:01.500Z","time":"00:00:01.500","list":null,"struct":{"a":5},"nothing":null,"embedding":2.0,"#;
    assert!(second.contains(expected), "{second}");
    assert!(finished.stdout.lines().next().unwrap().contains(r#""list":[0,null]"#), "{}", finished.stdout);
}

#[test]
fn columns_that_nobody_asked_for_are_no_reason_to_refuse_a_table() {
    let directory = directory();
    let run = directory.path().join("run");
    let data = directory.path().join("a.parquet");
    let given = many_types(&data);
    let labelled: Vec<(&str, ArrayRef)> =
        vec![("label", Arc::new((0..12).map(|row| Some(["a", "b"][row % 2])).collect::<StringArray>()))];
    let names = given.schema();
    let columns =
        names.fields().iter().map(|field| field.name().as_str()).zip(given.columns().iter().cloned());
    parquet(&data, columns.chain(labelled).collect());
    train(&data, &run, &[]);
    frosthead(&["eval", text(&data), "--model", text(&run), "--rows", "all"]).success();
    // And JSON: nested, of changing keys, half a surrogate pair; and two columns of one name.
    let rows = TEXTS.iter().enumerate().map(|(row, text)| {
        format!(
            "{{\"text\": {text:?}, \"k{row}\": \"\\ud800\", \"m\": {{\"a\": [1]}}, \"label\": {}}}\n",
            row % 2
        )
    });
    let data = written(directory.path(), "a.jsonl", rows.collect::<String>());
    let run = directory.path().join("run2");
    train(&data, &run, &[]);
    frosthead(&["eval", text(&data), "--model", text(&run), "--rows", "all"]).success();
    frosthead(&["predict", text(&data), "--model", text(&run)]).success();
    let rows = TEXTS.iter().enumerate().map(|(row, text)| format!("{text},{},,x,y\n", row % 2));
    let data = written(directory.path(), "a.csv", format!("text,label,,,\n{}", rows.collect::<String>()));
    let run = directory.path().join("run3");
    train(&data, &run, &[]);
    frosthead(&["predict", text(&data), "--model", text(&run)]).success();
    frosthead(&[
        "embed",
        text(&data),
        "--backbone",
        backbone(),
        "--out",
        text(&directory.path().join("c.parquet")),
    ])
    .success();
    // A label that the first row has not.
    let rows = jsonl(["1", "0"]).replacen(", \"label\": 1", "", 1);
    train(&written(directory.path(), "later.jsonl", rows), &directory.path().join("run4"), &["--alpha", "1"]);
}

#[test]
fn a_list_is_named_as_one_where_a_text_is_asked_for() {
    let directory = directory();
    let data = directory.path().join("a.parquet");
    let mut lists = ListBuilder::new(arrow_array::builder::StringBuilder::new());
    lists.append_value([Some("a")]);
    parquet(&data, vec![("text", Arc::new(lists.finish()))]);
    let out = text(&directory.path().join("x.parquet")).to_owned();
    frosthead(&["embed", text(&data), "--backbone", backbone(), "--out", &out]).fails_with(&[
        "a.parquet",
        "\"text\"",
        "a list of strings",
    ]);
    let json = written(directory.path(), "a.jsonl", "{\"text\": \"a\"}\n{\"text\": [\"a\"]}\n");
    frosthead(&["embed", text(&json), "--backbone", backbone(), "--out", &out])
        .fails_with(&["row 2", "\"text\"", "a list"]);
}

#[test]
fn advice_about_json_can_be_followed() {
    let directory = directory();
    let embed = |data: &Path, more: &[&str]| {
        let out = directory.path().join("x.parquet");
        let arguments = ["embed", text(data), "--backbone", backbone(), "--overwrite", "--out", text(&out)];
        frosthead(&[&arguments[..], more].concat())
    };
    let lines = written(directory.path(), "lines.json", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n");
    embed(&lines, &[]).fails_with(&["JSON lines", "--format jsonl"]);
    embed(&lines, &["--format", "jsonl"]).success();
    let array = written(directory.path(), "array.jsonl", "[\n{\"text\": \"a\"},\n{\"text\": \"b\"}]\n");
    embed(&array, &[]).fails_with(&["one JSON array", "--format json"]);
    embed(&array, &["--format", "json"]).success();
    let object = written(directory.path(), "object.json", "{\"text\": \"a\"}");
    embed(&object, &[]).fails_with(&["not a list of rows", "\"text\"", "--format jsonl"]);
    embed(&object, &["--format", "jsonl"]).success();
    let twice =
        written(directory.path(), "twice.json", "[{\"text\": \"a\"},\n {\"text\": \"b\", \"text\": \"c\"}]");
    embed(&twice, &[]).fails_with(&["row 2", "line 2", "twice", "\"text\""]);
}

#[test]
fn a_panic_of_the_parquet_library_never_reaches_the_user() {
    let odd = |name: &str| root().join("tests/data/odd_parquet").join(name);
    let directory = directory();
    let out = text(&directory.path().join("x.parquet")).to_owned();
    for name in ["null_column.parquet", "null_column_small.parquet"] {
        let data = odd(name);
        let arguments = ["embed", text(&data), "--backbone", backbone(), "--overwrite", "--out", &out];
        let finished = frosthead(&arguments).success();
        assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    }
    frosthead(&[
        "embed",
        text(&odd("damaged.parquet")),
        "--backbone",
        backbone(),
        "--overwrite",
        "--out",
        &out,
    ])
    .fails_with(&["damaged.parquet"]);
}

#[test]
fn a_long_text_that_stands_in_every_row_is_in_memory_once() {
    let directory = directory();
    let data = directory.path().join("a.parquet");
    let long = "a great phone ".repeat(300_000);
    let values: ArrayRef = Arc::new(StringArray::from(vec![long.as_str()]));
    let same = || DictionaryArray::<Int32Type>::new(vec![0; 150].into(), Arc::clone(&values));
    parquet(&data, vec![("text", Arc::new(same())), ("other", Arc::new(same()))]);
    let out = directory.path().join("out.parquet");
    let arguments = ["embed", text(&data), "--backbone", backbone(), "--out", text(&out), "--threads", "1"];
    let mut limited = std::process::Command::new("sh");
    let own = command(&arguments);
    // 150 times 4 MB, twice, are 1.2 GB.
    limited.args(["-c", "ulimit -d 700000 && exec \"$@\"", "sh"]).arg(own.get_program()).args(own.get_args());
    own.get_envs().for_each(|(name, value)| {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    });
    finish(limited, &arguments).success();
    let written = std::fs::metadata(&out).unwrap().len();
    assert!(written < 20 << 20, "{written} bytes");
}

#[test]
fn a_key_that_stands_twice_is_refused_however_deep() {
    let directory = directory();
    let out = text(&directory.path().join("x.parquet")).to_owned();
    let rows = [r#"{"text": "a", "m": {"x": 1}}"#, r#"{"text": "b", "m": {"l": [0, {"x": 1, "x": 2}]}}"#];
    for (name, content) in [("a.jsonl", rows.join("\n")), ("a.json", format!("[{}]", rows.join(",\n")))] {
        let data = written(directory.path(), name, content);
        frosthead(&["embed", text(&data), "--backbone", backbone(), "--out", &out]).fails_with(&[
            name,
            "row 2, column \"m\"",
            "line 2",
            "the key \"x\" stands twice in the object m.l[1]",
        ]);
    }
    let run = directory.path().join("run");
    train(&written(directory.path(), "train.csv", csv(["a", "b"])), &run, &[]);
    let data = text(&directory.path().join("a.jsonl")).to_owned();
    frosthead(&["predict", &data, "--model", text(&run)]).fails_with(&["row 2", "\"x\" stands twice"]);
}

#[test]
fn embed_carries_the_numbers_of_json_as_numbers() {
    let directory = directory();
    let out = directory.path().join("out.parquet");
    let rows = [
        r#"{"text":"a","n":1,"price":1.50,"new":true,"mixed":1,"big":36893488147419103232,"odd":1.5,"none":null}"#,
        r#"{"text":"b","n":null,"price":-2,"new":false,"mixed":"x","big":1,"odd":Infinity,"late":7}"#,
        r#"{"text":"c","n":-3,"price":1e3,"new":null,"mixed":true,"big":2,"odd":NaN}"#,
    ];
    let lines = written(directory.path(), "a.jsonl", rows.join("\n"));
    let array = written(directory.path(), "a.json", format!("[{}]", rows.join(",\n")));
    for data in [&lines, &array] {
        let arguments = ["embed", text(data), "--backbone", backbone(), "--overwrite", "--out", text(&out)];
        frosthead(&arguments).success();
        let carried = read_parquet(&out);
        let expected: [(&str, ArrayRef); 8] = [
            ("n", Arc::new(Int64Array::from(vec![Some(1), None, Some(-3)]))),
            ("price", Arc::new(Float64Array::from(vec![1.5, -2.0, 1000.0]))),
            ("new", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]))),
            ("mixed", Arc::new(StringArray::from(vec!["1", "x", "true"]))),
            ("big", Arc::new(StringArray::from(vec!["36893488147419103232", "1", "2"]))),
            ("odd", Arc::new(StringArray::from(vec![Some("1.5"), Some("inf"), None]))),
            ("none", Arc::new(StringArray::from(vec![None::<&str>; 3]))),
            ("late", Arc::new(Int64Array::from(vec![None, Some(7), None]))),
        ];
        for (name, array) in expected {
            assert_eq!(carried.column_by_name(name).unwrap().to_data(), array.to_data(), "{name}");
        }
    }
    // Of a stream nobody knows the later values: text.
    let stream = ["embed", "-", "--format", "jsonl", "--backbone", backbone(), "--overwrite", "--out"];
    frosthead_reading(rows.join("\n").as_bytes(), &[&stream[..], &[text(&out)]].concat()).success();
    assert_eq!(read_parquet(&out).column_by_name("n").unwrap().data_type(), &DataType::Utf8);
}

#[test]
fn an_infinity_is_a_text_in_json_and_nan_is_nothing() {
    let directory = directory();
    let run = directory.path().join("run");
    train(&written(directory.path(), "train.csv", csv(["a", "b"])), &run, &[]);
    let odd = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1.5];
    let data = directory.path().join("a.parquet");
    let column = (0..12).map(|row| Some(odd[row % 4])).collect::<Float64Array>();
    parquet(&data, vec![("text", texts()), ("x", Arc::new(column))]);
    let jsonl = written(
        directory.path(),
        "a.jsonl",
        "{\"text\": \"a\", \"x\": Infinity}\n{\"text\": \"b\", \"x\": -Infinity}\n{\"text\": \"c\", \"x\": NaN}\n",
    );
    for data in [&data, &jsonl] {
        let rows = frosthead(&["predict", text(data), "--model", text(&run)]).success().json_lines();
        let found: Vec<&serde_json::Value> = rows.iter().take(3).map(|row| &row["x"]).collect();
        assert_eq!(found, [&"inf".into(), &"-inf".into(), &serde_json::Value::Null]);
    }
    // As a label NaN is none, in JSON too.
    let rows = jsonl_with_nan();
    let nan = directory.path().join("nan");
    train(&written(directory.path(), "nan.jsonl", rows), &nan, &["--alpha", "1"]);
    let metrics: serde_json::Value =
        serde_json::from_slice(&std::fs::read(nan.join("metrics.json")).unwrap()).unwrap();
    assert_eq!(metrics["unlabelled"]["label"], 4, "{metrics}");
}

/// Every third row has no label.
fn jsonl_with_nan() -> String {
    let rows = TEXTS.iter().enumerate();
    let rows = rows.map(|(row, text)| {
        format!("{{\"text\": \"{text}\", \"label\": {}}}\n", ["1", "2.5", "NaN"][row % 3])
    });
    rows.collect()
}

#[test]
fn bytes_that_are_no_text_are_said_without_an_option_that_parquet_has_no_use_for() {
    let directory = directory();
    let data = directory.path().join("a.parquet");
    parquet(&data, vec![("text", Arc::new(BinaryArray::from(vec![&b"caf\xe9"[..]; 12])))]);
    let out = text(&directory.path().join("x.parquet")).to_owned();
    let failed = frosthead(&["embed", text(&data), "--backbone", backbone(), "--out", &out]).fails_with(&[
        "a.parquet, row 1, column \"text\"",
        "no text in UTF-8",
        "write the column as strings",
    ]);
    assert!(!failed.stderr.contains("--encoding"), "{}", failed.stderr);
    parquet(&data, vec![("text", Arc::new(StringArray::from(vec!["café"; 12])))]);
    frosthead(&["embed", text(&data), "--backbone", backbone(), "--out", &out]).success();
}

#[test]
fn a_number_and_a_text_of_its_value_are_one_label_where_they_meet() {
    let directory = directory();
    let (run, apart) = (directory.path().join("run"), directory.path().join("apart"));
    let labels = |run: &Path| {
        let metrics = std::fs::read(run.join("metrics.json")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&metrics).unwrap()["tasks"]["label"]["labels"].clone()
    };
    let data = written(directory.path(), "train.csv", csv(["2.50", "True"]));
    let test: String = ["the battery is long", "a boring plot", "screen broke", "shiny actors"]
        .iter()
        .enumerate()
        .map(|(row, text)| format!("{{\"text\": \"{text}\", \"label\": {}}}\n", ["2.5", "true"][row % 2]))
        .collect();
    let test = written(directory.path(), "test.jsonl", test);
    train(&data, &run, &["--test", text(&test)]);
    assert_eq!(labels(&run), serde_json::json!(["2.5", "true"]));
    // In one table.
    let rows = TEXTS.iter().enumerate().map(|(row, text)| {
        format!("{{\"text\": \"{text}\", \"label\": {}}}\n", ["2.5", "\"2.50\"", "0.5"][row % 3])
    });
    let mixed = written(directory.path(), "mixed.jsonl", rows.collect::<String>());
    train(&mixed, &directory.path().join("mixed"), &[]);
    assert_eq!(labels(&directory.path().join("mixed")), serde_json::json!(["0.5", "2.5"]));
    // Texts alone keep their names; and eval finds them by value.
    train(&data, &apart, &[]);
    assert_eq!(labels(&apart), serde_json::json!(["2.50", "True"]));
    let found = frosthead(&["eval", text(&test), "--model", text(&apart), "--rows", "all", "--json"])
        .success()
        .json();
    let found = &found["tasks"]["label"];
    assert_eq!(found["rows"], 4, "{found}");
    assert_eq!(found["unseen"].as_array().map_or(0, Vec::len), 0, "{found}");
}

/// The most memory that a command had, in MiB, as the system counts it while it runs; what it prints is
/// thrown away.
fn peak(arguments: &[&str]) -> u64 {
    let mut child = started(arguments);
    drop(child.stdin.take());
    let status = format!("/proc/{}/status", child.id());
    let mut out = child.stdout.take().unwrap();
    let printed = std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
    let mut most = 0;
    let ended = loop {
        // The mark never falls: the last look before the end misses nothing but what came in a millisecond.
        let said = std::fs::read_to_string(&status).unwrap_or_default();
        let mark = said.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = mark.and_then(|mark| mark.trim().trim_end_matches(" kB").parse::<u64>().ok());
        most = most.max(kibibytes.unwrap_or(0) >> 10);
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None => std::thread::sleep(std::time::Duration::from_millis(1)),
        }
    };
    printed.join().unwrap().unwrap();
    assert!(ended.success() && most > 0, "{}", arguments.join(" "));
    most
}

#[test]
fn a_very_long_text_in_every_row_needs_little_memory_to_train_and_to_predict() {
    let directory = directory();
    let data = directory.path().join("a.parquet");
    let (long, run) = ("a great phone ".repeat(750_000), directory.path().join("run"));
    let values: ArrayRef = Arc::new(StringArray::from(vec![long.as_str(), "good phone", "bad phone"]));
    // 80 times 10 MB.
    let keys: Vec<i32> = (0..82).map(|row| [0, 1, 2][usize::try_from(row - 79).unwrap_or(0)]).collect();
    let labels: Vec<&str> = keys.iter().map(|key| if *key == 2 { "bad" } else { "good" }).collect();
    let texts = DictionaryArray::<Int32Type>::new(keys.into(), values);
    parquet(&data, vec![("text", Arc::new(texts)), ("label", Arc::new(StringArray::from(labels)))]);
    let backbone = text(&crate::tiny::tiny().backbone);
    let train = ["train", text(&data), "--backbone", backbone, "--task", "label", "--out", text(&run)];
    let all = ["--test-fraction", "0", "--valid-fraction", "0"];
    for arguments in [&[&train[..], &all].concat()[..], &["predict", text(&data), "--model", text(&run)]] {
        let most = peak(arguments);
        assert!(most <= 500, "`{}` needed {most} MiB", arguments.join(" "));
    }
}
