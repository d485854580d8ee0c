//! Owns standardising features and folding the scaler back into a head's weights.

use std::ops::Range;

use ndarray::Array2;

use super::options::Examples;
use super::parallel::PARTS;
use super::precision::Precision;
use super::view::FeatureView;
use crate::parallel::in_parallel;

/// A feature whose deviation is below this share of the largest gets weight 0: dividing by it would only
/// amplify noise.
const CONSTANT: f64 = 1e-6;

/// Mean and inverse deviation of each feature.
#[derive(Debug, Clone)]
pub(super) struct Scaler {
    mean: Vec<f64>,
    /// 1 / deviation; 0 for a constant feature.
    scale: Vec<f64>,
}

impl Scaler {
    /// Mean and population deviation over the examples' rows, in f64 (as scikit-learn's `StandardScaler`).
    pub fn of(examples: &Examples<'_>, threads: usize) -> Self {
        let count = examples.rows.len() as f64;
        let zeros = vec![0.0; examples.features.width()];
        let mean = sums(examples, threads, &zeros, |difference| difference);
        let mean: Vec<f64> = mean.into_iter().map(|sum| sum / count).collect();
        let squares = sums(examples, threads, &mean, |difference| difference * difference);
        let deviation: Vec<f64> = squares.into_iter().map(|sum| (sum / count).sqrt()).collect();
        let largest = deviation.iter().copied().fold(0.0, f64::max);
        let scale = deviation
            .into_iter()
            .map(|deviation| if deviation > CONSTANT * largest { 1.0 / deviation } else { 0.0 })
            .collect();
        Self { mean, scale }
    }

    /// Leaves features as they are.
    pub fn none(width: usize) -> Self {
        Self { mean: vec![0.0; width], scale: vec![1.0; width] }
    }

    /// The standardised rows, `[rows, features]`. In single precision a mean is rounded, which shifts a
    /// column, the same for all rows.
    pub fn apply<T: Precision>(
        &self,
        features: FeatureView<'_>,
        rows: impl ExactSizeIterator<Item = usize>,
    ) -> Array2<T> {
        let width = self.mean.len();
        let rounded = |values: &[f64]| values.iter().map(|value| T::of(*value)).collect::<Vec<T>>();
        let (mean, scale) = (rounded(&self.mean), rounded(&self.scale));
        let count = rows.len();
        let mut standardized = Vec::with_capacity(count * width);
        for row in rows {
            standardized.extend(
                features
                    .row(row)
                    .iter()
                    .zip(&mean)
                    .zip(&scale)
                    .map(|((value, mean), scale)| (T::of(f64::from(*value)) - *mean) * *scale),
            );
        }
        Array2::from_shape_vec((count, width), standardized)
            .expect("every row has one number per feature: anything else is a bug")
    }

    /// Weights `[classes, features]` and bias on raw features, from those on standardised ones (`parameters`
    /// `[features + 1, classes]`, the last row the bias): `w = v · scale`, `b = c − Σ w · mean`.
    pub fn fold(&self, parameters: &Array2<f64>) -> (Vec<f32>, Vec<f32>) {
        let (features, classes) = (self.mean.len(), parameters.ncols());
        let mut weights = Vec::with_capacity(classes * features);
        let mut bias = Vec::with_capacity(classes);
        for class in 0..classes {
            let mut constant = parameters[[features, class]];
            for feature in 0..features {
                let weight = parameters[[feature, class]] * self.scale[feature];
                constant -= weight * self.mean[feature];
                weights.push(single(weight));
            }
            bias.push(single(constant));
        }
        (weights, bias)
    }
}

/// Per feature, the sum over rows of a term of the difference to this number.
fn sums(examples: &Examples<'_>, threads: usize, from: &[f64], term: impl Fn(f64) -> f64 + Sync) -> Vec<f64> {
    let count = examples.rows.len();
    let ranges = (0..PARTS).map(|part| part * count / PARTS..(part + 1) * count / PARTS).collect();
    let parts = in_parallel(threads, ranges, &|rows: Range<usize>| {
        let mut sums = vec![0.0; from.len()];
        for &row in &examples.rows[rows] {
            for ((sum, value), from) in sums.iter_mut().zip(examples.features.row(row)).zip(from) {
                *sum += term(f64::from(*value) - from);
            }
        }
        sums
    });
    let mut sums = vec![0.0; from.len()];
    for part in parts {
        sums.iter_mut().zip(part).for_each(|(sum, term)| *sum += term);
    }
    sums
}

fn single(number: f64) -> f32 {
    number as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Target;

    #[test]
    fn columns_get_mean_zero_and_deviation_one_and_constants_vanish() {
        let features = [1.0, 5.0, 3.0, 5.0, 100.0, 100.0, 5.0, 5.0];
        let examples = Examples {
            features: FeatureView::whole(&features, 2),
            rows: &[0, 1, 3],
            targets: &Target::each(&[0, 1, 0]),
        };
        let scaler = Scaler::of(&examples, 2);
        let standardized = scaler.apply::<f64>(examples.features, [0_usize, 1, 3].into_iter());
        // Mean 3, deviation sqrt(8/3).
        let unit = 2.0 / (8.0_f64 / 3.0).sqrt();
        assert!((standardized[[0, 0]] + unit).abs() < 1e-12 && standardized[[1, 0]].abs() < 1e-12);
        assert!(standardized.column(1).iter().all(|value| *value == 0.0));
    }

    #[test]
    fn folded_weights_give_the_same_logits_on_raw_features() {
        let features: Vec<f32> = (0..40).map(|i| ((i * 37) % 11) as f32 * 0.5 + i as f32).collect();
        let rows: Vec<usize> = (0..10).collect();
        let examples = Examples {
            features: FeatureView::whole(&features, 4),
            rows: &rows,
            targets: &Target::each(&[0; 10]),
        };
        let scaler = Scaler::of(&examples, 3);
        let parameters = Array2::from_shape_fn((5, 2), |(i, j)| (i as f64 - 2.0) * 0.3 + j as f64);
        let (weights, bias) = scaler.fold(&parameters);
        let standardized = scaler.apply::<f64>(FeatureView::whole(&features, 4), rows.iter().copied());
        for row in 0..10 {
            for class in 0..2 {
                let expected: f64 =
                    (0..4).map(|f| standardized[[row, f]] * parameters[[f, class]]).sum::<f64>()
                        + parameters[[4, class]];
                let raw: f32 =
                    (0..4).map(|f| features[row * 4 + f] * weights[class * 4 + f]).sum::<f32>() + bias[class];
                assert!((f64::from(raw) - expected).abs() < 1e-4, "{raw} {expected}");
            }
        }
    }
}
