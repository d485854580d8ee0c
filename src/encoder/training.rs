//! Owns the graph of one training step: forward above a start, one loss per task, the gradient of every
//! trained parameter.
//!
//! Refuses to update anything (that is `finetune`'s work). Trained parameters are inputs of the graph, frozen
//! ones are not.

use super::asked::{TrainingHead, TrainingOptions};
use super::network::Network;
use super::ports::{DROPOUT, batch, beside, head_bias, head_weight, targets};
use super::transformer::{Encoder, Operators};
use super::vectors::Vectors;
use crate::error::{Error, Kind, Result};
use crate::graph::{self, Builder, Dim, Gradient, Operation, Value, ValueType, differentiate};

/// A trained parameter and where its gradient comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingParameter {
    /// The graph's input: a canonical tensor name, or [`head_weight`] and [`head_bias`] of a task.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The graph's output.
    pub gradient: String,
    /// Whether the gradient is `[tokens, width]`, to be summed by token id, instead of having the parameter's
    /// shape.
    pub by_token: bool,
}

/// The graph of a training step.
///
/// Inputs: `input_ids` or `states`, `attention_mask`, every trained parameter, per task [`targets`] `[batch,
/// target width]`, [`beside`](super::beside) `[batch, classes]` where a head asks for it, the means of hidden
/// states at or below the start, and the dropout masks. Outputs: per task
/// [`loss`](super::ports::loss), a scalar, and the gradients of the sum of all losses times their shares.
#[derive(Clone, Debug)]
pub struct TrainingGraph {
    /// The ONNX model.
    pub bytes: Vec<u8>,
    /// The trained parameters.
    pub parameters: Vec<TrainingParameter>,
    /// Hidden states at or below the start whose means over real tokens are inputs, each
    /// [`mean_of`](super::mean_of) its level.
    pub given: Vec<usize>,
    /// Inputs that drop numbers: 0, or 1 / (1 − rate). Dimensions are sizes, or `batch`, `sequence`, `tokens`
    /// (their product).
    pub masks: Vec<(String, Vec<Dim>)>,
}

/// Builds the graph of a training step from standard operators.
///
/// # Errors
/// Nothing is trained, a tensor does not exist or lies below the start, or the graph cannot be
/// differentiated.
pub fn training_graph(network: &Network<'_>, options: &TrainingOptions) -> Result<TrainingGraph> {
    let config = network.config;
    config.check()?;
    let mut encoder = Encoder::new(*network, Operators::Standard, options.start)?;
    encoder.train(options.tensors.clone(), options.dropped.clone());
    let mut vectors = Vectors::new(encoder, *network, options)?;
    let mut parameters: Vec<Value> = options.tensors.iter().map(|name| Value::named(name)).collect();
    let mut total: Option<Value> = None;
    for head in &options.heads {
        let seen = vectors.of(head.seen)?;
        let weighted = add_head(&mut vectors.graph, head, seen, &mut parameters)?;
        total = Some(match total {
            None => weighted,
            Some(before) => {
                let sum = Operation::new("Add", &[&before, &weighted]);
                vectors.graph.add(sum, &format!("total/{}", head.task), ValueType::float([]))?
            }
        });
    }
    let total = total.ok_or_else(|| Error::new(Kind::Graph, "a training step needs a head"))?;
    let Vectors { mut graph, given, .. } = vectors;
    let parameters = add_gradients(&mut graph, &total, &parameters)?;
    let dropped = graph.inputs().iter().filter(|input| input.name().starts_with(DROPOUT));
    let masks = dropped.map(|input| Ok((input.name().to_owned(), graph.type_of(input)?.shape.clone())));
    let masks = masks.collect::<Result<_>>()?;
    Ok(TrainingGraph { bytes: graph::encode(&graph.finish()?), parameters, given, masks })
}

/// A task's loss of features · weightᵀ + bias, times what it counts.
fn add_head(
    graph: &mut Builder,
    head: &TrainingHead,
    (features, width): (Value, usize),
    parameters: &mut Vec<Value>,
) -> Result<Value> {
    let (task, classes) = (&head.task, Dim::Size(head.classes));
    let (weight, bias) = match &head.frozen {
        Some((weight, bias)) => (
            graph.floats(&head_weight(task), &[head.classes, width], weight)?,
            graph.floats(&head_bias(task), &[head.classes], bias)?,
        ),
        None => {
            let weight_type = ValueType::float([classes.clone(), width.into()]);
            let weight = graph.input(&head_weight(task), weight_type)?;
            let bias = graph.input(&head_bias(task), ValueType::float([classes.clone()]))?;
            parameters.extend([weight.clone(), bias.clone()]);
            (weight, bias)
        }
    };
    let rows = || ValueType::float([batch(), classes.clone()]);
    let width = head.kind.target_width(head.classes);
    let wanted = graph.input(&targets(task), ValueType::float([batch(), width.into()]))?;
    let logits = Operation::new("Gemm", &[&features, &weight, &bias]).with("transB", 1);
    let mut logits = graph.add(logits, &format!("logits.{task}"), rows())?;
    if head.beside {
        let more = graph.input(&beside(task), rows())?;
        let sum = Operation::new("Add", &[&logits, &more]);
        logits = graph.add(sum, &format!("logits_with_words.{task}"), rows())?;
    }
    let named = |name: &str| format!("{name}.{task}");
    let loss = head.kind.loss(graph, [&logits, &wanted], &rows(), &named)?;
    graph.output(&loss)?;
    let share = graph.floats(&format!("share.{task}"), &[], &[head.share])?;
    graph.add(Operation::new("Mul", &[&loss, &share]), &format!("weighted.{task}"), ValueType::float([]))
}

fn add_gradients(graph: &mut Builder, total: &Value, parameters: &[Value]) -> Result<Vec<TrainingParameter>> {
    if parameters.is_empty() {
        return Err(Error::new(Kind::Graph, "a training step needs something to train"));
    }
    let gradients = differentiate(graph, total, parameters)?;
    let mut described = Vec::with_capacity(parameters.len());
    for (place, (parameter, gradient)) in parameters.iter().zip(&gradients).enumerate() {
        let shape = graph.type_of(parameter)?.shape.iter().map(|dim| match dim {
            Dim::Size(size) => Ok(*size),
            Dim::Name(_) => Err(Error::new(Kind::Graph, "a parameter's shape is open; this is a bug")),
        });
        let shape = shape.collect::<Result<Vec<usize>>>()?;
        let (value, by_token) = match gradient {
            Gradient::Dense(value) => (value, false),
            Gradient::Rows { values, .. } => (values, true),
        };
        // A gradient may be that of several parameters (a + b): outputs are distinct.
        let name = format!("gradients/{place}");
        let output = graph.add_like(Operation::new("Identity", &[value]), &name, value)?;
        graph.output(&output)?;
        described.push(TrainingParameter {
            name: parameter.name().to_owned(),
            shape,
            gradient: name,
            by_token,
        });
    }
    Ok(described)
}
