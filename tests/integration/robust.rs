//! One text, one embedding, whatever happens: batches, order, threads, kills, damage.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::harness::{backbone, command, demo, directory, finish, frosthead, real, text};

/// Runs `embed` with a store of its own.
fn embed(data: &Path, cache: &Path, out: &Path, more: &[&str]) -> crate::harness::Finished {
    embed_on(backbone(), data, cache, out, more)
}

fn embed_on(
    backbone: &str,
    data: &Path,
    cache: &Path,
    out: &Path,
    more: &[&str],
) -> crate::harness::Finished {
    let mut arguments =
        vec!["embed", text(data), "--backbone", backbone, "--cache", text(cache), "--out", text(out)];
    arguments.extend(more);
    frosthead(&arguments).success()
}

/// The embedding of every text of a Parquet, by the text's hash.
fn embeddings(path: &Path) -> std::collections::BTreeMap<String, Vec<u32>> {
    let table = crate::harness::features(path, None);
    let keys = table.keys.unwrap();
    let rows = table.features.chunks_exact(table.width);
    keys.iter()
        .zip(rows)
        .map(|(key, row)| (key.to_string(), row.iter().map(|v| v.to_bits()).collect()))
        .collect()
}

#[test]
fn an_embedding_is_the_same_bits_whatever_the_batch_order_and_threads() {
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    let data = demo(300);
    embed_on(real(), &data, &path("cache1"), &path("1.parquet"), &["--threads", "1"]);
    let content = std::fs::read_to_string(&data).unwrap();
    let mut rows: Vec<csv::StringRecord> =
        csv::Reader::from_reader(content.as_bytes()).records().map(Result::unwrap).collect();
    rows.reverse();
    let mut writer = csv::Writer::from_path(path("reversed.csv")).unwrap();
    writer.write_record(["text", "domain", "sentiment"]).unwrap();
    rows.iter().for_each(|row| writer.write_record(row).unwrap());
    writer.flush().unwrap();
    drop(writer);
    embed_on(
        real(),
        &path("reversed.csv"),
        &path("cache2"),
        &path("2.parquet"),
        &["--threads", "2", "--token-budget", "300", "--store-layers", "last"],
    );
    let one = embeddings(&path("1.parquet"));
    assert_eq!(one.len(), 300);
    assert!(
        one == embeddings(&path("2.parquet")),
        "batch, order, threads or the stored layers change an embedding"
    );
    // One text alone, through predict's own way into the network, is tested with the golden values below.
}

/// ONNX Runtime's own builds write events to a database below the user's cache folder, and send them, unless
/// they are kept from it before they start.
#[test]
fn nothing_is_written_to_the_home_or_reported_to_anyone() {
    let home = directory();
    let arguments = ["doctor", "--backbone", backbone()];
    let mut command = command(&arguments);
    command.env("HOME", home.path()).env("ORT_DISABLE_TELEMETRY", "0");
    // Those also keep it quiet: a CI would hide that nothing else does.
    for name in ["XDG_CACHE_HOME", "CI", "TF_BUILD", "GITHUB_ACTIONS", "ORT_RUNNING_UNIT_TESTS"] {
        command.env_remove(name);
    }
    finish(command, &arguments).success();
    let written: Vec<_> =
        std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(written.is_empty(), "{written:?}");
}

