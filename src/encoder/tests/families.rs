//! Checks every family's tiny checkpoint against what transformers and PyTorch compute from it
//! (`scripts/golden/make_tiny_families.py`), and that a text's numbers depend on the text alone.

use super::checkpoints::{Tensors, read, write};
use super::numbers::{OPERATORS, alone, assert_same_bits};
use super::*;
use crate::task::TaskKind;
use crate::tokens::Tokenizer;

/// A family, how its directory is pooled, whether that is scaled to length 1.
const FAMILIES: [(&str, Pooling, bool); 6] = [
    ("bert", Pooling::Mean, false),
    ("roberta", Pooling::Max, false),
    ("xlm-roberta", Pooling::Cls, true),
    ("camembert", Pooling::Mean, false),
    ("distilbert", Pooling::Mean, false),
    ("mpnet", Pooling::Mean, true),
];
const LAYERS: usize = 3;
const HIDDEN: usize = 32;

/// A family's checkpoint, and what is known of it.
struct Known {
    family: &'static str,
    model: Model,
    golden: BTreeMap<String, Vec<f32>>,
    facts: Json,
}

impl Known {
    fn open(family: &'static str) -> Self {
        let place = format!("tests/data/families/{family}");
        let mut published = Published::open(&file(&format!("{place}/config.json"))).unwrap();
        let dense = Path::new(env!("CARGO_MANIFEST_DIR")).join(&place).join("2_Dense");
        if dense.is_dir() {
            published = published.with_dense(&dense).unwrap();
        }
        let model = Model::convert(&file(&format!("{place}/model.safetensors")), published);
        let golden = golden(&format!("{place}/golden.safetensors"));
        let facts = std::fs::read(file(&format!("{place}/golden.json"))).unwrap();
        Self { family, model, golden, facts: serde_json::from_slice(&facts).unwrap() }
    }

    fn texts(&self, of: &Json) -> Vec<String> {
        serde_json::from_value(of["texts"].clone()).unwrap()
    }

    fn encoded(&self, texts: &[String]) -> Vec<Vec<u32>> {
        let path = file(&format!("tests/data/families/{}/tokenizer.json", self.family));
        let tokenizer = Tokenizer::open(&path).unwrap();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let encoded = tokenizer.encode(&texts, 300).unwrap();
        (0..texts.len()).map(|text| encoded.ids(text).to_vec()).collect()
    }
}

fn each_family() -> impl Iterator<Item = (Known, Pooling, bool)> {
    FAMILIES.into_iter().map(|(family, pooling, normalize)| (Known::open(family), pooling, normalize))
}

#[test]
fn every_family_gives_the_ids_embeddings_and_states_of_transformers() {
    for (known, pooling, normalize) in each_family() {
        let texts = known.encoded(&known.texts(&known.facts));
        assert_eq!(texts, ids(&known.facts["ids"]), "{}", known.family);
        for operators in OPERATORS {
            let width = known.model.config.embedding_size();
            let options = Wanted { operators, pooling, normalize, ..Wanted::default() };
            let mut session = known.model.session(&options, 1);
            for (text, expected) in texts.iter().zip(known.golden["embedding"].chunks_exact(width)) {
                let found = run(&mut session, &[text], text.len() + 3, known.model.config.pad_token_id);
                let difference = largest_difference(&found["embedding"], expected);
                assert!(difference <= 1e-5, "{} {operators:?}: {difference:e}", known.family);
            }
            for level in 0..=LAYERS {
                let outputs = Outputs::HiddenState(level);
                let mut session = known.model.session(&Wanted { outputs, ..options }, 1);
                let mut rest = &known.golden[&format!("state.{level}")][..];
                for text in &texts {
                    let found = run(&mut session, &[text], text.len(), 0).remove(&ports::hidden(level));
                    let (expected, behind) = rest.split_at(text.len() * HIDDEN);
                    rest = behind;
                    let difference = largest_difference(&found.unwrap(), expected);
                    assert!(difference <= 1e-4, "{} {operators:?} {level}: {difference:e}", known.family);
                }
                assert!(rest.is_empty());
            }
        }
    }
}

