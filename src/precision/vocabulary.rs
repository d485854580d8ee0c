//! Owns which word pieces a bundle keeps, and what leaving out the others costs on texts that were not looked
//! at when they were chosen.
//!
//! Refuses to call a vocabulary harmless for the texts that it was made of: these lose nothing by
//! construction.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::cut::Cut;
use super::gate::Judged;
use super::report::VocabularyReport;
use super::request::{PrecisionRequest, VocabularyChoice};
use crate::backbone::Backbone;
use crate::classifier::probabilities;
use crate::data::Part;
use crate::embed::{EmbedOptions, Extractor, FeatureRows, RowLayout, covering, words_of_fewer_pieces};
use crate::error::{Error, Kind, Result};
use crate::heads::{self, Examples};
use crate::selection::{Judging, Loss};
use crate::text::{AsText, OwnedText, Text};
use crate::tokens::{Coverage, PieceCounts, Pruned, Vocabulary};

/// A smaller vocabulary, and one to measure what such a vocabulary costs.
pub(super) struct Kept {
    pruned: Pruned,
    measured: Pruned,
    /// Rows of the run that were not looked at for `measured` …
    held_out: Vec<usize>,
    /// … and those of them whose pieces are others now.
    changed: Vec<usize>,
    pub report: VocabularyReport,
}

impl Kept {
    /// Chooses the pieces, and looks at the texts that were held out.
    ///
    /// # Errors
    /// The tokenizer cannot be made smaller, the file is not what it must be, or no text is left to measure
    /// on.
    pub fn choose(request: &PrecisionRequest<'_>, choice: &VocabularyChoice) -> Result<Self> {
        let backbone = request.backbone;
        let whole = Vocabulary::from_bytes(&backbone.tokenizer_bytes()?, backbone.directory())?;
        let of_parts = |parts: &[Part]| request.rows.rows_of(parts);
        let (valid, test) = (of_parts(&[Part::Valid]), of_parts(&[Part::Test]));
        // Where no validation row is left, the test rows are those that nobody looked at.
        let (held_out, named, looked_at) = match (valid.is_empty(), test.is_empty()) {
            (false, _) => (valid, "validation", of_parts(&[Part::Train])),
            (true, false) => (test, "test", of_parts(&[Part::Train])),
            (true, true) => return Err(nothing_held_out(request)),
        };
        let known = of_parts(&[Part::Train, Part::Valid]);
        let prune = |rows: &[usize]| whole.prune(&chosen(request, &whole, choice, rows)?);
        let (pruned, measured) = (prune(&known)?, prune(&looked_at)?);
        let (mut coverage, mut changed) = (Coverage::default(), Vec::new());
        for &row in &held_out {
            let mut of_row = Coverage::default();
            of_row.add(whole.tokenizer(), &measured, 1, &[text(request, row)])?;
            if of_row.same == 0 {
                changed.push(row);
            }
            coverage += of_row;
        }
        let mut own = Coverage::default();
        let texts: Vec<OwnedText> = known.iter().map(|&row| text(request, row)).collect();
        own.add(whole.tokenizer(), &pruned, request.threads, &texts)?;
        let (pieces, of) = (pruned.rows.len(), whole.tokenizer().vocabulary_size());
        let report = VocabularyReport { pieces, of, held_out: named, coverage, use_now: own.after };
        Ok(Self { pruned, measured, held_out, changed, report })
    }

    /// A network with the pieces that are kept.
    ///
    /// # Errors
    /// Its word table is not known.
    pub fn applied(&self, backbone: &Arc<Backbone>) -> Result<Arc<Backbone>> {
        with(backbone, &self.pruned)
    }

