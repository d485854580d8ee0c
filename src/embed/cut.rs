//! Owns what is fed to a graph that starts at a cut: the token states of texts (computed once, stored) or
//! their token ids.
//!
//! Refuses to compute what is stored, to start what the disk cannot hold, and to hold the states of a corpus
//! in memory.

use std::cell::RefCell;
use std::path::Path;

use super::embedder::{key_fields, owner, processor};
use super::extractor::{Fed, filled, pad_ids};
use super::ids::{buckets, encode};
use crate::backbone::Backbone;
use crate::encoder::{Outputs, Start, ports};
use crate::error::{Error, Kind, Result};
use crate::fingerprint::TextKey;
use crate::runtime::{Input, Runtime, Session, Sessions, Values};
use crate::store::{Damage, StatePrecision, StoreKey, TokenStates, free_space};
use crate::text::{AsText, Text, as_texts};
use crate::tokens::{Batch, Batching, Buckets, Encoded, batches};

/// Texts whose states are computed together.
const WINDOW_TEXTS: usize = 4096;

/// What a graph starts from, for one batch.
#[derive(Clone, Debug, PartialEq)]
pub enum CutTokens {
    /// Token ids `[rows, length]`, and their types where these are an input.
    Ids { ids: Vec<i64>, types: Option<Vec<i64>> },
    /// Token states `[rows, length, hidden]`.
    States(Vec<f32>),
}

impl CutTokens {
    /// The inputs of a graph for them and their mask `[rows, length]`; `shape` is `[rows, length, hidden]`.
    #[must_use]
    pub fn inputs<'s>(&'s self, mask: &'s [i64], shape: &'s [usize; 3]) -> Vec<Input<'s>> {
        let integers =
            |name, values: &'s [i64]| Input { name, shape: &shape[..2], values: Values::I64(values) };
        let mask = integers(ports::ATTENTION_MASK, mask);
        match self {
            Self::Ids { ids, types } => {
                let types = types.as_deref().map(|types| integers(ports::TOKEN_TYPES, types));
                [integers(ports::INPUT_IDS, ids), mask].into_iter().chain(types).collect()
            }
            Self::States(states) => {
                vec![Input { name: ports::STATES, shape, values: Values::F32(states) }, mask]
            }
        }
    }
}

/// What storing token states takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatesNeed {
    /// Texts that are not stored yet.
    pub texts: u64,
    /// Their tokens.
    pub tokens: u64,
    /// Bytes they will take.
    pub bytes: u64,
    /// Bytes free.
    pub free: u64,
    /// The lower cut whose stored states all of them are computed from, instead of from token ids.
    pub from: Option<usize>,
}

/// How far computing states is.
#[derive(Clone, Debug)]
pub enum StatesProgress {
    /// A stored part cannot be trusted: its texts are computed again.
    Damaged(Damage),
    /// Before the work.
    Need(StatesNeed),
    /// Texts done of all that were missing.
    Done { texts: u64, of: u64 },
}

/// Where token states are kept, and in which batches they are computed.
#[derive(Clone, Copy, Debug)]
pub struct StatesPlace<'p> {
    /// The store.
    pub root: &'p Path,
    pub precision: StatePrecision,
    pub batching: Batching,
}

/// The tokens of some rows at a cut.
pub struct CutRows {
    source: Source,
    lengths: Vec<usize>,
    hidden: usize,
    /// The id of padding, and whether token types are an input.
    padding: (u32, bool),
    token_budget: usize,
    buckets: Buckets,
    rounded_at: Option<usize>,
}

/// What is done with a row, by its place, and its part of every output.
type EachOutputs<'e> = dyn FnMut(usize, &[&[f32]]) -> Result<()> + 'e;

enum Source {
    Ids(Encoded),
    States { states: TokenStates, keys: Vec<TextKey> },
}

impl CutRows {
    /// Rows that start from token ids.
    ///
    /// # Errors
    /// Tokenising fails.
    pub fn ids(backbone: &Backbone, texts: &[impl AsText], batching: Batching) -> Result<Self> {
        let encoded = encode(backbone, &as_texts(texts), 1)?;
        let lengths = encoded.lengths().collect();
        Ok(Self::new(backbone, Source::Ids(encoded), lengths, batching))
    }

