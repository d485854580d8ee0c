//! What the wrong kind of thing in every place says, and that advice works when it is followed.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{
    Finished, command, demo, directory, finish, frosthead, frosthead_reading, has_cells, root, shell, text,
};
use crate::tiny::{tiny, write_checkpoint};

/// One thing of every kind.
struct Things {
    place: tempfile::TempDir,
}

impl Things {
    fn new() -> Self {
        let place = directory();
        let at = |name: &str| place.path().join(name);
        std::fs::create_dir(at("empty-directory")).unwrap();
        std::fs::create_dir(at("directory")).unwrap();
        std::fs::write(at("directory/notes.txt"), "notes\n").unwrap();
        std::fs::create_dir(at("comparison")).unwrap();
        std::fs::write(at("comparison/report.json"), "{}").unwrap();
        std::fs::create_dir_all(at("store/features")).unwrap();
        std::fs::write(at("empty.csv"), "").unwrap();
        std::fs::write(at("table.csv"), "review,domain\ngood,tweet\nbad,news\n").unwrap();
        std::fs::write(at("table.jsonl"), "{\"review\": \"good\"}\n").unwrap();
        std::fs::write(at("thing.json"), "{\"a\": 1}\n").unwrap();
        std::fs::copy(root().join("tests/data/foreign_onnx/tokenizer.json"), at("tokenizer.json")).unwrap();
        std::fs::write(at("config.json"), "{\"model_type\": \"bert\"}\n").unwrap();
        std::fs::write(at("packed.xz"), b"\xfd7zXZ\0\0\0").unwrap();
        std::fs::write(at("book.xlsx"), spreadsheet()).unwrap();
        std::fs::write(at("bytes"), b"\0\x01\x02\xff").unwrap();
        write_checkpoint(&at("checkpoint"));
        std::fs::copy(at("checkpoint/model.safetensors"), at("weights.safetensors")).unwrap();
        std::fs::copy(root().join("tests/data/foreign_onnx/encoder.onnx"), at("graph.onnx")).unwrap();
        Self { place }
    }

    fn at(&self, name: &str) -> PathBuf {
        match name {
            "run" => tiny().run.clone(),
            "bundle" => tiny().bundle.clone(),
            "backbone" => tiny().backbone.clone(),
            _ => self.place.path().join(name),
        }
    }
}

/// The start of what spreadsheet programs write.
fn spreadsheet() -> Vec<u8> {
    let mut start = b"PK\x03\x04".to_vec();
    start.resize(30, 0);
    start.extend(b"[Content_Types].xml");
    start
}

/// What each thing is called.
const CALLED: [(&str, &str); 20] = [
    ("nothing-there", "no such"),
    ("empty-directory", "an empty directory"),
    ("directory", "a directory"),
    ("comparison", "the directory of a comparison"),
    ("store", "a feature store"),
    ("empty.csv", "empty"),
    ("table.csv", "a CSV table"),
    ("table.jsonl", "a JSONL table"),
    ("thing.json", "a JSON file"),
    ("tokenizer.json", "one file of a model (its tokenizer)"),
    ("config.json", "one file of a model (its configuration)"),
    ("packed.xz", "a file packed with xz"),
    ("book.xlsx", "a spreadsheet"),
    ("bytes", "a file of an unknown kind"),
    ("checkpoint", "a model directory that is not imported"),
    ("weights.safetensors", "a safetensors file"),
    ("graph.onnx", "an ONNX file"),
    ("run", "a run directory"),
    ("bundle", "a bundle"),
    ("backbone", "a backbone directory"),
];

/// Every place that wants a thing: the command, and the things that are right there. `@` is the thing.
const PLACES: [(&str, &[&str]); 14] = [
    ("inspect @", &["run", "bundle", "backbone"]),
    ("predict TABLE --model @", &["run", "bundle"]),
    ("eval TABLE --model @", &["run", "bundle"]),
    ("bench latency TABLE --model @", &["run", "bundle"]),
    ("tune --model @", &["run", "bundle"]),
    ("doctor @", &["run", "bundle"]),
    ("bundle @ --out OUT", &["run"]),
    ("serve @", &["bundle"]),
    ("embed TABLE --text review --backbone @ --out OUT", &["run", "bundle", "backbone"]),
    ("train TABLE --text review --task domain --backbone @ --out OUT", &["run", "bundle", "backbone"]),
    ("refit @ TABLE --task domain --out OUT", &["bundle"]),
    (
        "train TABLE --text review --task domain --backbone BACKBONE --freeze head:domain --init-heads @ --out OUT",
        &["run"],
    ),
    // What the name does not tell is the user's to say.
    (
        "predict @ --model BUNDLE",
        &["table.csv", "table.jsonl", "thing.json", "tokenizer.json", "config.json", "bytes", "packed.xz"],
    ),
    (
        "doctor BUNDLE --on @",
        &["table.csv", "table.jsonl", "thing.json", "tokenizer.json", "config.json", "bytes", "packed.xz"],
    ),
];