    /// What texts that were not looked at cost each task, in fp32: heads are fitted on the training rows, and
    /// answer the held-out ones with all pieces and with those that are left.
    ///
    /// # Errors
    /// A fit or the network fails.
    pub fn losses(
        &self,
        request: &PrecisionRequest<'_>,
        cut: &Cut,
        judged: &[Judged<'_>],
    ) -> Result<BTreeMap<String, Loss>> {
        let stored = request.embedder.layout();
        let stored = cut.backbone.layers().map_or(stored, |layers| stored.to_depth(layers));
        let columns = cut.columns(&stored)?;
        let rows = request.embedder.read_rows(&request.rows.keys, covering(&columns))?;
        let mut fewer = rows.clone();
        self.replace(request, cut, &columns, &mut fewer)?;
        let mut losses = BTreeMap::new();
        for ((judged, fit), columns) in judged.iter().zip(&cut.fits).zip(&columns) {
            let Judged { task, head, .. } = judged;
            let of_part = |part| request.rows.of_task(request.run, *task, &[part]).known(head.labels.len());
            let mut fitted = (*head).clone();
            if let Some(fit) = fit {
                let train = of_part(Part::Train);
                let examples =
                    Examples { features: rows.view(columns), rows: &train.rows, targets: &train.targets };
                fitted = heads::fit(head.answers(), &examples, fit)?.0;
            }
            let part = if self.report.held_out == "test" { Part::Test } else { Part::Valid };
            let known = of_part(part);
            let judging = Judging::unseen(head.answers(), &known);
            let answers = |features: &FeatureRows| {
                judging.of(&probabilities(&fitted, features.view(columns), &known.rows))
            };
            losses.insert(head.task.clone(), answers(&fewer).loss(&answers(&rows)));
        }
        Ok(losses)
    }

    /// Computes the rows whose pieces are others now; all others are the same, to the bit.
    fn replace(
        &self,
        request: &PrecisionRequest<'_>,
        cut: &Cut,
        columns: &[Range<usize>],
        rows: &mut FeatureRows,
    ) -> Result<()> {
        let backbone = with(&cut.backbone, &self.measured)?;
        let (stored, long) = (cut.stored(), request.run.recipe.features.long);
        let layout = RowLayout::of(&backbone, stored);
        let options = EmbedOptions { stored, long, ..EmbedOptions::default() };
        let mut extractor = Extractor::new(backbone, request.runtime, &options)?;
        let texts: Vec<&OwnedText> = self.changed.iter().map(|&row| &request.rows.texts[row]).collect();
        let found = cut.columns(&layout)?;
        extractor.extract(&texts, &mut |index, row| {
            for (place, found) in columns.iter().zip(&found) {
                rows.put(self.changed[index], place, &row[found.clone()]);
            }
            Ok(())
        })?;
        if let Some(whole) = rows.words().cloned() {
            let reader = extractor.reader(long)?;
            let found = words_of_fewer_pieces(&reader, whole.grams(), &self.measured.rows, &texts)?;
            *rows = std::mem::take(rows).with_words(Some(whole.with(&self.changed, &found)));
        }
        Ok(())
    }

    /// Texts that were held out.
    pub fn held_out(&self) -> usize {
        self.held_out.len()
    }
}

/// The backbone with a vocabulary.
fn with(backbone: &Arc<Backbone>, pruned: &Pruned) -> Result<Arc<Backbone>> {
    let pieces = (pruned.bytes.clone(), pruned.rows.clone());
    Ok(Arc::new(Backbone::clone(backbone).with_pieces(pieces.0, pieces.1)?))
}

/// A row's text, or pair, as the network reads it.
fn text(request: &PrecisionRequest<'_>, row: usize) -> OwnedText {
    let text = request.rows.texts[row].as_text();
    let first = text.first_behind(&request.backbone.manifest().preparation.prefix);
    Text { first: &first, second: text.second }.owned()
}

/// The pieces to keep, by the use that these rows make of them.
fn chosen(
    request: &PrecisionRequest<'_>,
    whole: &Vocabulary,
    choice: &VocabularyChoice,
    rows: &[usize],
) -> Result<BTreeSet<u32>> {
    let listed = choice.file.as_deref().map(|file| whole.listed(file)).transpose()?;
    let mut counts = PieceCounts::default();
    if listed.is_none() || choice.most.is_some() {
        let texts: Vec<OwnedText> = rows.iter().map(|&row| text(request, row)).collect();
        counts.add(whole.tokenizer(), request.threads, &texts)?;
    }
    let mut chosen = match (listed, choice.most) {
        (None, None) => counts.used(),
        (None, Some(most)) => counts.most_frequent(most),
        (Some(listed), None) => listed,
        (Some(listed), Some(most)) => counts.only(&listed).most_frequent(most),
    };
    let preparation = request.backbone.manifest().preparation.pad_token_id;
    chosen.extend(request.backbone.config().map(|config| config.pad_token_id));
    chosen.insert(preparation);
    Ok(chosen)
}

fn nothing_held_out(request: &PrecisionRequest<'_>) -> Error {
    Error::new(Kind::Usage, "there is no text to measure a smaller vocabulary on")
        .at(&request.run.directory)
        .found("neither validation nor test rows")
        .expected("some that the vocabulary is not made of")
        .help("train the run with validation or test rows and without --final, or keep the whole vocabulary")
}
