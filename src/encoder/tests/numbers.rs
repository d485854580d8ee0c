//! Checks graphs against PyTorch, against each other, and that a text's numbers depend on the text alone.

use super::*;

pub(super) const OPERATORS: [Operators; 2] = [Operators::Fused, Operators::Standard];
const POOLINGS: [(Pooling, &str); 2] = [(Pooling::Mean, "mean"), (Pooling::Cls, "cls")];
/// fp32 sums in another order: 10 to 20 roundings of 6e-8 on values up to about 3.
const TOLERANCE: f32 = 5e-6;

#[test]
fn every_kind_of_checkpoint_and_activation_gives_what_transformers_computes() {
    let texts = ids(&tiny()["texts"]);
    let golden = golden("tests/data/bert_tiny_golden.safetensors");
    let variants = [
        ("pretraining", "gelu", "pretraining"),
        ("f16", "gelu", "f16"),
        ("bf16", "gelu", "bf16"),
        ("pretraining", "gelu_new", "gelu_new"),
        ("pretraining", "gelu_pytorch_tanh", "gelu_new"),
        ("pretraining", "relu", "relu"),
    ];
    for (checkpoint, activation, expected) in variants {
        let model = Model::tiny(checkpoint, activation);
        for (operators, (pooling, name)) in
            OPERATORS.iter().flat_map(|&operators| POOLINGS.map(|pooling| (operators, pooling)))
        {
            let mut session = model.session(&Wanted { operators, pooling, ..Default::default() }, 1);
            let expected = golden[&format!("{expected}.{name}")].chunks_exact(32);
            for (text, expected) in texts.iter().zip(expected) {
                let found = run(&mut session, &[text], text.len() + 3, 0);
                let difference = largest_difference(&found["embedding"], expected);
                assert!(
                    difference < TOLERANCE,
                    "{checkpoint} {activation} {operators:?} {name}: {difference:e}"
                );
            }
        }
    }
}

#[test]
fn hidden_states_are_numbered_from_the_embeddings_on() {
    let texts = ids(&tiny()["texts"]);
    let golden = golden("tests/data/bert_tiny_golden.safetensors");
    let model = Model::tiny("pretraining", "gelu");
    for (operators, level) in
        OPERATORS.into_iter().flat_map(|operators| [0, 1, 2].map(|level| (operators, level)))
    {
        let outputs = Outputs::HiddenState(level);
        let mut session = model.session(&Wanted { operators, outputs, ..Default::default() }, 1);
        let mut start = 0;
        for text in &texts {
            let found = run(&mut session, &[text], text.len(), 0).remove(&ports::hidden(level)).unwrap();
            let expected = &golden[&format!("pretraining.hidden.{level}")][start..start + 32 * text.len()];
            let difference = largest_difference(&found, expected);
            assert!(difference < TOLERANCE, "{operators:?} hidden.{level}: {difference:e}");
            start += 32 * text.len();
        }
    }
}

#[test]
fn layer_means_are_the_means_of_the_hidden_states_whatever_the_pooling() {
    let text = &ids(&tiny()["texts"])[2];
    let model = Model::tiny("pretraining", "gelu");
    for (operators, (pooling, _)) in OPERATORS.into_iter().zip(POOLINGS) {
        let options = Wanted { operators, pooling, normalize: true, ..Default::default() };
        let found = |outputs| run(&mut model.session(&Wanted { outputs, ..options }, 1), &[text], 12, 0);
        let (alone, means) =
            (found(Outputs::EMBEDDING), found(Outputs::Vectors { means: 3, embedding: true }));
        assert_eq!(bits(&alone["embedding"]), bits(&means["embedding"]));
        assert_eq!(means["layer_means"].len(), 3 * 32);
        let lower = &found(Outputs::Vectors { means: 2, embedding: true })["layer_means"];
        assert_eq!(bits(lower), bits(&means["layer_means"][..2 * 32]));
        for level in 0..3 {
            let states = &found(Outputs::HiddenState(level))[&ports::hidden(level)][..32 * text.len()];
            let mean = |column: usize| states[column..].iter().step_by(32).sum::<f32>() / text.len() as f32;
            let expected: Vec<f32> = (0..32).map(mean).collect();
            let found = &means["layer_means"][32 * level..32 * (level + 1)];
            assert!(largest_difference(found, &expected) < TOLERANCE);
        }
    }
}