#[test]
fn whatever_lies_in_the_wrong_place_is_called_what_it_is() {
    let things = Things::new();
    let out = things.at("never");
    for (place, right) in PLACES {
        for (name, called) in CALLED.iter().filter(|(name, _)| !right.contains(name)) {
            if place.starts_with("serve") && cfg!(not(feature = "serve")) {
                continue;
            }
            let thing = things.at(name);
            let arguments: Vec<&str> = place
                .split(' ')
                .map(|word| match word {
                    "@" => text(&thing),
                    "TABLE" => text(&tiny().table),
                    "BUNDLE" => text(&tiny().bundle),
                    "BACKBONE" => text(&tiny().backbone),
                    "OUT" => text(&out),
                    word => word,
                })
                .collect();
            let called =
                if *name == "nothing-there" && place == "inspect @" { "nothing here" } else { called };
            let refused = frosthead(&arguments).fails_with(&[text(&thing), called]);
            let helped = refused.stderr.contains("help: ") || refused.stderr.contains("the table is empty");
            assert!(helped && !out.exists(), "`{}`: {}", refused.command, refused.stderr);
            let table = ["table.csv", "table.jsonl"].contains(name);
            assert!(table || !refused.stderr.contains("a table is learned"), "{}", refused.stderr);
            for word in ["os error", "invalid type", "unpack and zip"] {
                assert!(!refused.stderr.contains(word), "`{}`: {}", refused.command, refused.stderr);
            }
        }
    }
}

#[test]
fn what_cannot_be_imported_says_what_it_is() {
    let things = Things::new();
    let out = things.at("never");
    let right = ["checkpoint", "graph.onnx", "directory", "nothing-there"];
    for (name, called) in CALLED.iter().filter(|(name, _)| !right.contains(name)) {
        let thing = things.at(name);
        let refused = frosthead(&["import", text(&thing), "--out", text(&out)]);
        let refused = refused.fails_with(&[text(&thing), "cannot be imported", called, "help: "]);
        assert!(!out.exists(), "{}", refused.stderr);
    }
}

/// The command that a message advises, with real names in place of its capital words.
fn advised(refused: &Finished, names: &[(&str, &Path)]) -> Finished {
    let help = refused.stderr.split("help: ").nth(1).expect("a remedy");
    let command = help.split('`').find(|part| part.starts_with("frosthead ")).expect("a command");
    let words: Vec<String> = command
        .split(' ')
        .skip(1)
        .map(|word| {
            names
                .iter()
                .find(|(name, _)| *name == word)
                .map_or(word.to_owned(), |(_, path)| text(path).to_owned())
        })
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    frosthead(&words)
}

#[test]
fn the_advised_commands_work() {
    let things = Things::new();
    let at = |name: &str| things.at(name);
    // A model that was not imported: import it, train on it, bundle it.
    let table = at("with-text.csv");
    let content = std::fs::read_to_string(&tiny().table).unwrap().replacen("review,", "text,", 1);
    std::fs::write(&table, content).unwrap();
    let predict = |model: &Path| frosthead(&["predict", text(&table), "--model", text(model)]);
    let (backbone, run, bundle) = (at("models/NAME"), at("runs/NAME"), at("x.frost"));
    let domain = Path::new("domain");
    let refused = predict(&at("checkpoint")).fails_with(&["import it first"]);
    advised(&refused, &[("models/NAME", &backbone)]).success();
    let refused = predict(&backbone).fails_with(&["train a run on it"]);
    advised(&refused, &[("DATA", &table), ("COLUMN", domain), ("runs/NAME", &run)]).success();
    predict(&run).success();
    let refused = frosthead(&["predict", text(&table), "--model", text(&run), "--memory", "1G"]);
    refused.fails_with(&["frosthead bundle RUN"]);
    #[cfg(feature = "serve")]
    {
        let refused = frosthead(&["serve", text(&run)]).fails_with(&["bundle it first"]);
        advised(&refused, &[("x.frost", &bundle)]).success();
        predict(&bundle).success();
    }
    // Things that are right somewhere else.
    let refused = frosthead(&["predict", text(&run), "--model", text(&tiny().bundle)]);
    refused.fails_with(&[&format!("--model {}", text(&run))]);
    let refused = frosthead(&["inspect", text(&at("store"))]).fails_with(&["frosthead cache list"]);
    advised(&refused, &[]).success();
    let refused = frosthead(&["inspect", text(&table)]).fails_with(&["learned from and labelled"]);
    advised(&refused, &[("RUN", &run)]).success();
    let (graph, out) = (at("graph.onnx"), at("e.parquet"));
    let embed = ["embed", text(&table), "--out", text(&out), "--backbone", text(&graph)];
    let refused = frosthead(&embed).fails_with(&["import it first"]);
    let tokenizer = root().join("tests/data/foreign_onnx/tokenizer.json");
    advised(&refused, &[("tokenizer.json", &tokenizer), ("models/NAME", &at("models/graph"))]).success();
}

