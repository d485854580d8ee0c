//! Owns what a head's logits come to for one text: probabilities, and the labels or the number that are answered.

use crate::heads::Head;
use crate::metrics::Interval;
use crate::task::TaskKind;

/// What one task says of one text.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskPrediction {
    /// Index of the most probable label (the first of equals).
    pub label: usize,
    /// Indices of the labels that are answered: the most probable one, unless the head has a threshold for it
    /// that it does not reach; of several labels all that reach theirs, the most probable first. None of a
    /// number.
    pub labels: Vec<usize>,
    /// `[classes]`; of a text read in windows, the mean of theirs, each counting as many times as it has
    /// tokens.
    pub logits: Vec<f32>,
    /// `[classes]`, calibrated, in the order of `Head::labels`: adding up to 1 where one label is true; of a
    /// number, the number.
    pub probabilities: Vec<f32>,
    /// Between which two numbers the truth lies as often as was promised; of a number, where that is known.
    pub interval: Option<[f32; 2]>,
}

impl TaskPrediction {
    /// What a head's logits come to.
    pub(super) fn new(head: &Head, logits: Vec<f32>) -> Self {
        let mut probabilities = logits.clone();
        head.calibrated(&mut probabilities);
        let (label, limits) = (most_probable(&probabilities), head.believed.limits());
        let labels = match head.kind {
            TaskKind::OneOf => vec![label],
            TaskKind::AnyOf => by_probability(&probabilities),
            TaskKind::Number => Vec::new(),
        };
        let reaches = |label: &usize| head.kind.answers(limits, *label, probabilities[*label]);
        let labels = labels.into_iter().filter(reaches).collect();
        let around = |interval: Interval| [-1.0, 1.0].map(|side| probabilities[0] + side * interval.width);
        let interval = limits.interval.filter(|_| !head.kind.has_labels()).map(around);
        Self { label, labels, logits, probabilities, interval }
    }
}

/// What a head says of features, and of what its words add, if it has any.
pub(super) fn head_of_run(head: &Head, features: &[f32], words: &[f32]) -> TaskPrediction {
    let mut logits = vec![0.0; head.labels.len()];
    head.logits(features, &mut logits);
    logits.iter_mut().zip(words).for_each(|(logit, more)| *logit += more);
    TaskPrediction::new(head, logits)
}

/// Places of probabilities, the largest first, equal ones as they stand.
#[must_use]
pub fn by_probability(probabilities: &[f32]) -> Vec<usize> {
    let mut ranked: Vec<usize> = (0..probabilities.len()).collect();
    ranked.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
    ranked
}

/// Index of the largest probability, the first of equals.
pub(crate) fn most_probable(probabilities: &[f32]) -> usize {
    let mut best = 0;
    for (index, probability) in probabilities.iter().enumerate() {
        if *probability > probabilities[best] {
            best = index;
        }
    }
    best
}