#[test]
fn golden_embeddings_are_reached_through_the_command_line() {
    let golden: serde_json::Value = serde_json::from_str(include_str!("../data/golden/golden.json")).unwrap();
    let bytes = std::fs::read(crate::harness::root().join("tests/data/golden/golden.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let expected: Vec<f32> = tensors
        .tensor("embedding")
        .unwrap()
        .data()
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect();
    let directory = directory();
    let data = directory.path().join("golden.jsonl");
    let texts: Vec<&str> =
        golden["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let lines: String = texts.iter().map(|text| format!("{}\n", serde_json::json!({"text": text}))).collect();
    std::fs::write(&data, lines).unwrap();
    let out = directory.path().join("golden.parquet");
    let finished = embed_on(real(), &data, &directory.path().join("cache"), &out, &[]);
    // Two texts have no visible character, one has a NUL byte, two are longer than 256 tokens.
    assert!(finished.stderr.contains("2 empty texts and 1 texts with a NUL byte"), "{}", finished.stderr);
    assert!(finished.stderr.contains("2 of 31 texts were cut at 256 tokens"), "{}", finished.stderr);
    let table = crate::harness::features(&out, None);
    assert_eq!((table.rows, table.width), (31, 384));
    for (row, (ours, theirs)) in table.features.chunks_exact(384).zip(expected.chunks_exact(384)).enumerate()
    {
        let dot: f64 = ours.iter().zip(theirs).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        let length = |v: &[f32]| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        assert!(dot / (length(ours) * length(theirs)) >= 0.99999, "{:?}", texts[row]);
        let largest = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // fp32 sums in another order than PyTorch's differ by some 1e-7 a layer.
        assert!(largest <= 1e-4, "{:?}: {largest}", texts[row]);
    }
    let strict = ["embed", text(&data), "--backbone", real(), "--out", "x.parquet", "--strict"];
    frosthead(&strict).fails_with(&["row 5", "an empty text", "--strict"]);
}

#[test]
fn a_second_run_computes_nothing_and_gives_the_same_bytes() {
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    let data = demo(300);
    let first = embed(&data, &path("cache"), &path("1.parquet"), &[]);
    assert!(first.stderr.contains("300 texts computed, 0 from the store"), "{}", first.stderr);
    let second = embed(&data, &path("cache"), &path("2.parquet"), &[]);
    assert!(second.stderr.contains("0 texts computed, 300 from the store"), "{}", second.stderr);
    assert_eq!(std::fs::read(path("1.parquet")).unwrap(), std::fs::read(path("2.parquet")).unwrap());
    let again = embed(&data, &path("cache"), &path("1.parquet"), &[]);
    assert!(again.stderr.contains("up to date"), "{}", again.stderr);
    let other = ["embed", text(&demo(1200)), "--backbone", backbone(), "--out", text(&path("1.parquet"))]
        .map(str::to_owned);
    frosthead(&other.iter().map(String::as_str).collect::<Vec<_>>())
        .fails_with(&["made from something else", "--overwrite"]);
}

#[test]
fn a_damaged_part_is_reported_and_computed_again() {
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    let data = demo(300);
    embed(&data, &path("cache"), &path("1.parquet"), &[]);
    let verify = ["cache", "verify", "--cache", text(&path("cache"))].map(str::to_owned);
    let verify: Vec<&str> = verify.iter().map(String::as_str).collect();
    frosthead(&verify).success();
    let part = find(&path("cache"), "part").remove(0);
    let mut bytes = std::fs::read(&part).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&part, bytes).unwrap();
    let found = frosthead(&verify).exits(1);
    assert!(found.stdout.contains("damaged"), "{}", found.stdout);
    let again = embed(&data, &path("cache"), &path("2.parquet"), &[]);
    assert!(again.stderr.contains("warning:") && again.stderr.contains("computed again"), "{}", again.stderr);
    assert_eq!(std::fs::read(path("1.parquet")).unwrap(), std::fs::read(path("2.parquet")).unwrap());
}

/// Files with an extension below a directory.
fn find(directory: &Path, extension: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(find(&path, extension));
        } else if path.extension().is_some_and(|ending| ending == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Kills a run with -9 somewhere, then lets another finish. `kill_at`: a named point, or milliseconds after
/// the start.
fn kill_and_resume(data: &Path, expected: &[u8], kill_at: Result<&str, u64>) {
    let directory = directory();
    let (cache, out) = (directory.path().join("cache"), directory.path().join("out.parquet"));
    let arguments =
        ["embed", text(data), "--backbone", backbone(), "--cache", text(&cache), "--out", text(&out)];
    let mut child = command(&arguments);
    child.stdout(Stdio::null()).stderr(Stdio::null());
    if let Ok(point) = kill_at {
        child.env("FROSTHEAD_KILL_AT", point);
    }
    let mut child = child.spawn().unwrap();
    if let Err(milliseconds) = kill_at {
        std::thread::sleep(Duration::from_millis(milliseconds));
        // SIGKILL; a run that has just finished is no longer there to kill.
        let _ = child.kill();
    }
    let status = child.wait().unwrap();
    if kill_at.is_ok() {
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(9),
            "{kill_at:?} was never reached"
        );
        assert!(!out.exists(), "an unfinished output has its name already");
    }
    let stored: u64 = frosthead::internal::store::list(&cache).unwrap().iter().map(|entry| entry.rows).sum();
    std::fs::remove_file(&out).ok();
    let resumed = finish(command(&arguments), &arguments).success();
    let computed = format!("{} texts computed, {stored} from the store", 1200 - stored);
    assert!(
        resumed.stderr.replace(',', "").contains(&computed.replace(',', "")),
        "{kill_at:?}: expected {computed}: {}",
        resumed.stderr
    );
    assert!(
        std::fs::read(&out).unwrap() == expected,
        "{kill_at:?}: the bytes differ from an undisturbed run"
    );
}

#[test]
fn a_run_killed_anywhere_resumes_and_ends_with_the_same_bytes() {
    let directory = directory();
    let data = directory.path().join("short.csv");
    // The store is what is tested: the first words of real texts, told apart by their numbers.
    let mut reader = csv::Reader::from_path(demo(1200)).unwrap();
    let mut writer = csv::Writer::from_path(&data).unwrap();
    writer.write_record(["text"]).unwrap();
    for (number, row) in reader.records().map(Result::unwrap).enumerate() {
        let words: Vec<&str> = row[0].split_whitespace().take(3).collect();
        writer.write_record([format!("{number} {}", words.join(" "))]).unwrap();
    }
    writer.flush().unwrap();
    let out = directory.path().join("undisturbed.parquet");
    embed(&data, &directory.path().join("cache"), &out, &[]);
    let expected = std::fs::read(&out).unwrap();
    // 1,200 texts make three parts or more. The numbers are passages of the named points; the description of
    // the store is the first file.
    for point in [
        "file-before-rename:2",
        "file-before-rename:3",
        "file-before-rename:4",
        "file-half-written:2",
        "file-half-written:3",
        "file-after-rename:2",
        "file-after-rename:3",
        "file-before-write:2",
        "file-before-write:4",
    ] {
        kill_and_resume(&data, &expected, Ok(point));
    }
    // Twice more between write and rename, after an earlier kill has left a temporary file: the same points,
    // another seed.
    for point in ["file-before-rename:3", "file-before-rename:2"] {
        kill_and_resume(&data, &expected, Ok(point));
    }
    let mut bits = 20_u64;
    for _ in 0..10 {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        kill_and_resume(&data, &expected, Err((bits >> 33) % 2000));
    }
}

#[test]
fn memory_and_shapes_stay_small() {
    let data = demo(1200);
    let figures =
        frosthead(&["bench", "embed", text(&data), "--backbone", backbone(), "--rounds", "1", "--json"])
            .success()
            .json();
    let number = |name: &str| figures[name].as_f64().unwrap_or_else(|| panic!("{name}: {figures}"));
    assert!(number("shapes") <= 40.0 && number("shapes") > 3.0);
    assert!(number("padding_share") > 0.0 && number("padding_share") < 0.1);
    assert_eq!(number("texts"), 1200.0);
    // Memory for 16 sessions is all they may take.
    let cores = frosthead::internal::runtime::allowed_cores();
    assert_eq!(figures["sessions"], cores.min(16), "a session for each thread");
    // One session takes 155 MB, of which the mapped weights are counted once more in each further one.
    assert!(number("peak_rss_bytes") < 190e6 + 110e6 * (number("sessions") - 1.0), "{figures}");
    assert!(number("gflops") > 1.0 && number("gemm_peak_gflops") > number("gflops") * 0.8, "{figures}");
    assert!((number("share_of_peak") - number("gflops") / number("gemm_peak_gflops")).abs() < 1e-9);
    let fewer = [
        "bench",
        "embed",
        text(&data),
        "--backbone",
        backbone(),
        "--rounds",
        "1",
        "--limit",
        "100",
        "--json",
    ]
    .map(str::to_owned);
    let fewer = frosthead(&fewer.iter().map(String::as_str).collect::<Vec<_>>()).success().json();
    assert_eq!(fewer["texts"], 100);
}

#[test]
fn two_networks_are_measured_in_turns() {
    let data = demo(300);
    let arguments =
        ["bench", "embed", text(&data), "--backbone", backbone(), "--limit", "60", "--rounds", "3"];
    let against = ["--against", backbone()];
    let figures = frosthead(&[&arguments[..], &against[..], &["--json"]].concat()).success().json();
    let seconds = |of: &serde_json::Value| -> Vec<f64> {
        of["seconds"].as_array().unwrap().iter().map(|seconds| seconds.as_f64().unwrap()).collect()
    };
    let (one, other) = (seconds(&figures), seconds(&figures["against"]));
    let ratios = figures["ratios"].as_array().unwrap();
    assert_eq!((one.len(), other.len(), ratios.len()), (3, 3, 3));
    for ((one, other), ratio) in one.iter().zip(&other).zip(ratios) {
        assert!((other / one - ratio.as_f64().unwrap()).abs() < 1e-9, "{figures}");
    }
    let mut sorted: Vec<f64> = ratios.iter().map(|ratio| ratio.as_f64().unwrap()).collect();
    sorted.sort_by(f64::total_cmp);
    assert_eq!(figures["ratio"].as_f64(), Some(sorted[1]));
    let shown = frosthead(&[&arguments[..], &against[..]].concat()).success().stdout;
    let line = shown.lines().find(|line| line.starts_with("times as fast")).unwrap();
    assert!(line.contains("3 pairs") && shown.contains(backbone()), "{shown}");
    // One pair has one ratio.
    let one = ["bench", "embed", text(&data), "--backbone", backbone(), "--limit", "5", "--rounds", "1"];
    let one = frosthead(&[&one[..], &against[..], &["--json"]].concat()).success().json();
    assert_eq!(one["ratios"].as_array().map(Vec::len), Some(1));
}
