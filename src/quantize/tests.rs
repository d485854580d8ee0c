//! Checks variants of a small network against its fp32 form on ONNX Runtime, and the pieces against plain
//! arithmetic.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::build::Built;
use super::build::build_from;
use super::*;
use crate::backbone::WEIGHTS;
use crate::embed::CutTokens;
use crate::encoder::{Config, Matrix, Network, Outputs, Part, Published, Weights, product_inputs_graph};
use crate::graph::{self, proto::TensorProto};
use crate::runtime::{Input, Runtime, RuntimeOptions, Session, Values};
use crate::tensors::read_halves;

const HIDDEN: usize = 32;

fn file(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    assert!(path.exists(), "{} is missing: run the download script first", path.display());
    path
}

fn runtime(threads: usize) -> Runtime {
    let library = Some(file(".downloads/onnxruntime/libonnxruntime.so.1.32.0"));
    Runtime::load(&RuntimeOptions { library, threads: Some(threads), ..RuntimeOptions::default() }).unwrap()
}

/// A network of two layers with 32 hidden numbers, and its texts.
struct Tiny {
    folder: tempfile::TempDir,
    config: Config,
    weights: Weights,
    texts: Vec<Vec<u32>>,
}

impl Tiny {
    fn new() -> Self {
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(file("tests/data/bert_tiny.json")).unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, json["config"].to_string()).unwrap();
        let published = Published::open(&path).unwrap();
        let checkpoint = file("tests/data/bert_tiny_pretraining.safetensors");
        published.convert(&checkpoint, &folder.path().join(WEIGHTS)).unwrap();
        let all: Vec<Vec<u32>> = serde_json::from_value(json["texts"].clone()).unwrap();
        let texts = (1..=40).map(|length| all[4][..length].to_vec()).collect();
        let config = published.config;
        let weights = Weights::open(&folder.path().join(WEIGHTS), &config).unwrap();
        Self { folder, config, weights, texts }
    }

    fn network(&self) -> Network<'_> {
        Network { normalize: true, ..Network::new(&self.config, &self.weights) }
    }

    fn calibration(&self) -> Calibration {
        let (graph, names) = product_inputs_graph(&self.network()).unwrap();
        let mut session = runtime(1).session_from_memory(&graph, self.folder.path()).unwrap();
        let mut calibration = Calibration::default();
        for text in &self.texts {
            let ids: Vec<i64> = text.iter().copied().map(i64::from).collect();
            let (length, mask) = (ids.len(), vec![1; ids.len()]);
            let tokens = CutTokens::Ids { ids, types: None };
            calibration.observe(&mut session, &names, (&tokens, &mask), length).unwrap();
        }
        calibration
    }

    fn build(&self, variant: &Variant, options: &BuildOptions) -> Result<Built> {
        build_from(&self.network(), variant, Some(&self.calibration()), options)
    }

    fn session(&self, built: &Built, options: &BuildOptions, threads: usize) -> Session {
        let path = self.folder.path().join(&options.location);
        std::fs::write(&path, bytes(built)).unwrap();
        runtime(threads).session_from_memory(&built.graph, self.folder.path()).unwrap()
    }
}

fn bytes(built: &Built) -> Vec<u8> {
    let mut bytes = Vec::new();
    built.write_weights(&mut bytes, Path::new("memory")).unwrap();
    assert_eq!(bytes.len() as u64, built.weights_length());
    bytes
}

fn variant(precision: Precision) -> Variant {
    Variant { precision, ..Variant::default() }
}

fn in_four_bits(precision: Precision) -> Variant {
    Variant { table: TableBits::Four, ..variant(precision) }
}

/// Outputs by name for texts padded to `length`.
fn run(session: &mut Session, texts: &[Vec<u32>], length: usize) -> BTreeMap<String, Vec<f32>> {
    let (mut ids, mut mask) = (Vec::new(), Vec::new());
    for text in texts {
        ids.extend((0..length).map(|place| text.get(place).map_or(7, |&id| i64::from(id))));
        mask.extend((0..length).map(|place| i64::from(place < text.len())));
    }
    let shape = [texts.len(), length];
    let inputs = [
        Input { name: "input_ids", shape: &shape, values: Values::I64(&ids) },
        Input { name: "attention_mask", shape: &shape, values: Values::I64(&mask) },
    ];
    let names: Vec<String> = session.outputs().iter().map(|output| output.name.clone()).collect();
    let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
    let found = session.run(&inputs, &wanted).unwrap();
    names.into_iter().zip(found.into_iter().map(|tensor| tensor.data)).collect()
}

