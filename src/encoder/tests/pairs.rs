//! Checks pairs of texts against what transformers and PyTorch compute of them
//! (`scripts/golden/make_pairs_golden.py`): ids, token types, embeddings, and the gradient of the token types.

use super::numbers::OPERATORS;
use super::*;
use crate::task::TaskKind;
use crate::tokens::{Encoded, Tokenizer};

/// A family, how its directory is pooled, whether that is scaled to length 1, whether it has token types.
const FAMILIES: [(&str, Pooling, bool, bool); 3] = [
    ("bert", Pooling::Mean, false, true),
    ("roberta", Pooling::Max, false, false),
    ("mpnet", Pooling::Mean, true, false),
];
/// How far embeddings may be off.
const TOLERANCE: f32 = 1e-5;

fn facts() -> Json {
    serde_json::from_slice(&std::fs::read(file("tests/data/pairs_golden.json")).unwrap()).unwrap()
}

fn pairs(json: &Json) -> Vec<[String; 2]> {
    serde_json::from_value(json.clone()).unwrap()
}

fn opened(family: &str) -> (Model, Tokenizer) {
    let place = format!("tests/data/families/{family}");
    let published = Published::open(&file(&format!("{place}/config.json"))).unwrap();
    let model = Model::convert(&file(&format!("{place}/model.safetensors")), published);
    (model, Tokenizer::open(&file(&format!("{place}/tokenizer.json"))).unwrap())
}

/// What a graph is fed of pairs, padded to `length`: ids, mask, types.
fn fed(encoded: &Encoded, chosen: &[usize], length: usize, padding: u32) -> [Vec<i64>; 3] {
    let mut fed = [const { Vec::new() }; 3];
    for &pair in chosen {
        let (ids, zeros) = (encoded.ids(pair), encoded.zeros(pair));
        for place in 0..length {
            let real = place < ids.len();
            fed[0].push(i64::from(ids.get(place).copied().unwrap_or(padding)));
            fed[1].push(i64::from(real));
            fed[2].push(i64::from(real && place >= zeros));
        }
    }
    fed
}

fn inputs<'f>([ids, mask, types]: &'f [Vec<i64>; 3], shape: &'f [usize; 2], typed: bool) -> Vec<Input<'f>> {
    let input = |name, values: &'f [i64]| Input { name, shape, values: Values::I64(values) };
    let mut inputs = vec![input(ports::INPUT_IDS, ids), input(ports::ATTENTION_MASK, mask)];
    inputs.extend(typed.then(|| input(ports::TOKEN_TYPES, types)));
    inputs
}

#[test]
fn ids_types_and_embeddings_of_pairs_are_those_of_transformers() {
    let facts = facts();
    let pairs = pairs(&facts["pairs"]);
    assert_eq!(pairs.len(), 50);
    for (family, pooling, normalize, typed) in FAMILIES {
        let (golden, (model, tokenizer)) = (&facts["families"][family], opened(family));
        let longest = usize::try_from(golden["max_length"].as_u64().unwrap()).unwrap();
        let encoded = tokenizer.encode(&pairs, longest).unwrap();
        let (expected, types) = (ids(&golden["ids"]), ids(&golden["types"]));
        let mut cut = 0;
        for pair in 0..pairs.len() {
            assert_eq!(encoded.ids(pair), expected[pair], "{family}: {:?}", pairs[pair]);
            let ours: Vec<u32> =
                (0..expected[pair].len()).map(|at| (at >= encoded.zeros(pair)).into()).collect();
            assert_eq!(ours, types[pair], "{family}: {:?}", pairs[pair]);
            cut += usize::from(encoded.lost(pair).tokens > 0);
        }
        assert!(cut >= 6, "only {cut} pairs were cut");
        let embeddings: Vec<Vec<f32>> = serde_json::from_value(golden["embedding"].clone()).unwrap();
        for operators in OPERATORS {
            let network = Network { pooling: Some(pooling), normalize, typed, ..model.network() };
            let options = GraphOptions { operators, ..GraphOptions::default() };
            let mut session = model.open(&inference_graph(&network, &options).unwrap(), 1);
            let mut embedded = |chosen: &[usize], length: usize| {
                let fed = fed(&encoded, chosen, length, model.config.pad_token_id);
                let shape = [chosen.len(), length];
                session.run(&inputs(&fed, &shape, typed), &[ports::EMBEDDING]).unwrap().remove(0).data
            };
            for (pair, expected) in embeddings.iter().enumerate() {
                let alone = embedded(&[pair], encoded.ids(pair).len());
                let difference = largest_difference(&alone, expected);
                assert!(difference <= TOLERANCE, "{family} {operators:?} {pair}: {difference:e}");
                // It depends on the pair alone, to the bit.
                let others = [(pair + 1) % 50, pair, (pair + 7) % 50];
                let longest = others.iter().map(|pair| encoded.ids(*pair).len()).max().unwrap();
                let together = embedded(&others, longest);
                assert_eq!(
                    bits(&together[expected.len()..][..expected.len()]),
                    bits(&alone),
                    "{family} {pair}"
                );
            }
        }
    }
}

