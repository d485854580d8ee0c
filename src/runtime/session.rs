//! Owns sessions: their options (threads, memory policy, optimisation, provider) and running them on plain
//! slices.
//!
//! Refuses inputs that do not fit the graph's declaration before ONNX Runtime sees them, and every element
//! type but `i64`/`f32` in and `f32` out.

mod declared;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use ort::environment::Environment;
use ort::ep::ArenaExtendStrategy;
use ort::ep::ExecutionProvider as _;
use ort::logging::LogLevel;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions, SessionInputValue, SessionOutputs};
use ort::value::{Outlet, TensorRef};

pub use declared::ValueInfo;
use declared::{dimension_symbols, names_of, show_shape, value_info};

use super::Device;
use crate::error::{Error, Kind, Result};
use crate::files::start_of;
use crate::graph::is_own;
use crate::held::{Held, Since};

/// Bytes that are enough to tell who has written a graph.
const LONGEST_START: usize = 64;

/// A graph and where its external data is.
pub(super) enum Graph<'a> {
    File(&'a Path),
    Memory { graph: &'a [u8], weights_folder: &'a Path },
}

impl Graph<'_> {
    /// The place to name in errors.
    pub(super) fn place(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Memory { weights_folder, .. } => weights_folder,
        }
    }

    /// Names what is missing, which ONNX Runtime would not; whether this library has written the graph.
    fn check(&self) -> Result<bool> {
        match self {
            Self::File(path) => {
                let start = start_of(path, LONGEST_START);
                Ok(is_own(&start.map_err(|error| Error::io("read the graph", path, error))?))
            }
            Self::Memory { graph, weights_folder } => {
                let metadata = std::fs::metadata(weights_folder)
                    .map_err(|error| Error::io("read the folder of the weights", weights_folder, error))?;
                if metadata.is_dir() {
                    return Ok(is_own(graph));
                }
                Err(Error::new(Kind::Model, "the folder of the weights is not a directory")
                    .at(weights_folder))
            }
        }
    }
}

/// What every session of a runtime shares.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub device: Device,
    pub threads: usize,
}

/// The elements of an input.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a> {
    /// 64-bit integers.
    I64(&'a [i64]),
    /// 32-bit floating point numbers.
    F32(&'a [f32]),
}

impl Values<'_> {
    fn len(&self) -> usize {
        match self {
            Self::I64(values) => values.len(),
            Self::F32(values) => values.len(),
        }
    }

    fn element(&self) -> &'static str {
        match self {
            Self::I64(_) => "i64",
            Self::F32(_) => "f32",
        }
    }
}

/// A named input; the values stay where they are.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The graph's name for it.
    pub name: &'a str,
    /// Its dimensions.
    pub shape: &'a [usize],
    /// Its elements, row-major.
    pub values: Values<'a>,
}

/// An output.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its elements, row-major.
    pub data: Vec<f32>,
}

/// A loaded graph.
pub struct Session {
    inner: ort::session::Session,
    inputs: Vec<ValueInfo>,
    outputs: Vec<ValueInfo>,
    /// Those of the last run: results that are lent refer to them.
    options: Option<RunOptions<HasSelectedOutputs>>,
    /// The symbolic name of each input dimension (empty: none), parallel to `inputs`.
    symbols: Vec<Vec<String>>,
    threads: usize,
    /// The files that its weights are mapped from.
    held: Option<Arc<Held>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("inputs", &self.inputs)
            .field("outputs", &self.outputs)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Loads `graph`, profiling into files that start with `profile` if that is given.
    pub(super) fn commit(
        environment: &Environment,
        graph: &Graph<'_>,
        settings: &Settings,
        profile: Option<&Path>,
    ) -> Result<Self> {
        let ours = graph.check()?;
        let load = || -> ort::Result<ort::session::Session> {
            let mut builder = configure(environment, settings, ours)?;
            if let Some(prefix) = profile {
                builder = builder.with_profiling(prefix)?;
            }
            match graph {
                Graph::File(path) => builder.commit_from_file(path),
                Graph::Memory { graph, weights_folder } => builder
                    .with_config_entry(
                        "session.model_external_initializers_file_folder_path",
                        weights_folder.to_string_lossy(),
                    )?
                    .commit_from_memory(graph),
            }
        };
        let inner = load().map_err(|source| {
            let error = Error::new(Kind::Runtime, format!("cannot load the graph for {}", settings.device));
            let help = match settings.device {
                Device::Cpu => "check that the graph and its weight file belong together and are complete",
                Device::Cuda(_) => {
                    "check that the GPU is there (nvidia-smi) and that the CUDA and cuDNN libraries are found \
                     (LD_LIBRARY_PATH), or use --device cpu"
                }
            };
            error.at(graph.place()).help(help).because(source)
        })?;
        let describe = |outlets: &[Outlet]| outlets.iter().map(value_info).collect::<Vec<_>>();
        Ok(Self {
            inputs: describe(inner.inputs()),
            outputs: describe(inner.outputs()),
            symbols: inner.inputs().iter().map(dimension_symbols).collect(),
            options: None,
            threads: settings.threads,
            held: None,
            inner,
        })
    }

