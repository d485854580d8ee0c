//! Owns the estimate of a scenario before it is run: time and disk, from a measured frozen pass over a
//! sample.
//!
//! Refuses to be exact: a training step is taken as three forward passes over the layers above the cut (one
//! forward, one backward to the inputs, one to the weights), and every epoch as if none ended early.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use crate::backbone::Backbone;
use crate::data::{CellForm, TableReader, labels_in};
use crate::dataset::Input;
use crate::embed::{EmbedOptions, Embedder, Extractor};
use crate::encoder::{FeatureChoice, Network, Start};
use crate::error::{Error, Kind, Result};
use crate::heads::{Alpha, SCREENED_ROWS};
use crate::plan::{FreezePlan, Scenario as Freezing};
use crate::report::Estimate;
use crate::runtime::Load;
use crate::store::TokenStates;
use crate::text::{AsText, OwnedText, Text};
use crate::train::{RowsRequest, StatesRequest, TrainRequest};

/// Texts in the sample, at least when there are so many.
const SAMPLE: usize = 256;
/// Bytes of a sampled text that are kept: more than any backbone reads of one.
const SAMPLED_BYTES: usize = 64 << 10;
/// Texts in a timed pass, and seconds after which no other is begun.
const PASS: usize = 64;
const PASS_SECONDS: f64 = 3.0;
/// Forward passes that a training step is worth.
const STEP: f64 = 3.0;
/// Seconds for one parameter in one update (AdamW, and feeding it to the graph); derived from few figures on
/// two cores.
const UPDATE: f64 = 2.5e-9;
/// Seconds for one number of a row and one label in a fit; measured on the demo data.
const FIT: f64 = 1.2e-7;
/// Fits of the rows that it looks at that `--alpha auto` is worth.
const AUTOMATIC: f64 = 6.0;
/// Fits on all rows that judging a bundle takes: three folds before and after, and held out once more.
const JUDGED: f64 = 7.0;
/// Seconds for reading the rows, measuring, and writing a run, at least.
const RUN: f64 = 1.0;

/// The size of the rows, read once: what estimates are made from.
#[derive(Clone, Debug, Default)]
pub(super) struct Survey {
    /// Texts from all over the tables.
    sample: Vec<OwnedText>,
    /// Rows of the data, and of own validation and test tables.
    rows: [u64; 3],
    /// Different labels per task.
    labels: Vec<usize>,
}

impl Survey {
    /// Reads all tables of a request.
    ///
    /// # Errors
    /// A table is malformed or lacks a column.
    pub fn read(request: &RowsRequest) -> Result<Self> {
        let mut survey = Self::default();
        let kept = request.tasks.columns();
        let mut labels: Vec<BTreeSet<String>> = vec![BTreeSet::new(); kept.len()];
        let inputs = [Some(&request.data), request.valid.as_ref(), request.test.as_ref()];
        let mut step = 1;
        for (rows, input) in survey.rows.iter_mut().zip(inputs) {
            let Some(input) = input else { continue };
            let Input::Texts { source, columns } = input else { return Err(no_texts()) };
            let mut reader = TableReader::open(source)?;
            let text = reader.text(columns)?;
            let tasks = kept.iter().map(|kept| reader.kept(kept)).collect::<Result<Vec<_>>>()?;
            loop {
                let read = reader.read(4096, 4 << 20)?;
                if read.is_empty() {
                    break;
                }
                for row in read {
                    for ((labels, &column), kept) in labels.iter_mut().zip(&tasks).zip(&kept) {
                        let cell = kept.read(&row.cells[column]).map_err(|error| error.row(row.number))?;
                        match (&kept.form, cell) {
                            (CellForm::Label, Some(label)) => labels.extend([label]),
                            (CellForm::Labels { .. }, Some(list)) => labels.extend(labels_in(&list)),
                            (CellForm::Number, _) => labels.extend([kept.name.clone()]),
                            (_, None) => {}
                        }
                    }
                    if rows.is_multiple_of(step) {
                        survey.sample.push(beginning(text.of(&row)));
                    }
                    *rows += 1;
                    // Twice too many: every second is kept from here on.
                    if survey.sample.len() == 2 * SAMPLE {
                        let mut place = 0;
                        survey.sample.retain(|_| {
                            place += 1;
                            place % 2 == 1
                        });
                        step *= 2;
                    }
                }
            }
        }
        survey.labels = labels.iter().map(BTreeSet::len).collect();
        Ok(survey)
    }

