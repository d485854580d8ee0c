//! Owns reverse-mode differentiation: appends to a graph the nodes that compute the gradients of a scalar
//! loss.
//!
//! Refuses to cut a gradient silently: an operator without a rule on a path from a parameter to the loss, and
//! a parameter without a path, are errors. Every rule emits standard ONNX operators; the formula stands at
//! the rule.

mod elementwise;
mod normalization;
mod products;
mod shapes;

use std::collections::{HashMap, HashSet};

use super::builder::Builder;
use super::terms::{Dim, Node, Operation, Value, ValueType};
use crate::error::{Error, Kind, Result};

/// The gradient of one parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gradient {
    /// A value of the parameter's shape.
    Dense(Value),
    /// Of a table `[rows, width]` that was looked into: `values` `[looked up, width]` belong to the rows that
    /// `ids` names, and are to be summed by it (most rows of a vocabulary have no gradient at all).
    Rows {
        /// One gradient for each id, in the order of `ids` laid out flat.
        values: Value,
        /// The graph's value that holds the ids.
        ids: Value,
    },
}

/// Appends the nodes that compute ∂loss/∂parameter for every parameter, in their order. Parameters are inputs
/// or initializers; the loss is a scalar.
///
/// # Errors
/// The loss is no scalar, a parameter has no path to it, or a path leads through an operator without a rule.
pub fn differentiate(graph: &mut Builder, loss: &Value, parameters: &[Value]) -> Result<Vec<Gradient>> {
    let dimensions = graph.type_of(loss)?.shape.len();
    if dimensions > 0 {
        return Err(Error::new(Kind::Graph, "only a scalar can be differentiated")
            .found(format!("{:?} of {dimensions} dimensions", loss.name())));
    }
    let moving = depends_on(graph, parameters);
    let mut tape = Tape { graph, made: 0, found: HashMap::new(), tables: HashMap::new() };
    let one = tape.scalar(1.0)?;
    tape.found.insert(loss.clone(), one);
    let nodes = tape.graph.nodes().to_vec();
    for node in nodes.iter().rev() {
        let Some(gradient) = node.outputs.first().and_then(|output| tape.found.get(output)).cloned() else {
            continue;
        };
        let wanted: Vec<bool> = (node.operation.inputs.iter())
            .map(|input| input.as_ref().is_some_and(|input| moving.contains(input)))
            .collect();
        if wanted.contains(&true) {
            step(&mut tape, node, &gradient, &wanted)?;
        }
    }
    parameters.iter().map(|parameter| tape.result(parameter)).collect()
}

/// The parameters and everything computed from them.
fn depends_on(graph: &Builder, parameters: &[Value]) -> HashSet<Value> {
    let mut moving: HashSet<Value> = parameters.iter().cloned().collect();
    for node in graph.nodes() {
        if node.operation.inputs.iter().flatten().any(|input| moving.contains(input)) {
            moving.extend(node.outputs.iter().cloned());
        }
    }
    moving
}

/// One node backwards: `gradient` is that of its first output, `wanted` says which inputs lead to a
/// parameter.
fn step(tape: &mut Tape<'_>, node: &Node, gradient: &Value, wanted: &[bool]) -> Result<()> {
    let rule = rule(node)?;
    let at = At { node, gradient, wanted };
    for (place, value) in rule(tape, &at)? {
        let input = at.input(place)?;
        tape.accumulate(&input, value)?;
    }
    Ok(())
}

/// Gradients by the place of the input they belong to.
type Found = Vec<(usize, Value)>;
type Rule = fn(&mut Tape<'_>, &At<'_>) -> Result<Found>;

