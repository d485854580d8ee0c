//! Owns one pass of a frozen backbone over texts: tokenise, sort into batches, run, take the rows out in
//! input order.
//!
//! Refuses to remember anything: what is stored, and whether a text needs computing, is `Embedder`'s work.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::ids::{buckets, check_kind, encode, prefixed, windows};
use super::layout::{RowLayout, RowParts};
use super::options::EmbedOptions;
use super::reader::Reader;
use super::windowed::{Round, Sum, WindowNotes};
use crate::backbone::Backbone;
use crate::encoder::ports;
use crate::error::{Error, Kind, Result};
use crate::runtime::{Input, Runtime, Session, Sessions, Values};
use crate::text::{AsText, Text, as_texts};
use crate::tokens::{
    Batch, Batching, Buckets, Encoded, LongTexts, Lost, Tokens, Truncation, Windows, batches,
};

/// What a backbone was made to do.
#[derive(Debug, Clone, Default)]
pub struct Work {
    /// Texts that went through the network.
    pub texts: u64,
    /// Their real tokens.
    pub tokens: u64,
    /// Tokens computed, padding and fill rows included.
    pub padded_tokens: u64,
    /// Distinct input shapes `(rows, length)` and how often each ran.
    pub shapes: BTreeMap<(usize, usize), u64>,
    /// Seconds inside ONNX Runtime; of sessions that ran side by side, their mean.
    pub runtime_seconds: f64,
    /// What was cut off at the maximum length.
    pub truncation: Truncation,
    /// Texts that were read in several windows.
    pub windowed: WindowNotes,
}

/// A loaded backbone that turns texts into rows.
pub struct Extractor {
    backbone: Arc<Backbone>,
    sessions: Sessions,
    parts: RowParts,
    batching: Batching,
    /// Those of the batching.
    buckets: Buckets,
    /// How long texts are cut into windows; none: their end is cut off.
    windows: Option<Windows>,
    work: Work,
}

impl Extractor {
    /// Loads the graph that computes rows of the wanted layout.
    ///
    /// # Errors
    /// The graph cannot be loaded, or the backbone's texts cannot be read in such windows.
    pub fn new(backbone: Arc<Backbone>, runtime: &Runtime, options: &EmbedOptions) -> Result<Self> {
        let layout = RowLayout::of(&backbone, options.stored);
        let sessions = backbone.sessions(runtime, layout.outputs(), options.load)?;
        Self::with_sessions(backbone, sessions, RowParts::of(&layout), options)
    }

    /// Takes rows out of any graph with the backbone's inputs: these outputs, `[batch, width]` each.
    ///
    /// # Errors
    /// The backbone's texts cannot be read in such windows.
    pub fn with_sessions(
        backbone: Arc<Backbone>,
        sessions: Sessions,
        parts: RowParts,
        options: &EmbedOptions,
    ) -> Result<Self> {
        let windows = windows(&backbone, options.long)?;
        let (batching, work) = (options.batching, Work::default());
        let buckets = buckets(&backbone, windows.as_ref(), batching.spacing);
        Ok(Self { sessions, parts, buckets, backbone, batching, windows, work })
    }

    /// What a row is made of.
    #[must_use]
    pub fn parts(&self) -> &RowParts {
        &self.parts
    }

    /// The backbone whose texts it reads.
    #[must_use]
    pub fn backbone(&self) -> &Backbone {
        &self.backbone
    }

