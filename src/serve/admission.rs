//! Owns how much is taken on at once: texts and tokens that are not answered yet, and bytes of bodies that
//! are being read.
//!
//! Refuses what is beyond, at once. What was let in is given back when its guard is dropped: answered, timed
//! out, or its client gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A number that may not grow beyond a limit.
#[derive(Debug)]
pub(super) struct Gate {
    taken: AtomicUsize,
    limit: usize,
}

impl Gate {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), limit })
    }

    /// How much is taken.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes so many, if there is room; always, if nothing else is taken: what fits no limit is refused
    /// elsewhere.
    pub(super) fn enter(self: &Arc<Self>, many: usize) -> Option<Entered> {
        let fits = |taken: usize| taken == 0 || taken.saturating_add(many) <= self.limit;
        let enter = |taken: usize| fits(taken).then_some(taken + many);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter).ok()?;
        Some(Entered { gate: Arc::clone(self), many })
    }
}

/// What was taken, until it is dropped.
#[derive(Debug)]
pub(super) struct Entered {
    gate: Arc<Gate>,
    many: usize,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.gate.taken.fetch_sub(self.many, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_lets_in_up_to_its_limit_and_takes_back() {
        let gate = Gate::new(10);
        let first = gate.enter(6).unwrap();
        assert!(gate.enter(5).is_none());
        let second = gate.enter(4).unwrap();
        assert_eq!(gate.taken(), 10);
        drop(first);
        assert_eq!(gate.taken(), 4);
        drop(second);
        // Alone, anything may pass: otherwise one long text could never be answered.
        assert!(gate.enter(11).is_some());
        assert_eq!(gate.taken(), 0);
    }
}