fn rule(node: &Node) -> Result<Rule> {
    let operation = &node.operation;
    Ok(match (operation.domain, operation.operator) {
        ("", "Add") => elementwise::add,
        ("", "Sub") => elementwise::subtract,
        ("", "Mul") => elementwise::multiply,
        ("", "Div") => elementwise::divide,
        ("", "Neg") => elementwise::negate,
        ("", "Sqrt") => elementwise::square_root,
        ("", "Max") => elementwise::maximum,
        ("", "TopK") => elementwise::largest,
        ("", "Tanh") => elementwise::hyperbolic_tangent,
        ("", "Softplus") => elementwise::softplus,
        ("", "Relu") => elementwise::relu,
        ("", "Gelu") => elementwise::gelu,
        ("", "MatMul") => products::matmul,
        ("", "Gemm") => products::gemm,
        ("", "Softmax") => normalization::softmax,
        ("", "LogSoftmax") => normalization::log_softmax,
        ("", "LayerNormalization") => normalization::layer_normalization,
        ("", "Reshape") => shapes::reshape,
        ("", "Transpose") => shapes::transpose,
        ("", "Unsqueeze") => shapes::unsqueeze,
        ("", "ReduceSum") => shapes::reduce_sum,
        ("", "Gather") => shapes::gather,
        ("", "Slice") => shapes::slice,
        ("", "Concat") => shapes::concat,
        (domain, operator) => {
            let name = node.outputs.first().map_or("", Value::name);
            let domain = if domain.is_empty() { String::new() } else { format!(" of {domain}") };
            return Err(Error::new(
                Kind::Graph,
                format!("the operator {operator}{domain} has no rule of differentiation"),
            )
            .found(format!("it is on the path from a trainable parameter to the loss, at {name:?}"))
            .help("build the graph from standard operators that have a rule"));
        }
    })
}

/// Where a rule is applied.
struct At<'n> {
    node: &'n Node,
    /// ∂loss/∂(first output).
    gradient: &'n Value,
    /// Which inputs lead to a parameter.
    wanted: &'n [bool],
}

impl At<'_> {
    fn input(&self, place: usize) -> Result<Value> {
        self.node.operation.inputs.get(place).cloned().flatten().ok_or_else(|| {
            Error::new(
                Kind::Graph,
                format!(
                    "{} at {:?} lacks its input {place}",
                    self.node.operation.operator,
                    self.output().name()
                ),
            )
        })
    }

    fn output(&self) -> &Value {
        &self.node.outputs[0]
    }

    fn wants(&self, place: usize) -> bool {
        self.wanted.get(place).copied().unwrap_or(false)
    }

    /// What the rule cannot do.
    fn unsupported(&self, what: &str) -> Error {
        Error::new(
            Kind::Graph,
            format!("{} cannot be differentiated here: {what}", self.node.operation.operator),
        )
        .found(format!("the node that makes {:?}", self.output().name()))
    }
}

/// The graph while gradients are added to it.
struct Tape<'g> {
    graph: &'g mut Builder,
    made: usize,
    found: HashMap<Value, Value>,
    /// Per table: the gradients of what was looked up, and the ids.
    tables: HashMap<Value, Vec<(Value, Value)>>,
}

