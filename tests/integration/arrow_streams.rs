//! Streams of Arrow: `embed` and `predict` answer batch by batch with the numbers that they give elsewhere,
//! carry all columns, hold no more than a batch, and refuse what is no text.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Float32Type, Int32Type};
use arrow_array::{
    Array as _, ArrayRef, BinaryArray, DictionaryArray, Int64Array, LargeStringArray, ListArray, RecordBatch,
    StringArray, StringViewArray,
};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;

use crate::harness::{backbone, command, demo, directory, features, frosthead, started, text};
use crate::tiny::tiny;

fn texts(rows: usize) -> Vec<String> {
    let mut reader = csv::Reader::from_path(demo(rows)).unwrap();
    reader.records().map(|record| record.unwrap()[0].to_owned()).collect()
}

/// A stream in a file.
fn write(path: &Path, batches: &[RecordBatch]) -> PathBuf {
    let mut writer = StreamWriter::try_new(File::create(path).unwrap(), &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    path.to_path_buf()
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

fn of_texts(name: &str, texts: &[&str]) -> RecordBatch {
    batch(vec![(name, Arc::new(StringArray::from(texts.to_vec())))])
}

/// What a command that reads a file as its standard input writes to standard output.
fn answered(input: &Path, arguments: &[&str]) -> Vec<RecordBatch> {
    let output = command(arguments).stdin(File::open(input).unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    StreamReader::try_new(output.stdout.as_slice(), None).unwrap().map(Result::unwrap).collect()
}

/// What a command that reads a file as its standard input fails with.
#[track_caller]
fn refused(input: &Path, arguments: &[&str], parts: &[&str]) {
    let output = command(arguments).stdin(File::open(input).unwrap()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part:?}: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

fn numbers(batches: &[RecordBatch], column: &str) -> Vec<u32> {
    let of_batch = |batch: &RecordBatch| {
        let list = batch.column_by_name(column).unwrap().as_fixed_size_list();
        list.values().as_primitive::<Float32Type>().values().iter().map(|number| number.to_bits()).collect()
    };
    batches.iter().flat_map(|batch| -> Vec<u32> { of_batch(batch) }).collect()
}

const EMBED: [&str; 6] = ["-q", "embed", "-", "--format", "arrow", "--backbone"];

#[test]
fn embeddings_of_a_stream_are_those_of_a_table() {
    let directory = directory();
    let all = texts(40);
    let (first, second) = all.split_at(17);
    let strings: Vec<ArrayRef> =
        vec![Arc::new(StringArray::from(first.to_vec())), Arc::new(StringArray::from(second.to_vec()))];
    let batches: Vec<RecordBatch> = strings.into_iter().map(|texts| batch(vec![("text", texts)])).collect();
    let input = write(&directory.path().join("in.arrows"), &batches);
    let table = directory.path().join("table.parquet");
    frosthead(&[
        "-q",
        "embed",
        text(&demo(40)),
        "--backbone",
        backbone(),
        "--features",
        "layers:1-2",
        "--out",
        text(&table),
    ])
    .success();
    let bits = |column: &str| -> Vec<u32> {
        features(&table, Some(column)).features.iter().map(|number| number.to_bits()).collect()
    };
    let found =
        answered(&input, &[&EMBED[..], &[backbone(), "--features", "layers:1-2", "--out", "-"]].concat());
    assert_eq!(found.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [17, 23]);
    assert_eq!(numbers(&found, "features"), bits("features"));
    let found = answered(&input, &[&EMBED[..], &[backbone(), "--out", "-"]].concat());
    assert_eq!(numbers(&found, "embedding"), bits("embedding"));
    // From a file to a file; what is there stays.
    let out = directory.path().join("out.arrows");
    let embed = ["-q", "embed", text(&input), "--backbone", backbone(), "--out", text(&out)];
    frosthead(&embed).success();
    frosthead(&embed).fails_with(&["the output exists", "--overwrite"]);
    frosthead(&[&embed[..], &["--overwrite"]].concat()).success();
    let written = StreamReader::try_new(File::open(&out).unwrap(), None).unwrap().map(Result::unwrap);
    assert_eq!(written.collect::<Vec<_>>(), found);
}

#[test]
fn all_columns_are_carried_as_they_are() {
    let directory = directory();
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1)]), None, Some(vec![])]);
    let letters: DictionaryArray<Int32Type> = ["a", "b", "a"].into_iter().collect();
    let carried: Vec<(&str, ArrayRef)> = vec![
        ("number", Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]))),
        ("list", Arc::new(lists)),
        ("letter", Arc::new(letters)),
    ];
    let of = |texts: ArrayRef| batch([&carried[..], &[("said", texts)]].concat());
    let text_columns: [ArrayRef; 4] = [
        Arc::new(StringArray::from(vec!["one", "two", "one"])),
        Arc::new(LargeStringArray::from(vec!["one", "two", "one"])),
        Arc::new(StringViewArray::from(vec!["one", "two", "one"])),
        Arc::new(["one", "two", "one"].into_iter().collect::<DictionaryArray<Int32Type>>()),
    ];
    let mut before = None;
    for texts in text_columns {
        let input = of(texts);
        let path = write(
            &directory.path().join("in.arrows"),
            &[input.clone(), input.slice(0, 0), input.slice(1, 2)],
        );
        let options = [&EMBED[..], &[backbone(), "--text", "said", "--out", "-"]].concat();
        let found = answered(&path, &options);
        assert_eq!(found.len(), 2);
        let names: Vec<String> =
            found[0].schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, ["number", "list", "letter", "said", "embedding"]);
        for place in 0..4 {
            assert_eq!(found[0].column(place), input.column(place));
            assert_eq!(found[1].column(place), &input.column(place).slice(1, 2));
        }
        let vectors = numbers(&found, "embedding");
        assert_eq!(*before.get_or_insert_with(|| vectors.clone()), vectors);
    }
    let nothing = of_texts("text", &[]);
    let path = write(&directory.path().join("in.arrows"), &[nothing]);
    assert_eq!(answered(&path, &[&EMBED[..], &[backbone(), "--out", "-"]].concat()), []);
}