#[test]
fn token_types_make_a_difference_and_zeros_are_what_texts_have() {
    let (model, _) = opened("bert");
    let typed = Network { typed: true, ..model.network() };
    let [mut with, mut without] = [typed, model.network()]
        .map(|network| model.open(&inference_graph(&network, &GraphOptions::default()).unwrap(), 1));
    let shape = [1, 6];
    let mut of_types = |types: [i64; 6]| {
        let fed = [vec![2, 9, 3, 12, 14, 3], vec![1; 6], types.to_vec()];
        with.run(&inputs(&fed, &shape, true), &[ports::EMBEDDING]).unwrap().remove(0).data
    };
    let fed = [vec![2, 9, 3, 12, 14, 3], vec![1; 6], Vec::new()];
    let texts = without.run(&inputs(&fed, &shape, false), &[ports::EMBEDDING]).unwrap().remove(0).data;
    assert_eq!(bits(&of_types([0; 6])), bits(&texts));
    assert!(largest_difference(&of_types([0, 0, 0, 1, 1, 1]), &texts) > 1e-2);
}

#[test]
fn the_token_types_have_pytorchs_gradient() {
    let facts = &facts()["train"];
    let (model, tokenizer) = opened("bert");
    let kept = golden("tests/data/families/bert/golden.safetensors");
    let gradients = facts["gradients"].as_object().unwrap();
    let (task, kind, seen) = ("task".to_owned(), TaskKind::OneOf, FeatureChoice::Last);
    let head = TrainingHead { task, kind, classes: 3, seen, share: 1.0, frozen: None, beside: false };
    let (start, dropped) = (Start::Ids, std::collections::BTreeSet::new());
    let tensors = gradients.keys().cloned().collect();
    let options = TrainingOptions { start, tensors, heads: vec![head], dropped };
    let network = Network { typed: true, ..model.network() };
    let graph = training_graph(&network, &options).unwrap();
    let encoded = tokenizer.encode(&pairs(&facts["pairs"]), 90).unwrap();
    let length = encoded.lengths().max().unwrap();
    let tokens = fed(&encoded, &[0, 1, 2, 3], length, 0);
    let labels: Vec<usize> = serde_json::from_value(facts["labels"].clone()).unwrap();
    let targets =
        labels.iter().flat_map(|label| (0..3).map(move |class| if class == *label { 0.25 } else { 0.0 }));
    let parameters = graph.parameters.iter().map(|parameter| {
        let values = match parameter.name.strip_prefix("heads.task.") {
            Some(part) => kept[&format!("head.{part}")].clone(),
            None => model.weights.read(&parameter.name).unwrap(),
        };
        (parameter.name.clone(), parameter.shape.clone(), values)
    });
    let values: Vec<(String, Vec<usize>, Vec<f32>)> =
        parameters.chain([(ports::targets("task"), vec![4, 3], targets.collect())]).collect();
    let shape = [4, length];
    let mut fed = inputs(&tokens, &shape, true);
    fed.extend(values.iter().map(|(name, shape, values)| Input { name, shape, values: Values::F32(values) }));
    let loss = ports::loss("task");
    let names: Vec<&str> = graph.parameters.iter().map(|parameter| parameter.gradient.as_str()).collect();
    let wanted: Vec<&str> = names.iter().copied().chain([loss.as_str()]).collect();
    let found = model.open(&graph.bytes, 2).run(&fed, &wanted).unwrap();
    let expected = facts["loss"].as_f64().unwrap() as f32;
    assert!((found[names.len()].data[0] - expected).abs() < 1e-5);
    let mut compared = 0;
    for (parameter, tensor) in graph.parameters.iter().zip(&found) {
        let Some(expected) = gradients.get(&parameter.name) else { continue };
        let expected: Vec<f32> = serde_json::from_value(expected.clone()).unwrap();
        let most = expected.iter().fold(0.0, |most: f32, number| most.max(number.abs()));
        let difference = largest_difference(&tensor.data, &expected);
        assert!(difference <= 2e-5 * most, "{}: {difference:e} of {most:e}", parameter.name);
        compared += 1;
    }
    assert_eq!(compared, 3);
}
