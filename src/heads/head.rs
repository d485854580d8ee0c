//! Owns a fitted head and its arithmetic.

use super::believed::Believed;
use super::shape::Shape;
use super::view::FeatureView;
use super::words::Words;
use crate::fingerprint::Fields;
use crate::metrics::Limits;
use crate::task::TaskKind;

/// One task's linear classifier on raw (not standardised) features.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    pub task: String,
    pub kind: TaskKind,
    /// Names of the classes, sorted; of a number, that of its task.
    pub labels: Vec<String>,
    /// Numbers in a feature vector; none where it looks at words alone.
    pub features: usize,
    /// `[classes, features]`, row-major.
    pub weights: Vec<f32>,
    /// `[classes]`.
    pub bias: Vec<f32>,
    /// How far its answers can be believed.
    pub believed: Believed,
    /// What it adds to its logits for what stands in a text, if it looks at that.
    pub words: Option<Words>,
}

/// What a head answers.
#[derive(Debug, Clone, Copy)]
pub struct Answers<'h> {
    pub task: &'h str,
    pub kind: TaskKind,
    /// Names of the classes, sorted.
    pub labels: &'h [String],
    /// From where on labels are answered, and how far numbers may be off; nothing before that was found.
    pub limits: Limits<'h>,
}

impl Answers<'_> {
    /// What its logits are.
    #[must_use]
    pub fn shape(&self) -> Shape {
        Shape { kind: self.kind, classes: self.labels.len() }
    }
}

/// Partial sums of a dot product: enough for the compiler to use vector registers, in an order that depends
/// on nothing but the number of features.
const LANES: usize = 16;

impl Head {
    /// A head that nobody has trained: weights drawn from a normal distribution of deviation 0.02 (BERT's own
    /// `initializer_range`), biases 0. The same seed and task give the same weights.
    #[must_use]
    pub fn random(answers: Answers<'_>, features: usize, seed: u64) -> Self {
        let Answers { task, labels, .. } = answers;
        let draw = |place: usize| {
            let hash = Fields::new("frosthead initial head 1")
                .field("seed", seed.to_le_bytes())
                .field("task", task)
                .field("place", place.to_le_bytes())
                .finish()
                .0;
            let uniform = |bytes: &[u8]| {
                let bits = bytes.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
                (f64::from(bits) + 1.0) / (f64::from(u32::MAX) + 2.0)
            };
            // Box & Muller 1958.
            let radius = (-2.0 * uniform(&hash[..4]).ln()).sqrt();
            let angle = std::f64::consts::TAU * uniform(&hash[4..8]);

            (0.02 * radius * angle.cos()) as f32
        };
        let weights = (0..labels.len() * features).map(draw).collect();
        Self::new(answers, features, weights, vec![0.0; labels.len()])
    }

    /// A head with weights `[classes, features]` and a bias `[classes]`, whose temperature was not found yet.
    #[must_use]
    pub fn new(answers: Answers<'_>, features: usize, weights: Vec<f32>, bias: Vec<f32>) -> Self {
        let Answers { task, kind, labels, .. } = answers;
        let believed = Believed::nothing(kind, labels.len());
        let (task, labels) = (task.to_owned(), labels.to_vec());
        Self { task, kind, labels, features, weights, bias, believed, words: None }
    }

    /// The place of each of these labels among its own.
    pub(super) fn places_of(&self, labels: &[String]) -> Vec<Option<usize>> {
        labels.iter().map(|label| self.labels.iter().position(|known| known == label)).collect()
    }

