//! Owns the trial that ends an import: what was made is run, before it appears under its name.
//!
//! Refuses a network that cannot do what every use of it takes for granted: texts of every length up to the
//! limit, every id of the tokenizer, batches of every size, finite numbers; and the same bits for a text
//! whatever its batch and padding.

mod compare;
mod refusals;

use std::path::Path;
use std::time::Instant;

use super::manifest::Manifest;
use super::{EMBEDDING_GRAPH, LAYERS_GRAPH, STANDARD_GRAPH, TOKENIZER};
use crate::encoder::ForeignEncoder;
use crate::encoder::ports;
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::runtime::{Input, Runtime, Session, Tensor, Values};
use crate::tokens::Tokenizer;
use compare::{Difference, same_but_for_rounding};
use refusals::Refusals;

/// Tokens of the text that shorter ones are run beside.
const MEDIUM: usize = 48;
/// No batch is shorter than that.
const SHORTEST: usize = 4;
/// How far from 1 the lengths of embeddings may be that a graph has scaled.
const LENGTH_TOLERANCE: f64 = 1e-3;

/// What is not known of a graph made elsewhere until it runs.
pub(super) struct Foreign {
    pub encoder: ForeignEncoder,
    /// Nobody has said how long texts may be: the graph decides.
    pub any_length: bool,
    /// Somebody has said that embeddings shall not be scaled to length 1.
    pub unscaled: bool,
}

/// What an import was tried with, and what that told.
#[derive(Debug, Clone, Default)]
pub struct TrialReport {
    /// Batches that were run.
    pub batches: usize,
    /// What the user should know.
    pub notes: Vec<String>,
    pub seconds: f64,
}

/// An import that is tried.
pub(super) struct Trial<'t> {
    pub runtime: &'t Runtime,
    /// What it was made from, for messages.
    pub source: &'t Path,
    /// Where its files are.
    pub directory: &'t Path,
    /// None for a checkpoint.
    pub foreign: Option<&'t Foreign>,
}

/// Texts as token ids.
struct Texts {
    empty: Vec<u32>,
    short: Vec<u32>,
    /// As long as the short one.
    other: Vec<u32>,
    medium: Vec<u32>,
    /// As long as texts may be.
    full: Vec<u32>,
    /// Nothing but the largest id, beside the special ones.
    largest: Vec<u32>,
}

/// What texts are made of: the ids that stand before and behind each, and those of words.
struct Words {
    special: (Vec<u32>, Vec<u32>),
    ordinary: Vec<u32>,
    /// The largest there is.
    largest: u32,
    empty: Vec<u32>,
}

impl Words {
    fn of(tokenizer: &Tokenizer, manifest: &Manifest) -> Result<Self> {
        let preparation = &manifest.preparation;
        let (before, behind) = tokenizer.special_ids();
        let size = u32::try_from(tokenizer.vocabulary_size()).unwrap_or(u32::MAX);
        let special =
            |id: &u32| before.contains(id) || behind.contains(id) || *id == preparation.pad_token_id;
        let mut ordinary: Vec<u32> = (0..size).filter(|id| !special(id)).collect();
        if ordinary.is_empty() {
            ordinary.push(preparation.pad_token_id);
        }
        let encoded = tokenizer.encode(&[preparation.prefix.as_str()], preparation.max_length)?;
        Ok(Self {
            special: (before.to_vec(), behind.to_vec()),
            ordinary,
            largest: size.saturating_sub(1),
            empty: encoded.ids(0).to_vec(),
        })
    }

    /// A text of so many tokens, or as many as its special ones need, from words that lie apart.
    fn text(&self, tokens: usize, apart: usize) -> Vec<u32> {
        let room = tokens.saturating_sub(self.special.0.len() + self.special.1.len()).max(1);
        let word = |place: usize| self.ordinary[(place * apart.max(1)) % self.ordinary.len()];
        self.with_special((0..room).map(word).collect())
    }

    fn with_special(&self, words: Vec<u32>) -> Vec<u32> {
        [&self.special.0[..], &words, &self.special.1].concat()
    }

