//! Owns AdamW: parameters, their moments, and one update from their gradients.
//!
//! Refuses gradients that are not finite, and to let the number of threads change a bit: elements do not
//! depend on one another, and the length of all gradients is summed in one order.

use super::options::{CLIP, LayerOptions, WEIGHT_DECAY};
use super::sharing::{PIECE, shared};
use crate::error::{Error, Kind, Result};

/// The optimiser's constants; the defaults are PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay of the mean of gradients.
    pub beta1: f32,
    /// Decay of the mean of squared gradients.
    pub beta2: f32,
    /// Keeps the divisor away from 0.
    pub epsilon: f32,
    /// Decoupled decay of matrices; biases and `LayerNorm` (vectors) have none.
    pub weight_decay: f32,
    /// Gradients are scaled down to this length, all together; 0 does not scale.
    pub clip: f32,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: WEIGHT_DECAY, clip: CLIP }
    }
}

impl From<&LayerOptions> for AdamW {
    fn from(options: &LayerOptions) -> Self {
        Self { weight_decay: options.weight_decay, clip: options.clip, ..Self::default() }
    }
}

/// A trained parameter with what the optimiser remembers of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name in the training graph.
    pub name: String,
    pub shape: Vec<usize>,
    /// The numbers, row-major.
    pub values: Vec<f32>,
    /// Mean of the gradients.
    pub first: Vec<f32>,
    /// Mean of their squares.
    pub second: Vec<f32>,
    /// Its learning rate, as a multiple of the schedule's.
    pub rate: f32,
    /// Largest gradient seen so far.
    pub largest_gradient: f32,
}

impl Parameter {
    /// A parameter before its first step.
    #[must_use]
    pub fn new(name: String, shape: Vec<usize>, values: Vec<f32>, rate: f32) -> Self {
        let zeros = vec![0.0; values.len()];
        Self { name, shape, first: zeros.clone(), second: zeros, values, rate, largest_gradient: 0.0 }
    }

    /// Vectors (biases, `LayerNorm`) are not decayed.
    fn decays(&self) -> bool {
        self.shape.len() > 1
    }
}

/// Factors of one step that are the same for all elements of a parameter.
#[derive(Clone, Copy)]
struct Factors {
    clip: f32,
    /// 1 − rate · decay.
    keep: f32,
    /// rate / (1 − β₁ᵗ).
    step: f32,
    /// √(1 − β₂ᵗ).
    correction: f32,
}

impl AdamW {
    /// Updates all parameters; `step` counts from 1 and `rate` is the schedule's. Returns the gradients'
    /// length.
    ///
    /// The update is PyTorch's: `p ← p (1 − η λ)`, `m ← β₁ m + (1 − β₁) g`, `v ← β₂ v + (1 − β₂) g²`,
    /// `p ← p − η / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε)` (Loshchilov & Hutter 2019, algorithm 2).
    ///
    /// # Errors
    /// A gradient is not finite; nothing is changed then.
    pub fn update(
        &self,
        parameters: &mut [Parameter],
        gradients: &[impl AsRef<[f32]>],
        step: u64,
        rate: f32,
        threads: usize,
    ) -> Result<f64> {
        let gradients: Vec<&[f32]> = gradients.iter().map(AsRef::as_ref).collect();
        let found = examine(&gradients, threads);
        if let Some(place) = found.iter().position(|(squares, _)| !squares.is_finite()) {
            return Err(Error::new(Kind::Training, "a gradient is not a finite number")
                .found(format!("in the gradient of {:?}", parameters[place].name))
                .help("use a smaller --learning-rate"));
        }
        let length = found.iter().map(|(squares, _)| squares).sum::<f64>().sqrt();
        let clip = if self.clip > 0.0 && length > f64::from(self.clip) {
            // As torch.nn.utils.clip_grad_norm_.
            (f64::from(self.clip) / (length + 1e-6)) as f32
        } else {
            1.0
        };
        let power = i32::try_from(step).unwrap_or(i32::MAX);
        let mut pieces = Vec::new();
        for ((parameter, gradient), (_, largest)) in parameters.iter_mut().zip(gradients).zip(found) {
            parameter.largest_gradient = parameter.largest_gradient.max(largest);
            let learning_rate = rate * parameter.rate;
            let decay = if parameter.decays() { self.weight_decay } else { 0.0 };
            let factors = Factors {
                clip,
                keep: 1.0 - learning_rate * decay,
                step: (f64::from(learning_rate) / (1.0 - f64::from(self.beta1).powi(power))) as f32,
                correction: (1.0 - f64::from(self.beta2).powi(power)).sqrt() as f32,
            };
            let all = (parameter.values.chunks_mut(PIECE))
                .zip(parameter.first.chunks_mut(PIECE))
                .zip(parameter.second.chunks_mut(PIECE))
                .zip(gradient.chunks(PIECE));
            pieces.extend(
                all.map(|(((values, first), second), gradient)| (values, first, second, gradient, factors)),
            );
        }
        shared(pieces, threads, &|(values, first, second, gradient, factors)| {
            self.update_elements(values, first, second, gradient, factors);
        });
        Ok(length)
    }