#[test]
fn the_largest_of_real_tokens_is_the_largest_of_their_states() {
    let texts = ids(&tiny()["texts"]);
    let model = Model::tiny("pretraining", "gelu");
    for operators in OPERATORS {
        let options = Wanted { operators, pooling: Pooling::Max, ..Wanted::default() };
        let mut pooled = model.session(&options, 1);
        let mut states = model.session(&Wanted { outputs: Outputs::HiddenState(2), ..options }, 1);
        for text in &texts {
            let states = run(&mut states, &[text], text.len(), 0).remove(&ports::hidden(2)).unwrap();
            let largest =
                |column: usize| states[column..].iter().step_by(32).copied().fold(f32::MIN, f32::max);
            let expected: Vec<f32> = (0..32).map(largest).collect();
            let found =
                run(&mut pooled, &[text, &[], &text[..2]], text.len() + 3, 77).remove("embedding").unwrap();
            assert_eq!(bits(&found[..32]), bits(&expected));
            assert!(found[32..64].iter().all(|number| *number == 0.0), "a row without tokens");
        }
    }
}

#[test]
fn normalised_embeddings_have_length_one() {
    let text = &ids(&tiny()["texts"])[1];
    let model = Model::tiny("pretraining", "gelu");
    let mut plain = model.session(&Wanted::default(), 1);
    let mut normalised = model.session(&Wanted { normalize: true, ..Default::default() }, 1);
    let plain = run(&mut plain, &[text], 8, 0).remove("embedding").unwrap();
    let norm = plain.iter().map(|x| x * x).sum::<f32>().sqrt();
    let expected: Vec<f32> = plain.iter().map(|x| x / norm).collect();
    let found = run(&mut normalised, &[text], 8, 0).remove("embedding").unwrap();
    assert!(largest_difference(&found, &expected) < 1e-6);
}

#[test]
fn the_real_model_gives_what_sentence_transformers_and_transformers_compute() {
    let golden = golden("tests/data/golden/golden.safetensors");
    let json: Json =
        serde_json::from_slice(&std::fs::read(file("tests/data/golden/golden.json")).unwrap()).unwrap();
    let texts = ids(&json["token_ids"]);
    let model = Model::real();
    let mut embeddings = Vec::new();
    for operators in OPERATORS {
        let options = Wanted { operators, normalize: true, ..Default::default() };
        let mut session = model.session(&options, 2);
        let each =
            texts.iter().map(|text| run(&mut session, &[text], text.len(), 0).remove("embedding").unwrap());
        let all: Vec<f32> = each.flatten().collect();
        assert!(largest_difference(&all, &golden["embedding"]) < 1e-6, "unit vectors of 384 numbers");
        embeddings.push(all);
        for level in 0..=6 {
            let outputs = Outputs::HiddenState(level);
            let mut session = model.session(&Wanted { outputs, ..options }, 2);
            for (index, text) in texts.iter().take(4).enumerate() {
                let found = run(&mut session, &[text], text.len() + 5, 0);
                let expected = &golden[&format!("hidden.{index}.{level}")];
                let real = &found[&ports::hidden(level)][..expected.len()];
                let difference = largest_difference(real, expected);
                assert!(difference < 2e-5, "text {index}, hidden.{level}: {difference:e}");
            }
        }
    }
    let difference = largest_difference(&embeddings[0], &embeddings[1]);
    assert!(difference < 1e-6, "fused and standard differ by {difference:e}");
}

/// What each text gives alone, unpadded, on one thread.
pub(super) fn alone(model: &Model, options: &Wanted, texts: &[&[u32]]) -> Vec<BTreeMap<String, Vec<f32>>> {
    let mut session = model.session(options, 1);
    texts.iter().map(|text| run(&mut session, &[text], text.len(), 0)).collect()
}

