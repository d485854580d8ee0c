//! Owns the places of a `tokenizer.json` outside the vocabulary where an id stands.
//!
//! Refuses added tokens, whose ids the library finds by their texts.

use serde_json::Value;

use crate::error::Result;

/// What is done with an id, of which the part of the file is said that it stands in.
type Visit<'a> = dyn FnMut(&'static str, &mut Value) -> Result<()> + 'a;

/// Visits every id that the template puts around a text, the padding's, and Unigram's unknown one.
pub(super) fn each(file: &mut Value, visit: &mut Visit) -> Result<()> {
    if let Some(part) = file.get_mut("post_processor") {
        each_in_template(part, visit)?;
    }
    for (part, name) in [("padding", "pad_id"), ("model", "unk_id")] {
        if let Some(id) = file.get_mut(part).and_then(|part| part.get_mut(name)).filter(|id| !id.is_null()) {
            visit(part, id)?;
        }
    }
    Ok(())
}

fn each_in_template(part: &mut Value, visit: &mut Visit) -> Result<()> {
    const PART: &str = "post_processor";
    // `BertProcessing`, `RobertaProcessing`: a text and its id.
    for name in ["cls", "sep"] {
        if let Some(id) = part.get_mut(name).and_then(|token| token.get_mut(1)) {
            visit(PART, id)?;
        }
    }
    // `TemplateProcessing`.
    let tokens = part.get_mut("special_tokens").and_then(Value::as_object_mut);
    for token in tokens.into_iter().flat_map(serde_json::Map::values_mut) {
        for id in token.get_mut("ids").and_then(Value::as_array_mut).into_iter().flatten() {
            visit(PART, id)?;
        }
    }
    // `Sequence`.
    let steps = part.get_mut("processors").and_then(Value::as_array_mut);
    steps.into_iter().flatten().try_for_each(|step| each_in_template(step, visit))
}
