//! Owns how token types come into a graph that was made elsewhere: it makes them itself, all 0, or they are an
//! input.
//!
//! Refuses to change anything else of it.

use super::ports::{ATTENTION_MASK, INPUT_IDS, TOKEN_TYPES};
use crate::graph::ModelProto;
use crate::graph::proto::NodeProto;

/// The node that makes token types inside a graph: x − x, zeros of the ids' own shape.
pub(super) fn zeros(name: String) -> NodeProto {
    NodeProto {
        name: Some(name),
        op_type: Some("Sub".to_owned()),
        input: vec![INPUT_IDS.to_owned(); 2],
        output: vec![TOKEN_TYPES.to_owned()],
        ..NodeProto::default()
    }
}

/// Whether token types are an input of a graph.
#[must_use]
pub fn takes_types(model: &ModelProto) -> bool {
    model.graph.iter().flat_map(|graph| &graph.input).any(|input| input.name() == TOKEN_TYPES)
}

/// Makes the token types an input of a graph that makes them itself; says whether they are one now. They are
/// not in a graph that knows of none.
pub fn take_types(model: &mut ModelProto) -> bool {
    let Some(graph) = model.graph.as_mut() else { return false };
    let made = |node: &NodeProto| NodeProto { name: node.name.clone(), ..zeros(String::new()) } == *node;
    if let Some(place) = graph.node.iter().position(made)
        && let Some(mask) = graph.input.iter().find(|input| input.name() == ATTENTION_MASK)
    {
        let mut types = mask.clone();
        types.name = Some(TOKEN_TYPES.to_owned());
        graph.input.push(types);
        graph.node.remove(place);
    }
    takes_types(model)
}
