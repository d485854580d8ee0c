//! Owns timing: how fast a backbone embeds texts on this machine, beside what the machine itself can do; how long a model takes
//! for a single text.
//!
//! Refuses to touch the feature store: every text is computed.

mod embed;
mod latency;

pub use embed::{EmbedBench, EmbedBenchOptions, EmbedComparison, bench_against, bench_embed};
pub use latency::{LatencyBench, bench_latency};