    /// Rows that start from `hidden.level`; what is not stored is computed and stored first, from stored
    /// states of a lower cut where there are some. `keys[i]` is that of `texts[i]`.
    ///
    /// # Errors
    /// The backbone is opaque, the disk cannot hold the states, or computing or storing fails; what was
    /// stored stays.
    pub fn states(
        backbone: &Backbone,
        runtime: &Runtime,
        place: StatesPlace<'_>,
        level: usize,
        (texts, keys): (&[impl AsText], &[TextKey]),
        progress: &mut dyn FnMut(StatesProgress),
    ) -> Result<Self> {
        let stored = Stored { backbone, runtime, place, damaged: RefCell::default() };
        let (mut states, mut lower) = stored.open_above_rounded(level, keys)?;
        let rounded_at = lower.as_ref().map(|(level, _)| *level);
        stored.report(progress);
        let mut seen = std::collections::HashSet::new();
        let missing: Vec<usize> = (0..keys.len())
            .filter(|&row| states.tokens(&keys[row]).is_none() && seen.insert(keys[row]))
            .collect();
        if !missing.is_empty() {
            let chosen: Vec<Text<'_>> = missing.iter().map(|&row| texts[row].as_text()).collect();
            let encoded = encode(backbone, &chosen, runtime.threads())?;
            if lower.is_none() {
                lower = stored.highest_below(level, StatePrecision::F32, |states| !states.is_empty())?;
            }
            stored.report(progress);
            let missing_keys: Vec<TextKey> = missing.iter().map(|&row| keys[row]).collect();
            let from =
                lower.as_ref().filter(|(_, lower)| holds_all(lower, &missing_keys)).map(|(level, _)| *level);
            let kept_in = states.written_to();
            check_space(&encoded, backbone.manifest().hidden_size, (place, &kept_in), from, progress)?;
            let batching = place.batching;
            let mut maker =
                Maker { backbone, runtime, level, batching, encoded, keys: missing_keys, done: 0 };
            maker.run(&mut states, lower, progress)?;
        }
        let lengths = keys.iter().map(|key| states.tokens(key).ok_or_else(gone)).collect::<Result<_>>()?;
        let source = Source::States { states, keys: keys.to_vec() };
        let rows = Self::new(backbone, source, lengths, place.batching);
        Ok(Self { rounded_at, ..rows })
    }

    fn new(backbone: &Backbone, source: Source, lengths: Vec<usize>, batching: Batching) -> Self {
        let manifest = backbone.manifest();
        Self {
            source,
            lengths,
            hidden: manifest.hidden_size,
            padding: (manifest.preparation.pad_token_id, backbone.is_typed()),
            token_budget: batching.token_budget,
            buckets: buckets(backbone, None, batching.spacing),
            rounded_at: None,
        }
    }

    /// Tokens of each row.
    #[must_use]
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Bytes of all stored states; none when the rows start from token ids.
    #[must_use]
    pub fn stored_bytes(&self) -> Option<u64> {
        match &self.source {
            Source::Ids(_) => None,
            Source::States { states, .. } => Some(states.bytes()),
        }
    }

    /// The lower cut at which the states were rounded before these were computed from them; none when they
    /// come from token ids or from states that were not rounded.
    #[must_use]
    pub fn rounded_at(&self) -> Option<usize> {
        self.rounded_at
    }

    /// The tokens and the attention mask `[size, length]` of a batch of these rows; fill rows repeat the
    /// first.
    ///
    /// # Errors
    /// Stored states are gone.
    pub fn fill(&self, batch: &Batch) -> Result<(CutTokens, Vec<i64>)> {
        let (states, keys) = match &self.source {
            Source::Ids(encoded) => {
                let Fed { ids, mask, types } = pad_ids(batch, encoded, self.padding);
                return Ok((CutTokens::Ids { ids, types }, mask));
            }
            Source::States { states, keys } => (states, keys),
        };
        let mut tokens = vec![0.0; batch.size * batch.length * self.hidden];
        let mut mask = vec![0; batch.size * batch.length];
        for (position, row) in filled(batch).enumerate() {
            let first = position * batch.length;
            let out = &mut tokens[first * self.hidden..(first + batch.length) * self.hidden];
            let count = states.read(&keys[row], out)?.ok_or_else(gone)?;
            mask[first..first + count].fill(1);
        }
        Ok((CutTokens::States(tokens), mask))
    }

