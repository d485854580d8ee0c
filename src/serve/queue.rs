//! Owns the one thread that runs the network, and what waits for it: requests that were read, as pieces in a
//! pool per model.
//!
//! While a batch runs, others come together; an idle machine runs a lone text at once. Only when requests are
//! being read at that very moment, and the batch has room, does it wait for them, and not for long. A request
//! whose client has gone, or whose time is up, is dropped before it costs anything more.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::counters::Counters;
use super::log::{Log, fields_of};
use super::model::Model;
use super::pool::{Batch, Piece, Pool};
use crate::embed::{Reading, row_of_text};
use crate::error::{Error, Kind, Result};
use crate::tokens::Tokens;

/// The rows of a request's texts, in their order.
pub(super) type Rows = std::result::Result<Vec<Vec<f32>>, Failed>;

/// The network failed; the log says how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failed {
    /// The text of the request that it failed on, when it failed on one.
    pub text: Option<usize>,
}

/// What the thread and those who ask share.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    token_budget: usize,
    max_wait: Duration,
    counters: Arc<Counters>,
    log: Arc<Log>,
}

#[derive(Default)]
struct State {
    jobs: HashMap<u64, Job>,
    /// Pieces that wait, per model: a model's place is taken while its requests are still being answered.
    pools: VecDeque<(Arc<Model>, Pool)>,
    came: u64,
    /// Requests that are being read.
    arriving: usize,
    closed: bool,
}

/// A request that was read.
struct Job {
    /// Of each text, its pieces.
    texts: Vec<Vec<Progress>>,
    left: usize,
    came: Instant,
    answer: oneshot::Sender<Rows>,
}

/// How far a piece has come.
enum Progress {
    /// Its tokens wait.
    Waits(Tokens),
    /// It is in a batch.
    Runs,
    /// Its row, and how many tokens it has.
    Done(Vec<f32>, usize),
}

/// Says that a request is being read, until it is dropped.
pub(super) struct Arriving(Arc<Queue>);

impl Drop for Arriving {
    fn drop(&mut self) {
        self.0.lock().arriving -= 1;
        self.0.changed.notify_one();
    }
}

