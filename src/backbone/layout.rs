//! Owns finding the files of a model in the layouts that people have: a plain directory, sharded weights, a
//! transformer in a folder of its own, only an ONNX file, a hub's cache.
//!
//! Refuses formats that are not read, and says of each how it becomes one that is.

use std::path::{Path, PathBuf};

use super::source::{is_there, names};
use super::{MANIFEST, TOKENIZER, WEIGHTS};
use crate::error::{Error, Kind, Result};
use crate::recognize::shell_word;

/// The list of sharded weights.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// Where exporters put the graph, in a folder or beside the configuration.
pub(super) const GRAPHS: [&str; 2] = ["onnx/model.onnx", "model.onnx"];

/// The network of a model.
#[derive(Debug, PartialEq)]
pub(super) enum Network {
    /// A safetensors file, or the index of several.
    Checkpoint(PathBuf),
    /// An ONNX file, and what to say about the choice.
    Graph(PathBuf, Option<String>),
}

/// The directory that really holds a model: what was given, or, of a hub's cache
/// (`models--organisation--name`), its snapshot.
///
/// # Errors
/// The cache holds no snapshot, or several of which none is the main one; or the directory is a backbone
/// already.
pub(super) fn root(directory: &Path) -> Result<PathBuf> {
    if directory.join(MANIFEST).is_file() {
        return Err(Error::new(Kind::Usage, "this is a backbone already: it was imported before")
            .at(directory)
            .help("use it as it is (--backbone), or give the directory that it was imported from"));
    }
    let snapshots = directory.join("snapshots");
    if !snapshots.is_dir() {
        return Ok(directory.to_path_buf());
    }
    let main = std::fs::read_to_string(directory.join("refs/main")).ok();
    if let Some(main) = main.map(|revision| snapshots.join(revision.trim())).filter(|main| main.is_dir()) {
        return Ok(main);
    }
    let revisions = names(&snapshots);
    match &revisions[..] {
        [only] => Ok(snapshots.join(only)),
        several => {
            Err(Error::new(Kind::Model, "the hub's cache does not say which snapshot of the model to take")
                .at(&snapshots)
                .found(if several.is_empty() { "none".to_owned() } else { several.join(", ") })
                .expected("a snapshot that refs/main names")
                .help("give the directory of a snapshot itself"))
        }
    }
}

/// What to call a model by: organisation, name and revision of a snapshot in a hub's cache, else the name of
/// its directory or file.
pub(super) fn origin(source: &Path) -> String {
    let source = source.canonicalize().unwrap_or_else(|_| source.to_path_buf());
    let name = |path: Option<&Path>| {
        path.and_then(Path::file_name).map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    };
    let base = name(Some(&source));
    let snapshots = source.parent().filter(|above| name(Some(above)) == "snapshots");
    let cached = name(snapshots.and_then(Path::parent));
    match cached.strip_prefix("models--") {
        Some(id) => format!("{}@{base}", id.replace("--", "/")),
        None => base,
    }
}

/// The network in a model's directory, whose transformer lies in `folder` (mostly the same).
///
/// # Errors
/// There is none, or only in a format that is not read.
pub(super) fn network(root: &Path, folder: &Path) -> Result<Network> {
    if is_there(&folder.join("adapter_config.json")) {
        return Err(Error::new(Kind::Model, "this is an adapter, or has one: its numbers are not those of the model alone")
            .at(folder)
            .found("adapter_config.json")
            .help(
                "merge it into its model (peft: `merge_and_unload()`, then `save_pretrained`), and import the result",
            ));
    }
    for name in [WEIGHTS, INDEX] {
        if is_there(&folder.join(name)) {
            return Ok(Network::Checkpoint(folder.join(name)));
        }
    }
    match graph(root, folder)? {
        Some(graph) => Ok(graph),
        None => Err(no_network(folder, &names(folder))),
    }
}

/// An ONNX file, by its usual name or the only one.
fn graph(root: &Path, folder: &Path) -> Result<Option<Network>> {
    let places = if root == folder { vec![folder] } else { vec![folder, root] };
    let usual =
        places.iter().flat_map(|place| GRAPHS.map(|name| place.join(name))).find(|path| is_there(path));
    let mut all = Vec::new();
    for place in places.iter().flat_map(|place| [place.join("onnx"), place.to_path_buf()]) {
        let graphs = names(&place).into_iter().filter(|name| name.ends_with(".onnx"));
        all.extend(graphs.map(|name| place.join(name)));
    }
    let shown = |path: &Path| path.strip_prefix(root).unwrap_or(path).display().to_string();
    match (usual, &all[..]) {
        (Some(path), [_, _, ..]) => {
            let others: Vec<String> =
                all.iter().filter(|other| **other != path).map(|other| shown(other)).collect();
            let note =
                format!("took {}, not {}: give a file itself to choose", shown(&path), others.join(", "));
            Ok(Some(Network::Graph(path, Some(note))))
        }
        (Some(path), _) => Ok(Some(Network::Graph(path, None))),
        (None, [only]) => {
            let note = format!("took {}, the only ONNX file", shown(only));
            Ok(Some(Network::Graph(only.clone(), Some(note))))
        }
        (None, []) => Ok(None),
        (None, several) => {
            Err(Error::new(Kind::Model, "the directory has several ONNX files, none of them `model.onnx`")
                .at(root)
                .found(several.iter().map(|path| shown(path)).collect::<Vec<_>>().join(", "))
                .help("give the file that you want itself"))
        }
    }
}