#[test]
fn labels_of_a_stream_are_those_of_a_table() {
    let directory = directory();
    let model = text(&tiny().bundle);
    let all = texts(30);
    let path = write(
        &directory.path().join("in.arrows"),
        &[batch(vec![("review", Arc::new(StringArray::from(all)) as ArrayRef)])],
    );
    let data = demo(30);
    let table = ["-q", "predict", text(&data), "--text", "text", "--model", model, "--all-probabilities"];
    let rows = frosthead(&table).success().json_lines();
    let predict = ["-q", "predict", "-", "--format", "arrow", "--model", model];
    // The column is the one that the bundle was trained with.
    let found = answered(&path, &[&predict[..], &["--all-probabilities"]].concat()).remove(0);
    let narrow = answered(&path, &predict).remove(0);
    assert!(narrow.num_columns() < found.num_columns());
    for (place, row) in rows.iter().enumerate() {
        let schema = found.schema();
        for (field, column) in schema.fields().iter().zip(found.columns()).skip(1) {
            let expected = &row[field.name()];
            match expected.as_str() {
                Some(label) => assert_eq!(column.as_string::<i32>().value(place), label),
                None => {
                    let number = column.as_primitive::<Float32Type>().value(place);
                    assert_eq!(number.to_bits(), (expected.as_f64().unwrap() as f32).to_bits(), "{field}");
                }
            }
        }
        let own = narrow.column_by_name("domain_predicted").unwrap();
        assert_eq!(own.as_string::<i32>().value(place), row["domain_predicted"].as_str().unwrap());
    }
}

/// A command that is being written to.
struct Live {
    child: Child,
    input: Option<StreamWriter<ChildStdin>>,
}

impl Live {
    fn new(arguments: &[&str], schema: &RecordBatch) -> Self {
        let mut child = started(arguments);
        let input = StreamWriter::try_new(child.stdin.take().unwrap(), &schema.schema()).unwrap();
        Self { child, input: Some(input) }
    }

    fn write(&mut self, batch: &RecordBatch) {
        let input = self.input.as_mut().unwrap();
        input.write(batch).unwrap();
        input.get_mut().flush().unwrap();
    }

    fn output(&mut self) -> StreamReader<ChildStdout> {
        StreamReader::try_new(self.child.stdout.take().unwrap(), None).unwrap()
    }

    /// The most memory that it had so far, in bytes.
    fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        1024 * line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    }
}

#[test]
fn a_batch_is_answered_before_the_next_one_is_there() {
    for arguments in [
        [&EMBED[..], &[backbone(), "--text", "review", "--out", "-"]].concat(),
        vec!["-q", "predict", "-", "--format", "arrow", "--model", text(&tiny().bundle)],
    ] {
        let mut live = Live::new(&arguments, &of_texts("review", &[]));
        let mut output = live.output();
        for rows in 1..4 {
            live.write(&of_texts("review", &vec!["good"; rows]));
            assert_eq!(output.next().unwrap().unwrap().num_rows(), rows);
        }
        live.input.take().unwrap().finish().unwrap();
        assert!(output.next().is_none());
        assert!(live.child.wait().unwrap().success());
    }
}