    /// From now on results are given out only if nobody has written to these files, which its weights were
    /// just mapped from.
    ///
    /// # Errors
    /// Somebody has, or they are not the files that ONNX Runtime found under their names.
    pub fn holding(self, held: &Arc<Held>) -> Result<Self> {
        held.check_places()?;
        Ok(Self { held: Some(Arc::clone(held)), ..self })
    }

    /// The graph's inputs, in its order.
    #[must_use]
    pub fn inputs(&self) -> &[ValueInfo] {
        &self.inputs
    }

    /// Threads within an operator.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// The graph's outputs, in its order.
    #[must_use]
    pub fn outputs(&self) -> &[ValueInfo] {
        &self.outputs
    }

    /// Runs the graph once and returns the `outputs` asked for, in that order.
    ///
    /// All nodes run, also those that only other outputs need: build a smaller graph to save their work.
    ///
    /// # Errors
    /// An input or output that the graph does not have, an input that is missing, doubled, or of another type
    /// or shape than declared; an output that is not `f32`; a failure inside ONNX Runtime; weights that were
    /// written to.
    pub fn run(&mut self, inputs: &[Input<'_>], outputs: &[&str]) -> Result<Vec<Tensor>> {
        loop {
            let (results, since) = self.lend(inputs, outputs)?;
            let owned = |results: &Lent<'_>, name: &&str| {
                let (shape, data) = results.tensor(name)?;
                Ok(Tensor { shape, data: data.to_vec() })
            };
            // Nothing is known to be right of what was read while the weights were written, even if they are
            // what they were: it is computed again.
            if since != Since::Rewritten {
                let results = results?;
                return outputs.iter().map(|name| owned(&results, name)).collect();
            }
        }
    }

