//! Owns the numbers of a graph made elsewhere that lie in other files: which files, and whether all of it is
//! there.
//!
//! Refuses files that are not beside the model, are missing, or are shorter than the graph says.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::graph::proto::{GraphProto, TensorProto};
use crate::graph::{External, bytes_of, is_external};

/// Files that hold initializers, with the last byte that one of them needs and whose it is.
pub(super) type Files = BTreeMap<String, (u64, String)>;

/// The files that the graph's initializers lie in.
pub(super) fn files(graph: &GraphProto) -> Result<Files> {
    let mut files = Files::new();
    gather(graph, &mut files)?;
    Ok(files)
}

fn gather(graph: &GraphProto, files: &mut Files) -> Result<()> {
    for tensor in graph.initializer.iter().filter(|tensor| is_external(tensor)) {
        let said = tensor.external_data.iter().find(|entry| entry.key() == "location");
        let location = said.map_or("", |entry| entry.value());
        let plain = Path::new(location).file_name().is_some_and(|name| name == location);
        if !plain {
            return Err(Error::new(Kind::Model, "the graph keeps weights in a place that is not beside it")
                .tensor(tensor.name())
                .found(format!("{location:?}"))
                .expected("the name of a file in the same directory")
                .help("save the model again with its weights beside it: onnx.save_model(onnx.load(…), …, save_as_external_data=True)"));
        }
        let place = place(tensor)?;
        let end = place.offset.saturating_add(place.length);
        let needed = files.entry(location.to_owned()).or_insert_with(|| (end, tensor.name().to_owned()));
        if end > needed.0 {
            *needed = (end, tensor.name().to_owned());
        }
    }
    let attributes = graph.node.iter().flat_map(|node| &node.attribute);
    attributes
        .flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
        .try_for_each(|inner| gather(inner, files))
}

/// Where a tensor lies; a graph need not say how long it is, for its shape does.
fn place(tensor: &TensorProto) -> Result<External> {
    let length = bytes_of(tensor);
    let place = External::of(tensor).filter(|place| length.is_none_or(|length| length == place.length));
    place.ok_or_else(|| {
        Error::new(Kind::Model, "a weight does not say properly where it lies")
            .tensor(tensor.name())
            .found(External::said(tensor))
            .expected(length.map_or_else(
                || "location, offset and length".to_owned(),
                |length| format!("location, offset, and a length of {length} bytes"),
            ))
            .help("export the model again")
    })
}

/// Checks that every file is there, beside the model, and long enough.
pub(super) fn check(files: &Files, model: &Path) -> Result<()> {
    let beside = model.parent().unwrap_or(Path::new("."));
    for (name, (end, tensor)) in files {
        let path = beside.join(name);
        let length = match std::fs::metadata(&path) {
            Ok(file) => file.len(),
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::new(Kind::Model, "the file with the graph's weights is missing")
                    .at(&path)
                    .expected(format!("the weights that {:?} keeps there", model.display().to_string()))
                    .help("download it too, and put it beside the .onnx file under just this name"));
            }
            Err(source) => return Err(Error::io("read", path, source)),
        };
        if length < *end {
            return Err(Error::new(Kind::Model, "the file with the graph's weights is cut off")
                .at(&path)
                .tensor(tensor)
                .found(format!("{length} bytes"))
                .expected(format!("at least {end}"))
                .help(
                    "its download was not finished, or it is a Git LFS pointer: download it again (in its repository: \
                     `git lfs install && git lfs pull`)",
                ));
        }
    }
    Ok(())
}

/// Makes a graph look for the numbers of one file in another.
pub(super) fn rename(graph: &mut GraphProto, from: &str, to: &str) {
    for tensor in graph.initializer.iter_mut().filter(|tensor| is_external(tensor)) {
        for entry in &mut tensor.external_data {
            if entry.key() == "location" && entry.value() == from {
                entry.value = Some(to.to_owned());
            }
        }
    }
    for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
        attribute.g.iter_mut().chain(&mut attribute.graphs).for_each(|inner| rename(inner, from, to));
    }
}
