//! Owns how `predict --explain` writes what speaks for labels: windows of a text, or its words.

use clap::ValueEnum;

use frosthead::internal::classifier::{TaskPrediction, WindowLogits, WordLogits};
use frosthead::internal::data::RecordValue;
use frosthead::internal::heads::Head;

/// What `--explain` explains a prediction by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Explain {
    Windows,
    Words,
}

impl Explain {
    /// What its column is called, behind the task.
    pub(super) fn column(self) -> &'static str {
        match self {
            Self::Windows => "windows",
            Self::Words => "words",
        }
    }
}

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

/// Words by what they add to a label against the mean of all, the largest distance first; behind them what
/// the tokenizer puts around every text, which says nothing of this one.
fn strongest_first(words: &[WordLogits], label: usize) -> Vec<&WordLogits> {
    let strength = |word: &WordLogits| {
        // A single number is not compared with others.
        let others = word.logits.len().max(1) as f32;
        let mean = if others > 1.0 { word.logits.iter().sum::<f32>() / others } else { 0.0 };
        (word.logits[label] - mean).abs()
    };
    let mut sorted: Vec<&WordLogits> = words.iter().collect();
    sorted.sort_by(|a, b| a.around.cmp(&b.around).then(strength(b).total_cmp(&strength(a))));
    sorted
}

/// The f64 whose shortest decimal form is the f32's: 0.97 stays 0.97 in the output.
pub(super) fn shortest(number: f32) -> f64 {
    number.to_string().parse().unwrap_or_else(|_| f64::from(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_around_every_text_comes_last() {
        let word = |piece: &str, around, logits: [f32; 2]| WordLogits {
            pieces: vec![piece.to_owned()],
            around,
            logits: logits.to_vec(),
        };
        let words = [
            word("[CLS]", true, [9.0, 0.0]),
            word("dull", false, [0.1, 0.0]),
            word("great", false, [2.0, 0.0]),
        ];
        let sorted: Vec<&str> =
            strongest_first(&words, 0).into_iter().map(|word| word.pieces[0].as_str()).collect();
        assert_eq!(sorted, ["great", "dull", "[CLS]"]);
    }
}
