//! Owns the time limit of a comparison.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};
use crate::quantities::duration;

/// How long a comparison may take, read from `90s`, `10m`, `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLimit(pub Duration);

impl FromStr for TimeLimit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::new(Kind::Usage, "this is no time limit")
                .found(format!("{text:?}"))
                .expected("numbers with units h, m and s: 90s, 10m, 1h30m")
        };
        let mut seconds = 0_u64;
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
            let number: u64 = rest[..end].parse().map_err(|_| wrong())?;
            let unit = match rest[end..].chars().next() {
                Some('h') => 3600,
                Some('m') => 60,
                Some('s') => 1,
                _ => return Err(wrong()),
            };
            let added = number.checked_mul(unit).and_then(|added| seconds.checked_add(added));
            seconds = added.ok_or_else(wrong)?;
            rest = &rest[end + 1..];
        }
        if seconds == 0 { Err(wrong()) } else { Ok(Self(Duration::from_secs(seconds))) }
    }
}

impl fmt::Display for TimeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&duration(self.0.as_secs_f64()))
    }
}

/// What a time limit is measured with: the time since some fixed point.
#[derive(Clone)]
pub struct Clock(pub Arc<dyn Fn() -> Duration>);

impl Default for Clock {
    fn default() -> Self {
        let start = Instant::now();
        Self(Arc::new(move || start.elapsed()))
    }
}

/// A time limit that runs.
#[derive(Clone)]
pub(super) struct Deadline {
    clock: Clock,
    start: Duration,
    limit: Option<TimeLimit>,
}

impl Deadline {
    pub fn new(limit: Option<TimeLimit>, clock: &Clock) -> Self {
        Self { clock: clock.clone(), start: (clock.0)(), limit }
    }

    /// Seconds that are left; none without a limit.
    pub fn left(&self) -> Option<f64> {
        let elapsed = (self.clock.0)().saturating_sub(self.start);
        self.limit.map(|limit| limit.0.saturating_sub(elapsed).as_secs_f64())
    }

    /// Whether nothing is left.
    pub fn passed(&self) -> bool {
        self.left().is_some_and(|left| left <= 0.0)
    }

    /// Why something that takes so long is not begun; none when it fits.
    pub fn refuses(&self, seconds: f64) -> Option<String> {
        let left = self.left()?;
        (seconds > left).then(|| {
            format!(
                "the estimate of {} does not fit what is left of --time-limit ({})",
                duration(seconds),
                duration(left)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn limits_are_read() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("1h30m", 5400), ("2h", 7200)] {
            assert_eq!(text.parse::<TimeLimit>().unwrap().0.as_secs(), seconds);
        }
        for text in ["", "10", "m", "0s", "1d", "-5m", "1.5h", "99999999999999999999s", "6000000000000000h"] {
            let error = text.parse::<TimeLimit>().unwrap_err().to_string();
            assert!(error.contains("1h30m") && error.contains(text), "{error}");
        }
    }

    #[test]
    fn a_deadline_refuses_what_does_not_fit() {
        let now = Arc::new(AtomicU64::new(7));
        let seconds = Arc::clone(&now);
        let clock = Clock(Arc::new(move || Duration::from_secs(seconds.load(Relaxed))));
        let none = Deadline::new(None, &clock);
        assert!(none.refuses(1e9).is_none() && !none.passed());
        let minute = Deadline::new(Some("1m".parse().unwrap()), &clock);
        assert!(minute.refuses(60.0).is_none() && !minute.passed());
        assert!(minute.refuses(61.0).unwrap().contains("1 min 00 s"));
        now.store(66, Relaxed);
        assert!(minute.refuses(1.0).is_none() && minute.refuses(1.1).is_some() && !minute.passed());
        now.store(67, Relaxed);
        assert!(minute.passed() && minute.refuses(0.1).is_some());
    }
}