#[test]
fn in_every_family_a_texts_numbers_depend_on_the_text_alone() {
    for (known, pooling, normalize) in each_family() {
        let texts = known.encoded(&known.texts(&known.facts));
        let longest = texts.iter().max_by_key(|text| text.len()).unwrap();
        let lengths = (1..=24).chain((30..longest.len()).step_by(37)).chain([longest.len()]);
        let texts: Vec<&[u32]> = lengths.map(|length| &longest[..length.min(longest.len())]).collect();
        for operators in OPERATORS {
            let outputs = Outputs::Vectors { means: LAYERS + 1, embedding: true };
            let options = Wanted { operators, pooling, normalize, outputs, ..Wanted::default() };
            let alone = alone(&known.model, &options, &texts);
            let most = known.model.config.longest().min(longest.len() + 8);
            for threads in [1, 2] {
                let mut session = known.model.session(&options, threads);
                for length in [most, most - 1, most - 3] {
                    assert_same_bits(&mut session, &texts, &alone, length.max(longest.len()));
                }
                for first in 0..texts.len() {
                    let range = first..(first + 1 + first % 5).min(texts.len());
                    let length = texts[range.clone()].last().unwrap().len() + first % 4;
                    assert_same_bits(&mut session, &texts[range.clone()], &alone[range], length.min(most));
                }
            }
        }
    }
}

#[test]
fn every_distance_has_the_bucket_that_transformers_gives_it() {
    let known = Known::open("mpnet");
    let relative = known.model.config.relative_positions.unwrap();
    let expected: Vec<usize> = serde_json::from_value(known.facts["buckets"].clone()).unwrap();
    let found: Vec<usize> = (-600..=600).map(|behind| relative.bucket(behind)).collect();
    assert_eq!(found, expected);
    assert!(known.model.config.longest() > 2 * relative.distance, "texts are too short to try it");
}

/// One step of training on the batch of four texts: every gradient by the parameter's name, and the loss.
fn step(known: &Known, tensors: impl Fn(&str) -> bool) -> (BTreeMap<String, Vec<f32>>, f32) {
    let Model { config, weights, .. } = &known.model;
    let tensors = weights.names().filter(|name| tensors(name)).map(str::to_owned).collect();
    let seen = FeatureChoice::Last;
    let task = "task".to_owned();
    let head = TrainingHead {
        task,
        kind: TaskKind::OneOf,
        classes: 3,
        seen,
        share: 1.0,
        frozen: None,
        beside: false,
    };
    let options = TrainingOptions {
        start: Start::Ids,
        tensors,
        heads: vec![head],
        dropped: std::collections::BTreeSet::new(),
    };
    let graph = training_graph(&Network::new(config, weights), &options).unwrap();
    let texts = known.encoded(&known.texts(&known.facts["train"]));
    let labels: Vec<usize> = serde_json::from_value(known.facts["train"]["labels"].clone()).unwrap();
    let length = texts.iter().map(Vec::len).max().unwrap();
    let (mut ids, mut mask) = (Vec::new(), Vec::new());
    for text in &texts {
        let padded = text.iter().copied().chain(std::iter::repeat(config.pad_token_id));
        ids.extend(padded.take(length).map(i64::from));
        mask.extend((0..length).map(|place| i64::from(place < text.len())));
    }
    let targets: Vec<f32> = labels
        .iter()
        .flat_map(|label| (0..3).map(move |class| if class == *label { 0.25 } else { 0.0 }))
        .collect();
    let values: Vec<(String, Vec<usize>, Vec<f32>)> = graph
        .parameters
        .iter()
        .map(|parameter| {
            let values = match parameter.name.strip_prefix("heads.task.") {
                Some(part) => known.golden[&format!("head.{part}")].clone(),
                None => weights.read(&parameter.name).unwrap(),
            };
            (parameter.name.clone(), parameter.shape.clone(), values)
        })
        .chain([(ports::targets("task"), vec![texts.len(), 3], targets)])
        .collect();
    let shape = [texts.len(), length];
    let mut inputs = vec![
        Input { name: ports::INPUT_IDS, shape: &shape, values: Values::I64(&ids) },
        Input { name: ports::ATTENTION_MASK, shape: &shape, values: Values::I64(&mask) },
    ];
    inputs.extend(values.iter().map(|(name, shape, values)| Input {
        name,
        shape,
        values: Values::F32(values),
    }));
    let names: Vec<&str> = graph.parameters.iter().map(|parameter| parameter.gradient.as_str()).collect();
    let loss = ports::loss("task");
    let wanted: Vec<&str> = names.iter().copied().chain([loss.as_str()]).collect();
    let mut found = known.model.open(&graph.bytes, 2).run(&inputs, &wanted).unwrap();
    let loss = found.pop().unwrap().data[0];
    let by_name = graph.parameters.iter().zip(found);
    (by_name.map(|(parameter, tensor)| (parameter.name.clone(), tensor.data)).collect(), loss)
}

