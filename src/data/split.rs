//! Owns splitting rows into training, validation and test parts.
//!
//! Refuses to put one text on two sides, and to depend on the order of the rows or on the machine: a text's
//! place in the draw is a hash of seed and text.

use std::collections::BTreeMap;

use super::part::Part;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::{Fields, TextKey};

/// Shares and seed of a split.
#[derive(Debug, Clone, PartialEq)]
pub struct SplitOptions {
    /// Share of all texts for testing.
    pub test_fraction: f64,
    /// Share of the remaining texts for validation.
    pub valid_fraction: f64,
    pub seed: u64,
}

impl Default for SplitOptions {
    fn default() -> Self {
        Self { test_fraction: 0.2, valid_fraction: 0.1, seed: 13 }
    }
}

/// Gives every row its part: by text, seeded, stratified on all tasks' labels together.
///
/// Texts with the same labels form a stratum. Strata are laid end to end, each in seeded order, and every
/// text's share of the running total decides its part (systematic sampling): each stratum gets its share to
/// within one text, and rare strata share theirs with their neighbours in label order. Afterwards a class
/// that has no training row gets a text back: that of a class with a single one is always trained on.
///
/// `labels[task][row]`; rows with equal keys are one text, whose labels are its first row's.
///
/// # Errors
/// A share is not in `0 .. 1`, or leaves no rows to train on.
pub fn split(keys: &[TextKey], labels: &[Vec<Option<u32>>], options: &SplitOptions) -> Result<Vec<Part>> {
    for (name, share) in [("test", options.test_fraction), ("validation", options.valid_fraction)] {
        if !(0.0..1.0).contains(&share) {
            return Err(Error::new(Kind::Usage, format!("the {name} share makes no sense"))
                .found(share.to_string())
                .expected("a number from 0 to just below 1"));
        }
    }
    // A text's labels are those of its smallest label tuple, so that the order of duplicate rows does not
    // matter.
    let mut texts: BTreeMap<TextKey, Vec<Option<u32>>> = BTreeMap::new();
    for (row, key) in keys.iter().enumerate() {
        let tuple: Vec<Option<u32>> = labels.iter().map(|task| task[row]).collect();
        texts.entry(*key).and_modify(|least| *least = tuple.clone().min(least.clone())).or_insert(tuple);
    }
    let mut order: Vec<Drawn> = texts
        .into_iter()
        .map(|(key, tuple)| {
            let place = Fields::new("frosthead split 1")
                .field("seed", options.seed.to_le_bytes())
                .field("text", key.0);
            (tuple, place.finish().0, key)
        })
        .collect();
    order.sort();
    let test = draw(order.len(), options.test_fraction);
    let rest: Vec<usize> = (0..order.len()).filter(|&text| !test[text]).collect();
    let valid = draw(rest.len(), options.valid_fraction);
    let mut parts: BTreeMap<TextKey, Part> = BTreeMap::new();
    order.iter().zip(&test).for_each(|((_, _, key), test)| {
        parts.insert(*key, if *test { Part::Test } else { Part::Train });
    });
    for (&text, valid) in rest.iter().zip(&valid) {
        if *valid {
            parts.insert(order[text].2, Part::Valid);
        }
    }
    return_lost_classes(&order, labels.len(), &mut parts);
    return_contradicted_classes((keys, labels), &order, &mut parts);
    if !parts.values().any(|part| *part == Part::Train) && !parts.is_empty() {
        return Err(Error::new(Kind::Table, "the split leaves nothing to train on")
            .found(format!("{} different texts", parts.len()))
            .help("give more rows, or smaller --test-fraction and --valid-fraction"));
    }
    Ok(keys.iter().map(|key| parts[key]).collect())
}

/// A text's labels (its stratum), its place in the draw, its key.
type Drawn = (Vec<Option<u32>>, [u8; 32], TextKey);

/// Systematic sampling: which of `count` places are drawn so that every run of places holds its share to
/// within one.
fn draw(count: usize, share: f64) -> Vec<bool> {
    // Half a step of offset, so that the first and the last stratum are treated alike.
    let passed = |place: usize| (place as f64 * share + 0.5).floor();
    (0..count).map(|place| passed(place + 1) > passed(place)).collect()
}

/// A class whose texts were all drawn for validation or testing gets the one that is first in its order back.
fn return_lost_classes(order: &[Drawn], tasks: usize, parts: &mut BTreeMap<TextKey, Part>) {
    for task in 0..tasks {
        let mut trained: BTreeMap<u32, (bool, TextKey)> = BTreeMap::new();
        for (tuple, _, key) in order {
            let Some(label) = tuple[task] else { continue };
            let entry = trained.entry(label).or_insert((false, *key));
            entry.0 |= parts[key] == Part::Train;
        }
        for (trained, key) in trained.into_values() {
            if !trained {
                parts.insert(key, Part::Train);
            }
        }
    }
}

