//! Owns quantities as people read them: numbers, sizes, durations.
//!
//! Refuses to print them.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Kind, Result};

/// From here on numbers are written with an exponent.
const LONG: f64 = 1e7;

/// A size in units of 1,000.
#[must_use]
pub fn bytes(number: u64) -> String {
    let value = number as f64;
    match value {
        1e9.. => format!("{:.1} GB", value / 1e9),
        1e6.. => format!("{:.1} MB", value / 1e6),
        1e3.. => format!("{:.1} kB", value / 1e3),
        _ => format!("{number} bytes"),
    }
}

/// A number with thousands separated by commas.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things, by the word for one: `1 row`, `2,410 rows`.
#[must_use]
pub fn counted(number: u64, one: &str) -> String {
    format!("{} {one}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// Seconds: `0.4 s`, `12 s`, `3 min 20 s`, `1 h 05 min`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    match whole {
        _ if seconds < 9.95 => format!("{seconds:.1} s"),
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

/// A share, 0 to 1, in hundredths: `0.02 %`; what is not nothing is never `0.00 %`.
#[must_use]
pub fn percent(share: f64) -> String {
    let text = format!("{:.2}", 100.0 * share);
    if share > 0.0 && text == "0.00" { "<0.01 %".to_owned() } else { format!("{text} %") }
}

/// A wanted share, as it was asked for: `90 %`, `99.9 %`.
#[must_use]
pub fn level(share: f64) -> String {
    let text = format!("{:.3}", 100.0 * share);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A number with so many digits behind the point, or, where that would be too long to read, `5.16e27`.
#[must_use]
pub fn fixed(value: f64, digits: usize) -> String {
    if value.abs() < LONG { format!("{value:.digits$}") } else { format!("{value:.2e}") }
}

/// A figure with its standard error: `0.912 ± 0.013`. Never `± 0.000`: an error that rounds to nothing is `±
/// <0.001`, and a figure that has no error of its own stands alone.
#[must_use]
pub fn with_error(value: f64, error: Option<f64>, digits: usize) -> String {
    let value = fixed(value, digits);
    match error_text(error, digits) {
        Some(error) => format!("{value} ± {error}"),
        None => value,
    }
}

/// A standard error alone, as [`with_error`] writes it; none where there is none.
#[must_use]
pub fn error_text(error: Option<f64>, digits: usize) -> Option<String> {
    let error = error.filter(|error| *error > 0.0)?;
    let text = fixed(error, digits);
    if text.bytes().any(|byte| (b'1'..=b'9').contains(&byte)) {
        return Some(text);
    }
    let least = 10.0_f64.powi(-i32::try_from(digits).unwrap_or(i32::MAX));
    Some(format!("<{least:.digits$}"))
}

/// The day of a moment, `2026-11-26`, in UTC; `seconds` since 1970.
#[must_use]
pub fn date(seconds: u64) -> String {
    // Days of eras of 400 years that begin on a first of March (H. Hinnant, "chrono-Compatible Low-Level Date
    // Algorithms").
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

/// An amount of memory as it is asked for, in units of 1,024 as control groups have them: `96M`, `1G`,
/// `100663296`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemorySize(pub u64);

impl FromStr for MemorySize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
        let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
            "" => Some(0),
            "k" | "kib" => Some(10),
            "m" | "mib" => Some(20),
            "g" | "gib" => Some(30),
            _ => None,
        };
        let number = digits.parse::<u64>().ok().filter(|number| *number > 0);
        let bytes = number.zip(shift).and_then(|(number, shift)| number.checked_mul(1 << shift));
        bytes.map(Self).ok_or_else(|| {
            Error::new(Kind::Usage, "not an amount of memory")
                .found(text)
                .expected("a whole number of bytes, or with K, M or G (of 1,024), like 96M")
        })
    }
}

/// In whole units of 1,024², rounded up: enough when it is asked for.
impl fmt::Display for MemorySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}M", self.0.div_ceil(1 << 20))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(23_610_000), "23,610,000");
    }

    #[test]
    fn levels_are_as_they_were_asked_for_and_long_numbers_have_an_exponent() {
        assert_eq!([0.9, 0.95, 0.999, 0.29].map(level), ["90 %", "95 %", "99.9 %", "29 %"]);
        assert_eq!(
            [0.0, -12.34567, 9_999_999.0].map(|value| fixed(value, 3)),
            ["0.000", "-12.346", "9999999.000"]
        );
        assert_eq!([1e7, -5.1637e27].map(|value| fixed(value, 3)), ["1.00e7", "-5.16e27"]);
        assert_eq!(with_error(-2.25e55, Some(3.7e54), 3), "-2.25e55 ± 3.70e54");
    }

    #[test]
    fn sizes_are_in_units_of_a_thousand() {
        assert_eq!(bytes(12), "12 bytes");
        assert_eq!(bytes(91_000_000), "91.0 MB");
    }

    #[test]
    fn amounts_of_memory_are_parsed_and_printed_in_units_of_1024() {
        let parsed = |text: &str| text.parse::<MemorySize>().map(|size| size.0).ok();
        assert_eq!(parsed("96M"), Some(96 << 20));
        assert_eq!(parsed("1g"), Some(1 << 30));
        assert_eq!(parsed("2KiB"), Some(2048));
        assert_eq!(parsed("512"), Some(512));
        for wrong in ["", "M", "96 M", "-1M", "0", "1.5G", "96X", "99999999999G", "9é"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
        assert_eq!(MemorySize(96 << 20).to_string(), "96M");
        assert_eq!(MemorySize((96 << 20) + 1).to_string(), "97M");
    }

    #[test]
    fn a_share_that_is_something_is_never_printed_as_nothing() {
        assert_eq!(
            [0.0, 0.00004, 0.000_05, 0.0123, 1.0].map(percent),
            ["0.00 %", "<0.01 %", "0.01 %", "1.23 %", "100.00 %"]
        );
    }

    #[test]
    fn an_error_is_never_printed_as_nothing() {
        assert_eq!(with_error(0.912, Some(0.0134), 3), "0.912 ± 0.013");
        assert_eq!(with_error(1.0, Some(0.0004), 3), "1.000 ± <0.001");
        assert_eq!(with_error(1.0, Some(0.000_500_1), 3), "1.000 ± 0.001");
        assert_eq!(with_error(-2.34, Some(0.04), 1), "-2.3 ± <0.1");
        for none in [None, Some(0.0), Some(f64::NAN)] {
            assert_eq!(with_error(1.0, none, 3), "1.000");
        }
        assert_eq!(error_text(Some(0.2), 0).as_deref(), Some("<1"));
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let dates = [0, 951_782_399, 951_782_400, 951_868_800, 1_795_651_200, 4_107_542_400].map(date);
        let expected = ["1970-01-01", "2000-02-28", "2000-02-29", "2000-03-01", "2026-11-26", "2100-03-01"];
        assert_eq!(dates, expected);
    }

    #[test]
    fn durations_are_readable() {
        let texts = [0.04, 9.9, 10.2, 59.6, 75.0, 3599.9, 3900.0].map(duration);
        assert_eq!(texts, ["0.0 s", "9.9 s", "10 s", "1 min 00 s", "1 min 15 s", "1 h 00 min", "1 h 05 min"]);
    }
}