/// Asserts that every row of a batch has the bits that its text has alone; garbage stands in the padding.
pub(super) fn assert_same_bits(
    session: &mut Session,
    texts: &[&[u32]],
    alone: &[BTreeMap<String, Vec<f32>>],
    length: usize,
) {
    let together = run(session, texts, length, 77);
    for (row, (text, alone)) in texts.iter().zip(alone).enumerate() {
        for (name, expected) in alone {
            let stride = together[name].len() / texts.len();
            let found = &together[name][row * stride..][..expected.len()];
            let (count, tokens) = (texts.len(), text.len());
            assert!(
                bits(found) == bits(expected),
                "{name} of {tokens} tokens differs in row {row} of {count}, padded to {length}"
            );
        }
    }
}

#[test]
fn a_tiny_models_numbers_depend_on_the_text_alone() {
    let all = ids(&tiny()["texts"]);
    let longest = &all[4];
    let texts: Vec<&[u32]> = (1..=40).map(|length| &longest[..length]).collect();
    for activation in ["gelu", "gelu_new", "relu"] {
        let model = Model::tiny("pretraining", activation);
        for (operators, outputs) in OPERATORS.into_iter().flat_map(|operators| {
            [Outputs::HiddenState(2), Outputs::Vectors { means: 3, embedding: true }]
                .map(|outputs| (operators, outputs))
        }) {
            let options = Wanted { operators, outputs, normalize: true, ..Default::default() };
            let alone = alone(&model, &options, &texts);
            for threads in [1, 2] {
                let mut session = model.session(&options, threads);
                for length in [40, 41, 43, 48] {
                    assert_same_bits(&mut session, &texts, &alone, length);
                }
                for first in 0..texts.len() {
                    let size = 1 + first % 5;
                    let range = first..(first + size).min(texts.len());
                    let length = range.end + 1 + first % 4;
                    assert_same_bits(&mut session, &texts[range.clone()], &alone[range], length);
                }
            }
        }
    }
}

#[test]
fn the_real_models_numbers_depend_on_the_text_alone() {
    let json: Json =
        serde_json::from_slice(&std::fs::read(file("tests/data/golden/golden.json")).unwrap()).unwrap();
    let mut texts = ids(&json["token_ids"]);
    texts.sort_by_key(Vec::len);
    let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    let model = Model::real();
    for operators in OPERATORS {
        let outputs = Outputs::Vectors { means: 7, embedding: true };
        let options = Wanted { operators, outputs, normalize: true, ..Default::default() };
        let alone = alone(&model, &options, &texts);
        for threads in [1, 2] {
            let mut session = model.session(&options, threads);
            for (texts, alone) in texts.chunks(7).zip(alone.chunks(7)) {
                let longest = texts.iter().map(|text| text.len()).max().unwrap();
                assert_same_bits(&mut session, texts, alone, longest + threads);
            }
        }
        // Six threads split the products of long texts further than two do.
        let mut session = model.session(&options, 6);
        let last = texts.len() - 1;
        assert!(texts[last].len() == 256);
        assert_same_bits(&mut session, &texts[last..], &alone[last..], 300);
    }
}

#[test]
fn rows_that_fill_up_a_batch_are_zero_and_disturb_nobody() {
    let text = &ids(&tiny()["texts"])[2];
    let model = Model::tiny("pretraining", "gelu");
    for operators in OPERATORS {
        let outputs = Outputs::Vectors { means: 3, embedding: true };
        let options = Wanted { operators, outputs, normalize: true, ..Default::default() };
        let alone = alone(&model, &options, &[text]);
        let found = run(&mut model.session(&options, 1), &[text, &[]], 11, 0);
        assert_eq!(bits(&found["embedding"][..32]), bits(&alone[0]["embedding"]));
        assert!(found["embedding"][32..].iter().all(|&x| x == 0.0));
        assert!(found["layer_means"].iter().all(|x| x.is_finite()));
    }
}

