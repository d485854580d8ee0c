//! Owns what a graph made elsewhere may be fed with: token ids, the attention mask, perhaps token types.
//!
//! Refuses other inputs, other element types, and sizes that are fixed: texts come in every number and
//! length.

use std::collections::BTreeMap;

use super::{IDS, MASK, TYPES, describe, element, fixed_dims, inputs, needs, tensor_type};
use crate::error::{Error, Kind, Result};
use crate::graph::DataType;
use crate::graph::proto::{Dimension, GraphProto, TensorShapeProto, ValueInfoProto, dimension, type_proto};

const WANTED: &str = "input_ids, attention_mask and perhaps token_type_ids, all int64 [batch, sequence]";

pub(super) fn check(graph: &GraphProto) -> Result<()> {
    for input in inputs(graph) {
        let name = input.name();
        if ![IDS, MASK, TYPES].contains(&name) {
            return Err(Error::new(Kind::Model, "the graph has an input that frosthead cannot feed")
                .found(describe(input))
                .expected(WANTED)
                .help("export the encoder alone, with these inputs only"));
        }
        if element(input) != Some(DataType::Int64 as i32) {
            return Err(Error::new(Kind::Model, "an input of the graph has another element type")
                .found(describe(input))
                .expected(WANTED)
                .help("export the encoder again with int64 inputs (torch.long)"));
        }
        let Some(dims) = fixed_dims(input) else { continue };
        if dims.len() != 2 {
            return Err(Error::new(Kind::Model, "an input of the graph has another shape")
                .found(describe(input))
                .expected(WANTED)
                .help("export the encoder again with these inputs"));
        }
        if dims.iter().any(Option::is_some) {
            return Err(Error::new(Kind::Model, "the graph's inputs have a fixed size")
                .found(describe(input))
                .expected("[batch, sequence], both of any size: texts have every length and come in batches")
                .help("export it again with dynamic axes (torch.onnx.export(…, dynamic_axes={\"input_ids\": {0: \"batch\", 1: \
                       \"sequence\"}, …}); `optimum-cli export onnx` does so), or import its directory with model.safetensors"));
        }
    }
    for name in [IDS, MASK] {
        if !needs(graph, name) {
            let found = inputs(graph).map(ValueInfoProto::name).collect::<Vec<_>>().join(", ");
            return Err(Error::new(Kind::Model, "the graph lacks an input")
                .found(if found.is_empty() { "no input".to_owned() } else { found })
                .expected(format!("{name:?}"))
                .help("export the encoder with input_ids and attention_mask"));
        }
    }
    Ok(())
}

/// Declares the inputs as `[batch, sequence]` where the graph says nothing of their shape, or calls both
/// dimensions alike.
pub(super) fn declare(graph: &mut GraphProto) {
    let mut axes: BTreeMap<String, usize> = BTreeMap::new();
    let mut sound = true;
    for input in inputs(graph) {
        let shape = tensor_type(input).and_then(|tensor| tensor.shape.as_ref());
        sound &= shape.is_some();
        for (axis, dim) in shape.iter().flat_map(|shape| &shape.dim).enumerate() {
            if let Some(dimension::Value::DimParam(name)) = dim.value.as_ref().filter(|_| sound) {
                sound = name.is_empty() || *axes.entry(name.clone()).or_insert(axis) == axis;
            }
        }
    }
    if sound {
        return;
    }
    for input in graph.input.iter_mut().filter(|input| [IDS, MASK].contains(&input.name())) {
        let Some(type_proto::Value::Tensor(tensor)) =
            input.r#type.as_mut().and_then(|declared| declared.value.as_mut())
        else {
            continue;
        };
        let named = |name: &str| Dimension {
            value: Some(dimension::Value::DimParam(name.to_owned())),
            denotation: None,
        };
        tensor.shape = Some(TensorShapeProto { dim: vec![named("batch"), named("sequence")] });
    }
}