    /// How many batches run side by side.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.count()
    }

    /// The lengths batches are padded to.
    #[must_use]
    pub fn buckets(&self) -> &Buckets {
        &self.buckets
    }

    /// How texts are put into batches.
    #[must_use]
    pub fn batching(&self) -> Batching {
        self.batching
    }

    /// Puts texts into other batches from now on.
    pub fn set_batching(&mut self, batching: Batching) {
        self.buckets = buckets(&self.backbone, self.windows.as_ref(), batching.spacing);
        self.batching = batching;
    }

    /// Runs a batch of `size` texts of `length` tokens that nobody asked for, so that its memory is taken.
    pub(super) fn rehearse(&mut self, size: usize, length: usize) -> Result<()> {
        let tokens = size * length;
        let ids = vec![i64::from(self.backbone.manifest().preparation.pad_token_id); tokens];
        let types = self.backbone.is_typed().then(|| vec![0; tokens]);
        let fed = Fed { ids, mask: vec![1; tokens], types };
        compute(self.sessions.first(), &self.parts, [size, length], &fed).map(drop)
    }

    /// What was done so far.
    #[must_use]
    pub fn work(&self) -> &Work {
        &self.work
    }

    /// Counts on from what another has done.
    #[must_use]
    pub(super) fn having_done(self, work: Work) -> Self {
        Self { work, ..self }
    }

    /// Counts from 0 again: what was done so far was not a user's.
    pub fn forget_work(&mut self) {
        self.work = Work::default();
    }

    /// Computes the rows of `texts` and hands each to `each` with the text's index, in no particular order.
    ///
    /// A row depends on its text alone, to the bit: not on the other texts, their order, or the number of
    /// threads.
    ///
    /// # Errors
    /// The texts are of another kind than the backbone reads, tokenising or running fails, or `each` does.
    pub fn extract(
        &mut self,
        texts: &[impl AsText],
        each: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let texts = as_texts(texts);
        if let Some(windows) = self.windows.clone() {
            return self.extract_windows(&windows, &texts, each);
        }
        let encoded = encode(&self.backbone, &texts, self.sessions.threads())?;
        self.work.truncation += encoded.truncation();
        self.work.texts += texts.len() as u64;
        self.run_all(&encoded, &mut |index, row| {
            let row = row.map_err(|error| error.text(index))?;
            finish_row(row, encoded.ids(index).len() as u64, encoded.lost(index));
            each(index, row)
        })
    }

    /// The same with texts read in windows, a bounded number of tokens at a time.
    fn extract_windows(
        &mut self,
        windows: &Windows,
        texts: &[Text<'_>],
        each: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let backbone = Arc::clone(&self.backbone);
        let prefix = &backbone.manifest().preparation.prefix;
        let (mut round, mut sum) = (Round::default(), None);
        for (text, content) in texts.iter().enumerate() {
            check_kind(&backbone, *content).map_err(|error| error.text(text))?;
            let content = content.first_behind(prefix);
            let mut pieces = windows.of(backbone.tokenizer(), &content, false);
            while let Some(window) = pieces.next_window().map_err(|error| error.text(text))? {
                round.push(text, &window);
                if round.is_full() {
                    self.run_round(&mut round, &mut sum, each)?;
                }
            }
        }
        self.run_round(&mut round, &mut sum, each)
    }

    /// Runs the windows of a round and hands on every text whose last window is among them.
    fn run_round(
        &mut self,
        round: &mut Round,
        sum: &mut Option<Sum>,
        each: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let mut row = vec![0.0; self.parts.width()];
        let mut kept = vec![Vec::new(); round.windows.len()];
        self.run_all(&round.encoded, &mut |index, row| {
            let window = &round.windows[index];
            let row = row.map_err(|error| error.text(window.text))?;
            match window.last.filter(|_| window.first) {
                Some(lost) => {
                    finish_row(row, round.encoded.ids(index).len() as u64, lost);
                    each(window.text, row)?;
                }
                None => kept[index] = row.to_vec(),
            }
            Ok(())
        })?;
        // In the order of the text, so that its features do not depend on how its windows were batched.
        for ((index, window), window_row) in round.windows.iter().enumerate().zip(&kept) {
            self.work.texts += u64::from(window.first);
            self.work.truncation += window.last.map(Truncation::of).unwrap_or_default();
            if window_row.is_empty() {
                continue;
            }
            let so_far = sum.get_or_insert_with(|| Sum::new(row.len()));
            so_far.add(window_row, round.encoded.ids(index).len());
            if let Some(lost) = window.last {
                self.work.windowed += so_far.notes();
                so_far.mean(&mut row);
                finish_row(&mut row, so_far.tokens(), lost);
                *sum = None;
                each(window.text, &row)?;
            }
        }
        *round = Round::default();
        Ok(())
    }

    /// The windows of one text, in order: the bytes each covers, its tokens, and its row.
    ///
    /// # Errors
    /// Texts are not read in windows, or tokenising or running fails, or `each` does.
    pub fn explain(
        &mut self,
        text: &str,
        each: &mut dyn FnMut(WindowSpan, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let Some(windows) = self.windows.clone() else {
            return Err(Error::new(Kind::Usage, "this model does not read texts in windows")
                .expected("a run trained with --long windows"));
        };
        let backbone = Arc::clone(&self.backbone);
        let prefix = &backbone.manifest().preparation.prefix;
        let content = prefixed(prefix, text);
        let mut pieces = windows.of(backbone.tokenizer(), &content, true);
        loop {
            let (mut round, mut spans) = (Round::default(), Vec::new());
            while let Some(window) = pieces.next_window()? {
                round.push(0, &window);
                let bytes = window.span.unwrap_or_default();
                let bytes = bytes.start.saturating_sub(prefix.len())..bytes.end.saturating_sub(prefix.len());
                spans.push(WindowSpan { bytes, tokens: window.ids.len() });
                if round.is_full() {
                    break;
                }
            }
            if spans.is_empty() {
                return Ok(());
            }
            let mut rows = vec![vec![0.0; self.parts.width()]; spans.len()];
            self.run_all(&round.encoded, &mut |index, row| {
                rows[index].copy_from_slice(row.map_err(|error| error.text(0))?);
                Ok(())
            })?;
            for (span, row) in spans.into_iter().zip(&rows) {
                each(span, row)?;
            }
        }
    }

    /// Reads texts apart from the network.
    ///
    /// # Errors
    /// The backbone's texts cannot be read in such windows.
    pub fn reader(&self, long: LongTexts) -> Result<Reader> {
        Reader::new(Arc::clone(&self.backbone), long, self.batching.spacing)
    }

    /// Runs pieces that a [`Reader`] made as one batch, padded to `length`: a row for each, without counts of
    /// tokens. A piece whose numbers are not finite has an error instead, which is no other piece's.
    ///
    /// # Errors
    /// Running fails, or a piece is longer.
    pub fn run_pieces(&mut self, pieces: &[&Tokens], length: usize) -> Result<Vec<Result<Vec<f32>>>> {
        let mut encoded = Encoded::default();
        pieces.iter().for_each(|piece| encoded.push_typed(&piece.ids, piece.zeros, Lost::default()));
        if let Some(longer) = encoded.lengths().find(|found| *found > length) {
            return Err(Error::new(Kind::Usage, "a piece of a text is longer than its batch")
                .found(format!("{longer} tokens"))
                .expected(format!("at most {length}")));
        }
        let batch = Batch { rows: (0..pieces.len()).collect(), length, size: pieces.len() };
        let mut rows = Vec::new();
        self.run_batches(&[batch], &encoded, &mut |_, row| {
            rows.push(row.map(|row| row.to_vec()));
            Ok(())
        })?;
        Ok(rows)
    }

    /// Runs all of some token ids, the longest batches first: the index of each with its row.
    fn run_all(&mut self, encoded: &Encoded, each: &mut EachRow<'_>) -> Result<()> {
        let lengths: Vec<usize> = encoded.lengths().collect();
        let all = batches(&lengths, &self.buckets, self.batching.token_budget);
        self.run_batches(&all, encoded, each)
    }

    fn run_batches(&mut self, all: &[Batch], encoded: &Encoded, each: &mut EachRow<'_>) -> Result<()> {
        let Self { sessions, parts, work, backbone, .. } = self;
        let mut row = vec![0.0; parts.width()];
        let (pad, typed) = (backbone.manifest().preparation.pad_token_id, backbone.is_typed());
        let share = 1.0 / f64::from(u16::try_from(sessions.count()).unwrap_or(u16::MAX));
        let run = |session: &mut Session, place: usize| {
            let batch = &all[place];
            let fed = pad_ids(batch, encoded, (pad, typed));
            let start = Instant::now();
            let computed = compute(session, parts, [batch.size, batch.length], &fed)?;
            Ok((computed, start.elapsed().as_secs_f64()))
        };
        sessions.for_all(all.len(), &run, &mut |place, (computed, seconds)| {
            let batch = &all[place];
            work.runtime_seconds += seconds * share;
            work.tokens += batch.rows.iter().map(|&index| encoded.ids(index).len() as u64).sum::<u64>();
            work.padded_tokens += (batch.size * batch.length) as u64;
            *work.shapes.entry((batch.size, batch.length)).or_default() += 1;
            let mut rows = batch.rows.iter().enumerate();
            rows.try_for_each(|(position, &index)| {
                computed.copy_row(position, &mut row);
                let checked = check_finite(&row, backbone).map(|()| row.as_mut_slice());
                each(index, checked)
            })
        })
    }
}

/// What is done with the row of each text, by its index; a row whose numbers are not finite is an error.
type EachRow<'e> = dyn FnMut(usize, Result<&mut [f32]>) -> Result<()> + 'e;

/// Refuses a row that must be neither stored nor answered. Every row comes by here from the network.
fn check_finite(row: &[f32], backbone: &Backbone) -> Result<()> {
    let Some(number) = row.iter().find(|number| !number.is_finite()) else { return Ok(()) };
    Err(Error::new(Kind::Runtime, "the network gives this text numbers that are not finite")
        .found(format!("{number} from {}", backbone.directory().display()))
        .expected("finite numbers")
        .help("its weights are damaged or overflow on this text: import the backbone from a sound fp32 checkpoint, or take the row out"))
}

/// Runs the network once on `[size, length]` tokens.
fn compute(session: &mut Session, parts: &RowParts, shape: [usize; 2], fed: &Fed) -> Result<Computed> {
    let inputs = fed.inputs(&shape);
    let names: Vec<&str> = parts.outputs().iter().map(|(name, _)| name.as_str()).collect();
    let tensors = session.run(&inputs, &names)?;
    let computed = parts.outputs().iter().zip(tensors).map(|((_, width), tensor)| {
        check_size(&tensor.data, shape[0] * width)?;
        Ok((*width, tensor.data))
    });
    Ok(Computed(computed.collect::<Result<_>>()?))
}

/// Where a window lies in its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowSpan {
    /// Bytes of the text, without the backbone's prefix.
    pub bytes: Range<usize>,
    /// Tokens, special ones included: what the window counts.
    pub tokens: usize,
}