#[test]
fn a_test_table_that_holds_every_text_is_named() {
    let directory = directory();
    let train = |more: &[&str]| {
        let out = directory.path().join("run");
        let base = ["train", text(&tiny().table), "--text", "review", "--task", "domain"];
        let places = ["--backbone", text(&tiny().backbone), "--out", text(&out)];
        frosthead(&[&base[..], &places, more].concat())
    };
    for option in ["--test", "--valid"] {
        let said = format!("with {option} it holds every text of");
        train(&[option, text(&tiny().table)]).fails_with(&[
            "no row is left to train on",
            &said,
            text(&tiny().table),
        ]);
    }
    // The advice, followed.
    train(&["--test-fraction", "0.2"]).success();
}

#[test]
fn a_store_that_cannot_be_written_is_named_with_the_option_for_another() {
    let directory = directory();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let embed = |cache: &Path| {
        let out = directory.path().join("out.parquet");
        let base = ["embed", text(&tiny().table), "--text", "review", "--backbone", text(&tiny().backbone)];
        frosthead(&[&base[..], &["--out", text(&out), "--cache", text(cache)]].concat())
    };
    // Below a file, and where the kernel makes no directories, nobody can write, not even root.
    for place in [file.join("cache"), PathBuf::from("/proc/self/cache")] {
        embed(&place).fails_with(&[text(&place), "feature store", "--cache DIR", "FROSTHEAD_CACHE"]);
    }
    embed(&directory.path().join("cache")).success();
    frosthead(&["cache", "list", "--cache", text(&file)]).fails_with(&[text(&file), "--cache DIR"]);
}

