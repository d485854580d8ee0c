//! Owns from where on an answer is given, and how far it may be off: found on rows that the head was not
//! fitted on.

use serde::{Deserialize, Serialize};

/// A threshold above every probability: the label is never answered.
pub const NEVER: f32 = 2.0;
/// Where nothing else was found, a label of several is answered from this probability on.
const EVEN: f32 = 0.5;

/// From where on labels are answered, and how far a number may be off.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits<'l> {
    /// Per label, the least probability; none where nothing was found.
    pub thresholds: &'l [f32],
    /// How far numbers may be off, where that is known.
    pub interval: Option<Interval>,
}

/// How far the truth may be from a number that is answered.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// The share of rows whose truth is no further away …
    pub level: f32,
    /// … than this.
    pub width: f32,
    /// Rows that it was found on.
    pub rows: u64,
}

impl Limits<'_> {
    /// From which probability on a label of several is answered.
    #[must_use]
    pub fn of_several(&self, label: usize) -> f32 {
        self.thresholds.get(label).copied().unwrap_or(EVEN)
    }

    /// From which probability on the most probable label is answered; else nothing is.
    #[must_use]
    pub fn of_one(&self, label: usize) -> f32 {
        self.thresholds.get(label).copied().unwrap_or(0.0)
    }
}

impl Interval {
    /// The interval of this level from how far answers were off: the smallest distance that so many of them
    /// do not exceed that a further row does not with at least that probability (split conformal: Lei et al.
    /// 2018, §2.2). None where rows are too few: below 9 for 90 %.
    #[must_use]
    pub fn of(level: f64, mut distances: Vec<f64>) -> Option<Self> {
        distances.sort_by(f64::total_cmp);
        let rows = distances.len();
        let place = ((rows as f64 + 1.0) * level - 1e-9).ceil() as usize;
        let width = *distances.get(place.max(1) - 1)?;
        Some(Self { level: level as f32, width: width as f32, rows: rows as u64 })
    }

    /// Rows that an interval of a level needs, at least.
    #[must_use]
    pub fn least_rows(level: f64) -> usize {
        (level / (1.0 - level) - 1e-9).ceil() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_covers_what_was_promised_or_is_none() {
        let of = |rows: usize, level: f64| Interval::of(level, (1..=rows).map(|n| n as f64).collect());
        // 9 rows promise 90 %: of ten exchangeable distances the last is the largest once in ten.
        assert_eq!(of(9, 0.9).map(|found| found.width), Some(9.0));
        assert_eq!(of(8, 0.9), None);
        assert_eq!(of(99, 0.9).map(|found| found.width), Some(90.0));
        assert_eq!(of(0, 0.5), None);
        for level in [0.5, 0.8, 0.9, 0.95] {
            let least = Interval::least_rows(level);
            assert!(of(least, level).is_some() && of(least - 1, level).is_none(), "{level}");
        }
    }

    #[test]
    fn without_thresholds_labels_are_answered_as_they_are_likely() {
        let none = Limits::default();
        assert_eq!((none.of_several(3), none.of_one(3)), (0.5, 0.0));
        let some = Limits { thresholds: &[0.25, NEVER], interval: None };
        assert_eq!((some.of_several(0), some.of_one(1)), (0.25, NEVER));
    }
}