impl Queue {
    pub(super) fn new(
        token_budget: usize,
        max_wait: Duration,
        counters: Arc<Counters>,
        log: Arc<Log>,
    ) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), token_budget, max_wait, counters, log }
    }

    /// Starts the thread; `ended` is dropped when it ends.
    ///
    /// # Errors
    /// There can be no thread.
    pub(super) fn start(self: &Arc<Self>, ended: oneshot::Sender<()>) -> Result<JoinHandle<()>> {
        let queue = Arc::clone(self);
        let work = move || {
            let _ended = ended;
            while let Some((model, batch, tokens)) = queue.next() {
                queue.run(&model, &batch, &tokens);
            }
        };
        std::thread::Builder::new().name("network".to_owned()).spawn(work).map_err(|source| {
            Error::new(Kind::Runtime, "cannot start the thread of the network").because(source)
        })
    }

    /// Lets the thread end when nothing waits any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// A request is about to be read.
    pub(super) fn arriving(self: &Arc<Self>) -> Arriving {
        self.lock().arriving += 1;
        Arriving(Arc::clone(self))
    }

    /// Lets a request that was read wait for its answer.
    pub(super) fn submit(&self, model: &Arc<Model>, readings: Vec<Reading>) -> oneshot::Receiver<Rows> {
        let (answer, receiver) = oneshot::channel();
        let left = readings.iter().map(|reading| reading.pieces.len()).sum();
        let mut state = self.lock();
        let job = state.came;
        state.came += 1;
        let place =
            state.pools.iter().position(|(served, _)| Arc::ptr_eq(served, model)).unwrap_or_else(|| {
                state.pools.push_back((Arc::clone(model), Pool::default()));
                state.pools.len() - 1
            });
        let pool = &mut state.pools[place].1;
        for (text, reading) in readings.iter().enumerate() {
            for (piece, tokens) in reading.pieces.iter().map(|piece| piece.ids.len()).enumerate() {
                pool.push(Piece { job, text, piece, tokens }, model.padded(tokens));
            }
        }
        let texts =
            readings.into_iter().map(|reading| reading.pieces.into_iter().map(Progress::Waits).collect());
        state.jobs.insert(job, Job { texts: texts.collect(), left, came: Instant::now(), answer });
        drop(state);
        self.changed.notify_one();
        receiver
    }

    /// The next batch, and its pieces' tokens, when there is one; none when the queue is closed and empty.
    fn next(&self) -> Option<(Arc<Model>, Batch, Vec<Tokens>)> {
        let mut state = self.lock();
        loop {
            state.drop_unwanted();
            if !state.pools.is_empty() {
                break;
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let until = Instant::now() + self.max_wait;
        while state.arriving > 0
            && state.pools.iter().map(|(_, pool)| pool.tokens()).sum::<usize>() < self.token_budget
        {
            let Some(left) = until.checked_duration_since(Instant::now()) else { break };
            (state, _) = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
        let (model, pool) = state.pools.front_mut()?;
        let model = Arc::clone(model);
        let batch = pool.take(self.token_budget)?;
        if pool.is_empty() {
            state.pools.pop_front();
        }
        let tokens = batch.pieces.iter().filter_map(|taken| {
            let piece = &mut state.jobs.get_mut(&taken.job)?.texts[taken.text][taken.piece];
            match std::mem::replace(piece, Progress::Runs) {
                Progress::Waits(tokens) => Some(tokens),
                Progress::Runs | Progress::Done(..) => None,
            }
        });
        let tokens = tokens.collect();
        Some((model, batch, tokens))
    }

    fn run(&self, model: &Model, batch: &Batch, tokens: &[Tokens]) {
        let start = Instant::now();
        let pieces: Vec<&Tokens> = tokens.iter().collect();
        let outcome = model.rows(&pieces, batch.length);
        self.counters.batch(batch.pieces.len(), batch.pieces.len() * batch.length, start.elapsed());
        let failed = |error: &Error| self.log.error("the network failed", &fields_of(error));
        let rows: Vec<std::result::Result<Vec<f32>, Failed>> = match outcome {
            // What the network cannot say of one text is no other text's failure.
            Ok(rows) => (rows.into_iter().zip(&batch.pieces))
                .map(|(row, piece)| row.inspect_err(failed).map_err(|_| Failed { text: Some(piece.text) }))
                .collect(),
            Err(error) => {
                failed(&error);
                vec![Err(Failed { text: None }); batch.pieces.len()]
            }
        };
        let mut finished = Vec::new();
        let mut state = self.lock();
        for (piece, row) in batch.pieces.iter().zip(rows) {
            let Some(job) = state.jobs.get_mut(&piece.job) else { continue };
            let failed = row.as_ref().err().copied();
            job.texts[piece.text][piece.piece] =
                row.map_or(Progress::Runs, |row| Progress::Done(row, piece.tokens));
            job.left -= 1;
            if failed.is_some() || job.left == 0 {
                finished.extend(state.jobs.remove(&piece.job).map(|job| (job, failed)));
            }
        }
        drop(state);
        for (job, failed) in finished {
            self.counters.waited(start.saturating_duration_since(job.came));
            let rows = failed.map_or_else(|| Ok(job.texts.into_iter().map(row_of).collect()), Err);
            // A client that has just gone is not told.
            let _ = job.answer.send(rows);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The row of a text whose pieces are all done.
fn row_of(pieces: Vec<Progress>) -> Vec<f32> {
    let done = pieces.into_iter().filter_map(|piece| match piece {
        Progress::Done(row, tokens) => Some((row, tokens)),
        Progress::Waits(_) | Progress::Runs => None,
    });
    row_of_text(done.collect())
}

impl State {
    /// Drops the requests that nobody waits for any more.
    fn drop_unwanted(&mut self) {
        let before = self.jobs.len();
        self.jobs.retain(|_, job| !job.answer.is_closed());
        if self.jobs.len() == before {
            return;
        }
        let Self { jobs, pools, .. } = self;
        pools.iter_mut().for_each(|(_, pool)| pool.retain(|job| jobs.contains_key(&job)));
        pools.retain(|(_, pool)| !pool.is_empty());
    }
}
