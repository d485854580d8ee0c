//! Tables of text as people have them: quotes, delimiters, encodings, compression. Each is read as it is
//! written, or refused with advice that is followed here to its end.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use frosthead::Source;
use frosthead::internal::data::TableReader;
use tempfile::TempDir;

use crate::harness::{Finished, backbone, directory, frosthead, frosthead_reading, text};

/// A place for tables.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(directory())
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        text(&path).to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn embed(&self, data: &str, more: &[&str]) -> Finished {
        let out = self.path("out.parquet");
        let arguments =
            ["embed", data, "--backbone", backbone(), "--out", text(&out), "--keep-text", "--overwrite"];
        frosthead(&[&arguments, more].concat())
    }

    /// The rows as they were read.
    #[track_caller]
    fn rows(&self, data: &str, more: &[&str]) -> Vec<Vec<String>> {
        self.embed(data, more).success();
        self.written()
    }

    fn written(&self) -> Vec<Vec<String>> {
        let mut reader = open(text(&self.path("out.parquet")));
        let names: Vec<String> = reader.columns().to_vec();
        let kept = names.iter().filter(|name| !["text_hash", "embedding"].contains(&name.as_str()));
        let places: Vec<usize> = kept.map(|name| reader.column(name).unwrap()).collect();
        let rows = reader.read(1000, 1 << 20).unwrap().into_iter();
        rows.map(|row| places.iter().map(|&place| row.cells[place].as_str().unwrap().to_owned()).collect())
            .collect()
    }
}

fn open(path: &str) -> TableReader {
    TableReader::open(&Source::new(path, None).unwrap()).unwrap()
}