/// The initializers of a graph.
fn initializers(built: &Built) -> BTreeMap<String, TensorProto> {
    let graph = graph::decode(&built.graph).unwrap().graph.unwrap();
    graph.initializer.into_iter().map(|tensor| (tensor.name.clone().unwrap(), tensor)).collect()
}

/// Operators of a graph and how often each is there.
fn operators(built: &Built) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for node in graph::decode(&built.graph).unwrap().graph.unwrap().node {
        *counts.entry(node.op_type.unwrap()).or_default() += 1;
    }
    counts
}

#[test]
fn each_precision_agrees_with_fp32_as_far_as_its_bits_go() {
    let tiny = Tiny::new();
    let options = BuildOptions::default();
    let embeddings = |precision| {
        let built = tiny.build(&variant(precision), &options).unwrap();
        let found = run(&mut tiny.session(&built, &options, 1), &tiny.texts, 40);
        (built.weights_length(), found["embedding"].clone())
    };
    let (size, exact) = embeddings(Precision::Fp32);
    // 32-bit weights as they were: 8 bits are off by at most 1/254 of a row's or block's largest, a random
    // error of many terms; 8-bit rows add as much again.
    for (precision, largest) in [(Precision::W8, 2e-4), (Precision::Int8, 2e-3)] {
        let (coded, found) = embeddings(precision);
        let agreement = Agreement::of(&exact, &found, HIDDEN);
        assert!(1.0 - agreement.smallest <= largest, "{precision}: {agreement:?}");
        assert!(agreement.smallest < 1.0 - 1e-9, "{precision} is not in 8 bits: {agreement:?}");
        assert!(coded * 2 < size, "{precision}: {coded} bytes of {size}");
    }
}

#[test]
fn a_texts_numbers_depend_on_the_text_alone_in_every_precision() {
    let tiny = Tiny::new();
    let options =
        BuildOptions { outputs: Outputs::Vectors { means: 3, embedding: true }, ..BuildOptions::default() };
    let plain = [Precision::Fp32, Precision::W8, Precision::Int8].map(variant);
    let coded = [Precision::Fp32, Precision::W8, Precision::Int8].map(in_four_bits);
    for variant in plain.into_iter().chain(coded) {
        let built = tiny.build(&variant, &options).unwrap();
        let mut one = tiny.session(&built, &options, 1);
        // A single token is padded: see `build`.
        let mut run_alone = |text: &Vec<u32>| run(&mut one, std::slice::from_ref(text), text.len().max(2));
        let alone: Vec<_> = tiny.texts.iter().map(&mut run_alone).collect();
        for threads in [1, 2] {
            let mut session = tiny.session(&built, &options, threads);
            for (first, count) in [(0, 40), (0, 1), (3, 2), (11, 5), (20, 20), (39, 1)] {
                let length = first + count + threads;
                let found = run(&mut session, &tiny.texts[first..first + count], length);
                for (name, all) in found {
                    let width = all.len() / count;
                    for (row, vector) in all.chunks_exact(width).enumerate() {
                        let expected = &alone[first + row][&name];
                        let same = vector.iter().zip(expected).all(|(a, b)| a.to_bits() == b.to_bits());
                        assert!(same, "{variant:?}: {name} of text {} in {count} rows", first + row);
                    }
                }
            }
        }
    }
}

