//! Owns the fastest way to run a network on this machine: threads, tokens in a batch and the lengths batches
//! are padded to; how it is found, where it is kept, and applying it.
//!
//! Refuses to change a result (a text's features are the same bits whatever these are), and to overrule what
//! a user asked for.

mod file;
mod gain;
#[cfg(feature = "train")]
mod networks;
#[cfg(feature = "train")]
mod samples;
#[cfg(feature = "train")]
mod search;

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::backbone::Backbone;
use crate::error::Error;
use crate::fingerprint::{Fields, Fingerprint};
use crate::quantities::grouped;
use crate::runtime::{Device, Load, Runtime, allowed_cores, processor_name};
use crate::tokens::{Batching, OWN_TOKEN_BUDGET, Spacing, TOKEN_BUDGET};

#[cfg(feature = "train")]
pub use file::keep;
pub use file::{Kept, file_of, folder, kept, kept_elsewhere};
pub use gain::Gain;
#[cfg(feature = "train")]
pub use networks::{Networks, NetworksOptions};
#[cfg(feature = "train")]
pub use samples::{Samples, made_up_texts};
#[cfg(feature = "train")]
pub use search::{Grid, Search, Trial, check_device, search};

/// A way to run a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Threads, all together.
    pub threads: usize,
    /// Tokens in a batch, padding included.
    pub token_budget: usize,
    /// How far apart the lengths are that batches are padded to.
    pub buckets: Spacing,
}

impl Setting {
    /// With so many threads, and batches made in this way.
    #[must_use]
    pub fn new(threads: usize, batching: Batching) -> Self {
        Self { threads, token_budget: batching.token_budget, buckets: batching.spacing }
    }

    /// How it makes batches.
    #[must_use]
    pub fn batching(&self) -> Batching {
        Batching { token_budget: self.token_budget, spacing: self.buckets }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { threads, token_budget, buckets } = self;
        let plural = if *threads == 1 { "" } else { "s" };
        let tokens = grouped(*token_budget as u64);
        write!(f, "{threads} thread{plural}, {tokens} tokens a batch, {buckets} buckets")
    }
}

/// What decides which setting is the fastest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The processor's name.
    pub processor: String,
    /// Cores that may be used.
    pub cores: usize,
    /// `cpu`, or the number of a GPU.
    pub device: String,
    /// The library's version.
    pub onnxruntime: String,
    /// See [`Backbone::network_fingerprint`].
    pub network: Fingerprint,
}

impl Key {
    /// That of a backbone on this machine.
    #[must_use]
    pub fn of(backbone: &Backbone, runtime: &Runtime) -> Self {
        Self {
            processor: processor_name(),
            cores: allowed_cores(),
            device: runtime.device().to_string(),
            onnxruntime: runtime.version().to_owned(),
            network: backbone.network_fingerprint(),
        }
    }

    fn fingerprint(&self) -> Fingerprint {
        Fields::new("frosthead tuning key 1")
            .field("processor", &self.processor)
            .field("cores", self.cores.to_string())
            .field("device", &self.device)
            .field("onnxruntime", &self.onnxruntime)
            .field("network", self.network.to_string())
            .finish()
    }

    /// In what `other`, of the same network, is another: `ONNX Runtime 1.31.0 (here 1.32.0)`.
    #[must_use]
    pub fn differences(&self, other: &Self) -> String {
        let pairs = [
            ("", &other.processor, &self.processor),
            ("cores: ", &other.cores.to_string(), &self.cores.to_string()),
            ("device ", &other.device, &self.device),
            ("ONNX Runtime ", &other.onnxruntime, &self.onnxruntime),
        ];
        let differing = pairs.iter().filter(|(_, there, here)| there != here);
        let told = differing.map(|(what, there, here)| format!("{what}{there} (here {here})"));
        told.collect::<Vec<_>>().join(", ")
    }
}