#[test]
fn gradients_of_two_top_layers_are_pytorchs_in_every_family() {
    for (known, ..) in each_family() {
        let top = |name: &str| layer_of(name).is_some_and(|layer| layer + 2 >= LAYERS);
        let (gradients, loss) = step(&known, top);
        let expected = known.facts["train"]["loss"].as_f64().unwrap() as f32;
        assert!((loss - expected).abs() < 1e-5, "{}: {loss} {expected}", known.family);
        assert_eq!(gradients.len(), 2 * 16 + 2);
        for (name, gradient) in gradients.iter().filter(|(name, _)| layer_of(name).is_some()) {
            check_gradient(&known, name, gradient);
        }
    }
}

fn check_gradient(known: &Known, name: &str, gradient: &[f32]) {
    let expected = &known.golden[&format!("grad.{name}")];
    let most = expected.iter().fold(0.0, |most: f32, number| most.max(number.abs()));
    let difference = largest_difference(gradient, expected);
    // Softmax does not change when all scores of a row do: the true gradient of the keys' bias is 0.
    let allowed = if name.ends_with("self.key.bias") { 1e-6 } else { 2e-5 * most };
    assert!(difference <= allowed, "{} {name}: {difference:e} of {most:e}", known.family);
}

#[test]
fn the_bias_that_all_layers_share_has_pytorchs_gradient() {
    let known = Known::open("mpnet");
    let (gradients, _) = step(&known, |_| true);
    assert!(gradients.keys().filter(|name| is_shared_by_layers(name)).count() == 1);
    for (name, gradient) in gradients.iter().filter(|(name, _)| is_shared_by_layers(name)) {
        check_gradient(&known, name, gradient);
    }
}

/// A family's configuration, after a change, and the tensors of its checkpoint.
fn published(family: &str, change: impl FnOnce(&mut Json)) -> (crate::error::Result<Published>, Tensors) {
    let place = file(&format!("tests/data/families/{family}"));
    let mut config: Json =
        serde_json::from_slice(&std::fs::read(place.join("config.json")).unwrap()).unwrap();
    change(&mut config);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    std::fs::write(&path, config.to_string()).unwrap();
    (Published::open(&path), read(&place.join("model.safetensors")))
}

/// What becomes of these tensors: the converted ones, or the error's words.
fn converted(published: &Published, tensors: &Tensors) -> std::result::Result<Tensors, String> {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from.safetensors"), folder.path().join("to"));
    write(&from, tensors);
    published.convert(&from, &to).map(|()| read(&to)).map_err(|error| error.to_string())
}

#[test]
fn words_that_only_the_head_has_are_taken_from_there_unless_they_are_not_the_same() {
    for (family, words, head) in [
        ("roberta", "roberta.embeddings.word_embeddings.weight", "lm_head.decoder.weight"),
        ("distilbert", "distilbert.embeddings.word_embeddings.weight", "vocab_projector.weight"),
    ] {
        let (known, mut tensors) = published(family, |_| ());
        let known = known.unwrap();
        let expected = converted(&known, &tensors).unwrap();
        let table = tensors.remove(words).unwrap();
        tensors.insert(head.to_owned(), table);
        assert!(converted(&known, &tensors).unwrap() == expected, "{family}");
        let (apart, _) = published(family, |config| config["tie_word_embeddings"] = false.into());
        let refused = converted(&apart.unwrap(), &tensors).unwrap_err();
        assert!(refused.contains("word_embeddings.weight\" is missing"), "{refused}");
    }
}