impl Tape<'_> {
    fn name(&mut self) -> String {
        self.made += 1;
        format!("gradient/{}", self.made)
    }

    fn add(&mut self, operation: Operation, value_type: ValueType) -> Result<Value> {
        let name = self.name();
        self.graph.add(operation, &name, value_type)
    }

    /// An elementwise operation or any other whose result has the type of `like`.
    fn like(&mut self, operation: Operation, like: &Value) -> Result<Value> {
        let name = self.name();
        self.graph.add_like(operation, &name, like)
    }

    fn binary(&mut self, operator: &'static str, a: &Value, b: &Value) -> Result<Value> {
        self.like(Operation::new(operator, &[a, b]), a)
    }

    fn unary(&mut self, operator: &'static str, x: &Value) -> Result<Value> {
        self.like(Operation::new(operator, &[x]), x)
    }

    fn scalar(&mut self, number: f32) -> Result<Value> {
        let name = self.name();
        self.graph.floats(&name, &[], &[number])
    }

    fn scaled(&mut self, x: &Value, factor: f32) -> Result<Value> {
        let factor = self.scalar(factor)?;
        self.binary("Mul", x, &factor)
    }

    fn integers(&mut self, numbers: &[i64]) -> Result<Value> {
        let name = self.name();
        self.graph.integers(&name, &[numbers.len()], numbers)
    }

    /// One integer, of no dimensions.
    fn integer(&mut self, number: i64) -> Result<Value> {
        let name = self.name();
        self.graph.integers(&name, &[], &[number])
    }

    fn shape(&self, value: &Value) -> Result<Vec<Dim>> {
        Ok(self.graph.type_of(value)?.shape.clone())
    }

    /// The sizes of a value while the graph runs, `[rank]` i64.
    fn sizes(&mut self, value: &Value) -> Result<Value> {
        let rank = self.shape(value)?.len();
        self.add(Operation::new("Shape", &[value]), ValueType::int64([rank.into()]))
    }

    /// Sum over axes (not negative, in order), which stay with size 1 if `keep`.
    fn sum(&mut self, x: &Value, axes: &[usize], keep: bool) -> Result<Value> {
        let mut shape = self.shape(x)?;
        for &axis in axes.iter().rev() {
            if keep {
                shape[axis] = Dim::Size(1);
            } else {
                shape.remove(axis);
            }
        }
        let axes = self.integers(&axes.iter().map(|&axis| axis as i64).collect::<Vec<_>>())?;
        let operation = Operation::new("ReduceSum", &[x, &axes]).with("keepdims", i64::from(keep));
        self.add(operation, ValueType::float(shape))
    }

    /// Undoes broadcasting: sums `gradient` down to the shape of `input`.
    fn sum_to(&mut self, gradient: &Value, input: &Value) -> Result<Value> {
        let (from, to) = (self.shape(gradient)?, self.shape(input)?);
        let extra = from.len().saturating_sub(to.len());
        let mut result = gradient.clone();
        if extra == 1 && from.len() == 2 && from[0] != Dim::Size(1) && from[1] == to[0] {
            return self.sum_of_rows(gradient);
        }
        if extra > 0 {
            result = self.sum(&result, &(0..extra).collect::<Vec<_>>(), false)?;
        }
        let stretched: Vec<usize> = (0..to.len())
            .filter(|&axis| to[axis] == Dim::Size(1) && from[extra + axis] != Dim::Size(1))
            .collect();
        if !stretched.is_empty() {
            result = self.sum(&result, &stretched, true)?;
        }
        Ok(result)
    }

    /// The sum of the rows of `[rows, width]`: a product with ones, which ONNX Runtime computes several times
    /// faster than `ReduceSum`.
    fn sum_of_rows(&mut self, x: &Value) -> Result<Value> {
        let shape = self.shape(x)?;
        let sizes = self.sizes(x)?;
        let first = self.integers(&[0])?;
        let rows = self.add(Operation::new("Gather", &[&sizes, &first]), ValueType::int64([1.into()]))?;
        let single = self.integers(&[1])?;
        let sizes = Operation::new("Concat", &[&single, &rows]).with("axis", 0);
        let sizes = self.add(sizes, ValueType::int64([2.into()]))?;
        let one = self.scalar(1.0)?;
        let ones = Operation::new("Expand", &[&one, &sizes]);
        let ones = self.add(ones, ValueType::float([1.into(), shape[0].clone()]))?;
        let sum =
            self.add(Operation::new("MatMul", &[&ones, x]), ValueType::float([1.into(), shape[1].clone()]))?;
        let flat = self.integers(&[-1])?;
        self.add(Operation::new("Reshape", &[&sum, &flat]), ValueType::float([shape[1].clone()]))
    }

    fn accumulate(&mut self, input: &Value, gradient: Value) -> Result<()> {
        let sum = match self.found.get(input).cloned() {
            None => gradient,
            Some(before) => self.binary("Add", &before, &gradient)?,
        };
        self.found.insert(input.clone(), sum);
        Ok(())
    }

    fn result(&mut self, parameter: &Value) -> Result<Gradient> {
        match (self.found.get(parameter), self.tables.get(parameter).map(Vec::as_slice)) {
            (Some(gradient), None) => Ok(Gradient::Dense(gradient.clone())),
            (None, Some([(values, ids)])) => Ok(Gradient::Rows { values: values.clone(), ids: ids.clone() }),
            (None, None) => Err(Error::new(Kind::Graph, "a parameter has no influence on the loss")
                .found(format!("{:?}", parameter.name()))),
            _ => Err(Error::new(Kind::Graph, "a table is used in more than one way")
                .found(format!("{:?}", parameter.name()))),
        }
    }
}

#[cfg(test)]
mod tests;
