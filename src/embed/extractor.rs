//! Owns one pass of a frozen backbone over texts: tokenise, sort into batches, run, take the rows out in input order.
//!
//! Refuses to remember anything: what is stored, and whether a text needs computing, is `Embedder`'s work.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::layout::{RowLayout, StoredLayers};
use crate::backbone::Backbone;
use crate::bert::Outputs;
use crate::error::{Error, Kind, Result};
use crate::runtime::{Input, Runtime, Session, Values};
use crate::tokens::{Batch, Buckets, Encoded, Truncation, batches};

/// Tokens (padding included) in one batch: the fastest of 256 … 4,096 on two cores; larger only takes more memory.
pub const TOKEN_BUDGET: usize = 1024;

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
    /// Seconds inside ONNX Runtime.
    pub runtime_seconds: f64,
    /// What was cut off at the maximum length.
    pub truncation: Truncation,
}

/// A loaded backbone that turns texts into rows.
pub struct Extractor {
    backbone: Arc<Backbone>,
    session: Session,
    layout: RowLayout,
    buckets: Buckets,
    token_budget: usize,
    work: Work,
}

impl Extractor {
    /// Loads the graph that computes rows of the wanted layout.
    ///
    /// # Errors
    /// The graph cannot be loaded.
    pub fn new(
        backbone: Arc<Backbone>,
        runtime: &Runtime,
        stored: StoredLayers,
        token_budget: usize,
    ) -> Result<Self> {
        let layout = layout(&backbone, stored);
        let outputs =
            if layout.states().is_empty() { Outputs::Embedding } else { Outputs::EmbeddingAndLayerMeans };
        Ok(Self {
            session: backbone.session(runtime, outputs)?,
            layout,
            buckets: Buckets::new(backbone.manifest().preparation.max_length),
            backbone,
            token_budget,
            work: Work::default(),
        })
    }

    /// What a row holds.
    #[must_use]
    pub fn layout(&self) -> RowLayout {
        self.layout
    }

    /// The lengths batches are padded to.
    #[must_use]
    pub fn buckets(&self) -> &Buckets {
        &self.buckets
    }

    /// What was done so far.
    #[must_use]
    pub fn work(&self) -> &Work {
        &self.work
    }

    /// Computes the rows of `texts` and hands each to `each` with the text's index, batch by batch (longest first).
    ///
    /// A row depends on its text alone, to the bit: not on the other texts, their order, or the number of threads.
    ///
    /// # Errors
    /// Tokenising or running fails, or `each` does.
    pub fn extract(
        &mut self,
        texts: &[&str],
        each: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let encoded = encode(&self.backbone, texts)?;
        let lengths: Vec<usize> = encoded.lengths().collect();
        self.work.truncation += encoded.truncation();
        let mut row = vec![0.0; self.layout.width()];
        for batch in batches(&lengths, &self.buckets, self.token_budget) {
            let outputs = self.run(&batch, &encoded)?;
            for (position, &index) in batch.rows.iter().enumerate() {
                outputs.copy_row(position, &self.layout, &mut row);
                let lost = encoded.lost(index);
                let sign = if lost.at_least { -1.0 } else { 1.0 };
                row[self.layout.token_counts()]
                    .copy_from_slice(&[count(lengths[index]), sign * count(lost.tokens)]);
                each(index, &row)?;
            }
        }
        Ok(())
    }

    fn run(&mut self, batch: &Batch, encoded: &Encoded) -> Result<Computed> {
        let shape = [batch.size, batch.length];
        let (ids, mask) = pad_ids(batch, encoded, self.backbone.manifest().preparation.pad_token_id);
        self.work.tokens += batch.rows.iter().map(|&index| encoded.ids(index).len() as u64).sum::<u64>();
        let inputs = [
            Input { name: "input_ids", shape: &shape, values: Values::I64(&ids) },
            Input { name: "attention_mask", shape: &shape, values: Values::I64(&mask) },
        ];
        let names: &[&str] =
            if self.layout.states().is_empty() { &["embedding"] } else { &["embedding", "layer_means"] };
        let start = Instant::now();
        let mut outputs = self.session.run(&inputs, names)?.into_iter();
        self.work.runtime_seconds += start.elapsed().as_secs_f64();
        self.work.texts += batch.rows.len() as u64;
        self.work.padded_tokens += ids.len() as u64;
        *self.work.shapes.entry((batch.size, batch.length)).or_default() += 1;
        let embedding = outputs.next().map(|tensor| tensor.data).unwrap_or_default();
        let states = outputs.next().map(|tensor| tensor.data).unwrap_or_default();
        check_size(&embedding, batch.size * self.layout.embedding().len())?;
        check_size(&states, batch.size * self.layout.states().len())?;
        Ok(Computed { embedding, states })
    }
}

/// Token ids of the texts, the backbone's prefix in front.
pub(super) fn encode(backbone: &Backbone, texts: &[&str]) -> Result<Encoded> {
    let preparation = &backbone.manifest().preparation;
    if preparation.prefix.is_empty() {
        return backbone.tokenizer().encode(texts, preparation.max_length);
    }
    let prefixed: Vec<String> = texts.iter().map(|text| format!("{}{text}", preparation.prefix)).collect();
    let prefixed: Vec<&str> = prefixed.iter().map(String::as_str).collect();
    backbone.tokenizer().encode(&prefixed, preparation.max_length)
}

/// `input_ids` and `attention_mask` of a batch, `[size, length]` each.
pub(super) fn pad_ids(batch: &Batch, encoded: &Encoded, pad: u32) -> (Vec<i64>, Vec<i64>) {
    let mut ids = vec![i64::from(pad); batch.size * batch.length];
    let mut mask = vec![0_i64; batch.size * batch.length];
    for (position, index) in filled(batch).enumerate() {
        let first = position * batch.length;
        for (offset, &id) in encoded.ids(index).iter().enumerate() {
            ids[first + offset] = i64::from(id);
            mask[first + offset] = 1;
        }
    }
    (ids, mask)
}

/// The text in each place of a batch: fill rows repeat the first, because a row of nothing but padding would divide by zero
/// in the pooling.
pub(super) fn filled(batch: &Batch) -> impl Iterator<Item = usize> {
    let fill = batch.rows.first().copied();
    (0..batch.size).filter_map(move |position| batch.rows.get(position).copied().or(fill))
}

/// What a row of this backbone holds for a choice of stored layers.
#[must_use]
pub(super) fn layout(backbone: &Backbone, stored: StoredLayers) -> RowLayout {
    let manifest = backbone.manifest();
    let states = match (stored, manifest.layers()) {
        (StoredLayers::All, Some(layers)) => layers + 1,
        _ => 0,
    };
    RowLayout::new(states, manifest.hidden_size)
}

/// The two outputs of a batch, row-major.
struct Computed {
    embedding: Vec<f32>,
    states: Vec<f32>,
}

impl Computed {
    fn copy_row(&self, position: usize, layout: &RowLayout, row: &mut [f32]) {
        for (place, values) in [(layout.states(), &self.states), (layout.embedding(), &self.embedding)] {
            let width = place.len();
            row[place].copy_from_slice(&values[position * width..(position + 1) * width]);
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
#[expect(
    clippy::cast_precision_loss,
    reason = "counts are stored as f32 and documented to be rounded beyond 2^24"
)]
fn count(number: impl TryInto<u32>) -> f32 {
    number.try_into().unwrap_or(u32::MAX) as f32
}