/// How a network is run here.
#[derive(Debug)]
pub struct Applied {
    /// With the threads it was tuned for, unless their number was given.
    pub runtime: Runtime,
    /// The batches it was tuned for.
    pub batching: Batching,
    /// What tunings were looked for; none: nobody has kept one here, or they are left aside.
    pub key: Option<Key>,
    /// Where all that comes from; none: the defaults.
    pub kept: Option<Kept>,
    /// Why what is kept cannot be used.
    pub problem: Option<Error>,
}

impl Applied {
    /// Threads and batches as they are.
    #[must_use]
    pub fn setting(&self) -> Setting {
        Setting::new(self.runtime.threads(), self.batching)
    }
}

/// Runs a network for so many texts at a time as it was tuned, if a tuning of it is kept in `folder`;
/// otherwise, and without a folder, by the defaults.
#[must_use]
pub fn apply(folder: Option<&Path>, backbone: &Backbone, runtime: &Runtime, load: Load) -> Applied {
    let folder = folder.filter(|folder| folder.exists());
    let key = folder.map(|_| Key::of(backbone, runtime));
    let found = folder.zip(key.as_ref()).map_or(Ok(None), |(folder, key)| kept(folder, key));
    let (kept, problem) = match found {
        Ok(kept) => (kept, None),
        Err(error) => (None, Some(error)),
    };
    let (mut runtime, mut batching) = (runtime.clone(), untuned(runtime.device(), load));
    if let Some(Kept { setting, .. }) = &kept {
        batching = setting.batching();
        if !runtime.threads_given() {
            runtime = runtime.with_threads(setting.threads);
        }
    }
    Applied { runtime, batching, key, kept, problem }
}

/// How a network that was not tuned makes batches: a thread that has one for itself is busy with less than
/// all threads together, and a GPU is not with what is best for a processor.
fn untuned(device: Device, load: Load) -> Batching {
    let token_budget = match (device, load) {
        (Device::Cpu, Load::Few) => TOKEN_BUDGET,
        (Device::Cpu, Load::Many) => OWN_TOKEN_BUDGET,
        (Device::Cuda(_), _) => 1024,
    };
    Batching { token_budget, ..Batching::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key {
            processor: "a processor".into(),
            cores: 2,
            device: "cpu".into(),
            onnxruntime: "1.32.0".into(),
            network: Fingerprint::of_bytes(b"network"),
        }
    }

    #[test]
    fn everything_in_a_key_makes_another_key_and_is_told() {
        let changed = [
            (Key { processor: "another".into(), ..key() }, "another (here a processor)"),
            (Key { cores: 4, ..key() }, "cores: 4 (here 2)"),
            (Key { device: "cuda:0".into(), ..key() }, "device cuda:0 (here cpu)"),
            (Key { onnxruntime: "1.31.0".into(), ..key() }, "ONNX Runtime 1.31.0 (here 1.32.0)"),
        ];
        for (other, told) in changed {
            assert_ne!(other.fingerprint(), key().fingerprint());
            assert_eq!(key().differences(&other), told);
        }
        let other = Key { network: Fingerprint::of_bytes(b"int8"), ..key() };
        assert_ne!(other.fingerprint(), key().fingerprint());
        assert_eq!(key().differences(&key()), "");
    }

    #[test]
    fn a_gpu_gets_larger_batches_than_a_processor() {
        assert_eq!(untuned(Device::Cpu, Load::Few), Batching::default());
        let budget = untuned(Device::Cpu, Load::Many).token_budget;
        assert!(budget < Batching::default().token_budget, "a thread's own batch is smaller");
        for load in [Load::Few, Load::Many] {
            assert!(untuned(Device::Cuda(0), load).token_budget > Batching::default().token_budget);
        }
    }

    #[test]
    fn a_setting_reads_well() {
        let setting = |threads| Setting { threads, token_budget: 2048, buckets: Spacing::Fine };
        assert_eq!(setting(1).to_string(), "1 thread, 2,048 tokens a batch, fine buckets");
        assert_eq!(setting(2).to_string(), "2 threads, 2,048 tokens a batch, fine buckets");
        assert_eq!(Setting::new(2, setting(2).batching()), setting(2));
    }
}
