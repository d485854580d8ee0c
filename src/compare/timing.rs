//! Owns how fast bundles are: all of them on the same texts in turns, so that whatever else the machine does
//! meets them all.
//!
//! Refuses to have more than one in memory, and to count what ONNX Runtime does once for each shape.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::bundle::Bundle;
use crate::embed::{Embedder, Extractor};
use crate::error::Result;
use crate::report::Speed;
use crate::runtime::Load;
use crate::text::Text;

/// How often each is timed; the median counts.
const ROUNDS: usize = 5;
/// Texts that are predicted one at a time.
const SINGLE: usize = 48;

/// The speed of each bundle, as `predict` opens it, with the threads and batches of the embedder.
///
/// # Errors
/// A bundle is missing or damaged, or ONNX Runtime fails.
pub(super) fn speeds(bundles: &[PathBuf], texts: &[Text<'_>], embedder: &Embedder) -> Result<Vec<Speed>> {
    let mut found = vec![(Vec::new(), Vec::new()); bundles.len()];
    for _ in 0..ROUNDS {
        for (bundle, (passes, singles)) in bundles.iter().zip(&mut found) {
            let (pass, single) = round(bundle, texts, embedder)?;
            passes.push(pass);
            singles.push(single);
        }
    }
    let count = texts.len() as f64;
    let speed = |(passes, singles): (Vec<f64>, Vec<f64>)| Speed {
        texts_per_second: count / median(passes).max(1e-9),
        ms_per_text: 1e3 * median(singles),
    };
    Ok(found.into_iter().map(speed).collect())
}

/// Seconds of a pass over all texts, and of one of them alone, at the median.
fn round(path: &Path, texts: &[Text<'_>], embedder: &Embedder) -> Result<(f64, f64)> {
    let bundle = Bundle::open(path, None)?;
    let loaded = |load: Load| -> Result<Extractor> {
        bundle.extractor_of(bundle.own_backbone()?, embedder.runtime(), embedder.batching(), load)
    };
    let timed = |extractor: &mut Extractor, texts: &[Text<'_>]| -> Result<f64> {
        let start = Instant::now();
        extractor.extract(texts, &mut |_, _| Ok(()))?;
        Ok(start.elapsed().as_secs_f64())
    };
    let mut many = loaded(Load::Many)?;
    timed(&mut many, texts)?;
    let pass = timed(&mut many, texts)?;
    drop(many);
    let (mut few, mut singles) = (loaded(Load::Few)?, Vec::new());
    let alone: Vec<&[Text<'_>]> = texts.chunks(1).take(SINGLE).collect();
    for text in &alone {
        timed(&mut few, text)?;
    }
    for text in &alone {
        singles.push(timed(&mut few, text)?);
    }
    Ok((pass, median(singles)))
}

/// The upper one of an even number; 0 of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_no_mean() {
        assert!((median(vec![9.0, 1.0, 2.0]) - 2.0).abs() < 1e-12);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 3.0).abs() < 1e-12);
        assert!(median(Vec::new()).abs() < 1e-12);
    }
}