    /// What it answers.
    #[must_use]
    pub fn answers(&self) -> Answers<'_> {
        let limits = self.believed.limits();
        Answers { task: &self.task, kind: self.kind, labels: &self.labels, limits }
    }

    /// Logits of a row, its words included, into `out` `[classes]`.
    ///
    /// # Panics
    /// It has words and the view shows none, which is a bug.
    pub fn logits_of(&self, features: FeatureView<'_>, row: usize, out: &mut [f32]) {
        self.logits(features.row(row), out);
        if let Some(words) = &self.words {
            features.add_word_logits(words, row, out);
        }
    }

    /// Logits of one feature vector `[features]` into `out` `[classes]`, without words.
    pub fn logits(&self, features: &[f32], out: &mut [f32]) {
        if self.features == 0 {
            out.copy_from_slice(&self.bias);
            return;
        }
        for ((out, weights), bias) in
            out.iter_mut().zip(self.weights.chunks_exact(self.features)).zip(&self.bias)
        {
            *out = dot(weights, features) + bias;
        }
    }

    /// The calibrated answer to a row, its words included, into `out` `[classes]`.
    pub fn probabilities_of(&self, features: FeatureView<'_>, row: usize, out: &mut [f32]) {
        self.logits_of(features, row, out);
        self.calibrated(out);
    }

    /// Calibrated probabilities of one feature vector into `out` `[classes]`, without words.
    pub fn probabilities(&self, features: &[f32], out: &mut [f32]) {
        self.logits(features, out);
        self.calibrated(out);
    }

    /// A head whose temperatures are all the same, and that one: where each label has its own, its weights
    /// are divided by it.
    #[must_use]
    pub fn tempered(&self) -> (Self, f32) {
        if let [temperature] = self.believed.temperature[..] {
            return (self.clone(), temperature);
        }
        let mut head = self.clone();
        for (label, temperature) in self.believed.temperature.iter().enumerate() {
            let weights = &mut head.weights[label * self.features..(label + 1) * self.features];
            weights.iter_mut().for_each(|weight| *weight /= temperature);
            head.bias[label] /= temperature;
            head.words.iter_mut().for_each(|words| words.scales[label] /= temperature);
        }
        head.believed.temperature.fill(1.0);
        (head, 1.0)
    }

    /// Logits `[classes]` → the answer: the kind's link of logits / temperature.
    pub fn calibrated(&self, logits: &mut [f32]) {
        for (label, logit) in logits.iter_mut().enumerate() {
            *logit /= self.believed.temperature_of(label);
        }
        self.kind.link(logits);
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(features: usize) -> Head {
        Head {
            task: "t".into(),
            kind: TaskKind::OneOf,
            labels: vec!["a".into(), "b".into()],
            features,
            weights: (0..2 * features).map(|i| (i % 7) as f32 - 3.0).collect(),
            bias: vec![0.5, -0.5],
            believed: Believed::nothing(TaskKind::OneOf, 2),
            words: None,
        }
    }

    #[test]
    fn logits_are_products_plus_bias_whatever_the_width() {
        for width in [1, 15, 16, 17, 384] {
            let head = head(width);
            let features: Vec<f32> = (0..width).map(|i| (i % 5) as f32).collect();
            let mut out = [0.0; 2];
            head.logits(&features, &mut out);
            for ((out, weights), bias) in out.iter().zip(head.weights.chunks_exact(width)).zip(&head.bias) {
                // Small whole numbers: f32 sums are exact in any order.
                let exact: f32 = weights.iter().zip(&features).map(|(w, x)| w * x).sum::<f32>() + bias;
                assert_eq!(*out, exact, "width {width}");
            }
        }
    }

    #[test]
    fn probabilities_add_up_to_one_even_for_huge_logits() {
        let mut head = head(1);
        head.weights = vec![1000.0, -1000.0];
        let mut out = [0.0; 2];
        head.probabilities(&[1.0], &mut out);
        assert_eq!(out, [1.0, 0.0]);
        head.weights = vec![0.0, 0.0];
        head.probabilities(&[1.0], &mut out);
        // softmax(0.5, -0.5) = 1 / (1 + e^-1)
        assert!((out[0] - 0.731_058_6).abs() < 1e-6 && (out[0] + out[1] - 1.0).abs() < 1e-6);
        head.believed.temperature = vec![0.5];
        head.probabilities(&[1.0], &mut out);
        // softmax(1, -1) = 1 / (1 + e^-2)
        assert!((out[0] - 0.880_797_1).abs() < 1e-6);
    }
}