#[test]
fn memory_does_not_grow_with_a_stream() {
    let megabyte = vec![7_u8; 1 << 20];
    let payload: ArrayRef = Arc::new(BinaryArray::from_vec(vec![megabyte.as_slice(); 8]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["good"; 8]));
    let eight_megabytes = batch(vec![("text", texts), ("payload", payload)]);
    let arguments = [&EMBED[..], &[backbone(), "--out", "-"]].concat();
    let mut live = Live::new(&arguments, &eight_megabytes);
    let mut output = live.output();
    let mut peaks = Vec::new();
    for round in 0..50 {
        live.write(&eight_megabytes);
        let answer = output.next().unwrap().unwrap();
        assert_eq!(answer.column(1), eight_megabytes.column(1));
        if round == 9 || round == 49 {
            peaks.push(live.peak());
        }
    }
    live.input.take().unwrap().finish().unwrap();
    assert!(live.child.wait().unwrap().success());
    assert!(peaks[1] < peaks[0] + (32 << 20), "40 batches of 8 MB took it from {} to {}", peaks[0], peaks[1]);
}

#[test]
fn what_is_no_stream_of_texts_is_refused() {
    let directory = directory();
    let path = directory.path().join("in.arrows");
    let embed = [&EMBED[..], &[backbone(), "--out", "-"]].concat();
    let model = text(&tiny().bundle);
    let predict = ["-q", "predict", "-", "--format", "arrow", "--text", "text", "--model", model];
    let some =
        |texts: Vec<Option<&str>>| batch(vec![("text", Arc::new(StringArray::from(texts)) as ArrayRef)]);
    let numbers = batch(vec![("text", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]);
    let taken = |name: &str| {
        let column = |texts: &str| Arc::new(StringArray::from(vec![texts])) as ArrayRef;
        batch(vec![("text", column("a")), (name, column("b"))])
    };
    for (arguments, answer) in [(&embed[..], "embedding"), (&predict[..], "domain_predicted")] {
        write(&path, &[some(vec![Some("a"), Some("b")]), some(vec![Some("c"), None])]);
        let missing =
            ["standard input, row 4, column \"text\": a text is missing", "found null", "leave such rows"];
        refused(&path, arguments, &missing);
        write(&path, std::slice::from_ref(&numbers));
        refused(&path, arguments, &["column \"text\": the column is not text", "found Int64", "Utf8"]);
        write(&path, &[of_texts("body", &["a"])]);
        refused(&path, arguments, &["column \"text\": there is no such column", "columns body"]);
        write(&path, &[taken(answer)]);
        refused(&path, arguments, &[answer, "called like an answer", "rename"]);
        std::fs::write(&path, "text\na\n").unwrap();
        refused(&path, arguments, &["standard input: this is no stream of Arrow", "new_stream"]);
        std::fs::write(&path, "").unwrap();
        refused(&path, arguments, &["standard input"]);
        // Cut off in the middle of the second batch.
        write(&path, &[of_texts("text", &["a"; 9]), of_texts("text", &["b"; 9])]);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 80]).unwrap();
        refused(
            &path,
            arguments,
            &["standard input: the stream of Arrow is damaged, or was cut off", "behind row 9"],
        );
    }
}

#[test]
fn options_that_a_stream_has_no_use_for_are_refused() {
    let directory = directory();
    let path = write(&directory.path().join("in.arrows"), &[of_texts("text", &["a"])]);
    let embed = [&EMBED[..], &[backbone(), "--out", "-"]].concat();
    refused(
        &path,
        &[&embed[..], &["--cache", "x"]].concat(),
        &["--cache has no effect", "nothing is stored"],
    );
    refused(&path, &[&embed[..], &["--keep-text"]].concat(), &["--keep-text has no effect"]);
    let model = text(&tiny().bundle);
    let predict = ["-q", "predict", "-", "--format", "arrow", "--model", model];
    for option in
        [&["--top-k", "2"][..], &["--abstain-below", "0.5"], &["--explain", "words"], &["--memory", "2G"]]
    {
        refused(&path, &[&predict[..], option].concat(), &[option[0], "no effect", "stream of Arrow"]);
    }
    let data = demo(30);
    frosthead(&["embed", text(&data), "--backbone", backbone(), "--out", "-"])
        .fails_with(&["Parquet cannot be written to standard output", "--format arrow"]);
    frosthead(&["eval", text(&path), "--model", text(&tiny().run)])
        .fails_with(&["does not read streams of Arrow", "frosthead embed"]);
    // Who went away is no failure.
    let mut child = command(&embed).stdin(File::open(&path).unwrap()).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
