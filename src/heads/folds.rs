//! Owns how labelled rows are divided into folds, and drawn: by class, seeded.
//!
//! Refuses to have a text in two folds: a head that was fitted on one of its rows knows the others.

use std::collections::HashMap;

use super::options::Examples;
use crate::fingerprint::{Fields, TextKey};
use crate::task::{Target, strata};

/// How many there are.
pub(super) const FOLDS: usize = 3;
/// The fold of an example that is in none, because it is the only one of its class: held out, it could not be
/// learned at all.
pub const NO_FOLD: usize = FOLDS;

/// At most `most` of the examples, each class (see [`strata`]) in proportion (at least one row a fold where there are as
/// many), seeded, ascending.
#[must_use]
pub fn sample(targets: &[Target], classes: usize, most: usize, seed: u64) -> Vec<usize> {
    if targets.len() <= most {
        return (0..targets.len()).collect();
    }
    let (labels, classes) = strata(targets, classes);
    let mut chosen = Vec::with_capacity(most);
    for examples in (0..classes).map(|class| shuffled(&labels, class, seed)) {
        let count = (examples.len() * most / labels.len()).max(FOLDS).min(examples.len());
        chosen.extend_from_slice(&examples[..count]);
    }
    chosen.sort_unstable();
    chosen
}

/// The fold of each example: stratified by label, seeded. The only example of a class is in none
/// ([`NO_FOLD`]): it is trained on by all.
pub(super) fn folds(labels: &[u32], classes: usize, seed: u64) -> Vec<usize> {
    let mut folds = vec![0; labels.len()];
    for class in 0..classes {
        let examples = shuffled(labels, class, seed);
        if let [only] = examples[..] {
            folds[only] = NO_FOLD;
            continue;
        }
        for (place, example) in examples.into_iter().enumerate() {
            // A different first fold per class spreads rare classes over all folds.
            folds[example] = (place + class) % FOLDS;
        }
    }
    folds
}

/// The examples of a class in a seeded order.
fn shuffled(labels: &[u32], class: usize, seed: u64) -> Vec<usize> {
    let mut examples: Vec<usize> =
        (0..labels.len()).filter(|&example| labels[example] as usize == class).collect();
    examples.sort_by_cached_key(|example| {
        Fields::new("frosthead folds 1")
            .field("seed", seed.to_le_bytes())
            .field("example", example.to_le_bytes())
            .finish()
    });
    examples
}

/// The fold of each example: those of the different texts, which are known by their features. A text is
/// in none where a class would have no rows outside of its fold.
#[must_use]
pub fn text_folds(examples: &Examples<'_>, classes: usize, seed: u64) -> Vec<usize> {
    let mut places: HashMap<TextKey, usize> = HashMap::new();
    let (of_examples, classes) = strata(examples.targets, classes);
    let mut labels = Vec::new();
    let mut texts = Vec::with_capacity(examples.rows.len());
    for (&row, &label) in examples.rows.iter().zip(&of_examples) {
        let key = examples.features.text(row);
        let place = *places.entry(key).or_insert(labels.len());
        if place == labels.len() {
            labels.push(label);
        }
        texts.push(place);
    }
    let mut of_text = folds(&labels, classes, seed);
    for class in 0..classes {
        let of_class = || texts.iter().zip(&of_examples).filter(move |(_, label)| **label as usize == class);
        let Some((&first, _)) = of_class().next() else { continue };
        if of_class().all(|(&text, _)| of_text[text] == of_text[first]) {
            of_text[first] = NO_FOLD;
        }
    }
    texts.into_iter().map(|text| of_text[text]).collect()
}
