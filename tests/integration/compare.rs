//! `compare`: scenarios on one split as ordinary runs, one report, nothing done twice.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use frosthead::internal::compare::{Clock, CompareEvent, TimeLimit};
use frosthead::internal::train::TrainEvent;
use frosthead::{
    Backbone, CompareRequest, EmbedOptions, Embedder, Input, RowsRequest, Runtime, RuntimeOptions, Scenario,
    Tasks, compare,
};
use serde_json::Value;

use crate::harness::{Finished, backbone, command, demo, directory, finish, frosthead, real, text};
use crate::tiny::NUMBERS;

const ROWS: usize = 200;

/// What every comparison of these tests begins with.
fn arguments<'a>(data: &'a str, out: &'a str, epochs: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    on(backbone(), data, out, epochs, more)
}

fn on<'a>(backbone: &'a str, data: &'a str, out: &'a str, epochs: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let common = ["--backbone", backbone, "--task", "domain", "--task", "sentiment", "--out", out];
    [&["compare", data], &common[..], &["--epochs", epochs], more].concat()
}

fn run(data: &Path, out: &Path, more: &[&str]) -> Finished {
    run_on(backbone(), data, out, more)
}

fn run_on(backbone: &str, data: &Path, out: &Path, more: &[&str]) -> Finished {
    frosthead(&on(backbone, text(data), text(out), "1", more))
}

/// The arguments where no layer is trained.
fn of_heads<'a>(data: &'a Path, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let common = ["--backbone", backbone(), "--task", "domain", "--task", "sentiment", "--out", text(out)];
    [&["compare", text(data)], &common[..], more].concat()
}

fn run_heads(data: &Path, out: &Path, more: &[&str]) -> Finished {
    frosthead(&of_heads(data, out, more))
}

fn json(path: PathBuf) -> Value {
    serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap()
}

fn scenarios(report: &Value) -> Vec<&str> {
    let all = report["backbones"][0]["scenarios"].as_array().unwrap();
    all.iter().map(|scenario| scenario["scenario"].as_str().unwrap()).collect()
}

/// A comparison of scenarios 1, 2, 3:domain, top1 and top2, made once; never changed.
fn compared() -> &'static (PathBuf, Finished) {
    static COMPARED: OnceLock<(PathBuf, Finished)> = OnceLock::new();
    COMPARED.get_or_init(|| {
        let out = directory().keep().join("compare");
        let more = [
            "--scenarios",
            "3:domain,1,2:last,top1,top2",
            "--freeze",
            "backbone:0-3",
            "--learning-curve",
            "30%,100%",
        ];
        let finished = run(&demo(ROWS), &out, &more).success();
        (out, finished)
    })
}

/// The folder of the only backbone.
fn folder(out: &Path) -> PathBuf {
    let report = json(out.join("report.json"));
    out.join(report["backbones"][0]["folder"].as_str().unwrap())
}

#[test]
fn the_table_is_that_of_the_runs() {
    let (out, finished) = compared();
    let report = json(out.join("report.json"));
    assert_eq!(scenarios(&report), ["1", "2", "3:domain", "top1", "top2"]);
    let mut splits = BTreeSet::new();
    for scenario in report["backbones"][0]["scenarios"].as_array().unwrap() {
        let name = scenario["scenario"].as_str().unwrap();
        let done = &scenario["outcome"]["done"];
        let directory = out.join(done["run"].as_str().unwrap());
        let metrics = json(directory.join("metrics.json"));
        let line = finished
            .stdout
            .lines()
            .find(|line| line.split_whitespace().next() == Some(name))
            .unwrap_or_else(|| panic!("{name} is not in {}", finished.stdout));
        for task in ["domain", "sentiment"] {
            for part in ["tasks", "valid"] {
                let number = |of: &Value| of[part][task]["accuracy"].as_f64().unwrap();
                assert!((number(&metrics) - number(&done["metrics"])).abs() < 1e-12, "{name} {task} {part}");
            }
            for figure in ["accuracy", "macro_f1"] {
                let of = |name: &str| metrics["tasks"][task][name].as_f64().unwrap();
                let cell = format!("{:.3} ± {:.3}", of(figure), of(&format!("{figure}_standard_error")));
                assert!(line.contains(&cell), "{cell} of {task} is not in {line}");
            }
        }
        splits.insert(std::fs::read(directory.join("rows.safetensors")).unwrap());
        assert!(done["peak_memory"].as_u64().unwrap() > 50_000_000, "{done}");
        let size: u64 =
            std::fs::read_dir(&directory).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
        assert_eq!(done["run_bytes"].as_u64(), Some(size));
        if let Ok(stages) = std::fs::read_to_string(directory.join("training.json")) {
            let stages: Value = serde_json::from_str(&stages).unwrap();
            let last = stages.as_array().unwrap().last().unwrap();
            assert_eq!(scenario["trained_parameters"], last["trained_parameters"], "{name}");
            assert_eq!(scenario["all_parameters"], last["all_parameters"], "{name}");
            assert_eq!(scenario["frozen"], last["frozen"], "{name}");
            let begins = format!("scenario {name}: ");
            let told = finished.stderr.lines().find(|line| line.contains(&begins)).unwrap();
            assert!(told.contains(&format!("(frozen: {})", last["frozen"].as_str().unwrap())), "{told}");
        }
    }
    assert_eq!(splits.len(), 1, "the runs were not split alike");
    let frozen = &report["backbones"][0]["scenarios"][2];
    assert_eq!(frozen["frozen"], "embeddings, layers 0-3, head domain", "--freeze is ignored");
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("3:domain") && !page.contains("http"));
}