    /// Runs a graph that starts from what these rows hold on some of them. `each` gets a row's place among
    /// `chosen` and its part of every output, whose first dimension is the batch's; rows come in no
    /// particular order.
    ///
    /// # Errors
    /// Stored states are gone, ONNX Runtime fails, or `each` does.
    pub fn run(
        &self,
        sessions: &mut Sessions,
        chosen: &[usize],
        outputs: &[&str],
        each: &mut EachOutputs<'_>,
    ) -> Result<()> {
        let lengths: Vec<usize> = chosen.iter().map(|&row| self.lengths[row]).collect();
        let all = batches(&lengths, &self.buckets, self.token_budget);
        let compute = |session: &mut Session, number: usize| {
            let batch: &Batch = &all[number];
            let rows = batch.rows.iter().map(|&place| chosen[place]).collect();
            let (tokens, mask) = self.fill(&Batch { rows, ..batch.clone() })?;
            let shape = [batch.size, batch.length, self.hidden];
            session.run(&tokens.inputs(&mask, &shape), outputs)
        };
        sessions.for_all(all.len(), &compute, &mut |number, found| {
            let Batch { rows, size, .. } = &all[number];
            for (position, &place) in rows.iter().enumerate() {
                let vectors = found.iter().map(|output| {
                    let width = output.data.len() / size;
                    &output.data[position * width..(position + 1) * width]
                });
                each(place, &vectors.collect::<Vec<_>>())?;
            }
            Ok(())
        })
    }
}

/// Computing the states that are missing.
struct Maker<'m> {
    backbone: &'m Backbone,
    runtime: &'m Runtime,
    level: usize,
    batching: Batching,
    /// Ids of the missing texts.
    encoded: Encoded,
    keys: Vec<TextKey>,
    done: u64,
}

impl Maker<'_> {
    /// From stored states of a lower cut where there are some, else from the ids.
    fn run(
        &mut self,
        states: &mut TokenStates,
        lower: Option<(usize, TokenStates)>,
        progress: &mut dyn FnMut(StatesProgress),
    ) -> Result<()> {
        let (mut from_ids, mut from_states) = (Vec::new(), Vec::new());
        for (place, key) in self.keys.iter().enumerate() {
            let there = lower.as_ref().is_some_and(|(_, lower)| lower.tokens(key).is_some());
            if there { from_states.push(place) } else { from_ids.push(place) }
        }
        if let Some((level, lower)) = lower.filter(|_| !from_states.is_empty()) {
            let source = Source::States { states: lower, keys: self.keys.clone() };
            self.compute(&from_states, Start::States(level), source, states, progress)?;
        }
        let encoded = std::mem::take(&mut self.encoded);
        self.compute(&from_ids, Start::Ids, Source::Ids(encoded), states, progress)?;
        states.flush()
    }

    /// Computes and stores the states of some of the missing texts.
    fn compute(
        &mut self,
        places: &[usize],
        start: Start,
        source: Source,
        states: &mut TokenStates,
        progress: &mut dyn FnMut(StatesProgress),
    ) -> Result<()> {
        if places.is_empty() {
            return Ok(());
        }
        let lengths = match &source {
            Source::Ids(encoded) => encoded.lengths().collect(),
            Source::States { states, keys } => {
                keys.iter().map(|key| states.tokens(key).unwrap_or(0)).collect::<Vec<_>>()
            }
        };
        let rows = CutRows::new(self.backbone, source, lengths, self.batching);
        let outputs = Outputs::HiddenState(self.level);
        let mut sessions = self.backbone.sessions_from(self.runtime, outputs, start)?;
        let output = ports::hidden(self.level);
        for window in places.chunks(WINDOW_TEXTS) {
            rows.run(&mut sessions, window, &[&output], &mut |place, found| {
                let text = window[place];
                states.append(self.keys[text], &found[0][..rows.lengths[text] * rows.hidden])?;
                self.done += 1;
                progress(StatesProgress::Done { texts: self.done, of: self.keys.len() as u64 });
                Ok(())
            })?;
        }
        states.flush()
    }
}