#[test]
fn files_that_people_edit_say_which_field_is_wrong_in_plain_words() {
    let directory = directory();
    let copied = |from: &Path, name: &str| {
        let to = directory.path().join(name);
        std::fs::create_dir_all(&to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
        to
    };
    let edited = |path: &Path, from: &str, to: &str| {
        let content = std::fs::read_to_string(path).unwrap();
        assert!(content.contains(from), "{from:?} is not in {content}");
        std::fs::write(path, content.replacen(from, to, 1)).unwrap();
    };
    let no_serde = |finished: Finished| {
        for word in
            ["invalid type", "expected f32", "expected u", "expected a sequence", "untagged", "at line"]
        {
            assert!(!finished.stderr.contains(word), "{}", finished.stderr);
        }
    };
    let run = copied(&tiny().run, "run");
    let recipe = run.join("recipe.toml");
    for (from, to, parts) in [
        ("seed = ", "seed = -", &["recipe.toml, field \"seed\"", "expected a whole number, 0 or more"][..]),
        ("tasks = [", "tasks = [7, ", &["field \"tasks[0]\"", "found 7", "a text in quotes"]),
        (
            "test_fraction = ",
            "test_fraction = 'much' #",
            &["\"split.test_fraction\"", "found the text \"much\", expected a number"],
        ),
        ("frosthead = ", "snowhead = 1\nfrosthead = ", &["field \"snowhead\"", "not known here"]),
        ("format = ", "# ", &["field \"format\"", "found nothing"]),
        ("[data]", "[data", &["no TOML in line"]),
    ] {
        std::fs::copy(tiny().run.join("recipe.toml"), &recipe).unwrap();
        edited(&recipe, from, to);
        no_serde(frosthead(&["inspect", text(&run)]).fails_with(parts));
    }
    let backbone = copied(&tiny().backbone, "backbone");
    let manifest = backbone.join("backbone.json");
    for (from, to, parts) in [
        (
            "\"max_length\": 48",
            "\"max_length\": \"48\"",
            &["backbone.json, field \"preparation.max_length\"", "found the text \"48\""][..],
        ),
        (
            "\"prefix\": \"\"",
            "\"prefix\": null",
            &["\"preparation.prefix\"", "nothing (null)", "a text in quotes"],
        ),
        ("\"normalize\": ", "\"normalize\": 1, \"x\": ", &["\"preparation.normalize\"", "true or false"]),
    ] {
        std::fs::copy(tiny().backbone.join("backbone.json"), &manifest).unwrap();
        edited(&manifest, from, to);
        no_serde(frosthead(&["inspect", text(&backbone)]).fails_with(parts));
    }
    let checkpoint = directory.path().join("checkpoint");
    write_checkpoint(&checkpoint);
    let import = || {
        let out = directory.path().join("never");
        frosthead(&["import", text(&checkpoint), "--out", text(&out)])
    };
    std::fs::write(checkpoint.join("config.json"), "[1, 2]").unwrap();
    no_serde(import().fails_with(&["config.json", "found a list, expected an object"]));
    write_checkpoint(&checkpoint);
    edited(&checkpoint.join("tokenizer.json"), "\"model\"", "\"modell\"");
    no_serde(import().fails_with(&["tokenizer.json, field \"model\"", "found nothing"]));
    write_checkpoint(&checkpoint);
    std::fs::write(checkpoint.join("sentence_bert_config.json"), "{\"max_seq_length\": \"48\"}").unwrap();
    no_serde(
        import()
            .fails_with(&["sentence_bert_config.json, field \"max_seq_length\"", "found the text \"48\""]),
    );
}

#[test]
fn advice_for_memory_is_not_what_was_done_already() {
    let directory = directory();
    let int8 = directory.path().join("int8.frost");
    let bundle =
        ["bundle", text(&tiny().run), "--precision", "int8", "--max-drop", "100", "--out", text(&int8)];
    frosthead(&bundle).success();
    let predict = |model: &Path| {
        frosthead(&["predict", text(&tiny().table), "--model", text(model), "--memory", "1M"])
            .fails_with(&["needs more memory", "say --memory with at least that"])
            .stderr
    };
    assert!(predict(&tiny().bundle).contains("--precision int8"));
    assert!(!predict(&int8).contains("--precision"));
}

/// `tune` on the tiny backbone.
fn tuned(more: &[&str]) -> Finished {
    let directory = directory();
    let base = ["tune", "--backbone", text(&tiny().backbone), "--seconds", "1"];
    let arguments = [&base[..], more].concat();
    let mut tune = command(&arguments);
    tune.env("FROSTHEAD_CONFIG", directory.path().join("config"));
    finish(tune, &arguments).success()
}

#[test]
fn tune_says_a_ratio_in_one_way() {
    let found = tuned(&["--json"]).json();
    let trials = found["trials"].as_array().unwrap();
    let of = |setting: &serde_json::Value| trials.iter().find(|trial| trial["setting"] == *setting).unwrap();
    let default = of(&found["default"]);
    assert!((default["speed"].as_f64().unwrap() - 1.0).abs() < 1e-9);
    if found["pick"] != found["default"] {
        let (pick, gain) = (of(&found["pick"]), found["gain"]["ratio"].as_f64().unwrap());
        let speeds = [pick, default].map(|trial| trial["texts_per_second"].as_f64().unwrap());
        assert!((pick["speed"].as_f64().unwrap() - gain).abs() < 1e-9, "{found}");
        assert!((speeds[0] / speeds[1] - gain).abs() < 1e-9, "{found}");
    }
    let number = |trial: &serde_json::Value, field: &str| trial[field].as_f64().unwrap();
    for trial in trials {
        let ratio = number(trial, "texts_per_second") / number(default, "texts_per_second");
        assert!((ratio - number(trial, "speed")).abs() < 1e-9, "{trial}");
    }
}

#[test]
fn what_tune_prints_agrees_with_itself() {
    let printed = tuned(&[]).stdout;
    let mut lines = printed.lines();
    let header = lines.next().unwrap();
    assert!(has_cells(header, "threads tokens a batch buckets texts/s × default passes which"), "{header}");
    let (rows, rest): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with(' '));
    // Texts a second, and how many times the default's.
    let figures = |row: &str| {
        let cells: Vec<f64> =
            row.split_whitespace().skip(3).take(2).map(|figure| figure.parse().unwrap()).collect();
        (cells[0], cells[1])
    };
    let marked = |mark: &str| *rows.iter().find(|row| row.contains(mark)).unwrap();
    let (rate, one) = figures(marked("default"));
    assert!((one - 1.0).abs() < 1e-9, "{printed}");
    for row in &rows {
        let (own, ratio) = figures(row);
        // As far as the digits that are shown go.
        assert!((own / rate - ratio).abs() <= 0.0005 + 1.0 / rate, "{row}\n{printed}");
    }
    let (_, pick) = figures(marked("search's pick"));
    let [kept] = rest[..] else { panic!("{printed}") };
    let said = kept.strip_prefix("kept: ").expect("what is kept");
    if said.starts_with("the default") && said.ends_with("as it is the fastest") {
        assert!(marked("default").contains("search's pick"), "{printed}");
    } else {
        assert!(said.contains(&format!("{pick:.3} ± ")), "{printed}");
    }
}

