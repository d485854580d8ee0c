//! Owns the golden sentences and the self-test: does the network say here what it said where the bundle was
//! made?
//!
//! Refuses a bundle whose numbers are off by more than its manifest allows.

use std::ops::Range;
use std::time::Instant;

use serde::Serialize;

use super::Bundle;
use super::contents::Golden;
use crate::embed::{Extractor, RowParts};
use crate::encoder::ports;
use crate::error::{Error, Kind, Result};
#[cfg(feature = "train")]
use crate::text::{OwnedText, Text};

/// Written for this purpose: short, ordinary, and with what tokenizers trip over.
#[cfg(feature = "train")]
const SENTENCES: [&str; 3] = [
    "The meeting was moved to Thursday.",
    "Great phone, but the battery died after 2 days :-( would not buy again!",
    "A naïve plot, yet the café scene in the second half — quiet, funny and far too short — stays with you longer than \
     anything else this director has made since 1998.",
];

/// The sentences, or, for who reads pairs, each with the one that follows it.
#[cfg(feature = "train")]
pub(super) fn sentences(pairs: bool) -> Vec<Text<'static>> {
    let next = SENTENCES.iter().cycle().skip(1);
    let sentences = SENTENCES.iter().zip(next);
    sentences.map(|(&first, &second)| Text { first, second: pairs.then_some(second) }).collect()
}

/// What a self-test found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SelfTest {
    pub sentences: usize,
    /// The largest difference, as a share of the largest number of its vector.
    pub largest_difference: f32,
    pub tolerance: f32,
    pub seconds: f64,
}

/// What the network says of the sentences.
#[cfg(feature = "train")]
pub(super) fn golden(extractor: &mut Extractor, tasks: &[String], texts: &[Text<'_>]) -> Result<Vec<Golden>> {
    let parts = extractor.parts().clone();
    let place = |name: &str| parts.place(name).unwrap_or_default();
    let mut found = Vec::new();
    // One by one: a batch of all would take more memory than the first texts of most users.
    for text in texts {
        extractor.extract(&[text], &mut |_, row| {
            let OwnedText { first, second } = text.owned();
            found.push(Golden {
                text: first,
                second,
                embedding: row[place(ports::EMBEDDING)].to_vec(),
                logits: tasks.iter().map(|task| row[place(&ports::logits(task))].to_vec()).collect(),
            });
            Ok(())
        })?;
    }
    Ok(found)
}

impl Bundle {
    /// Runs the golden sentences. `extractor` is [`Bundle::extractor`]'s, or any other of this bundle's
    /// backbone: what its rows hold is compared.
    ///
    /// # Errors
    /// A number is further off than the manifest allows, or running fails.
    pub fn self_test(&self, extractor: &mut Extractor) -> Result<SelfTest> {
        let start = Instant::now();
        let places = self.places(extractor.parts());
        let golden = &self.contents.golden;
        let mut worst = (0.0, "", "");
        for sentence in golden {
            extractor.extract(&[sentence], &mut |_, row| {
                for (name, place, vector) in &places {
                    let difference = difference(&row[place.clone()], vector(sentence));
                    // Not a number is worse than anything.
                    if difference > worst.0 || difference.is_nan() {
                        worst = (difference, name, &sentence.text);
                    }
                }
                Ok(())
            })?;
        }
        let tolerance = self.manifest().tolerance;
        // Written so that not a number fails.
        if worst.0 <= tolerance {
            let seconds = start.elapsed().as_secs_f64();
            return Ok(SelfTest { sentences: golden.len(), largest_difference: worst.0, tolerance, seconds });
        }
        Err(Error::new(Kind::Bundle, "the bundle computes other numbers here than where it was made")
            .at(self.path())
            .found(format!("a difference of {:.1e} in {:?} of {:?}", worst.0, worst.1, worst.2))
            .expected(format!("at most {tolerance:.1e}"))
            .help("this processor or ONNX Runtime computes its products differently: use another version of ONNX Runtime or a \
                   bundle of --precision fp32; --skip-self-test goes on regardless"))
    }

    /// What can be compared: a name, where it lies in a row, and the golden vector.
    fn places(&self, parts: &RowParts) -> Vec<(String, Range<usize>, GoldenVector)> {
        let embedding: (String, GoldenVector) =
            (ports::EMBEDDING.to_owned(), Box::new(|sentence| &sentence.embedding));
        let heads = self.heads.iter().enumerate().map(|(task, head)| {
            let vector: GoldenVector = Box::new(move |sentence: &Golden| &sentence.logits[task]);
            (ports::logits(&head.task), vector)
        });
        let all = std::iter::once(embedding).chain(heads);
        all.filter_map(|(name, vector)| Some((name.clone(), parts.place(&name)?, vector))).collect()
    }
}

type GoldenVector = Box<dyn Fn(&Golden) -> &[f32]>;

/// The largest difference as a share of the largest expected number.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    let scale = expected.iter().fold(f32::MIN_POSITIVE, |most, number| most.max(number.abs()));
    let differences = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs() / scale);
    differences.fold(0.0, |most, share| if share > most || share.is_nan() { share } else { most })
}
