//! Owns the ranges of the rows that each product multiplies, measured on texts, and what follows from them.
//!
//! Refuses to keep any text: what is left of them are each channel's lowest and highest number and its sum of
//! squares.

use std::collections::BTreeMap;

use half::f16;

use super::network::network_of;
use super::numbers::RowScale;
use crate::backbone::Backbone;
use crate::embed::{CutRows, CutTokens};
use crate::encoder::{Product, product_inputs_graph};
use crate::error::{Error, Kind, Result};
use crate::runtime::{Runtime, Session};
use crate::text::AsText;
use crate::tokens::{Batching, Buckets, batches};

/// How many texts are enough.
pub const CALIBRATION_TEXTS: usize = 512;
/// Tokens in one batch: the rows of all products are there at once.
const TOKENS: usize = 256;
/// How much of a channel's size goes into the weights. 160 demo texts, only one kind of product in 8 bits,
/// smallest cosine: at 0.5 0.998, at 0.8 0.9985 and more (without: 0.974).
const SHARE: f32 = 0.8;

/// The lowest and the highest number of a channel, and the sum of all squares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    pub(super) low: f32,
    pub(super) high: f32,
    pub(super) squares: f64,
}

impl Span {
    const EMPTY: Self = Self { low: f32::INFINITY, high: f32::NEG_INFINITY, squares: 0.0 };

    fn size(self) -> f32 {
        self.high.max(-self.low)
    }
}

/// What the rows that each product multiplies look like.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calibration {
    pub(super) spans: BTreeMap<Product, Vec<Span>>,
}

impl Calibration {
    /// The spans of a product's input channels.
    pub(super) fn spans(&self, product: Product, inputs: usize) -> Result<&[Span]> {
        let spans = self.spans.get(&product).map(Vec::as_slice).unwrap_or_default();
        if spans.len() != inputs {
            return Err(Error::new(Kind::Model, "the calibration is not of this network")
                .found(format!("{} channels for {product}", spans.len()))
                .expected(inputs.to_string())
                .help("calibrate again"));
        }
        Ok(spans)
    }

    /// The calibration as its bytes give it back: ranges are a little wider, by a thousandth at most.
    #[must_use]
    pub(super) fn rounded(self) -> Self {
        let spans = self.spans.into_iter().map(|(product, spans)| (product, rounded(&spans)));
        Self { spans: spans.collect() }
    }

    /// Widens the spans to what a batch `[rows, length]` gives, by a session of [`product_inputs_graph`].
    pub(super) fn observe(
        &mut self,
        session: &mut Session,
        names: &BTreeMap<Product, String>,
        (tokens, mask): (&CutTokens, &[i64]),
        length: usize,
    ) -> Result<()> {
        let shape = [mask.len() / length, length, 0];
        let inputs = tokens.inputs(mask, &shape);
        let outputs: Vec<&str> = names.values().map(String::as_str).collect();
        let found = session.run_lent(&inputs, &outputs)?;
        for (product, name) in names {
            let (shape, numbers) = found.tensor(name)?;
            let width = shape.last().copied().unwrap_or_default();
            widen(self.spans.entry(*product).or_insert_with(|| vec![Span::EMPTY; width]), numbers, mask);
        }
        Ok(())
    }
}

/// Runs texts through the network in fp32 and notes the range of every channel, rounded as it is kept; take
/// some [`CALIBRATION_TEXTS`] of those that are trained on.
///
/// # Errors
/// There are no texts, the backbone is an imported `.onnx` file, or computing fails.
pub fn calibrate(backbone: &Backbone, runtime: &Runtime, texts: &[impl AsText]) -> Result<Calibration> {
    if texts.is_empty() {
        return Err(Error::new(Kind::Table, "there are no texts to calibrate int8 with")
            .expected("some of the texts that the heads are trained on"));
    }
    let network = network_of(backbone)?;
    if network.config.layers == 0 {
        return Ok(Calibration::default());
    }
    let (graph, names) = product_inputs_graph(&network)?;
    let mut session = backbone.session_of(runtime, &graph)?;
    let batching = Batching::default();
    let rows = CutRows::ids(backbone, texts, batching)?;
    let buckets = Buckets::new(backbone.manifest().preparation.max_length, batching.spacing);
    let mut calibration = Calibration::default();
    for batch in batches(rows.lengths(), &buckets, TOKENS) {
        let (tokens, mask) = rows.fill(&batch)?;
        calibration.observe(&mut session, &names, (&tokens, &mask), batch.length)?;
    }
    Ok(calibration.rounded())
}

