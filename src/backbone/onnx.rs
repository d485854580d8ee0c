//! Owns importing an ONNX encoder made elsewhere: its inputs are brought to the project's names, pooling is appended.
//!
//! Refuses to look inside: a foreign graph has one cut (after pooling), and its operators are run as they came.

use std::path::{Path, PathBuf};

use super::import::{Content, ImportOptions, Limits, Plan, inputs, origin, preparation};
use super::manifest::{Architecture, FORMAT, Manifest, Source};
use super::{TOKENIZER, sentence_transformers};
use crate::bert::{ForeignEncoder, Pooling};
use crate::error::{Error, Kind, Result};
use crate::tokens::Tokenizer;

/// Checks an `.onnx` file and prepares its import.
///
/// The tokenizer and the sentence-transformers files are looked for beside the file and one directory up, where exporters
/// put them.
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
    let tokenizer_path = match &options.tokenizer {
        Some(path) => path.clone(),
        None => directories
            .iter()
            .map(|directory| directory.join(TOKENIZER))
            .find(|path| path.is_file())
            .ok_or_else(|| {
                Error::new(Kind::Model, "the ONNX file has no tokenizer beside it")
                    .at(source)
                    .expected("tokenizer.json in the same directory or the one above")
                    .help("say --tokenizer FILE")
            })?,
    };
    let tokenizer = Tokenizer::open(&tokenizer_path)?;
    let encoder = ForeignEncoder::open(source)?;
    let cards = directories.iter().find(|directory| directory.join("modules.json").is_file());
    let card = sentence_transformers::read(cards.copied().unwrap_or(beside))?;
    let limits = Limits { positions: None, pad_token_id: tokenizer.pad_token_id().unwrap_or(0) };
    let preparation = preparation(&card, options, &tokenizer, limits)?;
    if encoder.is_pooled() && preparation.pooling == Pooling::Cls && options.pooling.is_some() {
        return Err(Error::new(Kind::Usage, "the graph's output is pooled already")
            .at(source)
            .help("leave --pooling away"));
    }
    let bytes = encoder.with_pooling(preparation.pooling, preparation.normalize)?;
    let data: Vec<(String, PathBuf)> =
        encoder.external_files().iter().map(|name| (name.clone(), beside.join(name))).collect();
    let mut files: Vec<&Path> = vec![source, &tokenizer_path];
    files.extend(data.iter().map(|(_, path)| path.as_path()));
    let inputs = inputs(&files, &preparation)?;
    Ok(Plan {
        manifest: Manifest {
            format: FORMAT,
            name: String::new(),
            architecture: Architecture::Onnx,
            hidden_size: encoder.hidden_size(),
            preparation,
            source: Source { origin: origin(source, options), licence: card.licence, inputs },
            files: std::collections::BTreeMap::new(),
        },
        weights: Content::Graph { bytes, data },
        tokenizer: tokenizer_path,
    })
}
