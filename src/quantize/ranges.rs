//! Owns the form in which a calibration is kept beside what was built with it: an update of a bundle that is
//! built with the same ranges has the same codes wherever the weights are the same.
//!
//! A safetensors file: per product a tensor of its name, `[3, channels]` f16: each channel's lowest and highest
//! number, and the root of its squares as a share of the largest channel's. Refuses a file that is not, to the
//! byte, what it would write.

use std::collections::BTreeMap;

use super::calibration::{Calibration, Span};
use crate::encoder::{Config, Product};
use crate::error::{Error, Kind, Result};
use crate::tensors::{Dtype, TensorFile, Tensors, half_bytes_of, read_halves};

/// Numbers that are kept of a channel.
const KEPT: usize = 3;

impl Calibration {
    /// What it says of the products of a network of this form, which may be a shallower one; none where it
    /// does not know one of them, or of another size.
    #[must_use]
    pub fn of_network(&self, config: &Config) -> Option<Self> {
        let sizes = [config.hidden_size, config.intermediate_size];
        let known = |product: Product| {
            let spans = self.spans(product, product.part.shape(sizes)[1]).ok()?;
            Some((product, spans.to_vec()))
        };
        Some(Self { spans: Product::all(config.layers).map(known).collect::<Option<_>>()? })
    }

    /// Its bytes; none where there is no product.
    #[must_use]
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut file = TensorFile::default();
        for (product, spans) in &self.spans {
            let columns: [fn(&Span) -> f32; KEPT] =
                [|span| span.low, |span| span.high, |span| span.squares.sqrt() as f32];
            let numbers: Vec<f32> = columns.iter().flat_map(|column| spans.iter().map(column)).collect();
            file.add(product.to_string(), Dtype::F16, &[KEPT, spans.len()], half_bytes_of(&numbers));
        }
        (!self.spans.is_empty()).then(|| file.to_bytes())
    }

    /// The calibration in these bytes.
    ///
    /// # Errors
    /// They are not what [`Self::to_bytes`] gives.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let wrong = || Error::new(Kind::Bundle, "the ranges are not as frosthead writes them");
        let file = Tensors::read(bytes, Kind::Bundle).map_err(|source| wrong().because(source))?;
        let mut spans = BTreeMap::new();
        for name in file.names() {
            let product: Product = name.parse().map_err(|source: Error| wrong().because(source))?;
            let tensor = file.get(name, Dtype::F16)?;
            let mut numbers = vec![0.0; tensor.data().len() / 2];
            read_halves(tensor.data(), &mut numbers);
            let [low, high, roots] = match tensor.shape() {
                [KEPT, channels] => [0, 1, 2].map(|place| &numbers[place * channels..][..*channels]),
                _ => return Err(wrong().tensor(name)),
            };
            let span = |((&low, &high), &root): ((&f32, &f32), &f32)| Span {
                low,
                high,
                squares: f64::from(root) * f64::from(root),
            };
            spans.insert(product, low.iter().zip(high).zip(roots).map(span).collect());
        }
        let found = Self { spans };
        let ordered = found.spans.values().flatten().all(is_range);
        // Whatever else could be said in such a file was not said.
        if ordered && found.to_bytes().as_deref() == Some(bytes) { Ok(found) } else { Err(wrong()) }
    }
}

/// Whether a span can be one.
fn is_range(span: &Span) -> bool {
    span.low <= span.high && (span.high - span.low).is_finite() && span.squares.is_finite()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::Part;

    fn calibration() -> Calibration {
        let spans = (0..40).map(|channel| {
            let size = 1.7_f32.powi(channel - 20);
            Span { low: -size, high: 0.3 * size, squares: f64::from(size * size) }
        });
        let product = |part| (Product { layer: 1, part }, spans.clone().collect());
        Calibration { spans: Part::ALL.map(product).into_iter().collect() }
    }

    #[test]
    fn rounded_ranges_are_hardly_wider_and_come_back_to_the_bit() {
        let (exact, rounded) = (calibration(), calibration().rounded());
        assert_eq!(rounded.clone().rounded(), rounded);
        let spans = exact.spans.values().flatten().zip(rounded.spans.values().flatten());
        for (exact, rounded) in spans.filter(|(exact, _)| exact.high > 1e-3 && exact.high < 1e4) {
            assert!(rounded.low <= exact.low && rounded.high >= exact.high);
            assert!(rounded.high - rounded.low <= (exact.high - exact.low) * 1.001);
        }
        let bytes = rounded.to_bytes().unwrap();
        assert_eq!(Calibration::from_bytes(&bytes).unwrap(), rounded);
        assert_eq!(Calibration::default().to_bytes(), None);
    }

    #[test]
    fn a_network_takes_what_is_of_its_layers() {
        let (hidden, inner) = (4, 8);
        let config = |layers: usize, hidden: usize| -> Config {
            let sizes = serde_json::json!({
                "hidden_size": hidden, "layers": layers, "attention_heads": 1, "intermediate_size": inner,
                "vocabulary_size": 10, "positions": 10, "token_types": 1, "activation": "gelu",
                "layer_norm_epsilon": 1e-12, "pad_token_id": 0,
            });
            serde_json::from_value(sizes).unwrap()
        };
        let span = Span { low: -1.0, high: 1.0, squares: 1.0 };
        let of = |product: Product| (product, vec![span; product.part.shape([hidden, inner])[1]]);
        let three = Calibration { spans: Product::all(3).map(of).collect() };
        let two = Calibration { spans: Product::all(2).map(of).collect() };
        assert_eq!(three.of_network(&config(3, hidden)).as_ref(), Some(&three));
        assert_eq!(three.of_network(&config(2, hidden)).as_ref(), Some(&two));
        assert_eq!(two.of_network(&config(3, hidden)), None);
        assert_eq!(three.of_network(&config(3, hidden + 1)), None);
    }

    #[test]
    fn ranges_that_lie_are_refused() {
        let refused = |bytes: &[u8]| {
            let error = Calibration::from_bytes(bytes).unwrap_err();
            assert_eq!(error.kind(), Kind::Bundle, "{error}");
        };
        let honest = calibration().rounded();
        refused(b"no tensors");
        refused(&honest.to_bytes().unwrap()[1..]);
        let with = |name: &str, dtype, shape: &[usize], numbers: &[f32]| {
            let mut file = TensorFile::default();
            let bytes = if dtype == Dtype::F16 { half_bytes_of(numbers) } else { vec![0; 12] };
            file.add(name, dtype, shape, bytes);
            file.to_bytes()
        };
        let (name, spans) = ("layer.0.output", [-1.0, 1.0, 1.0]);
        Calibration::from_bytes(&with(name, Dtype::F16, &[3, 1], &spans)).unwrap();
        refused(&with("layer.0.outputs", Dtype::F16, &[3, 1], &spans));
        refused(&with("layer.00.output", Dtype::F16, &[3, 1], &spans));
        refused(&with(name, Dtype::F32, &[3, 1], &spans));
        refused(&with(name, Dtype::F16, &[1, 3], &spans));
        refused(&with(name, Dtype::F16, &[3, 1], &[1.0, -1.0, 1.0]));
        refused(&with(name, Dtype::F16, &[3, 1], &[f32::NAN, 1.0, 1.0]));
        refused(&with(name, Dtype::F16, &[3, 1], &[-1.0, f32::INFINITY, -1.0]));
    }
}