/// The same for a class all of whose texts stand for other labels, because these texts have them too.
fn return_contradicted_classes(
    (keys, labels): (&[TextKey], &[Vec<Option<u32>>]),
    order: &[Drawn],
    parts: &mut BTreeMap<TextKey, Part>,
) {
    let mut places: Option<BTreeMap<TextKey, usize>> = None;
    for task in labels {
        let mut lost: BTreeMap<u32, Vec<TextKey>> = BTreeMap::new();
        for (key, label) in keys.iter().zip(task) {
            if let Some(label) = label {
                lost.entry(*label).or_default().push(*key);
            }
        }
        lost.retain(|_, texts| texts.iter().all(|key| parts[key] != Part::Train));
        for texts in lost.values() {
            let places = places.get_or_insert_with(|| {
                order.iter().enumerate().map(|(place, drawn)| (drawn.2, place)).collect()
            });
            if let Some(first) = texts.iter().min_by_key(|key| places[*key]) {
                parts.insert(*first, Part::Train);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn keys(rows: usize) -> Vec<TextKey> {
        (0..rows).map(|row| TextKey::of(&row.to_string())).collect()
    }

    fn count(parts: &[Part], part: Part) -> usize {
        parts.iter().filter(|other| **other == part).count()
    }

    /// Two tasks: 4 and 3 classes, unbalanced; every 11th row unlabelled for the second.
    fn labels(rows: usize) -> Vec<Vec<Option<u32>>> {
        let first = (0..rows).map(|row| Some([0, 0, 0, 0, 1, 1, 2, 3][row % 8])).collect();
        let second =
            (0..rows).map(|row| (row % 11 != 0).then_some([0, 1, 1, 2, 2, 2][row / 8 % 6])).collect();
        vec![first, second]
    }

    #[test]
    fn shares_are_exact_and_every_stratum_gets_its_own() {
        let labels = labels(4000);
        let parts = split(&keys(4000), &labels, &SplitOptions::default()).unwrap();
        assert_eq!(count(&parts, Part::Test), 800);
        assert_eq!(count(&parts, Part::Valid), 320);
        let mut strata: HashMap<(Option<u32>, Option<u32>), (usize, usize)> = HashMap::new();
        for (row, part) in parts.iter().enumerate() {
            let stratum = strata.entry((labels[0][row], labels[1][row])).or_default();
            stratum.0 += 1;
            stratum.1 += usize::from(*part == Part::Test);
        }
        assert!(strata.len() > 10);
        for (stratum, (rows, test)) in strata {
            let error = test as f64 - rows as f64 * 0.2;
            assert!(error.abs() <= 1.0, "{stratum:?}: {test} of {rows}");
        }
    }

    #[test]
    fn the_order_of_rows_does_not_matter_and_the_seed_does() {
        let (keys, labels) = (keys(500), labels(500));
        let options = SplitOptions::default();
        let parts = split(&keys, &labels, &options).unwrap();
        let backwards = |rows: &[Option<u32>]| rows.iter().rev().copied().collect::<Vec<_>>();
        let reversed_keys: Vec<TextKey> = keys.iter().rev().copied().collect();
        let reversed_labels: Vec<_> = labels.iter().map(|task| backwards(task)).collect();
        let mut reversed = split(&reversed_keys, &reversed_labels, &options).unwrap();
        reversed.reverse();
        assert_eq!(parts, reversed);
        assert_ne!(parts, split(&keys, &labels, &SplitOptions { seed: 14, ..options }).unwrap());
    }

    #[test]
    fn one_text_is_never_on_two_sides() {
        let keys: Vec<TextKey> = (0..1000).map(|row| TextKey::of(&(row % 300).to_string())).collect();
        let parts = split(&keys, &labels(1000), &SplitOptions::default()).unwrap();
        let mut sides: HashMap<TextKey, Part> = HashMap::new();
        for (key, part) in keys.iter().zip(&parts) {
            assert_eq!(sides.entry(*key).or_insert(*part), part);
        }
    }

    #[test]
    fn a_rare_class_keeps_a_training_row() {
        for seed in 0..50 {
            let labels = vec![(0..100).map(|row| Some(u32::from(row < 2))).collect::<Vec<_>>()];
            let options = SplitOptions { test_fraction: 0.5, valid_fraction: 0.5, seed };
            let parts = split(&keys(100), &labels, &options).unwrap();
            assert!(parts[..2].contains(&Part::Train), "seed {seed}");
        }
    }

    #[test]
    fn a_class_with_a_single_row_is_always_trained_on() {
        for seed in 0..50 {
            // Twenty classes with a single row among eighty rows of two others.
            let labels = vec![(0..100).map(|row| Some(if row < 20 { row } else { 20 + row % 2 })).collect()];
            let options = SplitOptions { test_fraction: 0.4, valid_fraction: 0.4, seed };
            let parts = split(&keys(100), &labels, &options).unwrap();
            assert!(parts[..20].iter().all(|part| *part == Part::Train), "seed {seed}");
            assert!(count(&parts, Part::Test) > 20 && count(&parts, Part::Valid) > 10, "seed {seed}");
        }
    }

    #[test]
    fn a_class_whose_only_text_has_another_label_too_is_trained_on() {
        for seed in 0..50 {
            // The last row repeats the first text, with a label of its own.
            let mut keys = keys(60);
            keys.push(keys[0]);
            let labels = vec![(0..61).map(|row| Some(if row == 60 { 2 } else { row % 2 })).collect()];
            let options = SplitOptions { test_fraction: 0.5, valid_fraction: 0.5, seed };
            let parts = split(&keys, &labels, &options).unwrap();
            assert_eq!((parts[0], parts[60]), (Part::Train, Part::Train), "seed {seed}");
        }
    }

    #[test]
    fn shares_that_make_no_sense_are_refused() {
        for test_fraction in [-0.1, 1.0, f64::NAN] {
            let options = SplitOptions { test_fraction, ..SplitOptions::default() };
            assert!(split(&keys(10), &[], &options).is_err());
        }
        let none = SplitOptions { test_fraction: 0.0, valid_fraction: 0.0, seed: 1 };
        assert_eq!(count(&split(&keys(10), &[], &none).unwrap(), Part::Train), 10);
    }
}