#[test]
fn standard_input_that_is_packed_says_how_it_is_unpacked_on_the_way() {
    let refused = frosthead_reading(b"\xfd7zXZ\0\0", &["predict", "-", "--model", text(&tiny().bundle)]);
    refused.fails_with(&["standard input", "packed with xz", "xz -dc FILE | frosthead"]);
}

/// What stands between the backticks of a message's advice.
fn advised_line(refused: &Finished) -> String {
    let help = refused.stderr.split("help: ").nth(1).expect("a remedy");
    help.split('`').nth(1).expect("a command").to_owned()
}

#[test]
fn packed_files_are_unpacked_as_advised_whatever_they_are_called() {
    let directory = directory();
    let place = directory.path().join("Anna's models");
    std::fs::create_dir(&place).unwrap();
    let predict = |model: &Path| frosthead(&["predict", text(&tiny().table), "--model", text(model)]);
    // Without the tool there is nothing to follow; gzip is everywhere.
    let there = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
    assert!(there("gzip"));
    for (tool, names) in [
        ("gzip", &["x.frost.gz", "without a suffix"][..]),
        ("xz", &["y.frost.xz"]),
        ("zstd", &["z.frost.zst"]),
        ("bzip2", &["b.frost.bz2", "b"]),
        ("lz4", &["l.frost.lz4"]),
    ] {
        for name in names.iter().filter(|_| there(tool)) {
            let packed = place.join(name);
            let pack = format!("{tool} -c < \"$BUNDLE\" > \"$PACKED\"");
            shell(&pack, &place, &[("BUNDLE", text(&tiny().bundle)), ("PACKED", text(&packed))]);
            let line = advised_line(&predict(&packed).fails_with(&["packed with", name, "unpack it first"]));
            let (_, to) = line.split_once(" > ").unwrap();
            shell(&line, root(), &[]);
            shell(&format!("cp {to} followed.frost"), &place, &[]);
            predict(&place.join("followed.frost")).success();
            // Nothing that lies there already is written over.
            let again = advised_line(&predict(&packed));
            assert!(!again.ends_with(&format!("> {to}")) || to.contains(".unpacked"), "{again}");
        }
    }
}

#[test]
fn rows_inside_an_object_are_taken_out_as_advised() {
    let directory = directory();
    let at = |name: &str| directory.path().join(name);
    let predict = |name: &str| frosthead(&["predict", text(&at(name)), "--model", text(&tiny().bundle)]);
    let long = "word ".repeat(1000);
    let rows: Vec<serde_json::Value> =
        (0..300).map(|row| serde_json::json!({"review": format!("{long}{row} ü"), "n": 1.5})).collect();
    for (key, count) in [("data", 3), ("the \"rows\" that aren't", 2), ("data", 300)] {
        let object = serde_json::json!({"meta": {"a": [1]}, key: &rows[..count]});
        std::fs::write(at("x.json"), object.to_string()).unwrap();
        let refused = predict("x.json").fails_with(&["not a list of rows", "takes them out"]);
        let line = advised_line(&refused).replace("FILE", "x.json").replace("KEY", key);
        shell(&line, directory.path(), &[]);
        assert_eq!(predict("rows.json").success().json_lines().len(), count, "{line}");
    }
    std::fs::write(at("x.json"), "{\"review\": \"good\", \"tags\": [1]}\n").unwrap();
    let refused = predict("x.json").fails_with(&["not a list of rows", "--format jsonl"]);
    assert!(!refused.stderr.contains("python3"), "{}", refused.stderr);
    let object = at("x.json");
    let followed = ["predict", text(&object), "--format", "jsonl", "--model", text(&tiny().bundle)];
    assert_eq!(frosthead(&followed).success().json_lines().len(), 1);
    // On standard input nobody said what it is.
    let array = b"[{\"review\": \"good\"},\n{\"review\": \"bad\"}]\n";
    let base = ["predict", "-", "--model", text(&tiny().bundle)];
    frosthead_reading(array, &base).fails_with(&["a JSON array", "say --format json"]);
    let followed = frosthead_reading(array, &[&base[..], &["--format", "json"]].concat()).success();
    assert_eq!(followed.json_lines().len(), 2);
}

