//! Owns the answer to "where does each node run": ONNX Runtime's own profile of one tiny run, counted per
//! provider.
//!
//! Refuses to guess from the graph: fusions and fallbacks happen inside ONNX Runtime, so only what really ran
//! counts.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use ort::environment::Environment;
use serde_json::Value;

use super::Device;
use super::session::{self, Graph, Input, Session, Settings, ValueInfo, Values};
use crate::error::{Error, Kind, Result};
use crate::files::Scratch;

/// Operators that only compute shapes and indices, or move data; ONNX Runtime rightly keeps them on the
/// processor.
const METADATA_OPERATORS: &[&str] = &[
    "Add",
    "Cast",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Div",
    "Equal",
    "Expand",
    "Flatten",
    "Gather",
    "Greater",
    "Identity",
    "Less",
    "Max",
    "MemcpyFromHost",
    "MemcpyToHost",
    "Min",
    "Mul",
    "Range",
    "ReduceProd",
    "Reshape",
    "Shape",
    "Size",
    "Slice",
    "Split",
    "Squeeze",
    "Sub",
    "Transpose",
    "Unsqueeze",
    "Where",
];

/// How many nodes of each operator each provider runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// Provider (`CPUExecutionProvider`) → operator (`MatMul`) → number of nodes.
    pub per_provider: BTreeMap<String, BTreeMap<String, usize>>,
    /// Nodes on the processor that compute (`name (operator)`): none may be there when a GPU was asked for.
    compute_on_cpu: Vec<String>,
}

impl Placement {
    /// Reads the placement out of a profile: a JSON array of events, of which those of the category `Node`
    /// that end in `_kernel_time` are the executed nodes.
    fn from_profile(profile: &str) -> Result<Self> {
        let unreadable = || Error::new(Kind::Runtime, "cannot read ONNX Runtime's profile");
        let events: Vec<Value> =
            serde_json::from_str(profile).map_err(|source| unreadable().because(source))?;
        let mut placement = Self::default();
        for event in &events {
            let name = event["name"].as_str().and_then(|name| name.strip_suffix("_kernel_time"));
            let (Some("Node"), Some(name)) = (event["cat"].as_str(), name) else { continue };
            let arguments = &event["args"];
            let (Some(operator), Some(provider)) =
                (arguments["op_name"].as_str(), arguments["provider"].as_str())
            else {
                return Err(unreadable().found("a node without operator or provider"));
            };
            let operators = placement.per_provider.entry(provider.to_owned()).or_default();
            *operators.entry(operator.to_owned()).or_default() += 1;
            if provider == session::provider_name(Device::Cpu) && is_compute(operator, arguments) {
                placement.compute_on_cpu.push(format!("{name} ({operator})"));
            }
        }
        if placement.per_provider.is_empty() {
            return Err(unreadable().found("no node in it"));
        }
        Ok(placement)
    }

    /// An error that names the computing nodes that ONNX Runtime left on the processor although `device` is a
    /// GPU.
    pub(super) fn require_compute_on(&self, device: Device) -> Result<()> {
        if device == Device::Cpu || self.compute_on_cpu.is_empty() {
            return Ok(());
        }
        let count = self.compute_on_cpu.len();
        let mut names = self.compute_on_cpu.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
        if count > 8 {
            names.push_str(", …");
        }
        Err(Error::new(
            Kind::Runtime,
            format!("{count} nodes of the graph would run on the processor, not on {device}"),
        )
        .found(names)
        .expected(format!("all computation on {}", session::provider_name(device)))
        .help(
            "use a newer ONNX Runtime with kernels for these operators, another precision, or --device cpu",
        ))
    }
}

/// `CPUExecutionProvider: Gather 3, MatMul 24`, one provider a line.
impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (provider, operators)) in self.per_provider.iter().enumerate() {
            let operators: Vec<String> =
                operators.iter().map(|(name, count)| format!("{name} {count}")).collect();
            write!(f, "{}{provider}: {}", if index > 0 { "\n" } else { "" }, operators.join(", "))?;
        }
        Ok(())
    }
}

/// A node computes unless it is a shape operator on integers: floating point work belongs on the device.
fn is_compute(operator: &str, arguments: &Value) -> bool {
    let is_float = |value: &Value| {
        value
            .as_object()
            .is_some_and(|value| value.keys().any(|element| element.contains("float") || element == "double"))
    };
    let floats = ["input_type_shape", "output_type_shape"]
        .iter()
        .filter_map(|key| arguments[*key].as_array())
        .any(|values| values.iter().any(is_float));
    !METADATA_OPERATORS.contains(&operator) || (floats && operator != "Cast" && operator != "Shape")
}

/// Loads `graph`; on a GPU, proves that all computation runs there.
pub(super) fn open(environment: &Environment, graph: &Graph<'_>, settings: &Settings) -> Result<Session> {
    if settings.device == Device::Cpu {
        return Session::commit(environment, graph, settings, None);
    }
    let (session, placement) = profiled(environment, graph, settings)?;
    placement.require_compute_on(settings.device).map_err(|error| error.at(graph.place()))?;
    Ok(session)
}

/// The placement of a graph, of which nothing else is needed.
pub(super) fn of_graph(
    environment: &Environment,
    graph: &Graph<'_>,
    settings: &Settings,
) -> Result<Placement> {
    profiled(environment, graph, settings).map(|(_, placement)| placement)
}

/// A session that ran once under the profiler (which is off again), and what the profile says.
fn profiled(
    environment: &Environment,
    graph: &Graph<'_>,
    settings: &Settings,
) -> Result<(Session, Placement)> {
    let place = std::env::temp_dir();
    let folder = Scratch::new(&place, 0o700)
        .map_err(|error| Error::io("create a directory for the profile in", &place, error))?;
    let mut session = Session::commit(environment, graph, settings, Some(&folder.path().join("profile")))?;
    run_tiny(&mut session).map_err(|error| error.at(graph.place()))?;
    let profile = session.end_profiling()?;
    let text = std::fs::read_to_string(&profile)
        .map_err(|error| Error::io("read the profile", Path::new(&profile), error))?;
    Ok((session, Placement::from_profile(&text)?))
}

/// Runs on zeros with every free dimension 1: a valid index everywhere, and the smallest consistent choice of
/// sizes.
fn run_tiny(session: &mut Session) -> Result<()> {
    let inputs: Vec<(ValueInfo, Vec<usize>)> = session
        .inputs()
        .iter()
        .map(|input| (input.clone(), input.shape.iter().map(|size| size.unwrap_or(1)).collect()))
        .collect();
    let largest = inputs.iter().map(|(_, shape)| shape.iter().product::<usize>()).max().unwrap_or(0);
    let (integers, floats) = (vec![0_i64; largest], vec![0_f32; largest]);
    let mut given = Vec::with_capacity(inputs.len());
    for (input, shape) in &inputs {
        let elements = shape.iter().product::<usize>();
        let values = match input.element.as_str() {
            "i64" => Values::I64(&integers[..elements]),
            "f32" => Values::F32(&floats[..elements]),
            other => {
                return Err(Error::new(Kind::Graph, format!("cannot make an input for {:?}", input.name))
                    .found(other)
                    .expected("i64 or f32"));
            }
        };
        given.push(Input { name: &input.name, shape, values });
    }
    session.run_discarding(&given)
}

#[cfg(test)]
mod tests;