#[test]
fn a_table_of_fewer_words_gives_texts_of_those_the_same_bits() {
    let model = Model::tiny("pretraining", "gelu");
    let texts = ids(&tiny()["texts"]);
    let mut rows: Vec<u32> = texts.concat();
    rows.push(model.config.pad_token_id);
    rows.sort_unstable();
    rows.dedup();
    assert!(rows.len() < model.config.vocabulary_size && rows.iter().zip(0..).any(|(row, id)| *row != id));
    let moved =
        |text: &[u32]| text.iter().map(|id| rows.binary_search(id).unwrap() as u32).collect::<Vec<_>>();
    let doubled = model.weights.read("embeddings.word_embeddings.weight").unwrap();
    let doubled: Vec<f32> = doubled.iter().map(|number| number * 2.0).collect();
    let trained = ChangedTensors::from([("embeddings.word_embeddings.weight".to_owned(), doubled)]);
    let changes = [None, Some(&trained)];
    for (operators, changed) in
        OPERATORS.iter().flat_map(|operators| changes.map(|changed| (*operators, changed)))
    {
        let network = Network { changed, ..model.network() };
        let padding = moved(&[model.config.pad_token_id])[0];
        let config = Config { vocabulary_size: rows.len(), pad_token_id: padding, ..model.config.clone() };
        let small = Network { config: &config, pieces: Some(&rows), ..network };
        let outputs = Outputs::Vectors { means: 3, embedding: true };
        let options = GraphOptions { operators, outputs, ..GraphOptions::default() };
        let open = |network| model.open(&inference_graph(network, &options).unwrap(), 1);
        let (mut whole, mut small) = (open(&network), open(&small));
        for text in &texts {
            let wanted = run(&mut whole, &[text], text.len() + 2, model.config.pad_token_id);
            let found = run(&mut small, &[&moved(text)], text.len() + 2, config.pad_token_id);
            for (name, numbers) in &wanted {
                assert_eq!(bits(numbers), bits(&found[name]), "{operators:?} {name}");
            }
        }
    }
    let beyond = Network { pieces: Some(&[0, 100]), ..model.network() };
    let refused = beyond.read("embeddings.word_embeddings.weight").unwrap_err().to_string();
    assert!(refused.contains("found row 100, expected rows below 100"), "{refused}");
}

#[test]
fn graphs_are_small_deterministic_and_standard_where_asked() {
    let model = Model::tiny("pretraining", "gelu");
    for operators in OPERATORS {
        let options = Wanted { operators, ..Default::default() };
        let bytes = model.graph(&options);
        assert_eq!(bytes, model.graph(&options));
        let parsed = crate::graph::decode(&bytes).unwrap();
        let domains: Vec<_> = parsed.opset_import.iter().map(|set| set.domain.clone().unwrap()).collect();
        let version = parsed.opset_import[0].version.unwrap();
        match operators {
            Operators::Fused => {
                assert_eq!((&domains[..], version), (&["", "com.microsoft"].map(String::from)[..], 24));
            }
            // Any other runtime can read it.
            Operators::Standard => assert_eq!((&domains[..], version), (&[String::new()][..], 20)),
        }
        let graph = parsed.graph.unwrap();
        let external: Vec<_> = graph.initializer.iter().filter(|t| !t.external_data.is_empty()).collect();
        assert_eq!(
            external.len(),
            model.weights.names().count(),
            "every weight is used once and in the file"
        );
        let inline = graph.initializer.iter().filter_map(|tensor| tensor.raw_data.as_ref());
        assert!(inline.map(Vec::len).sum::<usize>() < 200);
    }
}

#[test]
fn weights_of_another_configuration_are_refused() {
    let model = Model::tiny("pretraining", "gelu");
    let config = Config { layers: 3, ..model.config.clone() };
    let error = inference_graph(&Network { config: &config, ..model.network() }, &GraphOptions::default())
        .unwrap_err();
    assert!(error.to_string().contains("encoder.layer.2."), "{error}");
}
