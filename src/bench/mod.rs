//! Owns timing: how fast a backbone embeds texts on this machine, beside what the machine itself can do.
//!
//! Refuses to touch the feature store: every text is computed.

mod embed;

pub use embed::{EmbedBench, EmbedBenchOptions, bench_embed};
