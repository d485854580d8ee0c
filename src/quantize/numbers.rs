//! Owns rounding to 8 bits: rows of tables, blocks of weights, weights for integer products, and the scale of
//! rows.
//!
//! Refuses to know which tensor it rounds.

/// The largest code of a weight.
const LARGEST: f32 = 127.0;
/// Of two neighbouring weights of one sign, the most their codes may add up to, see [`integers`].
const LARGEST_PAIR: i32 = 128;
/// The codes that a row's largest weight may get; the one with the smallest error is taken.
const LARGEST_CODES: [f32; 11] = [127.0, 120.0, 112.0, 104.0, 96.0, 90.0, 84.0, 78.0, 72.0, 68.0, 64.0];

/// How floats become 8-bit rows: `round(x / scale) + zero`, cut to 0 … 255.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RowScale {
    pub(super) scale: f32,
    pub(super) zero: u8,
}

impl RowScale {
    /// The one that covers a range, and 0.
    pub(super) fn new(low: f32, high: f32) -> Self {
        let (low, high) = (low.min(0.0), high.max(0.0));
        let scale = (high - low) / 255.0;
        if scale == 0.0 {
            return Self { scale: 1.0, zero: 0 };
        }
        Self { scale, zero: to_code((-low / scale).clamp(0.0, 255.0)) as u8 }
    }

    /// The largest number that it has a code for.
    pub(super) fn largest(self) -> f32 {
        f32::from(255 - self.zero) * self.scale
    }
}

/// Codes of a table `[rows, width]` and a scale per row.
pub(super) fn table(numbers: &[f32], width: usize) -> (Vec<i8>, Vec<f32>) {
    let mut codes = Vec::with_capacity(numbers.len());
    let mut scales = Vec::with_capacity(numbers.len() / width);
    for row in numbers.chunks_exact(width) {
        let scale = scale_of(row, LARGEST);
        scales.push(scale);
        codes.extend(row.iter().map(|number| to_code(number / scale) as i8));
    }
    (codes, scales)
}

/// Codes (128 is 0) `[outputs, blocks, block]` and scales `[outputs, blocks]` of weights `[outputs, inputs]`;
/// a last block that is not full is filled with zeros.
pub(super) fn blocks(weights: &[f32], inputs: usize, block: usize) -> (Vec<u8>, Vec<f32>) {
    let (mut codes, mut scales) = (Vec::with_capacity(weights.len()), Vec::new());
    for piece in weights.chunks_exact(inputs).flat_map(|row| row.chunks(block)) {
        let scale = scale_of(piece, LARGEST);
        scales.push(scale);
        codes.extend(piece.iter().map(|weight| (to_code(weight / scale) + 128) as u8));
        codes.extend(std::iter::repeat_n(128, block - piece.len()));
    }
    (codes, scales)
}

/// Codes `[inputs, outputs]` and a scale per output of weights `[outputs, inputs]`.
///
/// x86 processors without VNNI multiply four neighbouring rows' codes (0 … 255) with weights' by
/// `vpmaddubsw`, which adds pairs in 16 bits and saturates at 32,767. So of two neighbours of one sign the
/// codes add up to at most 128 (255 · 128 = 32,640; of different signs 255 · 127 is the most). Weights of 7
/// bits would be safe too, but coarser: here each output's scale is the one with the smallest squared error
/// under this limit, every input counted by its `importance` (its sum of squares: then this is the error of
/// the product, as far as inputs are uncorrelated). Tried under an emulated Haswell: the same bits as with
/// VNNI, where unlimited codes gave cosines to them down to 0.995.
pub(super) fn integers(weights: &[f32], inputs: usize, importance: &[f64]) -> (Vec<i8>, Vec<f32>) {
    let outputs = weights.len() / inputs;
    let (mut codes, mut scales) = (vec![0; weights.len()], Vec::with_capacity(outputs));
    for (output, row) in weights.chunks_exact(inputs).enumerate() {
        let (scale, row) = row_of_integers(row, importance);
        scales.push(scale);
        for (input, code) in row.into_iter().enumerate() {
            codes[input * outputs + output] = code as i8;
        }
    }
    (codes, scales)
}

/// The scale with the smallest error, and the codes.
fn row_of_integers(row: &[f32], importance: &[f64]) -> (f32, Vec<i32>) {
    let mut best: Option<(f64, f32, Vec<i32>)> = None;
    for largest in LARGEST_CODES {
        let scale = scale_of(row, largest);
        let mut codes: Vec<i32> = row.iter().map(|weight| to_code(weight / scale)).collect();
        for pair in codes.as_chunks_mut().0 {
            limit_pair(pair);
        }
        let errors = row.iter().zip(&codes).zip(importance).map(|((&weight, &code), importance)| {
            let error = f64::from(weight) - f64::from(code) * f64::from(scale);
            importance * error * error
        });
        let error: f64 = errors.sum();
        if best.as_ref().is_none_or(|(smallest, ..)| error < *smallest) {
            best = Some((error, scale, codes));
        }
    }
    let (_, scale, codes) = best.expect("there are scales to try: none is a bug");
    (scale, codes)
}

