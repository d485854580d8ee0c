//! Owns timing: how fast a backbone embeds texts on this machine, beside what the machine itself can do; how
//! long a model takes for a single text; what clients of a running server see.
//!
//! Refuses to touch the feature store: every text is computed.

mod embed;
mod latency;
mod serve;

pub use embed::{Contestant, EmbedBench, EmbedComparison, bench_against, bench_embed};
pub use latency::{LatencyBench, bench_latency};
pub use serve::{ServeBench, ServeBenchOptions, bench_serve};