/// The error of a folder with these files, which has no network that is read: the format that it has instead,
/// and what to do.
pub(super) fn no_network(folder: &Path, names: &[String]) -> Error {
    // What training leaves behind beside the weights.
    let states = ["training_args", "optimizer", "scheduler", "rng_state"];
    let weights = || names.iter().filter(|name| !states.iter().any(|state| name.starts_with(state)));
    let first = |of: &dyn Fn(&str) -> bool| weights().find(|name| of(name)).cloned();
    let torch = format!("convert them: `{}` writes {WEIGHTS}", saved_again("AutoModel", folder));
    let renamed = "if it holds the encoder's weights by their names (a state dict), call it pytorch_model.bin and import again";
    let other =
        "take the model's safetensors, or convert it to PyTorch's format first and that to safetensors";
    let shards = |name: &str| name.starts_with("model-") && name.ends_with(".safetensors");
    type Named<'n> = &'n dyn Fn(&str) -> bool;
    let formats: [(Named<'_>, &str, &str); 7] = [
        (
            &shards,
            "parts of sharded weights without their index",
            "download model.safetensors.index.json too",
        ),
        (
            &|name| name.ends_with(".safetensors"),
            "safetensors by another name",
            "call it model.safetensors if it is the encoder",
        ),
        (&|name| name.starts_with("pytorch_model") && name.ends_with(".bin"), "PyTorch weights", &torch),
        (
            &|name| name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth"),
            "PyTorch weights by another name",
            renamed,
        ),
        (&|name| name.ends_with(".h5") || name.contains(".ckpt"), "TensorFlow weights", other),
        (&|name| name.ends_with(".msgpack"), "Flax weights", other),
        (
            &|name| name.ends_with(".gguf") || name.ends_with(".ggml"),
            "GGUF weights, which are quantised for llama.cpp",
            other,
        ),
    ];
    for (of, what, help) in formats {
        if let Some(name) = first(of) {
            return Error::new(Kind::Model, format!("the directory has no `{WEIGHTS}`, only {what}"))
                .at(folder)
                .found(name)
                .expected("model.safetensors, its index and parts, or an ONNX file")
                .help(help);
        }
    }
    incomplete(folder, names, WEIGHTS, "the weights")
}

/// A file that a model cannot do without.
///
/// # Errors
/// It is not there.
pub(super) fn required(folder: &Path, name: &str, what: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    if is_there(&path) { Ok(path) } else { Err(incomplete(folder, &names(folder), name, what)) }
}

/// The tokenizer, in the first of these folders that has one.
///
/// # Errors
/// None has; what is there instead is named.
pub(super) fn tokenizer(folders: &[&Path]) -> Result<PathBuf> {
    if let Some(path) = folders.iter().map(|folder| folder.join(TOKENIZER)).find(|path| is_there(path)) {
        return Ok(path);
    }
    let folder = folders.iter().find(|folder| slow_tokenizer(&names(folder)).is_some()).or(folders.first());
    let folder = folder.copied().unwrap_or(Path::new("."));
    Err(no_tokenizer(folder, &names(folder)))
}

/// The error of a folder with these files, none of which is a tokenizer that is read.
pub(super) fn no_tokenizer(folder: &Path, names: &[String]) -> Error {
    let Some(slow) = slow_tokenizer(names) else {
        return incomplete(folder, names, TOKENIZER, "the tokenizer");
    };
    Error::new(Kind::Model, format!("the directory has no `{TOKENIZER}`, only a slow tokenizer's files"))
        .at(folder)
        .found(slow)
        .help(format!("convert it: `{}` writes {TOKENIZER}", saved_again("AutoTokenizer", folder)))
}

/// The command by which transformers reads a directory and writes it in today's format.
fn saved_again(class: &str, folder: &Path) -> String {
    let place = folder.display().to_string();
    format!(
        "python3 -c 'import sys, transformers; transformers.{class}.from_pretrained(sys.argv[1])\
         .save_pretrained(sys.argv[1])' {}",
        shell_word(&place)
    )
}

fn slow_tokenizer(names: &[String]) -> Option<&str> {
    let slow = ["vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model"];
    slow.into_iter().find(|slow| names.iter().any(|name| name == slow))
}

fn incomplete(folder: &Path, names: &[String], name: &str, what: &str) -> Error {
    const SHOWN: usize = 8;
    let mut found: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    if names.len() > SHOWN {
        found.push("…");
    }
    Error::new(Kind::Model, format!("the directory has no `{name}`: {what}"))
        .at(folder)
        .found(if found.is_empty() { "nothing".to_owned() } else { found.join(", ") })
        .expected("config.json, model.safetensors and tokenizer.json")
        .help("download the complete model, or convert it to safetensors")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for name in files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "content").unwrap();
        }
        directory
    }

    /// What is found in a directory of these files, its path relative.
    fn found(files: &[&str]) -> Result<(String, Option<String>)> {
        let directory = directory(files);
        let relative = |path: PathBuf| path.strip_prefix(directory.path()).unwrap().display().to_string();
        network(directory.path(), directory.path()).map(|network| match network {
            Network::Checkpoint(path) => (relative(path), None),
            Network::Graph(path, note) => (relative(path), note),
        })
    }

    #[test]
    fn weights_come_before_graphs_and_one_file_before_shards() {
        let all = ["model.safetensors", INDEX, "onnx/model.onnx", "pytorch_model.bin"];
        assert_eq!(found(&all).unwrap(), ("model.safetensors".to_owned(), None));
        assert_eq!(found(&all[1..]).unwrap().0, INDEX);
        assert_eq!(found(&all[2..]).unwrap(), ("onnx/model.onnx".to_owned(), None));
    }

    #[test]
    fn of_several_graphs_the_one_by_the_usual_name_is_taken_and_said() {
        let (path, note) = found(&["onnx/model.onnx", "onnx/model_O4.onnx", "model_quantized.onnx"]).unwrap();
        let note = note.unwrap();
        assert_eq!(path, "onnx/model.onnx");
        assert!(note.contains("onnx/model_O4.onnx") && note.contains("model_quantized.onnx"), "{note}");
        assert_eq!(found(&["model.onnx"]).unwrap(), ("model.onnx".to_owned(), None));
        let (path, note) = found(&["onnx/model_fp16.onnx"]).unwrap();
        assert!(path == "onnx/model_fp16.onnx" && note.unwrap().contains("only ONNX file"));
        let error = found(&["onnx/a.onnx", "onnx/b.onnx"]).unwrap_err().to_string();
        assert!(error.contains("onnx/a.onnx, onnx/b.onnx"), "{error}");
    }

    #[test]
    fn formats_that_are_not_read_are_named_with_what_to_do() {
        for (file, what, help) in [
            ("pytorch_model.bin", "PyTorch", "save_pretrained"),
            ("pytorch_model-00001-of-00002.bin", "PyTorch", "save_pretrained"),
            ("model.pt", "by another name", "pytorch_model.bin"),
            ("tf_model.h5", "TensorFlow", "safetensors"),
            ("bert_model.ckpt.index", "TensorFlow", "safetensors"),
            ("flax_model.msgpack", "Flax", "safetensors"),
            ("ggml-model-q4_0.gguf", "GGUF", "safetensors"),
            ("model-00001-of-00002.safetensors", "without their index", INDEX),
            ("encoder.safetensors", "by another name", "model.safetensors"),
            ("adapter_config.json", "adapter", "merge"),
            ("README.md", "no `model.safetensors`", "complete"),
        ] {
            let error = found(&[file]).unwrap_err();
            assert!(error.to_string().contains(what) && error.to_string().contains(file), "{error}");
            assert!(error.remedy().unwrap().contains(help), "{error}");
        }
    }

    #[test]
    fn a_hubs_cache_leads_to_its_snapshot() {
        let files = ["snapshots/aa/config.json", "snapshots/bb/config.json"];
        let cache = directory(&files);
        let model = cache.path().join("models--org--some-model");
        std::fs::create_dir(&model).unwrap();
        std::fs::rename(cache.path().join("snapshots"), model.join("snapshots")).unwrap();
        let error = root(&model).unwrap_err().to_string();
        assert!(error.contains("aa/, bb/"), "{error}");
        std::fs::create_dir(model.join("refs")).unwrap();
        std::fs::write(model.join("refs/main"), "bb\n").unwrap();
        let snapshot = root(&model).unwrap();
        assert_eq!(snapshot, model.join("snapshots/bb"));
        assert_eq!(origin(&snapshot), "org/some-model@bb");
        assert_eq!(root(&snapshot).unwrap(), snapshot);
        assert_eq!(origin(&model), "models--org--some-model");
    }

    #[test]
    fn a_slow_tokenizer_is_named_with_what_to_do() {
        let slow = directory(&["vocab.txt"]);
        let error = tokenizer(&[slow.path()]).unwrap_err();
        assert!(error.to_string().contains("vocab.txt") && error.remedy().unwrap().contains("AutoTokenizer"));
        let fast = directory(&["tokenizer.json"]);
        assert_eq!(tokenizer(&[slow.path(), fast.path()]).unwrap(), fast.path().join("tokenizer.json"));
    }
}
