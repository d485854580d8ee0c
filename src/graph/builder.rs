//! Owns the builder of ONNX graphs: named values with element type and shape, nodes, initializers, opset
//! imports.
//!
//! Refuses names used twice and inputs that nothing produces, at the call that brings them. It does not infer
//! types: whoever adds a node says what comes out, and that is recorded for readers of the graph
//! (differentiation, cutting).

use std::collections::{BTreeSet, HashMap};

use super::external::byte_length;
use super::messages::{node, tensor, value_info};
use super::proto::{GraphProto, ModelProto, OperatorSetIdProto};
use super::terms::{Data, Dim, Node, Operation, Value, ValueType};
use crate::error::{Error, Kind, Result};
use crate::tensors::bytes_of;

/// ONNX's operator set: 20 is the first with `Gelu`.
const OPSET: i64 = 20;
/// Operators that need a later set: only graphs that use them ask for it. 24 is the first with `Attention`
/// that knows how long each row is.
const LATER: [(&str, i64); 1] = [("Attention", 24)];
/// The file format that came with opset 21; every ONNX Runtime since 1.18 reads it.
pub(super) const IR_VERSION: i64 = 10;
/// Who says in a model that it has written it.
pub(super) const PRODUCER: &str = env!("CARGO_PKG_NAME");

/// What a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Producer {
    Input,
    Initializer(usize),
    Node(usize),
}

/// A graph under construction.
#[derive(Clone, Debug)]
pub struct Builder {
    name: String,
    inputs: Vec<Value>,
    outputs: Vec<Value>,
    initializers: Vec<(Value, Data)>,
    nodes: Vec<Node>,
    values: HashMap<Value, (ValueType, Producer)>,
}

