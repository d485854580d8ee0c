//! A short, deterministic run of what `scripts/fuzz.sh` runs a million times: every parser of bytes that
//! somebody else made, on seeds changed at random, always the same.

pub mod repair;
mod seeds;
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use frosthead::internal::bundle::{UpdateOptions, apply_update};

use crate::harness::root;

/// A seeded source of numbers (PCG's multiplier and increment).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit.max(1)
    }

    fn range(&mut self, bytes: &[u8]) -> std::ops::Range<usize> {
        let start = self.below(bytes.len());
        start..(start + self.below(16)).min(bytes.len())
    }
}

/// Numbers at which parsers' counting goes wrong.
const EDGES: [u64; 8] = [0, 1, 0x7f, 0xff, 0x7fff_ffff, 0xffff_ffff, i64::MAX as u64, u64::MAX];

/// A seed with some bytes changed, taken out, put in, doubled, or taken from another seed.
fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..1 + random.below(4) {
        let range = random.range(&bytes);
        match random.below(8) {
            0 if !bytes.is_empty() => bytes[range.start] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[range.start] = random.below(256) as u8,
            2 => drop(bytes.drain(range)),
            3 => {
                let doubled = bytes[range.clone()].to_vec();
                drop(bytes.splice(range.start..range.start, doubled));
            }
            4 => {
                let width = [1, 2, 4, 8][random.below(4)];
                let number = EDGES[random.below(EDGES.len())].to_le_bytes();
                let end = (range.start + width).min(bytes.len());
                drop(bytes.splice(range.start..end, number[..width].iter().copied()));
            }
            5 => {
                let other = &seeds[random.below(seeds.len())];
                let taken = other[random.range(other)].to_vec();
                drop(bytes.splice(range, taken));
            }
            6 => {
                let digits = ["-1", "0", "99999999999999999999", "1e999", "null", "\"\"", "[]", "\u{0}"];
                drop(bytes.splice(range, digits[random.below(digits.len())].bytes()));
            }
            _ if random.below(4) == 0 => bytes.truncate(range.start),
            _ => bytes.insert(range.start, random.below(256) as u8),
        }
    }
    bytes
}

/// Runs a target on its seeds, and on so many changed ones.
fn run(name: &str, count: usize) {
    let (_, target) = targets::ALL.iter().find(|(known, _)| *known == name).unwrap();
    let seeds = seeds::of(name);
    let mut random = Random(20_261_128);
    let changed = std::iter::repeat_with(|| mutated(&seeds, &mut random)).take(count);
    for (number, input) in seeds.iter().cloned().chain(changed).enumerate() {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(&input))) {
            let kept = root().join(format!("target/tmp/fuzz-{name}-{number}"));
            std::fs::write(&kept, &input).unwrap();
            eprintln!("the input {number} of {name} is kept as {}", kept.display());
            resume_unwind(panic);
        }
    }
}

#[test]
fn changed_bundles_are_refused_or_used_without_panic() {
    run("bundle", 400);
}

#[test]
fn changed_updates_are_refused_or_applied_without_panic() {
    run("update", 500);
}

#[test]
fn changed_safetensors_are_refused_or_used_without_panic() {
    run("safetensors", 1000);
}

#[test]
fn changed_store_files_are_refused_or_used_without_panic() {
    run("store", 1000);
}

#[test]
fn changed_tokenizers_are_refused_or_used_without_panic() {
    run("tokenizer", 1000);
}

#[test]
fn changed_configurations_are_refused_or_used_without_panic() {
    run("config", 500);
}

#[test]
fn changed_onnx_models_are_refused_or_used_without_panic() {
    run("onnx", 500);
}

#[test]
fn changed_separated_tables_are_refused_or_used_without_panic() {
    run("csv", 1500);
}

#[test]
fn changed_json_tables_are_refused_or_used_without_panic() {
    run("json", 1500);
}

#[test]
fn changed_parquet_files_are_refused_or_used_without_panic() {
    run("parquet", 1500);
}

#[cfg(feature = "serve")]
#[test]
fn changed_requests_are_answered_or_dropped() {
    let server = crate::serve::Server::plain(&[]);
    targets::SERVER.set((server.address, std::time::Duration::from_secs(120))).unwrap();
    run("http", 500);
    server.is_right();
    assert_eq!(server.metric(r#"frosthead_refusals_total{code="failed"}"#), 0.0);
}

/// The checksums that are made right here are those that the product writes: a bundle of the product's entries
/// is the product's bundle, and what is resealed unchanged is unchanged.
#[test]
fn checksums_are_repaired_as_they_are_written() {
    let seeds = seeds::of("bundle");
    let whole = seeds.iter().find(|seed| seed.starts_with(b"PK")).unwrap();
    assert!(repair::resealed(whole) == *whole);
    let directory = crate::harness::directory();
    for seed in seeds.iter().filter(|seed| !seed.starts_with(b"PK")) {
        let path = directory.path().join("x.frost");
        std::fs::write(&path, repair::archive(&repair::sections(seed))).unwrap();
        frosthead::Bundle::open(&path, None).unwrap();
        let mut damaged = std::fs::read(&path).unwrap();
        // A letter of a label.
        let place = damaged.windows(7).position(|window| window == b"neutral").unwrap();
        damaged[place] = b'N';
        std::fs::write(&path, &damaged).unwrap();
        assert!(frosthead::Bundle::open(&path, None).is_err());
        std::fs::write(&path, repair::resealed(&damaged)).unwrap();
        let opened = frosthead::Bundle::open(&path, None).unwrap();
        assert!(opened.heads().iter().any(|head| head.labels.contains(&"Neutral".to_owned())));
    }
}

/// So is an update's: as the product made it, it is applied, and no longer when a byte of its body is another.
#[test]
fn updates_are_repaired_as_they_are_written() {
    let seeds = seeds::of("update");
    let (old, update) = repair::update(&seeds[0]);
    assert_eq!(repair::sealed(&seeds[1]), seeds[1]);
    let directory = crate::harness::directory();
    let [from, by, out] = ["old.frost", "x.frostup", "new.frost"].map(|name| directory.path().join(name));
    std::fs::write(&from, old).unwrap();
    std::fs::write(&by, update).unwrap();
    let applied = || {
        let options = UpdateOptions { out: Some(out.clone()), overwrite: true, ..UpdateOptions::default() };
        apply_update(&from, &by, &options)
    };
    applied().unwrap();
    let mut changed = seeds[0].clone();
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(&by, repair::update(&changed).1).unwrap();
    std::fs::remove_file(&out).unwrap();
    let error = applied().unwrap_err().to_string();
    assert!(error.contains("does not make the bundle that it says"), "{error}");
}

/// Writes the seeds, a folder for each target: for `scripts/fuzz.sh` where `FROSTHEAD_FUZZ_SEEDS` names one,
/// otherwise to see that every target has some.
#[test]
fn seeds_for_fuzzing() {
    let directory = crate::harness::directory();
    let place = std::env::var_os("FROSTHEAD_FUZZ_SEEDS");
    let place = place.map_or_else(|| directory.path().to_path_buf(), std::path::PathBuf::from);
    for (name, _) in targets::ALL {
        let folder = place.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for (number, seed) in seeds::of(name).iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number:02}")), seed).unwrap();
        }
        assert!(std::fs::read_dir(&folder).unwrap().count() > 0, "{name} has no seed");
    }
    std::fs::copy(&crate::tiny::tiny().bundle, place.join("tiny.frost")).unwrap();
}