#[test]
fn runs_of_a_comparison_are_those_of_train() {
    let (out, _) = compared();
    let data = demo(ROWS);
    let again = |name: &str, more: &[&str]| {
        let run = folder(out).join(name);
        let arguments = [
            &["train", text(&data), "--backbone", backbone(), "--task", "domain", "--task", "sentiment"],
            &["--out", text(&run)][..],
            more,
        ]
        .concat();
        let finished = frosthead(&arguments).success();
        assert!(finished.stderr.contains("up to date"), "{name}: {}", finished.stderr);
    };
    let heads = folder(out).join("2");
    again("1", &["--freeze", "all"]);
    again("2", &[]);
    let one = ["--epochs", "1"];
    let plan = ["--freeze", "head:domain", "--freeze", "backbone:0-3", "--init-heads", text(&heads)];
    again("3-domain", &[&plan[..], &one].concat());
    again("top1", &[&["--unfreeze", "0,1"], &one[..]].concat());
    again("top2", &[&["--unfreeze", "0,1,2"], &one[..]].concat());
    // The frozen head is scenario 2's.
    let head = |run: &str, task: &str| {
        let proof = json(folder(out).join(run).join("proof.json"));
        let named = |tensor: &&Value| {
            tensor["name"].as_str() == Some(&frosthead::internal::encoder::head_weight(task))
        };
        proof.as_array().unwrap().iter().find(named).unwrap().clone()
    };
    let frozen = head("3-domain", "domain");
    assert!(frozen["trained"] == false && head("3-domain", "sentiment")["trained"] == true, "{frozen}");
    assert_eq!(frozen["after"], head("2", "domain")["after"]);
    let evaluated =
        frosthead(&["eval", text(&data), "--model", text(&folder(out).join("top2")), "--json"]).success();
    assert_eq!(
        evaluated.json()["tasks"]["domain"]["rows"],
        json(heads.join("metrics.json"))["sizes"]["test"]
    );
}

#[test]
fn top2_goes_on_from_top1_and_ends_like_a_training_of_its_own() {
    let (out, _) = compared();
    let directory = directory();
    let own = directory.path().join("run");
    let data = demo(ROWS);
    frosthead(&[
        "train",
        text(&data),
        "--backbone",
        backbone(),
        "--task",
        "domain",
        "--task",
        "sentiment",
        "--epochs",
        "1",
        "--unfreeze",
        "0,1,2",
        "--out",
        text(&own),
    ])
    .success();
    let there = folder(out).join("top2");
    for file in ["heads.safetensors", "backbone.safetensors", "metrics.json", "recipe.toml"] {
        let bytes = |run: &Path| std::fs::read(run.join(file)).unwrap();
        assert!(bytes(&there) == bytes(&own), "{file} differs from a training of all stages");
    }
    let stages = |run: &Path| json(run.join("training.json"));
    let first = json(folder(out).join("top1/training.json"));
    assert_eq!(stages(&there)[0], first[0], "the first stage was trained again");
    assert_eq!(stages(&there)[1]["largest_gradients"], stages(&own)[1]["largest_gradients"]);
}

