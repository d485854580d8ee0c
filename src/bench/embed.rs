//! Owns `bench embed`: extraction speed, its share of the machine's own fp32 peak, and the memory it took.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use crate::backbone::{Architecture, Backbone};
use crate::embed::{EmbedOptions, Extractor, Work};
use crate::error::{Error, Kind, Result};
use crate::graph;
use crate::runtime::{Runtime, gemm_peak, peak_rss_bytes};

/// How to measure.
#[derive(Debug, Clone)]
pub struct EmbedBenchOptions {
    /// How texts are embedded.
    pub reading: EmbedOptions,
    /// Passes over the texts; the median is reported.
    pub rounds: usize,
}

/// Figures of one measurement.
#[derive(Debug, Clone, Serialize)]
pub struct EmbedBench {
    pub backbone: String,
    pub device: String,
    pub threads: usize,
    pub onnxruntime: String,
    pub texts: u64,
    pub tokens: u64,
    /// Seconds of each pass, tokenising included.
    pub seconds: Vec<f64>,
    /// Of the median pass.
    pub texts_per_second: f64,
    pub tokens_per_second: f64,
    /// Share of the computed tokens that were padding.
    pub padding_share: f64,
    /// Distinct `(rows, length)` shapes.
    pub shapes: usize,
    /// Lengths that batches are padded to.
    pub buckets: Vec<usize>,
    /// Share of the time spent inside ONNX Runtime.
    pub runtime_share: f64,
    /// Floating-point operations of the matrix products, padding included, per second.
    pub gflops: Option<f64>,
    /// The machine's own fp32 peak, measured in this process: the best of an FFN-shaped and a 2048³ product.
    pub gemm_peak_gflops: f64,
    /// `gflops / gemm_peak_gflops`.
    pub share_of_peak: Option<f64>,
    pub peak_rss_bytes: u64,
}

/// Measures how fast `texts` are embedded.
///
/// # Errors
/// There are no texts, or running fails.
pub fn bench_embed(
    backbone: &Arc<Backbone>,
    runtime: &Runtime,
    texts: &[&str],
    options: &EmbedBenchOptions,
) -> Result<EmbedBench> {
    if texts.is_empty() {
        return Err(
            Error::new(Kind::Table, "there are no texts to measure with").expected("at least one row")
        );
    }
    let mut extractor = Extractor::new(Arc::clone(backbone), runtime, &options.reading)?;
    let mut seconds = Vec::new();
    for _ in 0..=options.rounds.max(1) {
        let start = Instant::now();
        extractor.extract(texts, &mut |_, _| Ok(()))?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    let total: f64 = seconds.iter().sum();
    // The first pass is not counted: ONNX Runtime allocates for each shape when it first sees it.
    seconds.remove(0);
    let rss = peak_rss_bytes();
    let work = extractor.work();
    #[expect(clippy::cast_precision_loss, reason = "rates for people: 53 bits are plenty")]
    let (passes, texts_done, tokens, padded) =
        ((seconds.len() + 1) as f64, work.texts as f64, work.tokens as f64, work.padded_tokens as f64);
    let mut sorted = seconds.clone();
    sorted.sort_by(f64::total_cmp);
    let median = sorted[sorted.len() / 2];
    let operations = operations(backbone, work).map(|all| all / passes);
    let peak =
        gemm_peak(runtime, &|m, k, n| graph::matmul_model(m, k, n).map(|model| graph::encode(&model)))?
            .gflops;
    let gflops = operations.map(|operations| operations / median / 1e9);
    Ok(EmbedBench {
        backbone: backbone.manifest().name.clone(),
        device: runtime.device().to_string(),
        threads: runtime.threads(),
        onnxruntime: runtime.version().to_owned(),
        texts: texts.len() as u64,
        tokens: work.tokens / (seconds.len() as u64 + 1),
        texts_per_second: texts_done / passes / median,
        tokens_per_second: tokens / passes / median,
        padding_share: 1.0 - tokens / padded,
        shapes: work.shapes.len(),
        buckets: extractor.buckets().lengths().to_vec(),
        runtime_share: work.runtime_seconds / total,
        gflops,
        gemm_peak_gflops: peak,
        share_of_peak: gflops.map(|gflops| gflops / peak),
        peak_rss_bytes: rss,
        seconds,
    })
}

/// Floating-point operations of all the matrix products that were done, if the network can be looked into.
fn operations(backbone: &Backbone, work: &Work) -> Option<f64> {
    let Architecture::Bert { config } = &backbone.manifest().architecture else { return None };
    Some(work.shapes.iter().map(|(&shape, &times)| products(config, shape) * to_f64(times)).sum())
}

/// Multiply-adds × 2 of the matrix products of one batch: per layer four [H, H] projections, two [H, I] products, and
/// scores and weighted sums of attention.
fn products(config: &crate::bert::Config, (rows, length): (usize, usize)) -> f64 {
    let tokens = to_f64((rows * length) as u64);
    let hidden = to_f64(config.hidden_size as u64);
    let inner = to_f64(config.intermediate_size as u64);
    let per_token = 4.0 * hidden * hidden + 2.0 * hidden * inner + 2.0 * to_f64(length as u64) * hidden;
    2.0 * tokens * per_token * to_f64(config.layers as u64)
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn to_f64(number: u64) -> f64 {
    number as f64
}
