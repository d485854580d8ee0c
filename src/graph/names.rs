//! Owns the names inside a graph: giving other names to what stands in the way of something that is appended.
//!
//! Refuses to rename by halves: a name is changed wherever the graph or a graph inside it uses it.

use std::collections::{BTreeMap, BTreeSet};

use super::proto::{GraphProto, TensorProto};

/// Gives another name to every value and node of a graph, and of the graphs inside it, whose name is `wanted`
/// for something else. Returns the new names by the old.
pub fn clear_names(graph: &mut GraphProto, wanted: &dyn Fn(&str) -> bool) -> BTreeMap<String, String> {
    let mut all = BTreeSet::new();
    each_name(graph, &mut |name| {
        all.insert(name.clone());
    });
    let free = |old: &str| {
        let plain = std::iter::once(format!("foreign/{old}"));
        let numbered = (2_u64..).map(|number| format!("foreign/{number}/{old}"));
        plain.chain(numbered).find(|new| !all.contains(new) && !wanted(new))
    };
    let renamed: BTreeMap<String, String> =
        all.iter().filter(|old| wanted(old)).filter_map(|old| Some((old.clone(), free(old)?))).collect();
    if !renamed.is_empty() {
        each_name(graph, &mut |name| {
            if let Some(new) = renamed.get(name) {
                name.clone_from(new);
            }
        });
    }
    renamed
}

/// The names of what a graph makes: its nodes' values and its initializers.
pub fn made(graph: &GraphProto) -> impl Iterator<Item = &str> {
    let values = graph.node.iter().flat_map(|node| &node.output).map(String::as_str);
    values.chain(graph.initializer.iter().map(TensorProto::name))
}

/// Puts a graph behind another, whose values its inputs are, and adds its outputs to the other's. What is
/// called there as something that it makes gets another name.
pub fn append(graph: &mut GraphProto, tail: GraphProto) {
    let wanted: BTreeSet<&str> = made(&tail).collect();
    clear_names(graph, &|name| wanted.contains(name));
    graph.node.extend(tail.node);
    graph.initializer.extend(tail.initializer);
    graph.value_info.extend(tail.value_info);
    graph.output.extend(tail.output);
}

/// Shows every name of a value or node; an empty one stands for an input or output that is left out.
fn each_name(graph: &mut GraphProto, each: &mut dyn FnMut(&mut String)) {
    let mut named = |name: &mut String| {
        if !name.is_empty() {
            each(name);
        }
    };
    let values = graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info);
    values.flat_map(|value| &mut value.name).for_each(&mut named);
    let sparse = graph.sparse_initializer.iter_mut().flat_map(|sparse| &mut sparse.values);
    graph.initializer.iter_mut().chain(sparse).flat_map(|tensor| &mut tensor.name).for_each(&mut named);
    for annotation in &mut graph.quantization_annotation {
        annotation.tensor_name.iter_mut().for_each(&mut named);
        let parameters = annotation.quant_parameter_tensor_names.iter_mut();
        parameters.flat_map(|entry| &mut entry.value).for_each(&mut named);
    }
    for node in &mut graph.node {
        node.name.iter_mut().chain(&mut node.input).chain(&mut node.output).for_each(&mut named);
    }
    for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
        attribute.g.iter_mut().chain(&mut attribute.graphs).for_each(|inner| each_name(inner, each));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::proto::{AttributeProto, NodeProto};
    use crate::graph::{Builder, Operation, ValueType};

    #[test]
    fn a_name_is_changed_wherever_it_stands_and_never_to_one_that_is_there() {
        let mut builder = Builder::new("names");
        let float = || ValueType::float([2.into()]);
        let x = builder.input("x", float()).unwrap();
        let mask = builder.floats("mask", &[2], &[1.0; 2]).unwrap();
        let taken = builder.add(Operation::new("Add", &[&x, &mask]), "foreign/mask", float()).unwrap();
        let sum = builder.add(Operation::new("Add", &[&taken, &mask]), "sum", float()).unwrap();
        builder.output(&sum).unwrap();
        let mut graph = builder.finish().unwrap().graph.unwrap();
        let inner = NodeProto { input: vec!["mask".to_owned(), String::new()], ..NodeProto::default() };
        let branch = GraphProto { node: vec![inner], ..GraphProto::default() };
        graph.node.push(NodeProto {
            attribute: vec![AttributeProto { g: Some(branch), ..AttributeProto::default() }],
            ..NodeProto::default()
        });
        let before = graph.clone();
        assert!(clear_names(&mut graph, &|_| false).is_empty());
        assert_eq!(graph, before);
        let renamed = clear_names(&mut graph, &|name| name == "mask" || name == "sum");
        let new = |old: &str| renamed.get(old).map(String::as_str);
        assert_eq!(
            (new("mask"), new("sum"), renamed.len()),
            (Some("foreign/2/mask"), Some("foreign/sum"), 2)
        );
        assert_eq!(graph.initializer[0].name(), "foreign/2/mask");
        assert_eq!(graph.node[0].input, ["x", "foreign/2/mask"]);
        assert_eq!(graph.node[1].output, ["foreign/sum"]);
        assert_eq!(graph.output[0].name(), "foreign/sum");
        let inside = graph.node[2].attribute[0].g.as_ref().unwrap();
        assert_eq!(inside.node[0].input, ["foreign/2/mask", ""]);
    }

    #[test]
    fn a_tail_gets_the_names_that_it_makes_and_reads_those_that_are_there() {
        let float = || ValueType::float([2.into()]);
        let graph = |input: &str, output: &str| {
            let mut builder = Builder::new("part");
            let x = builder.input(input, float()).unwrap();
            let half = builder.floats("half", &[2], &[0.5; 2]).unwrap();
            let output = builder.add(Operation::new("Mul", &[&x, &half]), output, float()).unwrap();
            builder.output(&output).unwrap();
            builder.finish().unwrap().graph.unwrap()
        };
        let (mut whole, tail) = (graph("x", "y"), graph("y", "z"));
        append(&mut whole, tail);
        let inputs: Vec<_> = whole.node.iter().map(|node| node.input.join(" ")).collect();
        assert_eq!(inputs, ["x foreign/half", "y half"]);
        assert_eq!(made(&whole).collect::<Vec<_>>(), ["y", "z", "foreign/half", "half"]);
        assert_eq!(whole.output.iter().map(|output| output.name()).collect::<Vec<_>>(), ["y", "z"]);
    }
}