#[test]
fn the_learning_curve_ends_at_scenario_2() {
    let report = json(compared().0.join("report.json"));
    let curve = report["backbones"][0]["learning_curve"].as_array().unwrap();
    assert_eq!(curve.len(), 2);
    let scenario = &report["backbones"][0]["scenarios"][1]["outcome"]["done"]["metrics"];
    assert_eq!(curve[1]["rows"], scenario["sizes"]["train"]);
    let rows = curve[0]["rows"].as_f64().unwrap() / curve[1]["rows"].as_f64().unwrap();
    assert!((rows - 0.3).abs() < 0.02, "{rows}");
    for task in ["domain", "sentiment"] {
        let accuracy = |of: &Value| of[task]["accuracy"].as_f64().unwrap();
        assert!((accuracy(&curve[1]["tasks"]) - accuracy(&scenario["tasks"])).abs() < 1e-12);
    }
    assert_ne!(curve[0]["tasks"], curve[1]["tasks"]);
}

#[test]
fn scenarios_are_those_asked_for_and_can_be_added_until_the_rows_are_others() {
    let directory = directory();
    let out = directory.path().join("compare");
    let first = run_heads(&demo(ROWS), &out, &["--scenarios", "1", "--json"]).success();
    assert_eq!(scenarios(&first.json()), ["1"]);
    assert!(first.stderr.contains("texts/s; features of") && !folder(&out).join("2").exists());
    let made = std::fs::metadata(folder(&out).join("1/metrics.json")).unwrap().modified().unwrap();
    let second = run_heads(&demo(ROWS), &out, &["--scenarios", "2:last", "--json"]).success();
    assert_eq!(scenarios(&second.json()), ["1", "2"]);
    assert!(!second.stderr.contains("scenario 1 ("), "{}", second.stderr);
    assert_eq!(made, std::fs::metadata(folder(&out).join("1/metrics.json")).unwrap().modified().unwrap());
    let third = run_heads(&demo(ROWS), &out, &["--scenarios", "1,2:last"]).success();
    assert!(third.stderr.contains("report.html: up to date"), "{}", third.stderr);
    // Other rows, another seed, other options of fitting.
    for more in [["--seed", "14"], ["--alpha", "30"]] {
        let more = [&["--scenarios", "1"], &more[..]].concat();
        run_heads(&demo(ROWS), &out, &more).fails_with(&["not this comparison", "--overwrite"]);
    }
    run_heads(&demo(300), &out, &["--scenarios", "1"]).fails_with(&["other rows", "--overwrite"]);
    // The options of the first scenario that has use for them are added with it, and are then the comparison's.
    let fourth = run(&demo(ROWS), &out, &["--scenarios", "top1", "--dropout", "0", "--json"]).success();
    assert_eq!(scenarios(&fourth.json()), ["1", "2", "top1"]);
    assert_eq!(made, std::fs::metadata(folder(&out).join("1/metrics.json")).unwrap().modified().unwrap());
    run(&demo(ROWS), &out, &["--scenarios", "top1"]).fails_with(&["not this comparison", "--overwrite"]);
    let same = run(&demo(ROWS), &out, &["--scenarios", "2:last", "--dropout", "0"]).success();
    assert!(same.stderr.contains("report.html: up to date"), "{}", same.stderr);
    let more = ["--scenarios", "1", "--freeze", "backbone:0-3"];
    run(&demo(ROWS), &compared().0, &[&more[..], &["--frozen-head", "random"]].concat())
        .fails_with(&["not this comparison", "--overwrite"]);
    let replaced = run(&demo(300), &out, &["--scenarios", "1", "--dropout", "0", "--json", "--overwrite"]);
    let replaced = replaced.success();
    assert_eq!(scenarios(&replaced.json()), ["1"]);
    assert!(!folder(&out).join("2").exists(), "a run of the replaced comparison is left");
    // What is no comparison is never replaced.
    let foreign = directory.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("thesis.txt"), "years of work").unwrap();
    let more = ["--scenarios", "1", "--overwrite"];
    run_heads(&demo(ROWS), &foreign, &more).fails_with(&["no comparison wrote", "nothing else"]);
    assert!(foreign.join("thesis.txt").exists());
}