#[test]
fn weights_and_tokenizers_of_other_formats_are_converted_as_advised() {
    let directory = directory();
    let at = |name: &str| directory.path().join(name);
    let source = at("Anna's \"model\" $1");
    let import = || frosthead(&["import", text(&source), "--out", text(&at("imported"))]);
    write_checkpoint(&source);
    for (name, other) in [("model.safetensors", "pytorch_model.bin"), ("tokenizer.json", "vocab.txt")] {
        std::fs::rename(source.join(name), at(name)).unwrap();
        std::fs::write(source.join(other), "a\nb\n").unwrap();
    }
    // What transformers does with these two calls: it reads a directory, and writes today's files into one.
    let library = "import os, shutil
class Auto:
    def __init__(self, place): self.place = place
    @classmethod
    def from_pretrained(cls, place):
        assert os.path.isfile(os.path.join(place, cls.needs))
        return cls(place)
    def save_pretrained(self, place):
        shutil.copy(os.path.join(os.environ['REAL'], self.writes), place)
class AutoModel(Auto): needs, writes = 'pytorch_model.bin', 'model.safetensors'
class AutoTokenizer(Auto): needs, writes = 'vocab.txt', 'tokenizer.json'
";
    std::fs::write(at("transformers.py"), library).unwrap();
    for (said, writes) in [("PyTorch weights", "model.safetensors"), ("slow tokenizer", "tokenizer.json")] {
        let refused = import().fails_with(&[said, &format!("writes {writes}")]);
        let place = text(directory.path());
        shell(&advised_line(&refused), root(), &[("PYTHONPATH", place), ("REAL", place)]);
    }
    import().success();
}

#[test]
fn advice_to_inspect_a_part_leads_to_the_whole() {
    let file = tiny().backbone.join("tokenizer.json");
    let refused = frosthead(&["inspect", text(&file)]).fails_with(&["one file of a model", "of the whole: "]);
    let whole = refused.stderr.split("of the whole: ").nth(1).unwrap().trim();
    frosthead(&["inspect", whole]).success();
    // A name that ends before it tells what it is.
    let directory = directory();
    let short = directory.path().join("short.zip");
    std::fs::write(&short, b"PK\x03\x04\x14\0\0\0\0\0").unwrap();
    frosthead(&["inspect", text(&short)]).fails_with(&["found a ZIP archive", "unpack it"]);
}

#[test]
fn a_bundle_is_made_of_a_run_from_anywhere() {
    let directory = directory();
    let project = directory.path().join("project");
    let elsewhere = directory.path().join("elsewhere");
    std::fs::create_dir_all(project.join("data")).unwrap();
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::copy(demo(120), project.join("data/demo.csv")).unwrap();
    let library = root().join(".downloads/onnxruntime");
    let at = |place: &Path, arguments: &[&str]| {
        let mut command = command(arguments);
        command.current_dir(place).env("ORT_DYLIB_PATH", &library);
        finish(command, arguments)
    };
    at(&project, &["import", text(&tiny().checkpoint), "--out", "models/tiny"]).success();
    let train =
        ["train", "data/demo.csv", "--backbone", "models/tiny", "--task", "domain", "--out", "runs/a"];
    at(&project, &train).success();
    let bundle =
        ["bundle", "../project/runs/a", "--precision", "w8", "--max-drop", "100", "--out", "x.frost"];
    at(&elsewhere, &bundle).success();
    at(&elsewhere, &["eval", "../project/data/demo.csv", "--model", "../project/runs/a"]).success();
    at(&elsewhere, &["predict", "../project/data/demo.csv", "--model", "x.frost"]).success();
    // The whole project has moved.
    let moved = directory.path().join("moved");
    std::fs::rename(&project, &moved).unwrap();
    let bundle = ["bundle", "runs/a", "--precision", "w8", "--max-drop", "100", "--out", "y.frost"];
    at(&moved, &bundle).success();
}
