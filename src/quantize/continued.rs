//! Owns channels that are continued in copies, so that a few large ones do not make the 8-bit steps of all
//! others coarse.
//!
//! Refuses to touch what is not needed: copies are counted.

use super::calibration::Span;
use super::numbers::RowScale;
use crate::encoder::Matrix;

/// Copies at most, as a share of the channels.
const MOST_COPIES: usize = 32;
/// Widths stay a multiple: vector instructions then treat every number of a row alike, wherever the row
/// begins.
const WIDTH: usize = 16;

/// Cuts the range behind an activation f and continues channels that reach further.
///
/// With the cut c, which the 8-bit rows saturate at, `min(f(x), c) + f(x - c) = f(x)` for f = max(0, x)
/// exactly, and for GELU up to its difference to max(0, x) where x is near c. So a copy of the channel whose
/// bias is c less, multiplied by the same weights, adds what was cut off; a channel that reaches n · c has
/// (n − 1) copies. No cut is below `lowest`, where f begins to be the identity: it would disturb ordinary
/// numbers. `before` (outputs are channels) gets rows, `after` (inputs are channels) columns. Returns the
/// scale of the 8-bit rows.
pub(super) fn continue_channels(
    spans: &[Span],
    lowest: f32,
    before: &mut Matrix,
    after: &mut Matrix,
) -> RowScale {
    let low = spans.iter().fold(0.0_f32, |low, span| low.min(span.low));
    let scale = RowScale::new(low, cut(spans, lowest));
    let cut = scale.largest();
    let copies: Vec<(usize, f32)> = spans
        .iter()
        .enumerate()
        .flat_map(|(channel, span)| (1..=copies(span.high, cut)).map(move |copy| (channel, copy)))
        .map(|(channel, copy)| (channel, cut * small(copy)))
        .collect();
    if copies.is_empty() {
        return scale;
    }
    for &(channel, shift) in &copies {
        let row = before.row(channel).to_vec();
        before.weight.extend(row);
        before.bias.push(before.bias[channel] - shift);
    }
    // Channels that are always f(0) and that nothing multiplies.
    let fill = (spans.len() + copies.len()).next_multiple_of(WIDTH) - spans.len() - copies.len();
    before.weight.extend(std::iter::repeat_n(0.0, fill * before.inputs));
    before.bias.extend(std::iter::repeat_n(0.0, fill));
    let columns = |row: &[f32]| {
        let copied = copies.iter().map(|&(channel, _)| row[channel]);
        row.iter().copied().chain(copied).chain(std::iter::repeat_n(0.0, fill)).collect::<Vec<f32>>()
    };
    after.weight = after.weight.chunks_exact(after.inputs).flat_map(columns).collect();
    after.inputs += copies.len() + fill;
    scale
}

/// The lowest cut that takes few enough copies.
fn cut(spans: &[Span], lowest: f32) -> f32 {
    let mut cut = spans.iter().fold(0.0_f32, |high, span| high.max(span.high));
    loop {
        let next = cut * 0.98;
        let needed: usize = spans.iter().map(|span| copies(span.high, next)).sum();
        if next < lowest || needed > spans.len() / MOST_COPIES {
            return cut;
        }
        cut = next;
    }
}

/// How many copies a channel needs that reaches up to `high`.
fn copies(high: f32, cut: f32) -> usize {
    if cut > 0.0 { ((high / cut).ceil() as usize).saturating_sub(1) } else { 0 }
}

fn small(count: usize) -> f32 {
    count as f32
}