    fn texts(&self, max_length: usize) -> Texts {
        let apart = self.ordinary.len() / 7 + 1;
        let short = max_length.min(self.special.0.len() + self.special.1.len() + 3);
        Texts {
            empty: self.empty.clone(),
            short: self.text(short, 1),
            other: self.text(short, apart),
            medium: self.text(max_length.min(MEDIUM), apart),
            full: self.text(max_length, apart),
            largest: self.with_special(vec![self.largest]),
        }
    }
}

/// A loaded graph, with what every batch for it is made of and measured by.
struct Runner {
    session: Session,
    /// The output that is looked at.
    output: String,
    pad: i64,
    max_length: usize,
    batches: usize,
}

impl Runner {
    /// Runs some texts as one batch, padded to the longest or to `length`.
    fn run(&mut self, texts: &[&[u32]], length: usize) -> Result<Tensor> {
        let longest = texts.iter().map(|text| text.len()).max().unwrap_or(0);
        let length = longest.max(length).max(SHORTEST.min(self.max_length));
        let mut ids = vec![self.pad; texts.len() * length];
        let mut mask = vec![0; texts.len() * length];
        for (row, text) in texts.iter().enumerate() {
            for (place, id) in text.iter().enumerate() {
                ids[row * length + place] = i64::from(*id);
                mask[row * length + place] = 1;
            }
        }
        let shape = [texts.len(), length];
        let inputs = [
            Input { name: ports::INPUT_IDS, shape: &shape, values: Values::I64(&ids) },
            Input { name: ports::ATTENTION_MASK, shape: &shape, values: Values::I64(&mask) },
        ];
        self.batches += 1;
        Ok(self.session.run(&inputs, &[&self.output])?.remove(0))
    }

    fn runs(&mut self, text: &[u32]) -> bool {
        self.run(&[text], 0).is_ok()
    }
}

