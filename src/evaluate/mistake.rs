//! Owns what is wrong with an answer, by the kind of its task.
//!
//! Refuses to choose the rows.

use crate::classifier::most_probable;
use crate::heads::Head;
use crate::task::{Target, TaskKind, Truth};

/// A row that was labelled wrongly.
#[derive(Debug, Clone)]
pub struct Mistake {
    /// Row number, from 1.
    pub row: usize,
    pub task: String,
    pub truth: String,
    pub predicted: String,
    /// Probability of the wrong label; of several labels that of the one that is the most wrong, missed ones
    /// by what is left to 1; none of a number.
    pub probability: Option<f32>,
    /// How bad it is: that, or how far a number is off, against the others of the task.
    pub(super) weight: f64,
}

/// What is wrong with an answer; nothing where it is right. Of numbers, whatever is not exact: they are
/// sorted by how far they are off.
pub(super) fn mistake(head: &Head, (truth, target): (&Truth, &Target), answer: &[f32]) -> Option<Mistake> {
    let (row, task) = (0, head.task.clone());
    let named = |labels: &[u32]| {
        let names: Vec<&str> = labels.iter().map(|label| truth.name(&head.labels, *label)).collect();
        if names.is_empty() { "(none)".to_owned() } else { names.join(", ") }
    };
    match head.kind {
        TaskKind::OneOf => {
            let (predicted, label) = (most_probable(answer), target.label());
            let probability = answer[predicted];
            (predicted != label).then(|| Mistake {
                row,
                task,
                truth: truth.name(&head.labels, label as u32).to_owned(),
                predicted: head.labels[predicted].clone(),
                probability: Some(probability),
                weight: f64::from(probability),
            })
        }
        TaskKind::AnyOf => {
            let limits = head.believed.limits();
            let answered = |label: usize| head.kind.answers(limits, label, answer[label]);
            let predicted: Vec<u32> =
                (0..).take(answer.len()).filter(|label| answered(*label as usize)).collect();
            let wrong = (0_u32..).zip(answer).filter_map(|(label, p)| {
                let is = target.labels().contains(&label);
                (is != answered(label as usize)).then_some(if is { 1.0 - p } else { *p })
            });
            let unknown =
                target.labels().iter().filter(|label| **label as usize >= answer.len()).map(|_| 1.0);
            let probability = wrong.chain(unknown).max_by(f32::total_cmp)?;
            Some(Mistake {
                row,
                task,
                truth: named(target.labels()),
                predicted: named(&predicted),
                probability: Some(probability),
                weight: f64::from(probability),
            })
        }
        TaskKind::Number => {
            let weight = (f64::from(answer[0]) - target.number()).abs();
            (weight > 0.0).then(|| Mistake {
                row,
                task,
                truth: target.number().to_string(),
                predicted: answer[0].to_string(),
                probability: None,
                weight,
            })
        }
    }
}
