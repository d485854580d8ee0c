//! Owns ONNX Runtime (the only user of `ort`): finds and loads the library, chooses the provider and the
//! threads, makes sessions, tells where their nodes run, and knows the machine it all runs on.
//!
//! Refuses to fall back: a library, a provider or a device that was asked for is used or is an error. It
//! knows tensors and graphs, not what they mean.

mod gemm;
mod library;
mod machine;
mod placement;
mod session;
mod sessions;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::ep::ExecutionProvider;

use crate::error::{Error, Kind, Result};
use library::Library;
use session::{Graph, Settings};

pub use gemm::gemm_peak;
#[cfg(feature = "serve")]
pub use machine::give_back_memory;
pub use machine::{
    absent_bytes, allow_open_files, allowed_cores, load_average, memory, peak_rss_bytes, processor,
    processor_kind, processor_name, reset_peak_rss, rss_bytes,
};
pub use placement::Placement;
pub use session::{Input, Lent, Session, Tensor, Values};
pub use sessions::{Load, Sessions};

/// What runs the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// The NVIDIA GPU with this number.
    Cuda(u32),
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                number.parse().map(Self::Cuda).map_err(|_| unknown_device(text))
            }
            _ => Err(unknown_device(text)),
        }
    }
}

fn unknown_device(text: &str) -> Error {
    Error::new(Kind::Usage, "unknown device")
        .found(format!("{text:?}"))
        .expected("cpu, cuda or cuda:N with N the number of the GPU, from 0")
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

/// How to load ONNX Runtime.
#[derive(Debug, Clone, Default)]
pub struct RuntimeOptions {
    /// The library, or the directory that holds it; `None`: search.
    pub library: Option<PathBuf>,
    /// What runs the graphs.
    pub device: Device,
    /// Threads to compute with; `None`: `allowed_cores`.
    pub threads: Option<usize>,
}

/// The loaded ONNX Runtime with the device and the number of threads that its sessions use. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Runtime {
    environment: Environment,
    library: PathBuf,
    version: String,
    device: Device,
    threads: usize,
    threads_given: bool,
}

/// The library of this process: it can be loaded once, and its environment lives as long as the process.
static LOADED: Mutex<Option<(Library, Environment)>> = Mutex::new(None);

impl Runtime {
    /// Loads ONNX Runtime, or takes the one that this process has already loaded.
    ///
    /// # Errors
    /// No usable library (the message tells the whole search), another library is already loaded, the library
    /// has no provider for the device, or 0 threads.
    pub fn load(options: &RuntimeOptions) -> Result<Self> {
        if options.threads == Some(0) {
            return Err(Error::new(Kind::Usage, "cannot compute with 0 threads").expected("1 or more"));
        }
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let (library, environment) = if let Some((library, environment)) = &*loaded {
            if options.library.is_some() {
                check_same(library, &library::find(options.library.as_deref())?)?;
            }
            (library.clone(), environment.clone())
        } else {
            let library = library::find(options.library.as_deref())?;
            let environment = initialize(&library)?;
            *loaded = Some((library.clone(), environment.clone()));
            (library, environment)
        };
        drop(loaded);
        let runtime = Self {
            environment,
            version: library.version.clone().unwrap_or_else(|| "unknown".to_owned()),
            library: library.path,
            device: options.device,
            threads: options.threads.unwrap_or_else(allowed_cores),
            threads_given: options.threads.is_some(),
        };
        runtime.require_provider()?;
        Ok(runtime)
    }

    /// The version of the library, like `1.32.0`; `unknown` when its file does not say.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The library file.
    #[must_use]
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// The execution providers that the library was built with, of those that a `Device` can stand for, as
    /// ONNX Runtime names them.
    #[must_use]
    pub fn providers(&self) -> Vec<String> {
        let mut providers = vec![ort::ep::CPU::NAME.to_owned()];
        if ort::ep::CUDA::is_available().is_ok_and(|there| there) {
            providers.push(ort::ep::CUDA::NAME.to_owned());
        }
        providers
    }

    /// What runs the graphs.
    #[must_use]
    pub fn device(&self) -> Device {
        self.device
    }

    /// Threads to compute with, of all sessions of a graph together.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Whether that many threads were asked for, and not just as many as there are cores.
    #[must_use]
    pub fn threads_given(&self) -> bool {
        self.threads_given
    }