/// Writes a row's counts, its last two numbers.
fn finish_row(row: &mut [f32], tokens: u64, lost: Lost) {
    let sign = if lost.at_least { -1.0 } else { 1.0 };
    if let [.., read, cut] = row {
        (*read, *cut) = (count(tokens), sign * count(lost.tokens));
    }
}

/// What a graph is fed of a batch, `[size, length]` each.
pub(super) struct Fed {
    pub ids: Vec<i64>,
    /// 1 for a real token, 0 for padding.
    pub mask: Vec<i64>,
    /// Token types, where they are an input.
    pub types: Option<Vec<i64>>,
}

impl Fed {
    fn inputs<'f>(&'f self, shape: &'f [usize; 2]) -> Vec<Input<'f>> {
        let input = |name, values: &'f [i64]| Input { name, shape, values: Values::I64(values) };
        let mut inputs = vec![input(ports::INPUT_IDS, &self.ids), input(ports::ATTENTION_MASK, &self.mask)];
        inputs.extend(self.types.as_deref().map(|types| input(ports::TOKEN_TYPES, types)));
        inputs
    }
}

/// What a graph is fed of a batch, with padding of this id; token types where they are an input. Padding has
/// type 0.
pub(super) fn pad_ids(batch: &Batch, encoded: &Encoded, (pad, typed): (u32, bool)) -> Fed {
    let tokens = batch.size * batch.length;
    let mut ids = vec![i64::from(pad); tokens];
    let mut mask = vec![0_i64; tokens];
    let mut types = typed.then(|| vec![0_i64; tokens]);
    for (position, index) in filled(batch).enumerate() {
        let first = position * batch.length;
        let own = encoded.ids(index);
        for (offset, &id) in own.iter().enumerate() {
            ids[first + offset] = i64::from(id);
            mask[first + offset] = 1;
        }
        if let Some(types) = &mut types {
            types[first + encoded.zeros(index)..first + own.len()].fill(1);
        }
    }
    Fed { ids, mask, types }
}

/// The text in each place of a batch: fill rows repeat the first, because a row of nothing but padding would
/// divide by zero in the pooling.
pub(super) fn filled(batch: &Batch) -> impl Iterator<Item = usize> {
    let fill = batch.rows.first().copied();
    (0..batch.size).filter_map(move |position| batch.rows.get(position).copied().or(fill))
}

/// The outputs of a batch, row-major: the width of each, and its numbers.
struct Computed(Vec<(usize, Vec<f32>)>);

impl Computed {
    fn copy_row(&self, position: usize, row: &mut [f32]) {
        let mut first = 0;
        for (width, values) in &self.0 {
            row[first..first + width].copy_from_slice(&values[position * width..(position + 1) * width]);
            first += width;
        }
    }
}

fn check_size(values: &[f32], expected: usize) -> Result<()> {
    if values.len() == expected {
        return Ok(());
    }
    Err(Error::new(Kind::Runtime, "the backbone's graph gave an output of the wrong size")
        .found(format!("{} numbers", values.len()))
        .expected(expected.to_string())
        .help("import the backbone again"))
}

/// A count as it is stored; exact up to 2²⁴.
fn count(number: impl TryInto<u32>) -> f32 {
    number.try_into().unwrap_or(u32::MAX) as f32
}