    /// Rows of all tables.
    pub fn all(&self) -> u64 {
        self.rows.iter().sum()
    }

    /// Texts from all over the tables: what bundles are timed on.
    pub fn texts(&self) -> Vec<Text<'_>> {
        self.sample.iter().map(AsText::as_text).take(SAMPLE).collect()
    }

    /// Rows that are trained on, and rows that are validated or tested with.
    fn parts(&self, request: &RowsRequest) -> (f64, f64) {
        let [data, valid, test] = self.rows.map(to_f64);
        let kept = |other: &Option<Input>, fraction: f64| if other.is_some() { 1.0 } else { 1.0 - fraction };
        let trained = data
            * kept(&request.test, request.split.test_fraction)
            * kept(&request.valid, request.split.valid_fraction);
        (trained, data + valid + test - trained)
    }
}

/// The beginning of a text, or of both of a pair, which is all that a timed pass reads of it.
fn beginning(text: Text<'_>) -> OwnedText {
    let of = |text: &str| text[..text.floor_char_boundary(SAMPLED_BYTES)].to_owned();
    OwnedText { first: of(text.first), second: text.second.map(of) }
}

fn no_texts() -> Error {
    Error::new(Kind::Usage, "a comparison needs texts")
        .found("a table of features")
        .help("give a table of texts: scenarios beyond 2 train the layers that read them")
}

/// What a backbone costs on this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Costs {
    pub texts_per_second: f64,
    tokens_per_text: f64,
    /// Of a frozen pass through the whole backbone.
    seconds_per_token: f64,
}

impl Costs {
    /// Measures a frozen pass over the sample; nothing is stored.
    ///
    /// # Errors
    /// There are no rows, or the network cannot be run.
    pub fn measure(embedder: &Embedder, survey: &Survey) -> Result<Self> {
        let texts = &survey.sample;
        if texts.is_empty() {
            return Err(Error::new(Kind::Table, "there are no rows").expected("a table with labelled texts"));
        }
        // The whole pass, whatever is stored of it.
        let (stored, batching) = (FeatureChoice::All, embedder.batching());
        let options = EmbedOptions { stored, batching, load: Load::Many, ..EmbedOptions::default() };
        let backbone = Arc::clone(embedder.backbone());
        let mut extractor = Extractor::new(backbone, embedder.runtime(), &options)?;
        // ONNX Runtime allocates for each shape when it first sees it: the first pass does not count.
        let first = &texts[..texts.len().min(PASS)];
        extractor.extract(first, &mut |_, _| Ok(()))?;
        let tokens_before = extractor.work().tokens;
        let (mut done, start) = (0, Instant::now());
        for pass in texts.chunks(PASS) {
            extractor.extract(pass, &mut |_, _| Ok(()))?;
            done += pass.len() as u64;
            if start.elapsed().as_secs_f64() > PASS_SECONDS {
                break;
            }
        }
        let seconds = start.elapsed().as_secs_f64().max(1e-6);
        let tokens = to_f64(extractor.work().tokens - tokens_before).max(1.0);
        Ok(Self {
            texts_per_second: to_f64(done) / seconds,
            tokens_per_text: tokens / to_f64(done),
            seconds_per_token: seconds / tokens,
        })
    }

