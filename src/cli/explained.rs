//! Owns how `predict --explain` writes what speaks for labels: windows of a text, or its words.

use frosthead::internal::classifier::{TaskPrediction, WindowLogits, WordLogits};
use frosthead::internal::data::RecordValue;
use frosthead::internal::heads::Head;

/// What speaks for labels, task by task.
pub(super) enum Why {
    Windows(Vec<Vec<WindowLogits>>),
    Words(Vec<Vec<WordLogits>>),
}

/// The logits of the shown labels: the text's, and each window's with its place, or what each word adds to
/// them.
pub(super) fn explained<'r>(
    head: &Head,
    prediction: &TaskPrediction,
    shown: &[usize],
    (why, task): (&Why, usize),
) -> [RecordValue<'r>; 2] {
    let named = |logits: &[f32]| -> serde_json::Value {
        let pairs = shown.iter().map(|&label| (head.labels[label].clone(), shortest(logits[label]).into()));
        serde_json::Value::Object(pairs.collect())
    };
    let window = |(span, logits): &WindowLogits| {
        let (start, end) = (span.bytes.start, span.bytes.end);
        serde_json::json!({"start": start, "end": end, "tokens": span.tokens, "logits": named(logits)})
    };
    let word = |word: &WordLogits| serde_json::json!({"pieces": word.pieces, "logits": named(&word.logits)});
    let parts = match why {
        Why::Windows(windows) => windows[task].iter().map(window).collect(),
        Why::Words(words) => strongest_first(&words[task], prediction.label).into_iter().map(word).collect(),
    };
    [RecordValue::Json(named(&prediction.logits)), RecordValue::Json(parts)]
}

/// Words by what they add to a label against the mean of all, the largest distance first.
fn strongest_first(words: &[WordLogits], label: usize) -> Vec<&WordLogits> {
    let strength = |word: &WordLogits| {
        // A single number is not compared with others.
        let others = word.logits.len().max(1) as f32;
        let mean = if others > 1.0 { word.logits.iter().sum::<f32>() / others } else { 0.0 };
        (word.logits[label] - mean).abs()
    };
    let mut sorted: Vec<&WordLogits> = words.iter().collect();
    sorted.sort_by(|a, b| strength(b).total_cmp(&strength(a)));
    sorted
}

/// The f64 whose shortest decimal form is the f32's: 0.97 stays 0.97 in the output.
pub(super) fn shortest(number: f32) -> f64 {
    number.to_string().parse().unwrap_or_else(|_| f64::from(number))
}
