//! Owns `bench latency`: how long a single text takes, one after another, as an application would ask.

use std::time::Instant;

use serde::Serialize;

use crate::classifier::Classifier;
use crate::error::{Error, Kind, Result};
use crate::metrics::Latency;
use crate::runtime::peak_rss_bytes;
use crate::text::AsText;

/// Figures of one measurement.
#[derive(Debug, Clone, Serialize)]
pub struct LatencyBench {
    pub model: String,
    pub texts: usize,
    /// Tokens of a text, on average.
    pub tokens: f64,
    /// Milliseconds of a call, without those of the first pass.
    pub milliseconds: Latency,
    pub peak_rss_bytes: u64,
}

/// Predicts texts one at a time, all of them once uncounted (ONNX Runtime allocates for each shape when it
/// first sees it), then `rounds` times.
///
/// # Errors
/// There are no texts, or running fails.
pub fn bench_latency(classifier: &Classifier, texts: &[impl AsText], rounds: usize) -> Result<LatencyBench> {
    let mut seconds = Vec::with_capacity(rounds * texts.len());
    for round in 0..=rounds {
        for text in texts {
            let start = Instant::now();
            classifier.predict(&[text])?;
            if round > 0 {
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
    }
    let none = || Error::new(Kind::Table, "there are no texts to measure with").expected("at least one row");
    let milliseconds = Latency::of(&seconds).ok_or_else(none)?;
    let work = classifier.work();
    let tokens = work.tokens as f64 / work.texts as f64;
    Ok(LatencyBench {
        model: classifier.model().path().display().to_string(),
        texts: texts.len(),
        tokens,
        milliseconds,
        peak_rss_bytes: peak_rss_bytes(),
    })
}
