//! Owns the variant that was chosen, until it is bundled.

use std::collections::HashMap;
use std::sync::Arc;

use super::rows::{Features, RunRows};
use crate::backbone::Backbone;
use crate::bundle::{self, Validation, ValidationTask};
use crate::classifier::Run;
use crate::data::Part;
use crate::files::Scratch;
use crate::heads::{Head, WordLogits};
use crate::task::Target;

/// A variant to bundle, and where its weights lie until then.
pub struct Chosen {
    pub variant: bundle::Variant,
    /// The part of the run's backbone that it is made of.
    pub backbone: Arc<Backbone>,
    /// Removed when it is dropped.
    pub(super) _folder: Scratch,
    /// What its heads see of the run's texts …
    pub(super) features: Features,
    /// … and the heads, whose words have the same places as these.
    pub(super) heads: Vec<Head>,
}

impl RunRows {
    /// The validation rows as the heads see them: those of a chosen variant, or the run's own.
    #[must_use]
    pub fn validation(&self, run: &Run, chosen: Option<&Chosen>) -> Validation {
        let (features, heads) = match chosen {
            Some(chosen) => (&chosen.features, &chosen.heads),
            None => (&self.features, &run.heads),
        };
        let valid: Vec<usize> =
            (0..self.parts.len()).filter(|&row| self.parts[row] == Some(Part::Valid)).collect();
        let of_head = |(task, head): (usize, &Head)| {
            let labelled = self.of_task(run, task, &[Part::Valid]);
            // A label that training never saw stays one: a head fitted anew may know it.
            let mut labels = [&head.labels[..], &labelled.unseen[..]].concat();
            labels.sort();
            let place = |label: u32| -> Option<u32> {
                let name = labelled.name(&head.labels, label);
                labels
                    .binary_search_by(|other| other.as_str().cmp(name))
                    .ok()
                    .and_then(|place| u32::try_from(place).ok())
            };
            let placed = labelled.rows.iter().zip(&labelled.targets);
            let truth: HashMap<usize, Option<Target>> =
                placed.map(|(row, target)| (*row, target.placed(place))).collect();
            ValidationTask {
                task: head.task.clone(),
                kind: head.kind,
                truth: valid.iter().map(|row| truth.get(row).cloned().flatten()).collect(),
                columns: features.columns[task].clone(),
                words: WordLogits::of(heads[task].words.as_ref(), features.rows.words(), &valid),
                labels,
            }
        };
        let tasks = run.heads.iter().enumerate().map(of_head).collect();
        Validation::new(&features.rows, &valid, tasks)
    }
}
