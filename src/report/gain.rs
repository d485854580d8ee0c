//! Owns a gain with its standard error, and whether it is more than noise.

use super::text::points;
use crate::quantities::error_text;

/// A gain counts from so many combined standard errors on (about 95 % when nothing was gained).
const BEYOND_NOISE: f64 = 2.0;

/// A gain and its standard error; 1, which is more than any share can be off, where it is not known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gain {
    pub value: f64,
    pub error: f64,
}

impl Gain {
    pub fn beyond_noise(self) -> bool {
        self.value.abs() > BEYOND_NOISE * self.error
    }

    /// Points that would be beyond noise.
    pub fn least(self) -> f64 {
        100.0 * BEYOND_NOISE * self.error
    }

    /// What can be said of it where it is not beyond noise.
    pub fn cannot_tell(self) -> String {
        format!("cannot tell: these rows show nothing below {:.1} points", self.least())
    }

    /// `+1.2 ± 0.5 points`.
    pub fn text(self) -> String {
        let error = error_text(Some(100.0 * self.error), 1);
        format!(
            "{}{} points",
            points(self.value),
            error.map_or_else(String::new, |error| format!(" ± {error}"))
        )
    }
}
