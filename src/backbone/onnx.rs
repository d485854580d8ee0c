//! Owns importing an ONNX encoder made elsewhere: its inputs are brought to the project's names, pooling is
//! appended.
//!
//! Refuses to look inside: a foreign graph has one cut (after pooling), and its operators are run as they
//! came.

use std::path::{Path, PathBuf};

use super::decided::{Content, ImportOptions, Limits, Plan, inputs, open_tokenizer, origin, preparation};
use super::manifest::{FORMAT, Manifest, Preparation, Source};
use super::sentence_transformers::{self, Card, Stated};
use super::trial::Foreign;
use super::{EMBEDDING_GRAPH, MANIFEST, TOKENIZER, length, source as files};
use crate::encoder::{Architecture, ForeignEncoder, TokenStates};
use crate::error::{Error, Kind, Result};

/// Checks an `.onnx` file and prepares its import.
///
/// The tokenizer and the sentence-transformers files are looked for beside the file and one directory up,
/// where exporters put them.
///
/// # Errors
/// It is not an encoder frosthead can feed, or its tokenizer is not found.
pub(super) fn plan(source: &Path, options: &ImportOptions) -> Result<Plan> {
    if source.extension().is_none_or(|extension| extension != "onnx") {
        return Err(Error::new(Kind::Usage, "this file cannot be imported")
            .at(source)
            .expected("a Hugging Face directory or an .onnx file"));
    }
    let beside = source.parent().unwrap_or(Path::new("."));
    let above = beside.join("..");
    let directories = [beside, above.as_path()];
    files::check(source)?;
    let tokenizer_path = tokenizer_of(source, &directories, options)?;
    let tokenizer = open_tokenizer(&tokenizer_path, None)?;
    let (mut encoder, card) = encoder_and_card(source, &directories, options)?;
    let positions = length::positions(&directories)?;
    let pad_token_id = tokenizer.pad_token_id().unwrap_or(0);
    let limits = Limits { positions, pad_token_id, pooled: encoder.output().pooled, dense: false };
    let (preparation, notes) =
        preparation(&card, options, &tokenizer, limits).map_err(|error| error.or_at(source))?;
    let data = external_files(&mut encoder, beside);
    // Without anything that says how long texts may be, the limit is only what a network of this kind mostly
    // can do.
    let any_length = options.max_length.is_none() && card.lengths.is_empty();
    let bytes = encoder.with_pooling(preparation.pooling.unwrap_or_default(), preparation.normalize)?;
    let output = encoder.output().clone();
    let preparation = Preparation { pooling: preparation.pooling.filter(|_| !output.pooled), ..preparation };
    let mut files: Vec<&Path> = vec![source, &tokenizer_path];
    files.extend(data.iter().map(|(_, path)| path.as_path()));
    let inputs = inputs(&files, &preparation)?;
    Ok(Plan {
        manifest: Manifest {
            format: FORMAT,
            name: String::new(),
            architecture: Architecture::opaque(),
            hidden_size: output.width,
            preparation,
            source: Source {
                family: None,
                origin: origin(source, options),
                output: Some(output.name.clone()),
                licence: card.licence,
                inputs,
            },
            files: std::collections::BTreeMap::new(),
        },
        weights: Content::Graph {
            bytes,
            data,
            foreign: Box::new(Foreign { encoder, any_length, unscaled: options.normalize == Some(false) }),
        },
        tokenizer: tokenizer_path,
        notes,
    })
}

fn tokenizer_of(source: &Path, directories: &[&Path], options: &ImportOptions) -> Result<PathBuf> {
    if let Some(path) = &options.tokenizer {
        return Ok(path.clone());
    }
    let paths = directories.iter().map(|directory| directory.join(TOKENIZER));
    paths.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        Error::new(Kind::Model, "the ONNX file has no tokenizer beside it")
            .at(source)
            .expected("tokenizer.json in the same directory or the one above")
            .help("say --tokenizer FILE")
    })
}

/// The graph, its output chosen by what the user and the model's own files say of pooling; and those files.
fn encoder_and_card(
    source: &Path,
    directories: &[&Path; 2],
    options: &ImportOptions,
) -> Result<(ForeignEncoder, Card)> {
    let card = sentence_transformers::read(sentence_transformers::root(directories))?;
    let states = match &card.pooling {
        _ if options.pooling.is_some() => TokenStates::Required,
        // What a module does that cannot be rebuilt here, a graph of the whole model does itself.
        Stated::Pooling(..) if card.unsupported.is_none() => TokenStates::Preferred,
        _ => TokenStates::NotWanted,
    };
    let encoder = ForeignEncoder::open(source, states)?;
    Ok((encoder, card))
}

/// The files that hold a graph's weights: their names in the backbone, where those of its own are taken, and
/// where they lie.
fn external_files(encoder: &mut ForeignEncoder, beside: &Path) -> Vec<(String, PathBuf)> {
    let names: Vec<String> = encoder.external_files().map(str::to_owned).collect();
    let file = |name: String| {
        let path = beside.join(&name);
        if ![MANIFEST, TOKENIZER, EMBEDDING_GRAPH].contains(&name.as_str()) {
            return (name, path);
        }
        let mut other = format!("weights.{name}");
        while encoder.external_files().any(|file| file == other) {
            other.insert_str(0, "weights.");
        }
        encoder.move_external(&name, &other);
        (other, path)
    };
    names.into_iter().map(file).collect()
}