    /// Seconds and bytes of a scenario, from texts that have features but no token states.
    pub fn estimate(
        &self,
        request: &TrainRequest,
        survey: &Survey,
        backbone: &Backbone,
        plans: &[FreezePlan],
    ) -> Result<Estimate> {
        let hidden = backbone.manifest().hidden_size;
        let (trained, held) = survey.parts(&request.rows);
        let heads: usize = survey.labels.iter().map(|labels| labels * (hidden + 1)).sum();
        let mut estimate =
            Estimate { seconds: RUN, bytes: survey.all() * 16 + 4 * heads as u64 + (64 << 10) };
        if plans.last().is_some_and(|plan| plan.scenario() != Freezing::Frozen) {
            // `auto` features are compared on a sample: one fit of the widest choice is about what that
            // takes, all in all.
            let screened = trained.min(to_f64(SCREENED_ROWS as u64));
            let rows = match (request.learning.features.states, request.learning.fit.alpha) {
                (StatesRequest::Auto, _) => {
                    trained * to_f64(backbone.layers().map_or(1, |layers| layers + 1) as u64)
                }
                (StatesRequest::Choice(_), Alpha::Auto) => trained + AUTOMATIC * screened,
                (StatesRequest::Choice(_), Alpha::Fixed(_)) => trained,
            };
            estimate.seconds += FIT * rows * to_f64(heads as u64);
        }
        let inner: Vec<&FreezePlan> =
            plans.iter().filter(|plan| plan.scenario() == Freezing::Network).collect();
        if inner.is_empty() {
            return Ok(estimate);
        }
        let Network { config, weights, .. } = backbone.network()?;
        for plan in inner {
            let (all_layers, cut) = (to_f64(config.layers.max(1) as u64), first_layer(plan));
            let above = (all_layers - to_f64(cut as u64)) / all_layers * self.seconds_per_token;
            let (trained, held) = (trained * self.tokens_per_text, held * self.tokens_per_text);
            let epochs = to_f64(request.layers.epochs);
            let steps = trained / to_f64(request.layers.train_tokens as u64);
            let parameters = to_f64(weights.parameters(plan.tensors(weights)));
            let epoch = STEP * above * trained + above * held + UPDATE * parameters * steps;
            estimate.seconds += epochs * epoch + above * held;
            if let Some(Start::States(_)) = plan.cut() {
                let below = to_f64(cut as u64) / all_layers * self.seconds_per_token;
                estimate.seconds += below * (trained + held);
                estimate.bytes += self.state_bytes(survey, hidden, request);
            }
        }
        let trained: BTreeSet<String> = plans.iter().flat_map(|plan| plan.tensors(weights)).collect();
        estimate.bytes += 4 * weights.parameters(&trained);
        Ok(estimate)
    }

    /// Of a bundle of so many of the layers: `passes` of the network over all texts, and `bytes`, its size.
    /// What follows for each of its heads is a fit for every fold, twice.
    pub fn bundle(
        &self,
        survey: &Survey,
        request: &RowsRequest,
        backbone: &Backbone,
        (share, passes, bytes): (f64, f64, u64),
    ) -> Estimate {
        let (trained, _) = survey.parts(request);
        let numbers = backbone.manifest().hidden_size * backbone.layers().map_or(1, |layers| layers + 1);
        let heads: usize = survey.labels.iter().map(|labels| labels * (numbers + 1)).sum();
        let pass = to_f64(survey.all()) / self.texts_per_second * share;
        let fits = JUDGED * FIT * trained * to_f64(heads as u64);
        Estimate { seconds: RUN + passes * pass + fits, bytes }
    }

    fn state_bytes(&self, survey: &Survey, hidden: usize, request: &TrainRequest) -> u64 {
        let tokens = (to_f64(survey.all()) * self.tokens_per_text) as u64;
        TokenStates::space_needed(survey.all(), tokens, hidden, request.layers.states)
    }
}

/// The lowest layer that is run in training.
fn first_layer(plan: &FreezePlan) -> usize {
    match plan.cut() {
        Some(Start::States(layer)) => layer,
        _ => 0,
    }
}

pub(super) fn to_f64(number: u64) -> f64 {
    number as f64
}