impl Builder {
    /// An empty graph.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            initializers: Vec::new(),
            nodes: Vec::new(),
            values: HashMap::new(),
        }
    }

    /// Adds an input of the graph.
    ///
    /// # Errors
    /// The name is empty or taken.
    pub fn input(&mut self, name: &str, value_type: ValueType) -> Result<Value> {
        let value = self.define(name, value_type, Producer::Input)?;
        self.inputs.push(value.clone());
        Ok(value)
    }

    /// Adds an initializer.
    ///
    /// # Errors
    /// The name is empty or taken, a dimension has no fixed size, or the bytes do not fit the type.
    pub fn initializer(&mut self, name: &str, value_type: ValueType, data: Data) -> Result<Value> {
        let length = match &data {
            Data::Inline(bytes) => bytes.len() as u64,
            Data::External(external) => external.length,
        };
        let sizes = value_type.shape.iter().map(|dim| match dim {
            Dim::Size(size) => Some(*size as u64),
            Dim::Name(_) => None,
        });
        let expected = byte_length(value_type.element, sizes);
        if expected != Some(length) {
            return Err(Error::new(Kind::Graph, format!("the initializer {name:?} does not fit its type"))
                .found(format!("{length} bytes"))
                .expected(
                    expected.map_or_else(|| "a fixed shape".to_owned(), |bytes| format!("{bytes} bytes")),
                ));
        }
        let value = self.define(name, value_type, Producer::Initializer(self.initializers.len()))?;
        self.initializers.push((value.clone(), data));
        Ok(value)
    }

    /// Adds floats kept in the graph itself, of the given shape.
    ///
    /// # Errors
    /// As [`Builder::initializer`].
    pub fn floats(&mut self, name: &str, shape: &[usize], numbers: &[f32]) -> Result<Value> {
        self.initializer(name, ValueType::float(fixed(shape)), Data::Inline(bytes_of(numbers)))
    }

    /// Adds 64-bit integers kept in the graph itself, of the given shape.
    ///
    /// # Errors
    /// As [`Builder::initializer`].
    pub fn integers(&mut self, name: &str, shape: &[usize], numbers: &[i64]) -> Result<Value> {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.initializer(name, ValueType::int64(fixed(shape)), Data::Inline(bytes))
    }

    /// Adds an operation with one output.
    ///
    /// # Errors
    /// An input is not in the graph, or the output's name is empty or taken.
    pub fn add(&mut self, operation: Operation, name: &str, value_type: ValueType) -> Result<Value> {
        Ok(self.add_all(operation, vec![(name.to_owned(), value_type)])?.remove(0))
    }

    /// Adds an operation whose one output has the type of another value.
    ///
    /// # Errors
    /// An input or that value is not in the graph, or the output's name is empty or taken.
    pub fn add_like(&mut self, operation: Operation, name: &str, like: &Value) -> Result<Value> {
        let value_type = self.type_of(like)?.clone();
        self.add(operation, name, value_type)
    }

    /// Adds an operation with any number of outputs.
    ///
    /// # Errors
    /// An input is not in the graph, or an output's name is empty or taken.
    pub fn add_all(&mut self, operation: Operation, outputs: Vec<(String, ValueType)>) -> Result<Vec<Value>> {
        let unknown = operation.inputs.iter().flatten().find(|&input| !self.values.contains_key(input));
        if let Some(input) = unknown {
            let name = outputs.first().map_or("", |(name, _)| name);
            return Err(Error::new(
                Kind::Graph,
                format!("{} {name:?} has an unknown input", operation.operator),
            )
            .found(format!("{input:?}"))
            .expected("the name of a value added before"));
        }
        let values = self.outputs_of(self.nodes.len(), outputs)?;
        self.nodes.push(Node { operation, outputs: values.clone() });
        Ok(values)
    }

    fn outputs_of(
        &mut self,
        node: usize,
        outputs: impl IntoIterator<Item = (String, ValueType)>,
    ) -> Result<Vec<Value>> {
        let outputs = outputs.into_iter();
        outputs.map(|(name, value_type)| self.define(&name, value_type, Producer::Node(node))).collect()
    }

    /// Asks the node that produces `first` for its further, optional outputs, after those it has.
    ///
    /// # Errors
    /// `first` is no node's output, or an output's name is empty or taken.
    pub(super) fn add_outputs<const N: usize>(
        &mut self,
        first: &Value,
        outputs: [(String, ValueType); N],
    ) -> Result<[Value; N]> {
        let Some((_, Producer::Node(index))) = self.values.get(first).cloned() else {
            return Err(
                Error::new(Kind::Graph, "there is no such node in the graph").found(format!("{first:?}"))
            );
        };
        let values = self.outputs_of(index, outputs)?;
        self.nodes[index].outputs.extend(values.iter().cloned());
        Ok(values.try_into().expect("as many values as outputs: anything else is a bug"))
    }

    /// Makes a value an output of the graph.
    ///
    /// # Errors
    /// The value is not in the graph, or is an output already.
    pub fn output(&mut self, value: &Value) -> Result<()> {
        self.type_of(value)?;
        if self.outputs.contains(value) {
            return Err(Error::new(Kind::Graph, format!("the output {value:?} is there twice")));
        }
        self.outputs.push(value.clone());
        Ok(())
    }

    /// The element type and shape of a value.
    ///
    /// # Errors
    /// The value is not in the graph.
    pub fn type_of(&self, value: &Value) -> Result<&ValueType> {
        self.values.get(value).map(|(value_type, _)| value_type).ok_or_else(|| {
            Error::new(Kind::Graph, "there is no such value in the graph").found(format!("{value:?}"))
        })
    }

    /// The node that produces a value; `None` for inputs, initializers and unknown values.
    #[must_use]
    pub fn producer(&self, value: &Value) -> Option<&Node> {
        match self.values.get(value)? {
            (_, Producer::Node(index)) => self.nodes.get(*index),
            _ => None,
        }
    }

    /// Where the numbers of an initializer are; `None` for every other value.
    #[must_use]
    pub fn initializer_data(&self, value: &Value) -> Option<&Data> {
        match self.values.get(value)? {
            (_, Producer::Initializer(index)) => self.initializers.get(*index).map(|(_, data)| data),
            _ => None,
        }
    }

    /// The inputs, in the order they were added.
    #[must_use]
    pub fn inputs(&self) -> &[Value] {
        &self.inputs
    }

    /// The nodes, each after everything it needs.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The model: the same calls give the same model.
    ///
    /// # Errors
    /// The graph has no output.
    pub fn finish(self) -> Result<ModelProto> {
        if self.outputs.is_empty() {
            return Err(Error::new(Kind::Graph, format!("the graph {:?} has no output", self.name)));
        }
        let info = |value: &Value| value_info(value, &self.values[value].0);
        let inner =
            self.nodes.iter().flat_map(|node| &node.outputs).filter(|value| !self.outputs.contains(value));
        let initializer = |(value, data): &(Value, Data)| tensor(value, &self.values[value].0, data);
        let graph = GraphProto {
            name: Some(self.name.clone()),
            input: self.inputs.iter().map(info).collect(),
            output: self.outputs.iter().map(info).collect(),
            value_info: inner.map(info).collect(),
            initializer: self.initializers.iter().map(initializer).collect(),
            node: self.nodes.iter().map(node).collect(),
            ..GraphProto::default()
        };
        let used = self.nodes.iter().map(|node| node.operation.domain);
        let domains: BTreeSet<_> = std::iter::once("").chain(used).collect();
        let version = |domain: &str| if domain.is_empty() { self.operator_set() } else { 1 };
        let opset_import = domains.into_iter().map(|domain| OperatorSetIdProto {
            domain: Some(domain.to_owned()),
            version: Some(version(domain)),
        });
        Ok(ModelProto {
            ir_version: Some(IR_VERSION),
            producer_name: Some(PRODUCER.to_owned()),
            producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            opset_import: opset_import.collect(),
            graph: Some(graph),
            ..ModelProto::default()
        })
    }

    /// The version of ONNX's own operators that the nodes need.
    fn operator_set(&self) -> i64 {
        let operations =
            self.nodes.iter().map(|node| &node.operation).filter(|operation| operation.domain.is_empty());
        let later = operations
            .filter_map(|operation| LATER.iter().find(|(operator, _)| *operator == operation.operator));
        later.map(|(_, version)| *version).fold(OPSET, i64::max)
    }

    fn define(&mut self, name: &str, value_type: ValueType, producer: Producer) -> Result<Value> {
        let value = Value::named(name);
        if name.is_empty() {
            return Err(Error::new(Kind::Graph, "a value needs a name").found("an empty name"));
        }
        if self.values.contains_key(&value) {
            return Err(Error::new(Kind::Graph, "two values have the same name")
                .found(format!("{value:?}"))
                .expected("every name once"));
        }
        self.values.insert(value.clone(), (value_type, producer));
        Ok(value)
    }
}

fn fixed(shape: &[usize]) -> Vec<Dim> {
    shape.iter().map(|&size| Dim::Size(size)).collect()
}
