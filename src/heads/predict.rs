//! Owns a head as one of linfa's models: `Predict` of raw (not standardised) features.
//!
//! Refuses to compute anything itself: it is the head's own arithmetic, row by row.

use linfa::traits::PredictInplace;
use ndarray::{Array1, Array2, ArrayBase, Data, Ix2};

use super::head::Head;

/// Logits, `[rows, classes]`.
impl<D: Data<Elem = f32>> PredictInplace<ArrayBase<D, Ix2>, Array2<f32>> for Head {
    fn predict_inplace(&self, features: &ArrayBase<D, Ix2>, logits: &mut Array2<f32>) {
        let mut out = vec![0.0; self.labels.len()];
        for (row, mut logits) in features.rows().into_iter().zip(logits.rows_mut()) {
            let row = row.as_standard_layout();
            let row =
                row.as_slice().expect("a row in standard layout lies in one piece: anything else is a bug");
            self.logits(row, &mut out);
            logits.iter_mut().zip(&out).for_each(|(logit, value)| *logit = *value);
        }
    }

    fn default_target(&self, features: &ArrayBase<D, Ix2>) -> Array2<f32> {
        Array2::zeros((features.nrows(), self.labels.len()))
    }
}

/// Of each row the index of the label with the highest logit; the first, where several have it.
impl<D: Data<Elem = f32>> PredictInplace<ArrayBase<D, Ix2>, Array1<usize>> for Head {
    fn predict_inplace(&self, features: &ArrayBase<D, Ix2>, labels: &mut Array1<usize>) {
        let mut logits: Array2<f32> = self.default_target(features);
        self.predict_inplace(features, &mut logits);
        for (label, logits) in labels.iter_mut().zip(logits.rows()) {
            *label = (0..logits.len())
                .fold(0, |best, label| if logits[label] > logits[best] { label } else { best });
        }
    }

    fn default_target(&self, features: &ArrayBase<D, Ix2>) -> Array1<usize> {
        Array1::zeros(features.nrows())
    }
}

#[cfg(test)]
mod tests {
    use linfa::DatasetBase;
    use linfa::traits::Predict as _;
    use ndarray::s;

    use super::*;
    use crate::heads::minimize::minimize;
    use crate::heads::objective::Linear;
    use crate::heads::problem::problem;
    use crate::heads::standardize::Scaler;
    use crate::heads::{Answers, Examples, FeatureView, FitOptions};
    use crate::metrics::Limits;
    use crate::task::{Target, TaskKind};

    #[test]
    fn predict_gives_what_the_head_gives_and_the_solver_found() {
        let values: Vec<f32> = (0..40 * 5).map(|i| ((i * 7 + i / 5 * 3) % 11) as f32 - 5.0).collect();
        let labels: Vec<u32> = (0..40).map(|row| u32::from(values[row * 5] > 0.0)).collect();
        let rows: Vec<usize> = (0..40).collect();
        let examples = Examples {
            features: FeatureView::whole(&values, 5),
            rows: &rows,
            targets: &Target::each(&labels),
        };
        let scaler = Scaler::of(&examples, 1);
        let problem = problem(&scaler, &examples, crate::heads::Shape::one_of(2), &FitOptions::default());
        let solution = minimize(&problem, 1.0);
        let (weights, bias) = scaler.fold(&solution.parameters);
        let names = ["no", "yes"].map(str::to_owned);
        let answers = Answers { task: "t", kind: TaskKind::OneOf, labels: &names, limits: Limits::default() };
        let head = Head::new(answers, 5, weights, bias);

        let features = Array2::from_shape_vec((40, 5), values.clone()).unwrap();
        let logits: Array2<f32> = head.predict(&features);
        let best: Array1<usize> = head.predict(&features);
        let by_solver: Array2<f64> =
            Linear(&solution.parameters).predict(&problem.standardized::<f64>(0..40));
        for row in 0..40 {
            let mut expected = [0.0; 2];
            head.logits(&values[row * 5..][..5], &mut expected);
            assert_eq!(logits.row(row).to_vec(), expected);
            assert_eq!(best[row], usize::from(expected[1] > expected[0]));
            // The head's weights are rounded to single precision: 6e-8 of logits below 10.
            assert!((by_solver[[row, 1]] - f64::from(expected[1])).abs() < 1e-5);
        }
        let right = best.iter().zip(&labels).filter(|(best, label)| **best == **label as usize).count();
        assert!(right >= 36, "{right} of 40");
        // A view whose rows do not lie in one piece, and linfa's dataset.
        let turned = features.t().as_standard_layout().into_owned();
        let of_view: Array2<f32> = head.predict(&turned.t());
        assert_eq!(logits, of_view);
        let dataset = DatasetBase::from(features.slice(s![..7, ..]));
        let some: Array1<usize> = head.predict(&dataset);
        assert_eq!(some, best.slice(s![..7]));
    }
}
