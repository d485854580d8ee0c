//! Owns `bench embed`: extraction speed, its share of the machine's own fp32 peak, and the memory it took.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use crate::backbone::Backbone;
use crate::embed::{EmbedOptions, Extractor, Work};
use crate::error::{Error, Kind, Result};
use crate::graph;
use crate::runtime::{Runtime, gemm_peak, peak_rss_bytes};
use crate::text::AsText;

/// What is measured.
#[derive(Clone)]
pub struct Contestant {
    pub backbone: Arc<Backbone>,
    /// With its threads.
    pub runtime: Runtime,
    /// How texts are embedded.
    pub reading: EmbedOptions,
}

/// Figures of one measurement.
#[derive(Debug, Clone, Serialize)]
pub struct EmbedBench {
    pub backbone: String,
    pub device: String,
    pub threads: usize,
    /// Sessions that ran side by side, each with its share of the threads.
    pub sessions: usize,
    /// Tokens in a batch, padding included.
    pub token_budget: usize,
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

/// Two networks on the same texts, pass by pass in turns.
#[derive(Debug, Clone, Serialize)]
pub struct EmbedComparison {
    #[serde(flatten)]
    pub own: EmbedBench,
    /// The network it is compared with; both were in memory together.
    pub against: EmbedBench,
    /// How many times as fast as the other one it was, in each pair of passes.
    pub ratios: Vec<f64>,
    /// Their median.
    pub ratio: f64,
}

/// Measures how fast `texts` are embedded; the median of `rounds` passes is reported.
///
/// # Errors
/// There are no texts, or running fails.
pub fn bench_embed(contestant: Contestant, texts: &[impl AsText], rounds: usize) -> Result<EmbedBench> {
    let mut measured = [Measured::new(contestant)?];
    run_in_turns(&mut measured, texts, rounds)?;
    let [measured] = measured;
    let (rss, peak) = (peak_rss_bytes(), peak_gflops(&measured.contestant.runtime)?);
    Ok(measured.figures(texts, (rss, peak)))
}

/// Measures two networks in turns, so that whatever else the machine does meets both.
///
/// # Errors
/// As [`bench_embed`].
pub fn bench_against(
    [one, other]: [Contestant; 2],
    texts: &[impl AsText],
    rounds: usize,
) -> Result<EmbedComparison> {
    let mut measured = [Measured::new(one)?, Measured::new(other)?];
    run_in_turns(&mut measured, texts, rounds)?;
    let (rss, peak) = (peak_rss_bytes(), peak_gflops(&measured[0].contestant.runtime)?);
    let [one, against] = measured.map(|measured| measured.figures(texts, (rss, peak)));
    let pairs = one.seconds.iter().zip(&against.seconds);
    let ratios: Vec<f64> = pairs.map(|(one, against)| against / one).collect();
    Ok(EmbedComparison { ratio: median(&ratios), ratios, own: one, against })
}

/// A network and the passes it made.
struct Measured {
    contestant: Contestant,
    extractor: Extractor,
    /// Of every pass.
    seconds: Vec<f64>,
}

impl Measured {
    fn new(contestant: Contestant) -> Result<Self> {
        let Contestant { backbone, runtime, reading } = &contestant;
        let extractor = Extractor::new(Arc::clone(backbone), runtime, reading)?;
        Ok(Self { contestant, extractor, seconds: Vec::new() })
    }

    fn figures(mut self, texts: &[impl AsText], (rss, peak): (u64, f64)) -> EmbedBench {
        let Contestant { backbone, runtime, .. } = &self.contestant;
        let total: f64 = self.seconds.iter().sum();
        let work = self.extractor.work();
        let passes = self.seconds.len() as u64;
        let (all, texts_done) = (to_f64(passes), to_f64(work.texts));
        let (tokens, padded) = (to_f64(work.tokens), to_f64(work.padded_tokens));
        let operations = operations(backbone, work).map(|operations| operations / all);
        // The first pass is not counted: ONNX Runtime allocates for each shape when it first sees it.
        self.seconds.remove(0);
        let median = median(&self.seconds);
        let gflops = operations.map(|operations| operations / median / 1e9);
        EmbedBench {
            backbone: backbone.manifest().name.clone(),
            device: runtime.device().to_string(),
            threads: runtime.threads(),
            sessions: self.extractor.sessions(),
            token_budget: self.extractor.batching().token_budget,
            onnxruntime: runtime.version().to_owned(),
            texts: texts.len() as u64,
            tokens: work.tokens / passes,
            texts_per_second: texts_done / all / median,
            tokens_per_second: tokens / all / median,
            padding_share: 1.0 - tokens / padded,
            shapes: work.shapes.len(),
            buckets: self.extractor.buckets().lengths().to_vec(),
            runtime_share: work.runtime_seconds / total,
            gflops,
            gemm_peak_gflops: peak,
            share_of_peak: gflops.map(|gflops| gflops / peak),
            peak_rss_bytes: rss,
            seconds: self.seconds,
        }
    }
}

/// One pass of each that is not counted, then `rounds` of each.
fn run_in_turns(measured: &mut [Measured], texts: &[impl AsText], rounds: usize) -> Result<()> {
    if texts.is_empty() {
        return Err(
            Error::new(Kind::Table, "there are no texts to measure with").expected("at least one row")
        );
    }
    for _ in 0..=rounds.max(1) {
        for network in &mut *measured {
            let start = Instant::now();
            network.extractor.extract(texts, &mut |_, _| Ok(()))?;
            network.seconds.push(start.elapsed().as_secs_f64());
        }
    }
    Ok(())
}

/// The machine's own fp32 peak.
fn peak_gflops(runtime: &Runtime) -> Result<f64> {
    let product = |m, k, n| graph::matmul_model(m, k, n).map(|model| graph::encode(&model));
    Ok(gemm_peak(runtime, &product)?.gflops)
}

/// The upper one of an even number of values.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Floating-point operations of all the matrix products that were done, if the network can be looked into.
fn operations(backbone: &Backbone, work: &Work) -> Option<f64> {
    let config = backbone.config()?;
    Some(work.shapes.iter().map(|(&shape, &times)| config.operations(shape) * to_f64(times)).sum())
}

fn to_f64(number: u64) -> f64 {
    number as f64
}
