//! Owns the stopwatch of real networks: one loaded for each number of threads, and the time of passes over
//! samples.
//!
//! Refuses to time a load: a network is loaded before its pass begins.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::Setting;
use super::samples::Samples;
use super::search::{Grid, Plan, Stopwatch};
use crate::backbone::Backbone;
use crate::embed::{EmbedOptions, Extractor};
use crate::encoder::FeatureChoice;
use crate::error::Result;
use crate::runtime::{Load, Runtime};
use crate::tokens::LongTexts;

/// Passes of a search over all samples, as it usually goes: three steps with three contestants, and the last
/// round.
const LONG_PASSES: f64 = 74.0;
/// Passes over one sample for each value of an axis, and three more for the default.
const SHORT_PASSES: f64 = 3.0;

/// What of a network is timed.
#[derive(Debug, Clone, Copy)]
pub struct NetworksOptions {
    /// What is computed beside the sentence embedding: all that this sees.
    pub stored: FeatureChoice,
    /// How long texts are read.
    pub long: LongTexts,
}

/// A backbone, loaded for different numbers of threads, and the samples it is timed with.
pub struct Networks<'n> {
    backbone: &'n Arc<Backbone>,
    runtime: &'n Runtime,
    options: NetworksOptions,
    samples: &'n Samples,
    loaded: BTreeMap<usize, Extractor>,
    /// How often a pass goes over its samples: more than once where they are small.
    repeats: usize,
    start: Instant,
}

impl<'n> Networks<'n> {
    /// Nothing is loaded yet.
    #[must_use]
    pub fn new(
        backbone: &'n Arc<Backbone>,
        runtime: &'n Runtime,
        options: NetworksOptions,
        samples: &'n Samples,
    ) -> Self {
        let (loaded, start) = (BTreeMap::new(), Instant::now());
        Self { backbone, runtime, options, samples, loaded, repeats: 1, start }
    }

    /// How much a search can measure in about so many seconds, and the seconds it will take.
    ///
    /// # Errors
    /// The network cannot be loaded or run.
    pub fn plan(&mut self, grid: &Grid, seconds: f64, full_sweep: bool) -> Result<(Plan, f64)> {
        // The first pass is not counted: ONNX Runtime allocates for each shape when it first sees it.
        self.seconds(grid.default, 1)?;
        let mut pass = self.seconds(grid.default, 1)?.max(1e-6);
        let values = grid.threads.len() + grid.token_budgets.len() + grid.buckets.len();
        let shorts = SHORT_PASSES * to_f64(values + 3);
        self.repeats = (1..=self.samples.most_repeats())
            .take_while(|&repeats| (shorts + LONG_PASSES) * pass * to_f64(repeats) <= seconds)
            .last()
            .unwrap_or(1);
        pass *= to_f64(self.repeats);
        let (short, long) = (shorts * pass, LONG_PASSES * pass);
        let most = self.samples.count();
        let samples =
            (1..=most).take_while(|&samples| short + long * to_f64(samples) <= seconds).last().unwrap_or(1);
        // Every setting of the grid is run five times and once uncounted, its best and the default some times
        // more.
        let sweep = if full_sweep { 6.0 * pass * to_f64(grid.settings().len() + 6) } else { 0.0 };
        Ok((Plan { samples, seconds, full_sweep }, short + (long + sweep) * to_f64(samples)))
    }
}

impl Stopwatch for Networks<'_> {
    fn seconds(&mut self, setting: Setting, samples: usize) -> Result<f64> {
        let Setting { threads, .. } = setting;
        if !self.loaded.contains_key(&threads) {
            let NetworksOptions { stored, long } = self.options;
            let options = EmbedOptions { stored, long, load: Load::Many, ..EmbedOptions::default() };
            let runtime = self.runtime.with_threads(threads);
            let network = Extractor::new(Arc::clone(self.backbone), &runtime, &options)?;
            self.loaded.insert(threads, network);
        }
        let Some(network) = self.loaded.get_mut(&threads) else {
            unreachable!("it was just loaded: its absence is a bug")
        };
        network.set_batching(setting.batching());
        let start = Instant::now();
        for _ in 0..self.repeats {
            for sample in self.samples.first(samples) {
                network.extract(sample, &mut |_, _| Ok(()))?;
            }
        }
        Ok(start.elapsed().as_secs_f64())
    }

    fn texts(&self, samples: usize) -> usize {
        self.repeats * self.samples.first(samples).map(Vec::len).sum::<usize>()
    }

    fn spent(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    fn keep_only(&mut self, threads: &[usize]) {
        self.loaded.retain(|count, _| threads.contains(count));
    }
}

fn to_f64(number: usize) -> f64 {
    number as f64
}