/// The largest of `low ..= high` that will do; `low` does, and whatever is smaller than one that does, does
/// too.
fn largest(low: usize, high: usize, mut will_do: impl FnMut(usize) -> bool) -> usize {
    let (mut low, mut high) = (low, high);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if will_do(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

impl Trial<'_> {
    /// Runs what was imported; writes what only a run can tell into the manifest.
    ///
    /// # Errors
    /// ONNX Runtime cannot load it, or it cannot do what a backbone must.
    pub(super) fn run(&self, manifest: &mut Manifest) -> Result<TrialReport> {
        let start = Instant::now();
        let mut report = TrialReport::default();
        let tokenizer = Tokenizer::open(&self.directory.join(TOKENIZER))?;
        let words = Words::of(&tokenizer, manifest).map_err(|error| error.at(self.source))?;
        if let Some(foreign) = self.foreign {
            self.check_shape(foreign, manifest, &words)?;
        }
        let mut runner = self.load(EMBEDDING_GRAPH, manifest)?;
        self.check_ids(&mut runner, &words)?;
        let full = self.check_lengths(&mut runner, &words, manifest, &mut report)?;
        let texts = words.texts(manifest.preparation.max_length);
        let (mut rows, worst) = self.compare(&mut runner, &texts)?;
        if let Some(difference) = worst {
            report.batches += runner.batches;
            let known = std::mem::take(&mut rows);
            (runner, rows) = self.put_sums_in_order(manifest, &texts, &known, difference)?;
            report.notes.push(
                "the graph pools by sums whose last bits depend on the batch; their terms are added in the order of the tokens"
                    .to_owned(),
            );
        }
        rows.push(full);
        self.see_scale(&rows, manifest, &mut report)?;
        report.batches += runner.batches;
        if manifest.encoder().is_some() {
            report.batches += self.check_others(manifest, &texts, &rows[0])?;
        }
        report.seconds = start.elapsed().as_secs_f64();
        Ok(report)
    }

    fn refusals(&self) -> Refusals<'_> {
        Refusals {
            source: self.source,
            directory: self.directory,
            foreign: self.foreign,
            version: self.runtime.version(),
        }
    }

    fn load(&self, name: &str, manifest: &Manifest) -> Result<Runner> {
        let session = self.runtime.session(&self.directory.join(name));
        self.runner(session, ports::EMBEDDING, manifest)
    }

    fn runner(&self, session: Result<Session>, output: &str, manifest: &Manifest) -> Result<Runner> {
        Ok(Runner {
            session: session.map_err(|error| self.refusals().cannot_load(&error))?,
            output: output.to_owned(),
            pad: i64::from(manifest.preparation.pad_token_id),
            max_length: manifest.preparation.max_length,
            batches: 0,
        })
    }

    /// Checks that a foreign graph's output has the shape that it declares.
    fn check_shape(&self, foreign: &Foreign, manifest: &Manifest, words: &Words) -> Result<()> {
        let (graph, output) = foreign.encoder.bare()?;
        let session = self.runtime.session_from_memory(&graph, self.directory);
        let mut runner = self.runner(session, &output, manifest)?;
        let text = words.texts(runner.max_length).short;
        // Ids and batches that it cannot run are told apart later, by the graph that is used.
        let Ok(alone) = runner.run(&[&text], 0) else { return Ok(()) };
        let together = runner.run(&[&text, &text, &text], 0);
        let length = text.len().max(SHORTEST.min(runner.max_length));
        for (batch, found) in [(1, Some(alone)), (3, together.ok())] {
            let Some(Tensor { shape, .. }) = found else { continue };
            let mut expected = vec![batch, length, foreign.encoder.output().width];
            if foreign.encoder.output().pooled {
                expected.remove(1);
            }
            if shape != expected {
                return Err(self.refusals().other_shape(foreign, &shape, &expected));
            }
        }
        Ok(())
    }

    /// Runs the smallest ids and the largest, a text alone and two together.
    fn check_ids(&self, runner: &mut Runner, words: &Words) -> Result<()> {
        let texts = words.texts(runner.max_length);
        let plain: Vec<u32> = words.ordinary.iter().copied().take(2).collect();
        let failed = [&texts.short, &texts.largest].into_iter().find_map(|text| runner.run(&[text], 0).err());
        if let Some(error) = failed {
            if !runner.runs(&plain) {
                return Err(self.refusals().does_not_run(&error));
            }
            let low = plain.iter().copied().max().unwrap_or(0) as usize;
            let known = largest(low, words.largest as usize, |id| {
                u32::try_from(id).is_ok_and(|id| runner.runs(&[id, id]))
            });
            return Err(if known < words.largest as usize {
                self.refusals().unknown_id(words.largest, known, &error)
            } else {
                self.refusals().does_not_run(&error)
            });
        }
        runner
            .run(&[&texts.short, &texts.other], 0)
            .map(drop)
            .map_err(|error| self.refusals().one_text_at_a_time(&error))
    }

    /// Runs a text of full length, and the empty one; returns the row of the first. When nobody has said how
    /// long texts may be, the longest that runs is the limit.
    fn check_lengths(
        &self,
        runner: &mut Runner,
        words: &Words,
        manifest: &mut Manifest,
        report: &mut TrialReport,
    ) -> Result<Vec<f32>> {
        let apart = words.ordinary.len() / 7 + 1;
        let limit = manifest.preparation.max_length;
        let mut full = words.text(limit, apart);
        let found = match runner.run(&[&full], 0) {
            Ok(found) => found,
            Err(error) => {
                let shortest = words.texts(limit).short.len();
                let longest = largest(shortest, limit, |tokens| runner.runs(&words.text(tokens, apart)));
                if !self.foreign.is_some_and(|foreign| foreign.any_length) || longest == limit {
                    return Err(self.refusals().too_long(limit, longest, &error));
                }
                report.notes.push(format!(
                    "nothing says how long its texts may be; the graph runs {longest} tokens at most, so that is the limit"
                ));
                manifest.preparation.max_length = longest;
                runner.max_length = longest;
                full = words.text(longest, apart);
                runner.run(&[&full], 0).map_err(|error| self.refusals().does_not_run(&error))?
            }
        };
        let tokens = format!("a text of {} tokens", full.len());
        self.refusals().check_finite(&found.data, &tokens)?;
        let empty = words.texts(limit).empty;
        let of_empty = runner.run(&[&empty], 0).map_err(|error| self.refusals().does_not_run(&error))?;
        self.refusals().check_finite(&of_empty.data, "an empty text")?;
        Ok(found.data)
    }

    /// Keeps a graph that differs in the last bits of its own pooling alone, with the terms of its sums in a
    /// fixed order, when that gives the same numbers but for rounding, and in every company. Returns it with
    /// the texts' rows.
    fn put_sums_in_order(
        &self,
        manifest: &mut Manifest,
        texts: &Texts,
        known: &[Vec<f32>],
        difference: Difference,
    ) -> Result<(Runner, Vec<Vec<f32>>)> {
        let refused = || self.refusals().other_bits(difference);
        let foreign = self.foreign.filter(|_| difference.is_rounding()).ok_or_else(refused)?;
        let normalize = manifest.preparation.normalize;
        let bytes = foreign.encoder.with_ordered_sums(normalize)?.ok_or_else(refused)?;
        let path = self.directory.join(EMBEDDING_GRAPH);
        std::fs::write(&path, &bytes).map_err(|source| Error::io("write", &path, source))?;
        let mut runner = self.load(EMBEDDING_GRAPH, manifest)?;
        // Sums that were no sums over tokens do not run, or give something else.
        let Ok((rows, None)) = self.compare(&mut runner, texts) else { return Err(refused()) };
        if !same_but_for_rounding(known, &rows) {
            return Err(refused());
        }
        manifest.files.insert(EMBEDDING_GRAPH.to_owned(), Fingerprint::of_file(&path)?);
        Ok((runner, rows))
    }

    /// What only the embeddings of a pooled output tell: whether the graph scales them to length 1.
    fn see_scale(&self, rows: &[Vec<f32>], manifest: &mut Manifest, report: &mut TrialReport) -> Result<()> {
        let Some(foreign) =
            self.foreign.filter(|foreign| foreign.encoder.output().pooled && !manifest.preparation.normalize)
        else {
            return Ok(());
        };
        let length = |row: &Vec<f32>| row.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
        if rows.iter().any(|row| (length(row) - 1.0).abs() > LENGTH_TOLERANCE) {
            return Ok(());
        }
        if foreign.unscaled {
            return Err(self.refusals().scaled(foreign));
        }
        report.notes.push("the graph scales its embeddings to length 1 itself".to_owned());
        manifest.preparation.normalize = true;
        Ok(())
    }

    /// Runs the other graphs of a checkpoint on one text, whose embedding is known.
    fn check_others(&self, manifest: &Manifest, texts: &Texts, embedding: &[f32]) -> Result<usize> {
        let failed = |error: Error| self.refusals().does_not_run(&error);
        let mut layers = self.load(LAYERS_GRAPH, manifest)?;
        let same = layers.run(&[&texts.short], 0).map_err(failed)?;
        if same.data != embedding {
            return Err(self.refusals().other_graph(LAYERS_GRAPH));
        }
        layers.output = ports::LAYER_MEANS.to_owned();
        let means = layers.run(&[&texts.short], 0).map_err(failed)?;
        self.refusals().check_finite(&means.data, "the layers of a text")?;
        let mut standard = self.load(STANDARD_GRAPH, manifest)?;
        let near = standard.run(&[&texts.short], 0).map_err(failed)?;
        self.refusals().check_finite(&near.data, "a text, by the graph of standard operators")?;
        Ok(layers.batches + standard.batches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_that_will_do_is_found() {
        for limit in 3..40 {
            let mut tried = 0;
            let found = largest(3, 512, |number| {
                tried += 1;
                number <= limit
            });
            assert_eq!(found, limit);
            assert!(tried <= 9, "{tried}");
        }
        assert_eq!(largest(5, 5, |_| false), 5);
        assert_eq!(largest(5, 9, |_| true), 9);
    }

    #[test]
    fn texts_are_as_long_as_they_are_asked_to_be_and_hold_the_special_ids() {
        let words = Words {
            special: (vec![101], vec![102]),
            ordinary: (1..90).collect(),
            largest: 102,
            empty: vec![101, 102],
        };
        for tokens in [3, 4, 48, 512] {
            let text = words.text(tokens, 13);
            assert_eq!((text.len(), text[0], text[tokens - 1]), (tokens, 101, 102));
        }
        let texts = words.texts(512);
        assert_eq!((texts.short.len(), texts.other.len(), texts.medium.len()), (5, 5, MEDIUM));
        assert_eq!(texts.largest, [101, 102, 102]);
        assert_ne!(texts.short, texts.other);
        assert_eq!(words.texts(3).medium.len(), 3);
    }
}