/// Widens the spans to the rows of real tokens.
fn widen(spans: &mut [Span], rows: &[f32], mask: &[i64]) {
    for (row, _) in rows.chunks_exact(spans.len()).zip(mask).filter(|(_, real)| **real == 1) {
        for (span, &number) in spans.iter_mut().zip(row) {
            span.low = span.low.min(number);
            span.high = span.high.max(number);
            span.squares += f64::from(number) * f64::from(number);
        }
    }
}

/// The range of all channels together.
pub(super) fn row_scale(spans: &[Span]) -> RowScale {
    let low = spans.iter().fold(f32::INFINITY, |low, span| low.min(span.low));
    let high = spans.iter().fold(f32::NEG_INFINITY, |high, span| high.max(span.high));
    RowScale::new(low, high)
}

/// Spans in half precision, none narrower than before.
fn rounded(spans: &[Span]) -> Vec<Span> {
    let largest = spans.iter().fold(0.0_f64, |largest, span| largest.max(span.squares));
    let share = |squares: f64| if largest > 0.0 { squares / largest } else { 0.0 };
    let rounded = |span: &Span| {
        let root = f64::from(f16::from_f64(share(span.squares).sqrt()));
        Span { low: half_below(span.low), high: -half_below(-span.high), squares: root * root }
    };
    spans.iter().map(rounded).collect()
}

/// The largest number of half precision that is not above this one; what is below all of them becomes the
/// lowest.
fn half_below(number: f32) -> f32 {
    let near = f16::from_f32(number.clamp(f16::MIN.to_f32(), f16::MAX.to_f32()));
    let below = match near.to_bits() {
        _ if near.to_f32() <= number || near == f16::MIN => near,
        // Either zero.
        0 | 0x8000 => f16::from_bits(0x8001),
        bits if near.is_sign_negative() => f16::from_bits(bits + 1),
        bits => f16::from_bits(bits - 1),
    };
    below.to_f32()
}

/// What each channel of the rows is divided by, and the weights multiplied with: `size^0.8 / largest
/// weight^0.2` (Xiao et al. 2023, equation 4), 1 where either is 0. `largest` are the largest sizes of each
/// channel's weights.
pub(super) fn smoothing(spans: &[Span], largest: &[f32]) -> Vec<f32> {
    let factor = |(span, &weight): (&Span, &f32)| {
        let factor = span.size().powf(SHARE) / weight.powf(1.0 - SHARE);
        if factor.is_normal() { factor } else { 1.0 }
    };
    spans.iter().zip(largest).map(factor).collect()
}

/// The spans once each channel was divided by its factor.
pub(super) fn divided(spans: &[Span], factors: &[f32]) -> Vec<Span> {
    let divide = |(span, &factor): (&Span, &f32)| Span {
        low: span.low / factor,
        high: span.high / factor,
        squares: span.squares / (f64::from(factor) * f64::from(factor)),
    };
    spans.iter().zip(factors).map(divide).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_does_not_widen_a_span() {
        let mut spans = [Span::EMPTY; 2];
        widen(&mut spans, &[1.0, -2.0, 100.0, -100.0, 0.5, 3.0], &[1, 0, 1]);
        let expected =
            [Span { low: 0.5, high: 1.0, squares: 1.25 }, Span { low: -2.0, high: 3.0, squares: 13.0 }];
        assert_eq!(spans, expected);
        assert_eq!(row_scale(&spans), RowScale::new(-2.0, 3.0));
    }

    #[test]
    fn halves_below_a_number_are_the_next_ones() {
        for (number, below) in [(1.0, 1.0), (1.000_1, 1.0), (-1.000_1, -1.000_976_6), (0.0, 0.0)] {
            assert_eq!(half_below(number), below, "{number}");
        }
        assert_eq!((half_below(-1e-9), half_below(1e-9)), (-5.960_464_5e-8, 0.0));
        assert_eq!((half_below(1e9), half_below(-1e9)), (65504.0, -65504.0));
    }

    #[test]
    fn smoothing_levels_large_channels_and_leaves_empty_ones() {
        let spans = [-1.0, -32.0, 0.0, -1.0].map(|low| Span { low, high: 0.0, squares: 8.0 });
        let factors = smoothing(&spans, &[1.0, 1.0, 1.0, 0.0]);
        assert_eq!((factors[0], factors[2], factors[3]), (1.0, 1.0, 1.0));
        assert!((factors[1] - 16.0).abs() < 1e-4);
        // 32 times as large before, twice as large now.
        let divided = divided(&spans, &factors)[1];
        assert!((divided.low + 2.0).abs() < 1e-4 && (divided.squares - 8.0 / 256.0).abs() < 1e-4);
    }
}