fn check_space(
    encoded: &Encoded,
    hidden: usize,
    (place, kept_in): (StatesPlace<'_>, &Path),
    from: Option<usize>,
    progress: &mut dyn FnMut(StatesProgress),
) -> Result<()> {
    let texts = encoded.lengths().count() as u64;
    let tokens = encoded.lengths().map(|length| length as u64).sum();
    let bytes = TokenStates::space_needed(texts, tokens, hidden, place.precision);
    let need = StatesNeed { texts, tokens, bytes, free: free_space(kept_in)?, from };
    progress(StatesProgress::Need(need));
    if need.bytes <= need.free {
        return Ok(());
    }
    Err(Error::new(Kind::Space, "the token states do not fit the disk")
        .at(kept_in)
        .found(format!("{} bytes free", need.free))
        .expected(format!("{} bytes for {} tokens as {}", need.bytes, need.tokens, place.precision))
        .help("free some space, give another place with --cache, say --states f16, or freeze fewer layers"))
}

/// The states of one backbone that are stored in one place.
struct Stored<'s> {
    backbone: &'s Backbone,
    runtime: &'s Runtime,
    place: StatesPlace<'s>,
    /// What could not be trusted of all that was opened.
    damaged: RefCell<Vec<Damage>>,
}

impl Stored<'_> {
    /// The states at a cut, and the lower cut whose rounded states they are computed from, if they are.
    ///
    /// They are when that saves all texts the way from their ids. One set of texts never mixes the two, each
    /// is stored under a key of its own, because its last bits differ, and what a set of texts was computed
    /// from once stays what it is read from.
    fn open_above_rounded(&self, level: usize, keys: &[TextKey]) -> Result<(TokenStates, Option<Level>)> {
        let precision = self.place.precision;
        let direct = self.open(level, precision, None)?;
        if precision == StatePrecision::F32 {
            return Ok((direct, None));
        }
        let rounded = |lower| self.open(level, precision, Some(lower));
        for lower in (0..level).rev() {
            let stored = TokenStates::exists(self.place.root, &self.key(level, precision, Some(lower)));
            if stored && holds_all(&rounded(lower)?, keys) {
                return Ok((rounded(lower)?, Some((lower, self.open(lower, precision, None)?))));
            }
        }
        if keys.iter().any(|key| direct.tokens(key).is_some())
            || self.highest_below(level, StatePrecision::F32, |lower| holds_all(lower, keys))?.is_some()
        {
            return Ok((direct, None));
        }
        match self.highest_below(level, precision, |lower| holds_all(lower, keys))? {
            Some(lower) => Ok((rounded(lower.0)?, Some(lower))),
            None => Ok((direct, None)),
        }
    }

    /// The highest cut below `level` whose stored states will do.
    fn highest_below(
        &self,
        level: usize,
        precision: StatePrecision,
        will_do: impl Fn(&TokenStates) -> bool,
    ) -> Result<Option<Level>> {
        for lower in (0..level).rev() {
            if TokenStates::exists(self.place.root, &self.key(lower, precision, None)) {
                let states = self.open(lower, precision, None)?;
                if will_do(&states) {
                    return Ok(Some((lower, states)));
                }
            }
        }
        Ok(None)
    }

    /// Tells what was found damaged since the last time.
    fn report(&self, progress: &mut dyn FnMut(StatesProgress)) {
        self.damaged.take().into_iter().for_each(|damage| progress(StatesProgress::Damaged(damage)));
    }

    fn open(
        &self,
        level: usize,
        precision: StatePrecision,
        rounded_at: Option<usize>,
    ) -> Result<TokenStates> {
        let hidden = self.backbone.manifest().hidden_size;
        let key = self.key(level, precision, rounded_at);
        let states = TokenStates::open(self.place.root, &key, hidden, precision)?;
        self.damaged.borrow_mut().extend_from_slice(states.damaged());
        Ok(states)
    }

    fn key(&self, level: usize, precision: StatePrecision, rounded_at: Option<usize>) -> StoreKey {
        let mut fields = key_fields(self.backbone, self.runtime);
        fields.insert("precision".into(), precision.to_string());
        fields.insert("cut".into(), ports::hidden(level));
        fields.insert("row".into(), "token states".into());
        if let Some(lower) = rounded_at {
            fields.insert("computed from".into(), format!("{} as {precision}", ports::hidden(lower)));
        }
        let (owner, processor) = (Some(owner(self.backbone)), processor(self.runtime));
        StoreKey { fields, owner, processor }
    }
}

/// A cut and its stored states.
type Level = (usize, TokenStates);

fn holds_all(states: &TokenStates, keys: &[TextKey]) -> bool {
    keys.iter().all(|key| states.tokens(key).is_some())
}

fn gone() -> Error {
    Error::new(Kind::Store, "stored token states are gone")
        .help("another program may have emptied the cache; run the command again")
}