    fn update_elements(
        &self,
        values: &mut [f32],
        first: &mut [f32],
        second: &mut [f32],
        gradient: &[f32],
        factors: Factors,
    ) {
        let all = values.iter_mut().zip(first).zip(second).zip(gradient);
        for (((value, first), second), gradient) in all {
            let gradient = gradient * factors.clip;
            *first += (gradient - *first) * (1.0 - self.beta1);
            *second = *second * self.beta2 + gradient * gradient * (1.0 - self.beta2);
            let divisor = second.sqrt() / factors.correction + self.epsilon;
            *value = *value * factors.keep - factors.step * (*first / divisor);
        }
    }
}

/// Sum of squares and largest absolute value of each gradient.
fn examine(gradients: &[&[f32]], threads: usize) -> Vec<(f64, f32)> {
    let pieces: Vec<&[f32]> = gradients.iter().flat_map(|gradient| gradient.chunks(PIECE)).collect();
    let mut found = vec![(0.0, 0.0); pieces.len()];
    shared(pieces.into_iter().zip(&mut found).collect(), threads, &|(piece, found)| *found = squares(piece));
    // Added up in the order of the pieces, whoever worked on them.
    let mut found = found.into_iter();
    let each = gradients.iter().map(|gradient| {
        let of_gradient = found.by_ref().take(gradient.len().div_ceil(PIECE));
        of_gradient.fold((0.0, 0.0), |(sum, most), (square_sum, largest)| {
            (sum + square_sum, f32::max(most, largest))
        })
    });
    each.collect()
}

/// The sum of squares and the largest absolute value.
fn squares(numbers: &[f32]) -> (f64, f32) {
    // Sixteen side by side: the same order on every machine, and fast.
    let (mut sums, mut most) = ([0.0_f64; 16], [0.0_f32; 16]);
    for chunk in numbers.chunks(16) {
        for ((number, sum), most) in chunk.iter().zip(&mut sums).zip(&mut most) {
            *sum += f64::from(*number) * f64::from(*number);
            *most = if number.abs() > *most { number.abs() } else { *most };
        }
    }
    (sums.iter().sum(), most.into_iter().fold(0.0, f32::max))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(shape: &[usize], values: &[f32]) -> Parameter {
        Parameter::new("p".into(), shape.to_vec(), values.to_vec(), 1.0)
    }

    #[test]
    fn the_first_step_moves_by_the_learning_rate_against_the_gradient() {
        let adam = AdamW { weight_decay: 0.1, clip: 0.0, ..AdamW::default() };
        let mut all = [parameter(&[1, 2], &[1.0, -2.0]), parameter(&[2], &[1.0, -2.0])];
        adam.update(&mut all, &[vec![0.5, -3.0], vec![0.5, -3.0]], 1, 0.01, 1).unwrap();
        // m / √v is the gradient's sign at the first step; only the matrix decays.
        for (found, expected) in all[0].values.iter().zip([1.0 - 0.001 - 0.01, -2.0 + 0.002 + 0.01]) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        for (found, expected) in all[1].values.iter().zip([1.0 - 0.01, -2.0 + 0.01]) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        assert_eq!(all[0].largest_gradient, 3.0);
    }

    #[test]
    fn long_gradients_are_scaled_down_together_and_short_ones_are_not() {
        let adam = AdamW { clip: 1.0, ..AdamW::default() };
        let mut all = [parameter(&[1], &[0.0]), parameter(&[1], &[0.0])];
        let length = adam.update(&mut all, &[vec![3.0], vec![4.0]], 1, 0.0, 1).unwrap();
        assert!((length - 5.0).abs() < 1e-9);
        assert!((all[0].first[0] - 0.1 * 0.6).abs() < 1e-6 && (all[1].first[0] - 0.1 * 0.8).abs() < 1e-6);
        let mut one = [parameter(&[1], &[0.0])];
        adam.update(&mut one, &[vec![0.5]], 1, 0.0, 1).unwrap();
        assert!((one[0].first[0] - 0.05).abs() < 1e-7);
    }

    #[test]
    fn threads_and_learning_rates() {
        let count = 1 << 18;
        let gradient: Vec<f32> = (0..count).map(|place| (place % 97) as f32 / 97.0 - 0.5).collect();
        let after = |threads, rate| {
            let mut all = [Parameter::new("p".into(), vec![512, 512], vec![0.1; count], rate)];
            AdamW::default().update(&mut all, std::slice::from_ref(&gradient), 3, 0.01, threads).unwrap();
            all[0].values.clone()
        };
        assert_eq!(after(1, 1.0), after(3, 1.0));
        assert_ne!(after(1, 1.0), after(1, 0.5));
    }

    #[test]
    fn a_gradient_that_is_not_finite_changes_nothing() {
        let mut all = [parameter(&[1], &[1.0])];
        let before = all.clone();
        let error = AdamW::default().update(&mut all, &[vec![f32::NAN]], 1, 0.1, 1).unwrap_err();
        assert!(error.to_string().contains("finite") && error.to_string().contains("\"p\""), "{error}");
        assert_eq!(all, before);
    }
}