#[test]
fn a_word_table_in_four_bits_gives_the_numbers_that_it_holds() {
    let tiny = Tiny::new();
    // Of fp32, so that nothing else differs; rows of 32 numbers are two blocks of 16.
    let mut built = tiny.build(&in_four_bits(Precision::Fp32), &BuildOptions::default()).unwrap();
    let words = tiny.config.tables()[0];
    let exact = tiny.network().read(words).unwrap();
    let (initializers, data) = (initializers(&built), bytes(&built));
    assert!(!initializers.contains_key(words), "the table is there twice");
    let coded = |name: &str| {
        let tensor = &initializers[&format!("{words}.{name}")];
        let entry = |key: &str| {
            let entry = tensor.external_data.iter().find(|entry| entry.key.as_deref() == Some(key));
            entry.unwrap().value.clone().unwrap().parse::<usize>().unwrap()
        };
        &data[entry("offset")..entry("offset") + entry("length")]
    };
    let rows = exact.len() / HIDDEN;
    let mut scales = vec![0.0; 2 * rows];
    read_halves(coded("scales"), &mut scales);
    let number = |place: usize| {
        let nibble = |bytes: &[u8], place: usize| f32::from((bytes[place / 2] >> (4 * (place % 2))) & 15);
        // Multiplied in 32 bits and rounded to 16 once, as the operator does.
        let steps = nibble(coded("codes"), place) - nibble(coded("zeros"), place / 16);
        let number = steps * scales[place / 16];
        half::f16::from_f32(number).to_f32()
    };
    let table: Vec<f32> = (0..exact.len()).map(number).collect();
    let squares = |numbers: &mut dyn Iterator<Item = f32>| numbers.map(|number| number * number).sum::<f32>();
    let missed = squares(&mut exact.iter().zip(&table).map(|(exact, number)| exact - number));
    assert!(missed < 0.01 * squares(&mut exact.iter().copied()), "{missed}");
    // What the graph looks up is this table, to the bit.
    let mut model = graph::decode(&built.graph).unwrap();
    let inner = model.graph.as_mut().unwrap();
    let place = inner.value_info.iter().position(|value| value.name.as_deref() == Some("embeddings/word"));
    let looked_up = inner.value_info.remove(place.unwrap());
    inner.output.push(looked_up);
    built.graph = graph::encode(&model);
    let found = run(&mut tiny.session(&built, &BuildOptions::default(), 1), &tiny.texts, 40);
    let padded = tiny.texts.iter().flat_map(|text| (0..40).map(|place| text.get(place).map_or(7, |&id| id)));
    for (id, row) in padded.zip(found["embeddings/word"].chunks_exact(HIDDEN)) {
        let expected = &table[id as usize * HIDDEN..][..HIDDEN];
        assert!(row.iter().zip(expected).all(|(a, b)| a.to_bits() == b.to_bits()), "{id}: {row:?}");
    }
}

#[test]
fn a_word_table_in_four_bits_is_close_small_and_looked_up_by_rows() {
    let tiny = Tiny::new();
    let options = BuildOptions::default();
    let exact = tiny.build(&variant(Precision::Fp32), &options).unwrap();
    let exact = run(&mut tiny.session(&exact, &options, 1), &tiny.texts, 40);
    for precision in [Precision::Fp32, Precision::W8, Precision::Int8] {
        let eight = tiny.build(&variant(precision), &options).unwrap();
        let four = tiny.build(&in_four_bits(precision), &options).unwrap();
        let counts = operators(&four);
        assert_eq!(counts.get("GatherBlockQuantized"), Some(&1), "{counts:?}");
        let rows = tiny.network().read(tiny.config.tables()[0]).unwrap().len() / HIDDEN;
        // A row of 32: a scale of 4 bytes and 32 codes of one, or 16 bytes, two scales of 2, and two zeros.
        let row = if precision == Precision::Fp32 { 4 * HIDDEN } else { 4 + HIDDEN };
        let saved = eight.weights_length() - four.weights_length();
        assert!(saved.abs_diff((rows * (row - 21)) as u64) < 256, "{precision}: {saved} bytes saved");
        let found = run(&mut tiny.session(&four, &options, 1), &tiny.texts, 40);
        let agreement = Agreement::of(&exact["embedding"], &found["embedding"], HIDDEN);
        assert!(agreement.smallest > 0.98 && agreement.mean < 0.999_99, "{precision}: {agreement:?}");
    }
}

