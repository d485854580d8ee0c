//! Owns running one graph in several sessions side by side, each with its share of the threads: on products
//! as small as a batch of short texts makes them, two threads with a batch each wait less for one another
//! than two threads that share each operator.
//!
//! Refuses to change a result, and to take more memory for it than [`MOST_BYTES`]: every session packs the
//! weights for itself.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use super::{Device, Runtime, Session, memory};
use crate::error::Result;
use crate::parallel::in_parallel;

/// Bytes that the sessions of one graph may take together, beyond the first: all cores get one for a small
/// network; a large one, whose products are large as well, is not loaded sixteen times.
const MOST_BYTES: u64 = 1 << 30;

/// What a session takes beside its weights: activations of a batch and the allocator's rest, 12 to 24 MB
/// measured.
const WORKING_BYTES: u64 = 24 << 20;

/// Nor more than this part of the memory that can be had.
const MOST_OF_MEMORY: u64 = 8;

/// Texts that are many.
const MANY: usize = 256;

/// What sessions are loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Load {
    /// Few texts at a time: one session that has all threads answers the soonest, and takes the least memory.
    #[default]
    Few,
    /// Many: batches run side by side.
    Many,
}

impl Load {
    /// What loading sessions for so many texts that are at hand is worth: a session for each thread costs
    /// what some 100 texts do.
    #[must_use]
    pub fn of_texts(texts: usize) -> Self {
        if texts < MANY { Self::Few } else { Self::Many }
    }
}

/// Sessions of one graph.
pub struct Sessions {
    /// At least one.
    all: Vec<Session>,
    threads: usize,
}

impl Sessions {
    /// One that has all threads.
    #[must_use]
    pub fn one(session: Session) -> Self {
        Self { threads: session.threads(), all: vec![session] }
    }

    /// For many texts as many as there are threads, as far as memory allows when each takes `bytes`; on a
    /// GPU, one.
    ///
    /// # Errors
    /// `open` fails.
    pub fn open(
        runtime: &Runtime,
        (load, bytes): (Load, u64),
        open: &(dyn Fn(&Runtime) -> Result<Session> + Sync),
    ) -> Result<Self> {
        let threads = runtime.threads();
        let count = match (load, runtime.device()) {
            (Load::Many, Device::Cpu) => {
                fitting(threads, bytes.saturating_add(WORKING_BYTES), memory_for_sessions())
            }
            _ => 1,
        };
        let ranges = (0..count).map(|place| place..place + 1).collect();
        let shares = shares(threads, count);
        let each = |places: Range<usize>| open(&runtime.with_threads(shares[places.start]));
        let all = in_parallel(count, ranges, &each).into_iter().collect::<Result<_>>()?;
        Ok(Self { all, threads })
    }

    /// Threads of all together.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// One of them, for work that is not divided.
    pub fn first(&mut self) -> &mut Session {
        &mut self.all[0]
    }

    /// Does `work` for `0..count`, each in whichever session is free, and hands what comes of it to `each` on
    /// this thread, in no particular order. After a failure nothing more is begun but what the other sessions
    /// begin until they hear of it.
    ///
    /// # Errors
    /// `work` or `each` fails.
    pub fn for_all<T: Send>(
        &mut self,
        count: usize,
        work: &(dyn Fn(&mut Session, usize) -> Result<T> + Sync),
        each: &mut dyn FnMut(usize, T) -> Result<()>,
    ) -> Result<()> {
        if let [session] = &mut self.all[..] {
            return (0..count).try_for_each(|place| each(place, work(session, place)?));
        }
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            // As many results wait as there are sessions, so that none has to.
            let (send, receive) = mpsc::sync_channel(self.all.len());
            for session in &mut self.all {
                let (send, next) = (send.clone(), &next);
                scope.spawn(move || {
                    let places = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
                    for place in places.take_while(|&place| place < count) {
                        let result = work(session, place);
                        let failed = result.is_err();
                        // Nobody listens any more after a failure elsewhere.
                        if send.send((place, result)).is_err() || failed {
                            break;
                        }
                    }
                });
            }
            drop(send);
            receive.into_iter().try_for_each(|(place, result)| each(place, result?))
        })
    }
}

/// As many sessions as threads, if `memory` holds those beyond the first, each taking `bytes`.
fn fitting(threads: usize, bytes: u64, memory: u64) -> usize {
    let beyond =
        memory.checked_div(bytes).and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
    threads.min(beyond.saturating_add(1))
}

/// Threads of each session. The first may have one more: whichever is free takes the next batch.
fn shares(threads: usize, count: usize) -> Vec<usize> {
    (0..count).map(|place| threads / count + usize::from(place < threads % count)).collect()
}

/// Nothing where the system does not say what it has.
fn memory_for_sessions() -> u64 {
    memory().map_or(0, |memory| {
        let there = memory.limit.map_or(memory.available, |limit| limit.min(memory.available));
        (there / MOST_OF_MEMORY).min(MOST_BYTES)
    })
}

#[cfg(test)]
mod tests;
