//! Owns putting the windows of long texts together: which windows run together, and their token-weighted
//! mean.
//!
//! Refuses to hold more than a bounded number of windows, however long a text is.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::tokens::{Encoded, Lost, Window};

/// Tokens of a round: enough windows to sort into full batches, few enough to hold their rows.
const ROUND_TOKENS: usize = 1 << 18;

/// Texts that were read in more than one window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowNotes {
    pub texts: u64,
    /// Their windows.
    pub windows: u64,
}

impl AddAssign for WindowNotes {
    fn add_assign(&mut self, other: Self) {
        self.texts += other.texts;
        self.windows += other.windows;
    }
}

/// Windows that run together, in the order of their texts.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub encoded: Encoded,
    pub windows: Vec<RoundWindow>,
    tokens: usize,
}

/// A window of a round.
#[derive(Debug)]
pub(super) struct RoundWindow {
    pub text: usize,
    /// Whether the text begins with it.
    pub first: bool,
    /// What the text lost behind it, when it is the text's last.
    pub last: Option<Lost>,
}

impl Round {
    pub fn push(&mut self, text: usize, window: &Window) {
        self.encoded.push(&window.ids, Lost::default());
        self.windows.push(RoundWindow { text, first: window.first, last: window.last });
        self.tokens += window.ids.len();
    }

    pub fn is_full(&self) -> bool {
        self.tokens >= ROUND_TOKENS
    }
}

/// The sum over a text's windows so far, each counting as many times as it has tokens.
#[derive(Debug)]
pub(super) struct Sum {
    numbers: Vec<f64>,
    tokens: u64,
    windows: u64,
}

impl Sum {
    pub fn new(width: usize) -> Self {
        Self { numbers: vec![0.0; width], tokens: 0, windows: 0 }
    }

    pub fn add(&mut self, row: &[f32], tokens: usize) {
        let weight = tokens as f64;
        self.numbers.iter_mut().zip(row).for_each(|(sum, number)| *sum += weight * f64::from(*number));
        self.tokens += tokens as u64;
        self.windows += 1;
    }

    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    pub fn notes(&self) -> WindowNotes {
        WindowNotes { texts: 1, windows: self.windows }
    }

    /// The mean, into `row`.
    pub fn mean(&self, row: &mut [f32]) {
        let tokens = self.tokens as f64;
        row.iter_mut().zip(&self.numbers).for_each(|(mean, sum)| *mean = (sum / tokens) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_count_as_many_times_as_they_have_tokens() {
        let mut sum = Sum::new(2);
        sum.add(&[1.0, 0.0], 128);
        sum.add(&[5.0, 2.0], 32);
        let mut row = [0.0; 2];
        sum.mean(&mut row);
        assert_eq!(row, [1.8, 0.4]);
        assert_eq!((sum.tokens(), sum.notes()), (160, WindowNotes { texts: 1, windows: 2 }));
    }

    #[test]
    fn a_round_ends_at_a_bounded_number_of_tokens() {
        let mut round = Round::default();
        let window = Window { ids: vec![1; 128], first: true, span: None, last: None };
        while !round.is_full() {
            round.push(0, &window);
        }
        assert_eq!(round.windows.len(), ROUND_TOKENS / 128);
    }
}
