//! Owns the memory contract: how many tokens a batch may have so that the process stays below a limit, found
//! by rehearsing batches on this machine, with this network.
//!
//! Refuses to guess from sizes in files: what a network takes depends on ONNX Runtime, the processor and the
//! threads.

use std::path::Path;

use serde::Serialize;

use super::extractor::Extractor;
use crate::error::{Error, Kind, Result};
use crate::graph::WeightBytes;
use crate::quantities::MemorySize;
use crate::runtime::{absent_bytes, allowed_cores, peak_rss_bytes, rss_bytes};
use crate::tokens::Batching;

/// Left for what a rehearsal does not show: rows that are read and written, and pieces of ONNX Runtime's
/// arena that other shapes cannot use. Beyond the rehearsal and the rest of the embedding table, the demo
/// data took up to 3 MiB (`docs/LOG.md`).
const RESERVE: u64 = 5 << 20;
/// Threads are planned so that each has at least this much of the limit: its stack, its part of the allocator
/// and its scratch memory stay far below.
const PER_THREAD: u64 = 16 << 20;
/// Short texts: the other end of the shapes that a batch can have.
const SHORT: usize = 16;
/// Bytes of texts that are read at a time under a limit.
pub const LIMITED_WINDOW_BYTES: usize = 256 << 10;

/// What keeps a process below a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    /// Bytes that the process may take.
    pub limit: u64,
    /// Bytes it took when the largest batches were rehearsed.
    pub rehearsed: u64,
    /// Bytes kept free for what a rehearsal does not show: the rest of the embedding table, and rows on their
    /// way.
    pub reserve: u64,
    /// Tokens in a batch, padding included.
    pub token_budget: usize,
    /// Tokens of the longest text, which is a batch of its own if the budget is smaller.
    pub longest: usize,
    /// Lengths that batches are padded to.
    pub buckets: usize,
}

/// Threads for a process of so many bytes: all cores it may use, if it is not tiny.
#[must_use]
pub fn threads_within(limit: u64) -> usize {
    let most = usize::try_from(limit / PER_THREAD).unwrap_or(usize::MAX);
    allowed_cores().min(most).max(1)
}

/// Refuses a limit that a network cannot be loaded in, before it is loaded.
///
/// # Errors
/// It cannot.
pub fn check_loadable(limit: u64, weights: WeightBytes) -> Result<()> {
    let least = rss_bytes() + weights.multiplied + weights.looked_up + RESERVE;
    if least <= limit { Ok(()) } else { Err(too_little(limit, least, "more than ")) }
}

impl Extractor {
    /// Finds the largest batches, up to the present token budget, with which this process stays below `limit`
    /// bytes, and keeps to them from now on. The weights are mapped from `file`; `idle` is what the process
    /// took before the network first ran.
    ///
    /// # Errors
    /// Not even one longest text fits, which says what would be enough; or running fails.
    pub fn plan_memory(
        &mut self,
        limit: u64,
        idle: u64,
        weights: WeightBytes,
        file: &Path,
    ) -> Result<MemoryPlan> {
        let longest = self.buckets().lengths().last().copied().unwrap_or(1);
        let wanted = self.batching().token_budget;
        let mut budget = longest.min(wanted);
        let mut taken = self.rehearse_budget(budget, longest)?;
        // Words that were not met yet are in the file only.
        let reserve = RESERVE + absent_bytes(file).unwrap_or(weights.looked_up);
        if taken + reserve > limit {
            return Err(too_little(limit, taken + reserve, ""));
        }
        while budget < wanted {
            let next = (2 * budget).min(wanted);
            // Twice the tokens take at most twice the memory; part of what was taken is fixed. Nothing larger
            // is tried: what a run has taken, ONNX Runtime keeps.
            if taken + taken.saturating_sub(idle) + reserve > limit {
                break;
            }
            let found = self.rehearse_budget(next, longest)?;
            if found + reserve > limit {
                break;
            }
            (budget, taken) = (next, found);
        }
        self.set_batching(Batching { token_budget: budget, ..self.batching() });
        let buckets = self.buckets().lengths().len();
        Ok(MemoryPlan { limit, rehearsed: taken, reserve, token_budget: budget, longest, buckets })
    }

    /// The most bytes this process had once the longest and the shortest texts ran in batches of so many
    /// tokens.
    fn rehearse_budget(&mut self, budget: usize, longest: usize) -> Result<u64> {
        for length in [longest, SHORT.min(longest)] {
            self.rehearse((budget / length).max(1), length)?;
        }
        Ok(peak_rss_bytes().max(rss_bytes()))
    }
}

fn too_little(limit: u64, least: u64, more: &str) -> Error {
    Error::new(Kind::Space, "the model needs more memory than it may take")
        .found(format!("--memory {}", MemorySize(limit)))
        .expected(format!("{more}{}", MemorySize(least)))
        .help("say --memory with at least that")
}