#[cfg(feature = "fault-injection")]
#[test]
fn a_comparison_killed_at_its_first_report_goes_on() {
    let (directory, data) = (directory(), demo(ROWS));
    let path = |name: &str| directory.path().join(name);
    let scenario = ["--scenarios", "1"];
    // What it computes is in the store afterwards, so that the report is the first that is written.
    run_heads(&data, &path("first"), &scenario).success();
    for point in
        ["file-half-written:1", "file-before-rename:1", "file-after-rename:1", "file-before-rename:2"]
    {
        let out = path(&point.replace(':', "-"));
        let mut child = command(&of_heads(&data, &out, &scenario));
        let status =
            child.env("FROSTHEAD_KILL_AT", point).stderr(std::process::Stdio::null()).status().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{point}");
        assert!(out.exists() && !out.join("report.html").exists(), "{point}");
        run_heads(&data, &out, &scenario).success();
        let mut left: Vec<_> =
            std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["report.html", "report.json", "tiny"], "{point}");
    }
}

#[test]
fn a_killed_comparison_goes_on_where_it_was() {
    let directory = directory();
    let out = directory.path().join("compare");
    let data = demo(ROWS);
    let arguments =
        on(real(), text(&data), text(&out), "3", &["--scenarios", "1,2:last,top1", "--patience", "3"]);
    let mut child = command(&arguments).stderr(std::process::Stdio::null()).spawn().unwrap();
    let backbone = out.join("all-MiniLM-L6-v2");
    let checkpoint = backbone.join(".top1.training/stage-1.safetensors");
    let start = Instant::now();
    while !checkpoint.exists() {
        assert!(start.elapsed() < Duration::from_secs(120), "no epoch ended");
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(backbone.join("2").exists() && !backbone.join("top1").exists());
    let made = std::fs::metadata(backbone.join("2/metrics.json")).unwrap().modified().unwrap();
    let resumed = finish(command(&arguments), &arguments).success();
    assert_eq!(made, std::fs::metadata(backbone.join("2/metrics.json")).unwrap().modified().unwrap());
    assert!(!resumed.stderr.contains("all-MiniLM-L6-v2, scenario 2: "), "{}", resumed.stderr);
    assert!(resumed.stderr.contains("all-MiniLM-L6-v2, scenario top1: "), "{}", resumed.stderr);
    assert!(!resumed.stderr.contains("epoch 1/3"), "an epoch was trained again: {}", resumed.stderr);
    assert!(resumed.stderr.contains("epoch 3/3"), "{}", resumed.stderr);
    let report = json(out.join("report.json"));
    assert_eq!(scenarios(&report), ["1", "2", "top1"]);
    let entry = &report["backbones"][0]["scenarios"][2]["outcome"]["done"];
    assert_eq!(entry["stages"][0]["epochs"].as_array().unwrap().len(), 4, "{entry}");
}

#[test]
fn what_does_not_fit_the_time_limit_is_skipped_and_said() {
    let directory = directory();
    let out = directory.path().join("compare");
    let data = demo(ROWS);
    let limited = ["--scenarios", "2:last,top1", "--time-limit", "30s"];
    let finished = frosthead(&arguments(text(&data), text(&out), "1000000", &limited)).success();
    assert!(finished.stderr.contains("scenario top1 was skipped: the estimate of"), "{}", finished.stderr);
    assert!(finished.stdout.contains("not run"), "{}", finished.stdout);
    let report = json(out.join("report.json"));
    assert_eq!(scenarios(&report), ["2", "top1"]);
    let why = report["backbones"][0]["scenarios"][1]["outcome"]["skipped"].as_str().unwrap();
    assert!(why.contains("--time-limit"), "{why}");
    assert!(!folder(&out).join("top1").exists());
}

/// A request as the command line makes it: two epochs of top1.
fn request(out: &Path, time_limit: Option<TimeLimit>) -> CompareRequest {
    let tasks = ["domain", "sentiment"].map(str::to_owned);
    let rows = RowsRequest::new(Input::texts(demo(ROWS), "text").unwrap(), Tasks::new(&tasks).unwrap());
    let backbone = Arc::new(Backbone::open(Path::new(backbone())).unwrap());
    let mut request = CompareRequest::new(rows, vec![backbone], out);
    request.train.layers.epochs = 2;
    request.scenarios = Scenario::choose(&["top1".to_owned()], &tasks).unwrap();
    request.time_limit = time_limit;
    request
}

/// Compares through the library, with a clock on which only training steps take time, so much each; gives the
/// report's entry of top1.
fn top1(request: CompareRequest, cache: &Path, step: Duration) -> (bool, Value) {
    let now = Arc::new(Mutex::new(Duration::ZERO));
    let clock = Arc::clone(&now);
    let request = CompareRequest { clock: Clock(Arc::new(move || *clock.lock().unwrap())), ..request };
    let runtime = Arc::new(Runtime::load(&RuntimeOptions::default()).unwrap());
    let mut open = |backbone: &_, _| {
        Embedder::open(Arc::clone(backbone), Arc::clone(&runtime), cache, EmbedOptions::default())
    };
    let compared = compare(&request, &mut open, &mut |event| {
        if let CompareEvent::Train(TrainEvent::Progress(_)) = event {
            *now.lock().unwrap() += step;
        }
    });
    let compared = compared.unwrap();
    let report = json(request.train.output.path.join("report.json"));
    (compared.up_to_date, report["backbones"][0]["scenarios"][0]["outcome"]["done"].clone())
}

#[test]
fn a_scenario_that_outlasts_the_time_limit_ends_with_its_best_so_far_and_is_made_anew_by_a_longer_one() {
    let directory = directory();
    let (out, cache) = (directory.path().join("compare"), directory.path().join("cache"));
    let limit = TimeLimit(Duration::from_secs(1000));
    // The estimate cannot know how long a step takes on this clock.
    let (_, stopped) = top1(request(&out, Some(limit)), &cache, Duration::from_secs(400));
    assert_eq!(stopped["time_limit"], 1000.0, "{stopped}");
    let epochs = |of: &Value| of["stages"][0]["epochs"].as_array().unwrap().len();
    assert!(epochs(&stopped) < 3, "{stopped}");
    assert!(folder(&out).join("top1/metrics.json").exists());
    // The same limit again would end no later.
    let (up_to_date, kept) = top1(request(&out, Some(limit)), &cache, Duration::ZERO);
    assert!(up_to_date);
    assert_eq!(kept["time_limit"], 1000.0);
    let (up_to_date, whole) = top1(request(&out, None), &cache, Duration::ZERO);
    assert!(!up_to_date && whole["time_limit"].is_null() && epochs(&whole) == 3, "{whole}");
}

#[test]
fn backbones_are_compared_in_one_table_and_an_opaque_one_says_what_it_cannot() {
    let directory = directory();
    let (out, foreign) = (directory.path().join("compare"), directory.path().join("foreign"));
    let graph = crate::harness::root().join("tests/data/foreign_onnx/encoder.onnx");
    frosthead(&["import", text(&graph), "--out", text(&foreign), "--max-length", "40"]).success();
    let more = ["--backbone", text(&foreign), "--scenarios", "2:last,top1", "--json"];
    let finished = run_on(real(), &demo(ROWS), &out, &more).success();
    let report = finished.json();
    let [ours, theirs] = report["backbones"].as_array().unwrap().as_slice() else { panic!("{report}") };
    let accuracy = |of: &Value| {
        let done = &of["scenarios"][0]["outcome"]["done"];
        let run = json(out.join(done["run"].as_str().unwrap()).join("metrics.json"));
        assert_eq!(run["sizes"], done["metrics"]["sizes"]);
        done["metrics"]["tasks"]["domain"]["accuracy"].as_f64().unwrap()
    };
    assert!(accuracy(ours) > accuracy(theirs), "a sentence encoder is not better than random weights");
    assert!(theirs["texts_per_second"].as_f64().unwrap() > ours["texts_per_second"].as_f64().unwrap());
    assert_eq!((ours["hidden"].as_u64(), theirs["hidden"].as_u64()), (Some(384), Some(24)));
    assert!(ours["bytes"].as_u64() > theirs["bytes"].as_u64() && theirs["bytes"].as_u64() > Some(0));
    assert!(ours["scenarios"][1]["outcome"]["done"].is_object());
    let why = theirs["scenarios"][1]["outcome"]["skipped"].as_str().unwrap();
    assert!(why.contains("cannot be cut inside"), "{why}");
    assert!(finished.stderr.contains("scenario top1 was skipped: this backbone cannot be cut"));
    let again = run_on(real(), &demo(ROWS), &out, &more).success();
    assert!(again.stderr.contains("up to date"), "{}", again.stderr);
    // A single one of them is up to date as well, and the other stays in the table.
    let one = run_on(real(), &demo(ROWS), &out, &["--scenarios", "2:last", "--json"]).success();
    assert_eq!(one.json()["backbones"].as_array().unwrap().len(), 2);
}

#[test]
fn options_that_make_no_sense_say_why() {
    let directory = directory();
    let out = directory.path().join("compare");
    for (more, parts) in [
        (vec!["--scenarios", "3:topic"], vec!["3:topic", "domain, sentiment"]),
        (vec!["--scenarios", "5"], vec!["there is no such scenario", "top1"]),
        (vec!["--freeze", "head:domain"], vec!["--freeze head:domain", "backbone:0-3"]),
        (vec!["--freeze", "backbone:0-9"], vec!["backbone:0-9"]),
        (vec!["--time-limit", "10"], vec!["1h30m"]),
        (vec!["--learning-curve", "30%,10%"], vec!["from fewer to more"]),
        (vec!["--learning-curve", "30%", "--scenarios", "1,top1"], vec!["add 2 to --scenarios"]),
        (vec!["--backbone", backbone()], vec!["given twice"]),
    ] {
        run(&demo(ROWS), &out, &more).fails_with(&parts);
        assert!(!out.exists(), "{more:?} left an output");
    }
}

#[test]
fn trained_layers_are_compared_on_other_features_too() {
    let directory = directory();
    let out = directory.path().join("out");
    // Layer 3 lies below what top1 trains: that scenario is skipped, and the others are not.
    let scenarios_asked = "top1,top1:all,top2:all,3:domain:all,top1:layers:3";
    let more = ["--scenarios", scenarios_asked, "--freeze", "backbone:0-4", "--json"];
    let finished = run(&demo(ROWS), &out, &more).success();
    let report = finished.json();
    assert_eq!(
        scenarios(&report),
        ["2:all", "3:domain:all", "top1", "top1:layers:3", "top1:all", "top2:all"]
    );
    let why = &report["backbones"][0]["scenarios"][3]["outcome"]["skipped"];
    assert!(why.as_str().unwrap().contains("layer 5 is trained; the heads see domain: layers:3"), "{why}");
    let read = |name: &str| frosthead::internal::classifier::Run::open(&folder(&out).join(name)).unwrap();
    let choice = |name: &str| read(name).recipe.features.tasks["domain"].choice.unwrap().to_string();
    for (name, expected) in
        [("top1", "last"), ("top1%3Aall", "all"), ("top2%3Aall", "all"), ("3-domain%3Aall", "all")]
    {
        assert_eq!(choice(name), expected, "{name}");
    }
    // The frozen head is that of scenario 2 on the same features, and top2 goes on from top1 on the same.
    let head = |name: &str| {
        let head = read(name).heads.into_iter().find(|head| head.task == "domain").unwrap();
        (head.weights, head.bias)
    };
    assert!(head("3-domain%3Aall") == head("2-all"));
    let stages = |name: &str| json(folder(&out).join(name).join("training.json"));
    assert_eq!(stages("top2%3Aall")[0], stages("top1%3Aall")[0]);
    assert_ne!(stages("top2%3Aall")[0]["epochs"], stages("top1")[0]["epochs"]);
    // The head's 7 · 48 + 1 numbers for each label are counted.
    let trained = |place: usize| report["backbones"][0]["scenarios"][place]["trained_parameters"].as_u64();
    assert_eq!(trained(4).unwrap() - trained(2).unwrap(), 6 * NUMBERS as u64 * 7);
}

#[test]
fn scenario_2_shows_the_last_layer_and_chosen_features_side_by_side() {
    let directory = directory();
    let out = directory.path().join("out");
    let more = ["--scenarios", "2,2:layers:3", "--json"];
    let report = run_heads(&demo(ROWS), &out, &more).success().json();
    assert_eq!(scenarios(&report), ["2", "2:layers:3", "2:auto"]);
    let tensors = |scenario: &str| {
        let heads = frosthead::internal::classifier::Run::open(&folder(&out).join(scenario)).unwrap().heads;
        heads.into_iter().map(|head| head.weights).collect::<Vec<_>>()
    };
    assert_ne!(tensors("2"), tensors("2-layers%3A3"));
    // What stands in the table is the run's own, and the run reads texts.
    for (place, name) in ["2", "2-layers%3A3", "2-auto"].iter().enumerate() {
        let model = folder(&out).join(name);
        let eval = ["eval", text(&demo(ROWS)), "--model", text(&model), "--rows", "test", "--json"]
            .map(str::to_owned);
        let eval = frosthead(&eval.iter().map(String::as_str).collect::<Vec<_>>()).success().json();
        let done = &report["backbones"][0]["scenarios"][place]["outcome"]["done"];
        assert_eq!(eval["tasks"], done["metrics"]["tasks"], "{name}");
    }
}