/// What stands after an option that a message advises, without the shell's quotes.
#[track_caller]
fn advised<'s>(stderr: &'s str, option: &str) -> &'s str {
    let value =
        stderr.split(&format!("say {option} ")).nth(1).unwrap_or_else(|| panic!("{option}: {stderr}"));
    match value.strip_prefix('\'') {
        Some(quoted) => quoted.split('\'').next().unwrap(),
        None => value.split([' ', '\n', ',', ';', ')']).next().unwrap(),
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

fn utf_16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn encoded(text: &str, name: &str) -> Vec<u8> {
    encoding_rs::Encoding::for_label(name.as_bytes()).unwrap().encode(text).0.into_owned()
}

#[test]
fn a_quote_that_is_never_closed_names_the_line_where_it_opened() {
    let place = Place::new();
    let rows = "product,the battery lasts long\nmovie,the plot is dull\n";
    let data = place.file("last.csv", format!("label,text\n{rows}product,\"screen cracked on day one\n"));
    let failed =
        place.embed(&data, &[]).fails_with(&["last.csv, row 3", "line 4 is never closed", "\"text\""]);
    let read = place.rows(&data, &["--quoting", advised(&failed.stderr, "--quoting")]);
    assert_eq!(read[2], ["product", "\"screen cracked on day one"]);
    // As the advice for a quote that is part of one text has it.
    let data =
        place.file("mended.csv", format!("label,text\n{rows}product,\"\"\"screen cracked on day one\"\n"));
    assert_eq!(place.rows(&data, &[])[2], read[2]);
    let stray = format!("label,text\n{}movie,\"a fine\n{}", rows.repeat(100), rows.repeat(50));
    place.embed(&place.file("stray.csv", &stray), &["--strict"]).fails_with(&["line 202 is never closed"]);
    let tabs = place.file("stray.tsv", stray.replace(',', "\t"));
    place.embed(&tabs, &[]).fails_with(&["line 202 is never closed", "--quoting none"]);
    place
        .embed(&place.file("head.csv", "\"label,text\na,b\n"), &[])
        .fails_with(&["line 1 is never closed", "header"]);
}

#[test]
fn quotes_in_a_tsv_join_no_rows() {
    let place = Place::new();
    let content = "sentence\tlabel\n\"a moving film\t1\ndull \"and\" slow\t0\nthe \"best\" of it\t1\nflat jokes\t0\n\"fine\" acting\t1\n";
    let data = place.file("glue.tsv", content);
    let sentence = ["--text", "sentence"];
    let failed = place.embed(&data, &sentence).fails_with(&["glue.tsv, row 1", "line 2", "--quoting none"]);
    let read = place.rows(&data, &["--text", "sentence", "--quoting", advised(&failed.stderr, "--quoting")]);
    let expected: Vec<Vec<&str>> = content.lines().skip(1).map(|line| line.split('\t').collect()).collect();
    assert_eq!(read, expected);
    // A quote that opens no cell is text without any option.
    let inside = place.file("inside.tsv", "sentence\tlabel\ndull \"and\" slow\t0\n5\" disk\t1\n");
    assert_eq!(place.rows(&inside, &sentence), [["dull \"and\" slow", "0"], ["5\" disk", "1"]]);
    // One that does and swallows the next row is said, and read when it is meant.
    let joined = place.file("joined.tsv", "sentence\tlabel\n\"one\t1\ntwo\"\t0\n");
    let failed = place
        .embed(&joined, &sentence)
        .fails_with(&["line 2 encloses a tab or a line end", "--quoting double"]);
    assert_eq!(advised(&failed.stderr, "--quoting"), "none");
    assert_eq!(place.rows(&joined, &["--text", "sentence", "--quoting", "none"]).len(), 2);
    assert_eq!(place.rows(&joined, &["--text", "sentence", "--quoting", "double"]), [["one\t1\ntwo", "0"]]);
}

#[test]
fn a_wrong_delimiter_is_named_and_the_right_one_read() {
    let place = Place::new();
    let expected = [["a, \"b\"", "c"], ["d", "e"]];
    for (name, content) in [
        ("semicolons.csv", "text;label\n\"a, \"\"b\"\"\";c\nd;e\n"),
        ("excel.csv", "sep=;\r\ntext;label\r\n\"a, \"\"b\"\"\";c\r\nd;e\r\n"),
        ("tabs.csv", "text\tlabel\na, \"b\"\tc\nd\te\n"),
        ("bars.csv", "text|label\na, \"b\"|c\nd|e\n"),
        ("commas.tsv", "text,label\n\"a, \"\"b\"\"\",c\nd,e\n"),
    ] {
        let data = place.file(name, content);
        let failed = place.embed(&data, &[]).fails_with(&[name, "separated by"]);
        assert_eq!(
            place.rows(&data, &["--delimiter", advised(&failed.stderr, "--delimiter")]),
            expected,
            "{name}"
        );
    }
    // The header has the wrong delimiter in it as well: the missing column tells.
    let data = place.file("both.csv", "text;a, b;label\nx;y, z;w\n");
    let failed = place.embed(&data, &[]).fails_with(&["no such column", "separated by ';'"]);
    assert_eq!(
        place.rows(&data, &["--delimiter", advised(&failed.stderr, "--delimiter")]),
        [["x", "y, z", "w"]]
    );
    for wrong in ["", ";;", "§", "t", "\""] {
        place.embed(&data, &["--delimiter", wrong]).fails_with(&["one ASCII character"]);
    }
}

#[test]
fn encodings_are_recognised_or_advised_and_the_advice_works() {
    let place = Place::new();
    let cp1252 = place
        .file("cp1252.csv", encoded("text,label\n“great” phone – buy it,pos\nbad,neg\n", "windows-1252"));
    let failed = place.embed(&cp1252, &[]).fails_with(&[
        "row 1",
        "\"text\"",
        "UTF-8",
        "0x93",
        "“great” phone – buy it",
    ]);
    let read = place.rows(&cp1252, &["--encoding", advised(&failed.stderr, "--encoding")]);
    assert_eq!(read, [["“great” phone – buy it", "pos"], ["bad", "neg"]]);
    let russian =
        place.file("cp1251.txt", encoded("очень хороший фильм\nплохая игра актёров\n", "windows-1251"));
    let failed = place.embed(&russian, &[]).fails_with(&["row 1", "--encoding windows-1251"]);
    let read = place.rows(&russian, &["--encoding", advised(&failed.stderr, "--encoding")]);
    assert_eq!(read, [["очень хороший фильм"], ["плохая игра актёров"]]);
    for (name, content) in [
        ("a.csv", "text,label\nnaïve “café”,x\nb,y\n"),
        ("a.tsv", "text\tlabel\nnaïve “café”\tx\nb\ty\n"),
        ("a.jsonl", "{\"text\": \"naïve “café”\", \"label\": \"x\"}\n{\"text\": \"b\", \"label\": \"y\"}\n"),
    ] {
        let expected = [["naïve “café”", "x"], ["b", "y"]];
        for bytes in [utf_16(&format!("\u{feff}{content}")), utf_16(content)] {
            assert_eq!(place.rows(&place.file(name, bytes), &[]), expected, "{name}");
        }
        let latin = place.file(name, encoded(content, "windows-1252"));
        assert_eq!(place.rows(&latin, &["--encoding", "latin1"]), expected, "{name}");
    }
    let marked = utf_16("\u{feff}naïve\r\n\r\n“café”");
    assert_eq!(place.rows(&place.file("a.txt", &marked), &[]), [["naïve"], [""], ["“café”"]]);
    place.embed(text(&place.path("a.txt")), &["--encoding", "windows-1252"]).fails_with(&[
        "byte-order mark",
        "UTF-16LE",
        "leave --encoding out",
    ]);
    let broken =
        place.file("sjis.csv", [&encoded("text,label\n日本,a\n", "shift_jis")[..], b"b\x81 c,d\n"].concat());
    place.embed(&broken, &["--encoding", "shift_jis"]).fails_with(&[
        "row 2",
        "\"text\"",
        "Shift_JIS",
        "0x81",
    ]);
    place.embed(&broken, &["--encoding", "utf-9"]).fails_with(&["utf-9", "windows-1252"]);
}

/// Runs the `iconv` that a message advises, with the table in the place of TABLE.
#[track_caller]
fn converted(stderr: &str, table: &str) -> Vec<u8> {
    let advice = stderr.split("iconv ").nth(1).unwrap().lines().next().unwrap().replace("TABLE", table);
    let command = format!("iconv {}", advice.trim_end_matches('`').trim_end_matches("> NEW"));
    let converted = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
    assert!(converted.status.success(), "{advice}");
    converted.stdout
}

#[test]
fn utf_32_is_refused_and_converted_as_advised() {
    let place = Place::new();
    for mark in ["\u{feff}", ""] {
        for order in [u32::to_le_bytes as fn(u32) -> [u8; 4], u32::to_be_bytes] {
            let content = format!("{mark}text,label\nnaïve 😀,x\n");
            let bytes: Vec<u8> = content.chars().flat_map(|character| order(character.into())).collect();
            let data = place.file("utf32.csv", bytes);
            let failed = place.embed(&data, &[]).fails_with(&["UTF-32", "iconv"]);
            let converted = place.file("utf8.csv", converted(&failed.stderr, &data));
            assert_eq!(place.rows(&converted, &[]), [["naïve 😀", "x"]]);
        }
    }
}

#[test]
fn utf_16_that_is_cut_off_or_damaged_is_called_so() {
    let place = Place::new();
    let whole = utf_16("\u{feff}text,label\nnaïve 😀,x\ngood,😀");
    for lost in [1, 2, 3] {
        let data = place.file("cut.csv", &whole[..whole.len() - lost]);
        let failed = place.embed(&data, &[]).fails_with(&["cut.csv", "UTF-16LE", "cut off"]);
        assert!(!failed.stderr.contains("--encoding"), "{}", failed.stderr);
    }
    let alone = [&utf_16("\u{feff}text,label\na")[..], &[0x00, 0xd8], &utf_16("b,c\n")].concat();
    let failed =
        place.embed(&place.file("alone.csv", alone), &[]).fails_with(&["alone.csv, row 1", "damaged"]);
    assert!(!failed.stderr.contains("--encoding"), "{}", failed.stderr);
    // Without a mark, and asked for in the other order.
    let data = place.file("plain.txt", utf_16("plain words\nof a text\n"));
    place.embed(&data, &["--encoding", "utf-16be"]).fails_with(&["found UTF-16LE", "leave --encoding out"]);
    assert_eq!(place.rows(&data, &[]), [["plain words"], ["of a text"]]);
}

#[test]
fn japanese_in_escape_sequences_is_recognised() {
    let place = Place::new();
    let text = "text,label\nplain,a\n日本語の映画,b\n";
    let data = place.file("jis.csv", encoded(text, "iso-2022-jp"));
    let failed = place.embed(&data, &[]).fails_with(&["jis.csv", "ISO-2022-JP"]);
    let read = place.rows(&data, &["--encoding", advised(&failed.stderr, "--encoding")]);
    assert_eq!(read, [["plain", "a"], ["日本語の映画", "b"]]);
}

#[test]
fn a_ctrl_z_at_the_end_of_a_file_is_no_row() {
    let place = Place::new();
    assert_eq!(place.rows(&place.file("a.txt", "one\r\ntwo\r\n\x1a"), &[]), [["one"], ["two"]]);
    assert_eq!(place.rows(&place.file("a.csv", "text,n\na,1\nb,2\n\x1a"), &[]), [["a", "1"], ["b", "2"]]);
    let jsonl = place.file("a.jsonl", "{\"text\": \"a\"}\n\x1a");
    assert_eq!(place.rows(&jsonl, &[]), [["a"]]);
    assert_eq!(place.rows(&place.file("b.txt", "one\x1a\ntwo\n"), &[]), [["one\u{1a}"], ["two"]]);
}

#[test]
fn rows_that_two_stray_quotes_would_join_are_refused() {
    let place = Place::new();
    let more = "a dull film,neg\nlovely,pos\n";
    for (joined, closes, rows) in [
        ("\"Great phone,pos\nnice one\",pos\n", "line 3", 4),
        ("\"Great phone,pos\nbad one,neg\nnice one\",pos\n", "line 4", 5),
    ] {
        let data = place.file("stray.csv", format!("text,label\n{joined}{more}"));
        let failed = place.embed(&data, &[]).fails_with(&[
            "stray.csv, row 1, column \"text\"",
            "opens a cell in line 2 is closed in",
            closes,
            "\"pos\" stands in the column \"label\"",
            "say --quoting none",
        ]);
        assert_eq!(place.rows(&data, &["--quoting", "none"]).len(), rows);
        assert_eq!(advised(&failed.stderr, "--quoting"), "double");
        assert_eq!(place.rows(&data, &["--quoting", "double"]).len(), 3);
    }
    // What tells may come before it or behind; `predict` from a stream is stopped, too.
    let data = place.file("behind.csv", format!("text,label\n{more}\"Great,pos\nnice one\",neg\n"));
    place.embed(&data, &[]).fails_with(&["row 3", "opens a cell in line 4"]);
    // Texts of several lines are texts, with as many commas as a row.
    let text = "Great phone, nice\nbad one, too\r\n\nlovely";
    let data = place.file("texts.csv", format!("text,label\n\"{text}\",pos\n{more}"));
    assert_eq!(place.rows(&data, &[])[0], [text, "pos"]);
    let lines = place.file("one.csv", "text\npos\n\"neg\npos\"\n");
    assert_eq!(place.rows(&lines, &[]), [["pos"], ["neg\npos"]]);
}

#[test]
fn what_a_compressed_or_foreign_file_is_called_does_not_matter() {
    let place = Place::new();
    let packed = place.file("a.dat", gzip(b"text\na\n"));
    place.embed(&packed, &[]).fails_with(&["a.dat", "gzip", "--format csv"]);
    assert_eq!(place.rows(&packed, &["--format", "csv"]), [["a"]]);
    let entry = |name: &str| [&b"PK\x03\x04"[..], &[0; 26], name.as_bytes(), &[b'x'; 900]].concat();
    let sheet = [entry("_rels/.rels"), entry("xl/workbook.xml")].concat();
    for name in ["sheet.dat", "sheet.csv", "sheet.xlsx"] {
        place.embed(&place.file(name, &sheet), &[]).fails_with(&[name, "a spreadsheet", "save it as CSV"]);
    }
    // The command that unpacks a file works on one of any name.
    let mut encoder = std::process::Command::new("xz");
    let plain = place.file("plain", "text\na\n");
    let packed = encoder.args(["-zc", &plain]).output().unwrap();
    for name in ["b.csv", "b.csv.xz"] {
        let data = place.file(name, &packed.stdout);
        let failed = place.embed(&data, &["--format", "csv"]).fails_with(&["xz", "unpack it first"]);
        let advice = failed.stderr.split('`').nth(1).unwrap();
        let unpacked = advice.rsplit_once("> ").unwrap().1;
        let done = std::process::Command::new("sh").args(["-c", advice]).status().unwrap();
        assert!(done.success(), "{advice}");
        assert_eq!(place.rows(unpacked, &["--format", "csv"]), [["a"]]);
    }
}

#[test]
fn a_row_that_does_not_fit_is_mended_as_advised() {
    let place = Place::new();
    for (content, advice, mended) in [
        ("text,label\ngood,a\nbad\n", "a cell for every column", "text,label\ngood,a\nbad,\n"),
        ("text,label\ngood, \"a, b\"\n", "take out the space", "text,label\ngood,\"a, b\"\n"),
        ("text,label\ngood, bad,a\n", "put quotes around", "text,label\n\"good, bad\",a\n"),
    ] {
        place.embed(&place.file("odd.csv", content), &[]).fails_with(&["odd.csv", "does not fit", advice]);
        assert!(!place.rows(&place.file("mended.csv", mended), &[]).is_empty());
    }
}

#[test]
fn what_is_no_json_is_called_what_it_is() {
    let place = Place::new();
    let csv = place.file("csv.jsonl", "text,label\na,b\n");
    let failed = place.embed(&csv, &[]).fails_with(&["csv.jsonl, row 1", "nor are these JSON lines"]);
    assert_eq!(place.rows(&csv, &["--format", advised(&failed.stderr, "--format")]), [["a", "b"]]);
    let rows = "{\"text\": \"a\"},\n{\"text\": \"b\"},\n";
    let commas = place.file("commas.jsonl", rows);
    place.embed(&commas, &[]).fails_with(&["commas.jsonl, row 1", "comma", "--format json"]);
    let mended = place.file("mended.jsonl", rows.replace("},", "}"));
    assert_eq!(place.rows(&mended, &[]), [["a"], ["b"]]);
    let array = place.file("array.jsonl", format!("[{}]", rows.trim_end().trim_end_matches(',')));
    assert_eq!(place.rows(&array, &["--format", "json"]), [["a"], ["b"]]);
    let python = place.file("python.jsonl", "{'text': 'a'}\n");
    place.embed(&python, &[]).fails_with(&["single quotes", "json.dumps"]);
    // Objects over several lines, of which none is a line of JSON.
    let apart = place.file("apart.json", "{\n  \"text\": \"a\"\n}\n{\n  \"text\": \"b\"\n}\n");
    place.embed(&apart, &[]).fails_with(&["JSON lines", "jq -c ."]);
}

#[test]
fn tables_of_every_format_are_read_compressed() {
    let place = Place::new();
    let expected = [["good, phone", "x"], ["bad", "y"]];
    let csv = "text,label\n\"good, phone\",x\nbad,y\n";
    let tsv = "text\tlabel\ngood, phone\tx\nbad\ty\n";
    let jsonl = "{\"text\": \"good, phone\", \"label\": \"x\"}\n{\"text\": \"bad\", \"label\": \"y\"}\n";
    let twice = |packed: fn(&[u8]) -> Vec<u8>, text: &str| {
        let (half, rest) = text.split_at(text.len() / 2);
        [packed(half.as_bytes()), packed(rest.as_bytes())].concat()
    };
    for (name, bytes) in [
        ("a.csv.gz", gzip(csv.as_bytes())),
        ("a.csv", gzip(csv.as_bytes())),
        ("b.csv.gz", twice(gzip, csv)),
        ("a.tsv.zst", zstd(tsv.as_bytes())),
        ("b.tsv.zst", twice(zstd, tsv)),
        ("a.jsonl.gz", gzip(jsonl.as_bytes())),
        ("a.ndjson.zst", zstd(jsonl.as_bytes())),
    ] {
        assert_eq!(place.rows(&place.file(name, bytes), &[]), expected, "{name}");
    }
    let lines = place.file("a.txt.zst", zstd(b"one\n\ntwo\n"));
    assert_eq!(place.rows(&lines, &[]), [["one"], [""], ["two"]]);
    assert_eq!(place.rows(&place.file("a.bin", gzip(csv.as_bytes())), &["--format", "csv"]), expected);
    // A Parquet, as a table and as features.
    place.embed(&place.file("a.csv", csv), &[]).success();
    let plain = std::fs::read(place.path("out.parquet")).unwrap();
    let packed = place.file("features.parquet.gz", gzip(&plain));
    assert_eq!(open(&packed).read(10, 1 << 20).unwrap().len(), 2);
    let features = crate::harness::features(Path::new(&packed), None);
    assert_eq!(features.rows, 2);
    // Standard input.
    let out = place.path("stdin.parquet");
    let arguments =
        ["embed", "-", "--format", "csv", "--backbone", backbone(), "--out", text(&out), "--keep-text"];
    for bytes in [gzip(csv.as_bytes()), zstd(csv.as_bytes())] {
        frosthead_reading(&bytes, &[&arguments[..], &["--overwrite"]].concat()).success();
        assert_eq!(open(text(&out)).read(10, 1 << 20).unwrap().len(), 2);
    }
}

#[test]
fn a_damaged_compressed_table_is_no_short_table() {
    let place = Place::new();
    let rows: String = (0..400).map(|row| format!("text number {},{}\n", row % 9, row * row)).collect();
    let content = format!("text,label\n{rows}");
    for (name, whole) in [("a.csv.gz", gzip(content.as_bytes())), ("a.csv.zst", zstd(content.as_bytes()))] {
        assert_eq!(place.rows(&place.file(name, &whole), &[]).len(), 400);
        for lost in [1, 9, whole.len() / 2] {
            let cut = place.file(name, &whole[..whole.len() - lost]);
            place.embed(&cut, &[]).fails_with(&[name, "damaged or cut off"]);
        }
    }
    let plain = place.file("plain.csv.gz", content);
    place.embed(&plain, &[]).fails_with(&["plain.csv.gz", "not compressed"]);
    let xlsx = place.file("sheet.csv", [&b"PK\x03\x04"[..], &[0; 26], b"[Content_Types].xml"].concat());
    place.embed(&xlsx, &[]).fails_with(&["a spreadsheet", "save it as CSV"]);
    let lines = place.file("lines.csv", "{\"text\": \"good, phone\", \"label\": \"x\"}\n");
    let failed = place.embed(&lines, &[]).fails_with(&["JSON lines"]);
    let read = place.rows(&lines, &["--format", advised(&failed.stderr, "--format")]);
    assert_eq!(read, [["good, phone", "x"]]);
}

#[test]
fn an_option_without_effect_is_an_error() {
    let place = Place::new();
    let data = place.file("a.jsonl", "{\"text\": \"a\"}\n");
    place.embed(&data, &["--delimiter", ";"]).fails_with(&["a.jsonl", "no effect", "--delimiter ;", "jsonl"]);
    place.embed(&data, &["--quoting", "none"]).fails_with(&["no effect", "--quoting none"]);
    let out = text(&place.path("out.parquet")).to_owned();
    place.embed(&place.file("a.csv", "text\na\n"), &[]).success();
    place.embed(&out, &["--encoding", "utf-8"]).fails_with(&["no effect", "--encoding UTF-8", "parquet"]);
    let lines = ["predict", "-", "--delimiter", ";", "--model", "runs/none"];
    frosthead_reading(b"a;b\n", &lines).fails_with(&["standard input", "lines", "--format csv"]);
}

#[test]
fn a_blank_line_is_a_text_in_one_column_only() {
    let place = Place::new();
    assert_eq!(place.rows(&place.file("one.csv", "text\r\na\r\n\r\nb\r\n"), &[]), [["a"], [""], ["b"]]);
    assert_eq!(place.rows(&place.file("two.csv", "text,n\na,1\n\nb,2\n"), &[]), [["a", "1"], ["b", "2"]]);
    assert_eq!(place.rows(&place.file("mac.csv", "text,n\ra,1\rb,2\r"), &[]), [["a", "1"], ["b", "2"]]);
    assert_eq!(place.rows(&place.file("mac.txt", "a\rb\r"), &[]), [["a"], ["b"]]);
}

#[test]
fn an_output_knows_how_its_table_was_read() {
    let place = Place::new();
    let data = place.file("a.csv", encoded("text\n“café”\n", "windows-1252"));
    let out = place.path("x.parquet");
    let embed = |encoding: &str| {
        let arguments =
            ["embed", &data, "--backbone", backbone(), "--out", text(&out), "--encoding", encoding];
        frosthead(&arguments)
    };
    embed("windows-1252").success();
    let again = embed("latin1").success();
    assert!(again.stderr.contains("up to date"), "{}", again.stderr);
    embed("windows-1250").fails_with(&["made from something else"]);
}

#[test]
fn a_run_reads_its_tables_again_as_it_was_told_to() {
    let place = Place::new();
    let rows = |from: usize, to: usize| -> String {
        let row = |row: usize| {
            format!("“{row}” {};{}\n", ["café, bon", "thé; amer"][row % 2].replace(';', ","), row % 2)
        };
        (from..to).map(row).collect()
    };
    let table = |name: &str, from, to| {
        place.file(name, gzip(&encoded(&format!("text;label\n{}", rows(from, to)), "windows-1252")))
    };
    let (data, test) = (table("data.csv.gz", 0, 80), table("test.csv.gz", 80, 100));
    let run = place.path("run");
    let train = |more: &[&str]| {
        let arguments = ["train", &data, "--backbone", backbone(), "--task", "label", "--out", text(&run)];
        frosthead(&[&arguments, &["--test", &test][..], more].concat())
    };
    let read = ["--delimiter", ";", "--encoding", "windows-1252"];
    train(&read).success();
    assert!(train(&read).success().stderr.contains("up to date"));
    train(&["--delimiter", ";", "--encoding", "windows-1250"]).fails_with(&["made from something else"]);
    let bundle = place.path("x.frost");
    frosthead(&["bundle", text(&run), "--out", text(&bundle), "--keep-validation", "--precision", "fp32"])
        .success();
    // A table beside it in another format has no delimiter.
    let lines = "{\"text\": \"“1” café, bon\", \"label\": 1}\n{\"text\": \"“2” thé, amer\", \"label\": 0}\n";
    let other = place.file("other.jsonl", encoded(lines, "windows-1252"));
    let out = place.path("other");
    let arguments = ["train", &data, "--backbone", backbone(), "--task", "label", "--out", text(&out)];
    frosthead(&[&arguments, &["--test", &other][..], &["--delimiter", ";", "--encoding", "cp1252"]].concat())
        .success();
}