    /// Runs the graph once, as [`Self::run`], without copying its results: they are ONNX Runtime's until they
    /// are dropped.
    ///
    /// # Errors
    /// As [`Self::run`]; weights that were written to with what they had before, too.
    pub fn run_lent(&mut self, inputs: &[Input<'_>], outputs: &[&str]) -> Result<Lent<'_>> {
        match self.lend(inputs, outputs)? {
            (_, Since::Rewritten) => Err(Error::new(Kind::Model, "the weights were written to while in use")
                .help("run the command again")),
            (results, _) => results,
        }
    }

    /// Runs the graph once; and what happened to its weights meanwhile.
    fn lend(&mut self, inputs: &[Input<'_>], outputs: &[&str]) -> Result<(Result<Lent<'_>>, Since)> {
        self.check_outputs(outputs)?;
        let selected = outputs.iter().fold(OutputSelector::no_default(), |all, &name| all.with(name));
        self.options = Some(quiet()?.with_outputs(selected));
        self.check_inputs(inputs)?;
        let Self { inner, options: Some(options), held, .. } = self else {
            unreachable!("the options were just set: their absence is a bug")
        };
        let results = execute(inner, inputs, options);
        // First, because weights that are half written may be why it failed.
        let since = held.as_ref().map_or(Ok(Since::Nothing), |held| held.check())?;
        Ok((results.map(Lent), since))
    }

    /// Runs the graph and drops its results, which then are not even copied.
    pub(super) fn run_discarding(&mut self, inputs: &[Input<'_>]) -> Result<()> {
        let options = quiet()?.with_outputs(OutputSelector::default());
        self.check_inputs(inputs)?;
        execute(&mut self.inner, inputs, &options).map(drop)
    }

    /// Ends profiling; returns the profile's file name.
    pub(super) fn end_profiling(&mut self) -> Result<String> {
        self.inner.end_profiling().map_err(run_failed)
    }

    fn check_outputs(&self, names: &[&str]) -> Result<()> {
        if names.is_empty() {
            return Err(Error::new(Kind::Graph, "no output of the graph was asked for"));
        }
        for (index, &name) in names.iter().enumerate() {
            let Some(output) = self.outputs.iter().find(|output| output.name == name) else {
                return Err(Error::new(Kind::Graph, format!("the graph has no output {name:?}"))
                    .expected(names_of(&self.outputs)));
            };
            if output.element != "f32" {
                return Err(Error::new(Kind::Graph, format!("the output {name:?} is not of type f32"))
                    .found(output.element.clone()));
            }
            if names[..index].contains(&name) {
                return Err(Error::new(Kind::Graph, format!("the output {name:?} was asked for twice")));
            }
        }
        Ok(())
    }

    fn check_inputs(&self, inputs: &[Input<'_>]) -> Result<()> {
        let mut sizes: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
        for (index, input) in inputs.iter().enumerate() {
            let Some(position) = self.inputs.iter().position(|declared| declared.name == input.name) else {
                return Err(Error::new(Kind::Graph, format!("the graph has no input {:?}", input.name))
                    .expected(names_of(&self.inputs)));
            };
            if inputs[..index].iter().any(|other| other.name == input.name) {
                return Err(Error::new(Kind::Graph, format!("the input {:?} is given twice", input.name)));
            }
            check_input(input, &self.inputs[position])?;
            for (symbol, &size) in self.symbols[position].iter().zip(input.shape) {
                if symbol.is_empty() {
                    continue;
                }
                let &mut (known, name) = sizes.entry(symbol).or_insert((size, input.name));
                if known != size {
                    return Err(Error::new(
                        Kind::Graph,
                        format!("the inputs disagree about the size of {symbol:?}"),
                    )
                    .found(format!("{known} in {name:?}, {size} in {:?}", input.name)));
                }
            }
        }
        let missing =
            self.inputs.iter().find(|declared| inputs.iter().all(|input| input.name != declared.name));
        match missing {
            Some(input) => Err(Error::new(Kind::Graph, format!("the input {:?} is missing", input.name))),
            None => Ok(()),
        }
    }
}

/// The options that every session has.
///
/// Measured with the fused all-MiniLM-L6-v2 graph, ONNX Runtime 1.32, 17 batch shapes of up to 1,024 tokens,
/// 2 threads, one of the two cores busy with other work (only ratios mean something):
/// * Memory pattern off: it plans one block for every shape it ever sees. Peak 132 MB instead of 150 MB above
///   the bare process (weights and packed weights included), at the same speed. The arena itself stays: as
///   fast as without, and lower at its peak (132 MB, 149 MB without); shrinking it after each run ends at 97
///   MB but costs 8 % of the speed.
/// * Spinning off: threads that wait in a loop take the cores from the work of others, and from a quota.
///   Batches are 15–20 % faster without (264 ms, 336 ms with), a text of 64 tokens takes 13 ms, not 24; only
///   the shortest ones lose (16 tokens: 4.4 ms, not 3.1).
/// * No optimisations of our own graphs: nothing is left to fuse, the bits are the same without, a process
///   that predicts one text takes 107 ms, not 121, and 2 MB less; batches are as fast (0.97–1.08 ×). Imported
///   graphs need the fusions, and on a GPU it was not tried.
fn configure(environment: &Environment, settings: &Settings, ours: bool) -> ort::Result<SessionBuilder> {
    let level = match settings.device {
        Device::Cpu if ours => GraphOptimizationLevel::Disable,
        _ => GraphOptimizationLevel::All,
    };
    let builder = ort::session::Session::builder(environment)?
        .with_intra_threads(settings.threads)?
        .with_inter_threads(1)?
        .with_parallel_execution(false)?
        .with_intra_op_spinning(false)?
        .with_memory_pattern(false)?
        .with_optimization_level(level)?;
    match settings.device {
        Device::Cpu => {
            // Named, because ONNX Runtime otherwise chooses by a policy of its own among all devices it
            // knows.
            let cpu: Vec<_> = environment
                .devices()
                .filter(|device| device.ep().is_ok_and(|name| name == ort::ep::CPU::NAME))
                .collect();
            Ok(builder.with_devices(cpu, None)?)
        }
        Device::Cuda(number) => {
            let provider = ort::ep::CUDA::default()
                .with_device_id(i32::try_from(number).unwrap_or(i32::MAX))
                .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
                // TF32 keeps 10 bits of a product's operands: fp32 must mean fp32 on every device.
                .with_tf32(false)
                .build()
                .error_on_failure();
            Ok(builder.with_execution_providers([provider])?)
        }
    }
}

/// ONNX Runtime's name of the provider for `device`.
pub(super) fn provider_name(device: Device) -> &'static str {
    match device {
        Device::Cpu => ort::ep::CPU::NAME,
        Device::Cuda(_) => ort::ep::CUDA::NAME,
    }
}

fn check_input(input: &Input<'_>, declared: &ValueInfo) -> Result<()> {
    let wrong =
        |what: &str| Error::new(Kind::Graph, format!("the input {:?} has the wrong {what}", input.name));
    if input.values.element() != declared.element {
        return Err(wrong("type").found(input.values.element()).expected(declared.element.clone()));
    }
    let fits = input.shape.len() == declared.shape.len()
        && input
            .shape
            .iter()
            .zip(&declared.shape)
            .all(|(&size, wanted)| wanted.is_none_or(|wanted| wanted == size));
    if !fits {
        return Err(wrong("shape").found(format!("{:?}", input.shape)).expected(show_shape(&declared.shape)));
    }
    let elements = input.shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
    if elements != Some(input.values.len()) {
        return Err(wrong("number of values").found(input.values.len().to_string()).expected(format!(
            "{} for the shape {:?}",
            elements.unwrap_or(usize::MAX),
            input.shape
        )));
    }
    if elements == Some(0) {
        return Err(wrong("shape").found(format!("{:?}", input.shape)).expected("no dimension of size 0"));
    }
    Ok(())
}

/// Results of a run that are still ONNX Runtime's.
pub struct Lent<'s>(SessionOutputs<'s>);

impl Lent<'_> {
    /// An output's shape and numbers.
    ///
    /// # Errors
    /// It was not asked for.
    pub fn tensor(&self, name: &str) -> Result<(Vec<usize>, &[f32])> {
        let value = self.0.get(name).ok_or_else(|| {
            Error::new(
                Kind::Runtime,
                format!("ONNX Runtime did not return the output {name:?}; this is a bug"),
            )
        })?;
        let (shape, data) = value.try_extract_tensor::<f32>().map_err(run_failed)?;
        Ok((shape.iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect(), data))
    }
}

fn execute<'r, 's: 'r>(
    session: &'s mut ort::session::Session,
    inputs: &[Input<'_>],
    options: &'r RunOptions<HasSelectedOutputs>,
) -> Result<SessionOutputs<'r>> {
    let values = inputs
        .iter()
        .map(|input| {
            let value: ort::Result<SessionInputValue<'_>> = match input.values {
                Values::I64(values) => TensorRef::from_array_view((input.shape, values)).map(Into::into),
                Values::F32(values) => TensorRef::from_array_view((input.shape, values)).map(Into::into),
            };
            Ok((input.name, value.map_err(run_failed)?))
        })
        .collect::<Result<Vec<_>>>()?;
    session.run_with_options(values, options).map_err(run_failed)
}

/// Options of a run that prints nothing: what goes wrong is in the error.
fn quiet() -> Result<RunOptions> {
    let mut options = RunOptions::new().map_err(run_failed)?;
    options.set_log_level(LogLevel::Fatal).map_err(run_failed)?;
    Ok(options)
}

fn run_failed(source: ort::Error) -> Error {
    Error::new(Kind::Runtime, "ONNX Runtime failed to run the graph").because(source)
}

#[cfg(test)]
mod tests;