#[test]
fn all_weights_are_in_one_file_at_aligned_places_and_the_bytes_are_always_the_same() {
    let tiny = Tiny::new();
    let options = BuildOptions { location: "other.data".to_owned(), ..BuildOptions::default() };
    let variants = [Precision::Fp32, Precision::W8, Precision::Int8].map(variant);
    for variant in variants.into_iter().chain([in_four_bits(Precision::Int8)]) {
        let built = tiny.build(&variant, &options).unwrap();
        let again = tiny.build(&variant, &options).unwrap();
        assert!(built.graph == again.graph && bytes(&built) == bytes(&again), "{variant:?}");
        let mut places = Vec::new();
        for tensor in initializers(&built).into_values().filter(|tensor| !tensor.external_data.is_empty()) {
            let entry = |key: &str| {
                let entry = tensor.external_data.iter().find(|entry| entry.key.as_deref() == Some(key));
                entry.unwrap().value.clone().unwrap()
            };
            assert_eq!(entry("location"), "other.data");
            places.push((entry("offset").parse::<u64>().unwrap(), entry("length").parse::<u64>().unwrap()));
        }
        places.sort_unstable();
        assert!(places.iter().all(|(offset, _)| offset.is_multiple_of(64)), "{variant:?}");
        assert!(places.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "{variant:?}");
        let (offset, length) = places[places.len() - 1];
        assert_eq!(offset + length, built.weights_length());
        // Nothing lies in the file that the graph does not use: only gaps for the alignment.
        let used: u64 = places.iter().map(|(_, length)| length).sum();
        assert!(built.weights_length() - used < 64 * places.len() as u64, "{variant:?}");
    }
}

#[test]
fn kept_products_are_one_step_more_exact() {
    let tiny = Tiny::new();
    let kept = |precision, product: &str| {
        let kept = BTreeSet::from([product.parse().unwrap()]);
        let built =
            tiny.build(&Variant { precision, kept, ..Variant::default() }, &BuildOptions::default()).unwrap();
        let counts = operators(&built);
        ["Gemm", "MatMulNBits", "MatMulIntegerToFloat"].map(|name| counts.get(name).copied().unwrap_or(0))
    };
    assert_eq!(kept(Precision::Int8, "layer.1.output"), [0, 1, 11]);
    assert_eq!(kept(Precision::Int8, "layer.0.attention"), [0, 3, 9]);
    assert_eq!(kept(Precision::W8, "layer.0.intermediate"), [1, 11, 0]);
    assert_eq!(kept(Precision::Fp32, "layer.0.intermediate"), [12, 0, 0]);
    // A kept product before one that continues channels has the copies too: the graph runs.
    let options = BuildOptions::default();
    let kept = BTreeSet::from([Product { layer: 0, part: Part::Intermediate }]);
    let built =
        tiny.build(&Variant { precision: Precision::Int8, kept, ..Variant::default() }, &options).unwrap();
    let exact = tiny.build(&variant(Precision::Fp32), &options).unwrap();
    let exact = run(&mut tiny.session(&exact, &options, 1), &tiny.texts, 40);
    let found = run(&mut tiny.session(&built, &options, 1), &tiny.texts, 40);
    assert!(Agreement::of(&exact["embedding"], &found["embedding"], HIDDEN).smallest > 0.998);
}

#[test]
fn what_cannot_be_built_is_refused() {
    let tiny = Tiny::new();
    let options = BuildOptions::default();
    let error = build_from(&tiny.network(), &variant(Precision::Int8), None, &options).unwrap_err();
    assert!(error.to_string().contains("int8 needs a calibration"), "{error}");
    let other = Calibration::default();
    let error = build_from(&tiny.network(), &variant(Precision::Int8), Some(&other), &options).unwrap_err();
    assert!(error.to_string().contains("not of this network"), "{error}");
    let kept = BTreeSet::from(["layer.2.output".parse().unwrap()]);
    let error =
        tiny.build(&Variant { precision: Precision::W8, kept, ..Variant::default() }, &options).unwrap_err();
    assert!(error.to_string().contains("found layer.2.output"), "{error}");
    let options = BuildOptions { outputs: Outputs::HiddenState(1), ..options };
    assert!(tiny.build(&variant(Precision::W8), &options).is_ok());
    assert!(tiny.build(&in_four_bits(Precision::W8), &options).is_ok());
}