fn limit_pair(pair: &mut [i32; 2]) {
    let sum = pair[0] + pair[1];
    let over = sum.abs() - LARGEST_PAIR;
    // Of different signs they cannot overflow, and do not add up to so much.
    if over > 0 {
        pair[0] -= sum.signum() * (over - over / 2);
        pair[1] -= sum.signum() * (over / 2);
    }
}

/// The scale that gives the largest number the code `largest`; 1 for zeros.
fn scale_of(numbers: &[f32], largest: f32) -> f32 {
    let size = numbers.iter().fold(0.0_f32, |size, number| size.max(number.abs()));
    let scale = size / largest;
    if scale > 0.0 { scale } else { 1.0 }
}

/// Rounds to the nearest whole number, halves to the even one, as ONNX Runtime does.
fn to_code(number: f32) -> i32 {
    number.round_ties_even() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers between -1 and 1, the same every time.
    fn numbers(count: u32) -> Vec<f32> {
        (0..count).map(|step| (f64::from(step) * 1.618_034).fract() as f32 * 2.0 - 1.0).collect()
    }

    #[test]
    fn tables_and_blocks_are_off_by_at_most_half_a_step() {
        let weights = numbers(96);
        let (codes, scales) = table(&weights, 24);
        assert_eq!(scales.len(), 4);
        for (index, (weight, code)) in weights.iter().zip(&codes).enumerate() {
            let scale = scales[index / 24];
            assert!((weight - f32::from(*code) * scale).abs() <= 0.501 * scale);
        }
        // 24 inputs are one and a half blocks of 16.
        let (codes, scales) = blocks(&weights, 24, 16);
        assert_eq!((codes.len(), scales.len()), (4 * 32, 8));
        for (output, weights) in weights.chunks_exact(24).enumerate() {
            for input in 0..32 {
                let scale = scales[output * 2 + input / 16];
                let found = (f32::from(codes[output * 32 + input]) - 128.0) * scale;
                let weight = weights.get(input).copied().unwrap_or(0.0);
                assert!((weight - found).abs() <= 0.501 * scale);
            }
        }
        assert_eq!(table(&[0.0; 4], 2), (vec![0; 4], vec![1.0; 2]));
    }

    #[test]
    fn no_pair_of_integer_weights_can_overflow_and_none_is_needlessly_small() {
        let mut weights = numbers(128);
        // The worst: neighbours of one sign that are the largest of their row.
        weights[..4].copy_from_slice(&[1.0, 1.0, -1.0, -1.0]);
        let (codes, scales) = integers(&weights, 32, &[1.0; 32]);
        let code = |output: usize, input: usize| i32::from(codes[input * 4 + output]);
        for (output, weights) in weights.chunks_exact(32).enumerate() {
            for input in (0..32).step_by(2) {
                let (a, b) = (code(output, input), code(output, input + 1));
                for (a, b) in [(255 * a, 255 * b), (255 * a, 0), (0, 255 * b)] {
                    assert!((a + b).abs() <= 32_767, "{a} + {b}");
                }
            }
            let error: f32 = weights
                .iter()
                .enumerate()
                .map(|(input, weight)| (weight - code(output, input) as f32 * scales[output]).powi(2))
                .sum();
            // Seven bits, 64 steps: a variance of 1/12 step² each.
            assert!(error <= 32.0 / 12.0 / 64.0 / 64.0 * 1.5, "{error}");
        }
        // Without neighbours to mind, all eight bits are used.
        assert_eq!(integers(&[127.0, 0.0, 55.0, 0.0], 4, &[1.0; 4]).0, [127, 0, 55, 0]);
        // 0.011 is a whole number of steps of 1/91, hardly of 1/127; a pair that is not important may be
        // limited for it.
        let row = [1.0, 1.0, 0.011, 0.0];
        let code = |importance: &[f64]| integers(&row, 4, importance).0[0];
        assert_eq!((code(&[1.0; 4]), code(&[0.0, 0.0, 1.0, 0.0])), (64, 64));
        let scale = |importance: &[f64]| integers(&row, 4, importance).1[0];
        assert!(scale(&[1.0; 4]) == 1.0 / 64.0 && scale(&[0.0, 0.0, 1.0, 0.0]) == 1.0 / 90.0);
    }

    #[test]
    fn the_scale_of_rows_covers_the_range_and_zero_exactly() {
        let scale = RowScale::new(-0.18, 4.92);
        assert_eq!(scale.zero, 9);
        assert!((scale.scale - 0.02).abs() < 1e-6 && (scale.largest() - 4.92).abs() < 1e-4);
        assert_eq!(RowScale::new(1.0, 2.0).zero, 0);
        assert_eq!(RowScale::new(-2.0, -1.0).zero, 255);
        assert_eq!(RowScale::new(0.0, 0.0), RowScale { scale: 1.0, zero: 0 });
    }
}
