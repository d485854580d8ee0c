//! Owns quantities as people read them: numbers, sizes, durations.
//!
//! Refuses to print them.

/// A size in units of 1,000.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a size for people")]
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

/// Seconds: `0.4 s`, `12 s`, `3 min 20 s`, `1 h 05 min`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a duration for people; it saturates"
    )]
    let whole = seconds.round().max(0.0) as u64;
    match whole {
        _ if seconds < 9.95 => format!("{seconds:.1} s"),
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
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
    fn sizes_are_in_units_of_a_thousand() {
        assert_eq!(bytes(12), "12 bytes");
        assert_eq!(bytes(91_000_000), "91.0 MB");
    }

    #[test]
    fn durations_are_readable() {
        let texts = [0.04, 9.9, 10.2, 59.6, 75.0, 3599.9, 3900.0].map(duration);
        assert_eq!(texts, ["0.0 s", "9.9 s", "10 s", "1 min 00 s", "1 min 15 s", "1 h 00 min", "1 h 05 min"]);
    }
}