#[test]
fn what_is_left_out_is_named() {
    for (family, expected) in [
        ("bert", &[][..]),
        ("roberta", &["lm_head"]),
        ("camembert", &["classifier"]),
        ("distilbert", &["vocab_layer_norm", "vocab_projector", "vocab_transform"]),
    ] {
        let (known, _) = published(family, |_| ());
        let path = file(&format!("tests/data/families/{family}/model.safetensors"));
        let said = known.unwrap().left_out(&path).unwrap();
        let parts: Vec<&str> = said.iter().map(|part| part.split(' ').next().unwrap()).collect();
        assert_eq!(parts, expected, "{family}: {said:?}");
    }
}

#[test]
fn a_configuration_that_lies_about_its_family_is_refused() {
    // By the class that saved it …
    let (lie, _) = published("roberta", |config| config["model_type"] = "bert".into());
    let lie = lie.unwrap_err().to_string();
    assert!(lie.contains("RobertaForMaskedLM") && lie.contains("architectures"), "{lie}");
    // … or by what stands in front of the tensors' names …
    let (lie, tensors) = published("roberta", |config| {
        config["model_type"] = "bert".into();
        config.as_object_mut().unwrap().remove("architectures");
    });
    let lie = converted(&lie.unwrap(), &tensors).unwrap_err();
    assert!(lie.contains("not of one family") && lie.contains("RoBERTa"), "{lie}");
    // … or by the names themselves, of which all are said.
    let (_, tensors) = published("distilbert", |_| ());
    let bare = |(name, tensor): (String, _)| (name.replace("distilbert.", ""), tensor);
    let tensors: Tensors = tensors.into_iter().map(bare).collect();
    let (bert, _) = published("bert", |_| ());
    let lie = converted(&bert.unwrap(), &tensors).unwrap_err();
    for part in [
        "49 tensors are missing",
        "token_type",
        "layer.2.output.dense.bias",
        "transformer.layer.2.ffn.lin2.bias",
    ] {
        assert!(lie.contains(part), "{part}: {lie}");
    }
}

#[test]
fn what_a_family_cannot_be_is_refused_by_field() {
    let refused = |family: &str, field: &str, value: Json| {
        let (refused, _) = published(family, |config| config[field] = value);
        let message = refused.unwrap_err().to_string();
        assert!(message.contains(field), "{message}");
        message
    };
    for (family, field) in [("mpnet", "hidden_act"), ("distilbert", "activation"), ("roberta", "hidden_act")]
    {
        refused(family, field, "swish".into());
    }
    assert!(refused("roberta", "max_position_embeddings", 2.into()).contains("no position for a token"));
    assert!(refused("mpnet", "max_position_embeddings", 1.into()).contains("no position for a token"));
    refused("mpnet", "relative_attention_num_buckets", 64.into());
    refused("xlm-roberta", "position_embedding_type", "relative_key".into());
    refused("camembert", "is_decoder", true.into());
    // A family that is not known: by name, and what to do.
    let (refused, _) = published("mpnet", |config| config["model_type"] = "deberta".into());
    let refused = refused.unwrap_err();
    assert!(refused.to_string().contains("deberta") && refused.remedy().unwrap().contains(".onnx"));
}

#[test]
fn positions_begin_behind_any_padding() {
    let (known, tensors) = published("roberta", |config| config["pad_token_id"] = 5.into());
    let known = known.unwrap();
    assert_eq!((known.config.positions, known.counts_from_padding()), (92, true));
    let [before, after] =
        ["roberta.embeddings.position_embeddings.weight", "embeddings.position_embeddings.weight"];
    let converted = converted(&known, &tensors).unwrap();
    assert_eq!(converted[after].2, tensors[before].2[6 * 4 * HIDDEN..]);
}
