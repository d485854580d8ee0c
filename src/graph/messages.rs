//! Owns the translation of the builder's values and nodes into ONNX messages.
//!
//! Refuses to check anything: the builder has done so.

use super::proto::{
    AttributeProto, AttributeType, Dimension, NodeProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, dimension, type_proto,
};
use super::terms::{Attribute, Data, Dim, Node, Operation, Value, ValueType};

/// An initializer.
pub(super) fn tensor(value: &Value, value_type: &ValueType, data: &Data) -> TensorProto {
    let dims = value_type.shape.iter().map(|dim| match dim {
        Dim::Size(size) => *size as i64,
        Dim::Name(_) => unreachable!("an initializer has a fixed shape; this is a bug"),
    });
    let mut tensor = TensorProto {
        name: Some(value.name().to_owned()),
        data_type: Some(value_type.element as i32),
        dims: dims.collect(),
        ..TensorProto::default()
    };
    match data {
        Data::Inline(bytes) => tensor.raw_data = Some(bytes.clone()),
        Data::External(place) => place.put(&mut tensor),
    }
    tensor
}

/// A value's name and type.
pub(super) fn value_info(value: &Value, value_type: &ValueType) -> ValueInfoProto {
    let dim = value_type.shape.iter().map(|dim| Dimension {
        value: Some(match dim {
            Dim::Size(size) => dimension::Value::DimValue(*size as i64),
            Dim::Name(name) => dimension::Value::DimParam(name.to_string()),
        }),
        denotation: None,
    });
    let tensor = type_proto::Tensor {
        elem_type: Some(value_type.element as i32),
        shape: Some(TensorShapeProto { dim: dim.collect() }),
    };
    ValueInfoProto {
        name: Some(value.name().to_owned()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::Tensor(tensor)), denotation: None }),
        ..ValueInfoProto::default()
    }
}

/// A node, named after its first output, which is unique.
pub(super) fn node(node: &Node) -> NodeProto {
    let Operation { domain, operator, inputs, attributes } = &node.operation;
    let input =
        inputs.iter().map(|input| input.as_ref().map_or(String::new(), |value| value.name().to_owned()));
    NodeProto {
        name: node.outputs.first().map(|value| value.name().to_owned()),
        op_type: Some((*operator).to_owned()),
        domain: (!domain.is_empty()).then(|| (*domain).to_owned()),
        input: input.collect(),
        output: node.outputs.iter().map(|value| value.name().to_owned()).collect(),
        attribute: attributes.iter().map(|(name, value)| attribute(name, value)).collect(),
        ..NodeProto::default()
    }
}

fn attribute(name: &str, value: &Attribute) -> AttributeProto {
    let of = |kind: AttributeType| AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(kind as i32),
        ..AttributeProto::default()
    };
    match value {
        Attribute::Int(value) => AttributeProto { i: Some(*value), ..of(AttributeType::Int) },
        Attribute::Float(value) => AttributeProto { f: Some(*value), ..of(AttributeType::Float) },
        Attribute::String(value) => {
            AttributeProto { s: Some(value.clone().into_bytes()), ..of(AttributeType::String) }
        }
        Attribute::Ints(values) => AttributeProto { ints: values.clone(), ..of(AttributeType::Ints) },
    }
}