    /// The same with another number of threads (at least one).
    #[must_use]
    pub fn with_threads(&self, threads: usize) -> Self {
        Self { threads: threads.max(1), ..self.clone() }
    }

    /// A session for the graph file; its external data is looked up beside it.
    ///
    /// # Errors
    /// The graph cannot be loaded, or parts of it would run elsewhere than on the device that was asked for.
    pub fn session(&self, graph: &Path) -> Result<Session> {
        placement::open(&self.environment, &Graph::File(graph), &self.settings())
    }

    /// A session for a graph in memory; its external data is looked up in `weights_folder`.
    ///
    /// # Errors
    /// As [`Runtime::session`].
    pub fn session_from_memory(&self, graph: &[u8], weights_folder: &Path) -> Result<Session> {
        placement::open(&self.environment, &Graph::Memory { graph, weights_folder }, &self.settings())
    }

    /// Where each node of the graph runs, after ONNX Runtime's optimisation; found by running it once on a
    /// tiny input.
    ///
    /// # Errors
    /// The graph cannot be loaded or run.
    pub fn placement(&self, graph: &Path) -> Result<Placement> {
        placement::of_graph(&self.environment, &Graph::File(graph), &self.settings())
    }

    /// As [`Runtime::placement`], for a graph in memory.
    ///
    /// # Errors
    /// The graph cannot be loaded or run.
    pub fn placement_from_memory(&self, graph: &[u8], weights_folder: &Path) -> Result<Placement> {
        placement::of_graph(&self.environment, &Graph::Memory { graph, weights_folder }, &self.settings())
    }

    fn settings(&self) -> Settings {
        Settings { device: self.device, threads: self.threads }
    }

    /// The library was built for the device; whether the device is there shows when a session is made.
    fn require_provider(&self) -> Result<()> {
        let provider = session::provider_name(self.device);
        let providers = self.providers();
        if providers.iter().any(|found| found == provider) {
            return Ok(());
        }
        Err(Error::new(Kind::Runtime, format!("this ONNX Runtime cannot run on {}", self.device))
            .at(&self.library)
            .found(providers.join(", "))
            .expected(provider)
            .help("use a GPU build of ONNX Runtime (the PyPI package `onnxruntime-gpu` has one), or --device cpu"))
    }
}

/// Keeps ONNX Runtime from reporting to its maker, whatever the environment says.
///
/// Since 1.29 its official builds for Linux and macOS keep a database of events in the user's cache folder
/// and send it over the network, from the moment that their environment is made: turning events off
/// afterwards comes too late. Only this variable, read at that moment, prevents all of it (ONNX Runtime,
/// `docs/Privacy.md`, "Disabling Telemetry").
fn forbid_telemetry() {
    const SWITCH: &str = "ORT_DISABLE_TELEMETRY";
    if std::env::var_os(SWITCH).is_some_and(|value| value == "1") {
        return;
    }
    // SAFETY: the library that reads the variable is not loaded yet. The standard library's own readers are
    // locked out while it is set. Another thread may be reading the environment in C at this very moment only
    // in a program that does so while it loads its first model; the tables that such a reader walks through
    // are replaced, not freed, by the first addition.
    unsafe { std::env::set_var(SWITCH, "1") };
}

fn check_same(loaded: &Library, asked: &Library) -> Result<()> {
    if loaded.path == asked.path {
        return Ok(());
    }
    Err(Error::new(Kind::Runtime, "another ONNX Runtime library is already loaded in this process")
        .at(&asked.path)
        .found(loaded.path.display().to_string())
        .help("a process can load one ONNX Runtime library only: start another process"))
}

/// Loads the library and makes the one environment of this process: no telemetry, errors go to standard
/// error.
fn initialize(library: &Library) -> Result<Environment> {
    forbid_telemetry();
    let load = || -> std::result::Result<Environment, Box<dyn std::error::Error + Send + Sync>> {
        let builder = ort::init_from(&library.path)?;
        Ok(builder.with_name("frosthead").with_telemetry(false).build()?)
    };
    // `ort` asserts what it expects of a library; a strange one must end in an error like any other.
    let result =
        catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|_| Err("its interface is not usable".into()));
    result.map_err(|source| {
        Error::new(Kind::Runtime, "cannot load the ONNX Runtime library")
            .at(&library.path)
            .help("check that it is complete and fits this system (ldd shows missing libraries), or name another one")
            .because(source)
    })
}

#[cfg(test)]
mod tests;