#[test]
fn precisions_are_written_as_they_are_read_and_int8_stays_on_the_cpu() {
    for precision in [Precision::Fp32, Precision::W8, Precision::Int8] {
        assert_eq!(precision.to_string().parse::<Precision>().unwrap(), precision);
        assert_eq!(serde_json::to_value(precision).unwrap(), precision.to_string());
        precision.check_device(Device::Cpu).unwrap();
        assert_eq!(precision.check_device(Device::Cuda(0)).is_err(), precision == Precision::Int8);
    }
    let error = Precision::Int8.check_device(Device::Cuda(1)).unwrap_err();
    assert!(error.to_string().contains("cuda:1") && error.remedy().is_some(), "{error}");
    assert_eq!("int4".parse::<Precision>().unwrap_err().kind(), Kind::Usage);
    for precision in [Precision::Fp32, Precision::W8, Precision::Int8] {
        in_four_bits(precision).check_device(Device::Cpu).unwrap();
        let error = in_four_bits(precision).check_device(Device::Cuda(1)).unwrap_err();
        let said = if precision == Precision::Int8 { "int8" } else { "--table-bits 8" };
        assert!(error.to_string().contains(said) && error.remedy().is_some(), "{error}");
        assert_eq!(variant(precision).check_device(Device::Cuda(1)).is_err(), precision == Precision::Int8);
    }
}

#[test]
fn a_variant_without_a_table_of_its_own_is_written_as_it_was_before_there_were_any() {
    let written = |variant: &Variant| serde_json::to_string(variant).unwrap();
    assert_eq!(written(&variant(Precision::Int8)), r#"{"precision":"int8"}"#);
    assert_eq!(written(&in_four_bits(Precision::Int8)), r#"{"precision":"int8","table":"4"}"#);
    for variant in [variant(Precision::W8), in_four_bits(Precision::W8)] {
        assert_eq!(serde_json::from_str::<Variant>(&written(&variant)).unwrap(), variant);
    }
    for bits in [TableBits::Eight, TableBits::Four] {
        assert_eq!(bits.to_string().parse::<TableBits>().unwrap(), bits);
        assert_eq!(serde_json::to_value(bits).unwrap(), bits.to_string());
    }
    assert_eq!("2".parse::<TableBits>().unwrap_err().kind(), Kind::Usage);
}

#[test]
fn continued_channels_add_up_to_what_was_cut() {
    let relu = |x: f32| x.max(0.0);
    // 64 channels of which one reaches 21: few enough copies for a cut above 4.
    let before = |bias: &[f32]| Matrix {
        name: "before".to_owned(),
        weight: (0..64).map(|channel| if channel == 5 { 10.5 } else { channel as f32 / 64.0 }).collect(),
        bias: bias.to_vec(),
        inputs: 1,
    };
    let after = Matrix {
        name: "after".to_owned(),
        weight: (0..2 * 64).map(|place| (place % 5) as f32 - 2.0).collect(),
        bias: vec![0.0; 2],
        inputs: 64,
    };
    let product = |matrix: &Matrix, x: &[f32]| -> Vec<f32> {
        let dot = |row: &[f32]| row.iter().zip(x).map(|(w, x)| w * x).sum::<f32>();
        matrix
            .weight
            .chunks_exact(matrix.inputs)
            .zip(&matrix.bias)
            .map(|(row, bias)| dot(row) + bias)
            .collect()
    };
    let plain = (before(&[0.0; 64]), after.clone());
    let (mut before, mut after) = (before(&[0.0; 64]), after);
    let spans: Vec<_> = product(&before, &[2.0])
        .into_iter()
        .map(|high| super::calibration::Span { low: 0.0, high, squares: 1.0 })
        .collect();
    let rows = super::continued::continue_channels(&spans, 4.0, &mut before, &mut after);
    assert!((before.bias.len(), after.inputs, after.bias.len()) == (80, 80, 2));
    assert!(rows.largest() < 11.0 && rows.largest() >= 4.0, "{rows:?}");
    for x in [0.1, 0.7, 1.3, 2.0] {
        let exact = product(&plain.1, &product(&plain.0, &[x]).into_iter().map(relu).collect::<Vec<_>>());
        let cut = |x: f32| relu(x).min(rows.largest());
        let found = product(&after, &product(&before, &[x]).into_iter().map(cut).collect::<Vec<_>>());
        assert!(exact.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-3), "{x}: {exact:?} {found:?}");
    }
}
