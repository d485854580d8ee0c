//! Owns the name of a label: one value has one, whatever the table that it stands in.
//!
//! A number is named by its shortest decimal form (`1`, `0.5`, `1000`), whether it was written `1`, `1.0` or
//! `1e0`. A text is its own name, but for the one that programs write for a whole number which has become one
//! with a fraction: `1.0` is `1`. So `01`, `1.10` and `1e3` in a column of texts stay what they are: they may
//! well be codes. Where one training has `1.10` or `1e3` and the number too, they are one label
//! ([`Spellings`](super::Spellings)); a text with a zero in front, like `01`, never is.
//! `NaN` is no label, and neither is nothing.
//!
//! Refuses to merge what differs in case, in white space or in Unicode's form.

use std::borrow::Cow;
use std::collections::HashMap;

/// Zeros that a number's name is written out with, at most; beyond it has an exponent. The largest f64 has
/// 309 digits.
const LONGEST: i64 = 400;

/// The name of a text as a label; none for nothing and `NaN`.
#[must_use]
pub fn label_of_text(text: &str) -> Option<Cow<'_, str>> {
    if text.is_empty() || text.trim_start_matches(['-', '+']).eq_ignore_ascii_case("nan") {
        return None;
    }
    Some(Cow::Borrowed(whole_number(text).unwrap_or(text)))
}

/// `1.0` → `1`, `-3.00` → `-3`, `-0` → `0`; none for every other text.
fn whole_number(text: &str) -> Option<&str> {
    let whole = match text.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0') => whole,
        Some(_) => return None,
        None => text,
    };
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    let written_plainly = digits == "0"
        || digits.starts_with(|first: char| ('1'..='9').contains(&first))
            && digits.bytes().all(|byte| byte.is_ascii_digit());
    written_plainly.then_some(if digits == "0" { digits } else { whole })
}

/// The name of a number as a label, from its decimal form, with an exponent or without; none for what is not
/// finite, but for infinity, which is a value.
#[must_use]
pub fn label_of_number(number: &str) -> Option<Cow<'_, str>> {
    let Some(Decimal { negative, digits, exponent }) = Decimal::parse(number) else {
        return label_of_text(number);
    };
    if digits.is_empty() {
        return Some(Cow::Borrowed("0"));
    }
    let sign = if negative { "-" } else { "" };
    let length = i64::try_from(digits.len()).unwrap_or(i64::MAX);
    // How many digits stand before the point.
    let before = length.saturating_add(exponent);
    let plain = if exponent.unsigned_abs() > LONGEST.unsigned_abs() + digits.len() as u64 {
        format!("{sign}{digits}e{exponent}")
    } else if exponent >= 0 {
        format!("{sign}{digits}{}", zeros(exponent))
    } else if before > 0 {
        let (whole, fraction) = digits.split_at(usize::try_from(before).unwrap_or(0));
        format!("{sign}{whole}.{fraction}")
    } else {
        format!("{sign}0.{}{digits}", zeros(-before))
    };
    Some(if plain == number { Cow::Borrowed(number) } else { Cow::Owned(plain) })
}

fn zeros(count: i64) -> String {
    "0".repeat(usize::try_from(count).unwrap_or(0))
}

/// `±digits × 10^exponent`; the digits neither begin nor end with a zero.
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// Reads `-12.50e+3`; none for what is not a number in digits.
    fn parse(number: &str) -> Option<Self> {
        let (mantissa, exponent) = match number.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (number, 0),
        };
        let negative = mantissa.starts_with('-');
        let mantissa = mantissa.strip_prefix('-').unwrap_or(mantissa);
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        if whole.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let kept = digits.trim_end_matches('0');
        let dropped = i64::try_from(digits.len() - kept.len()).ok()? - i64::try_from(fraction.len()).ok()?;
        let exponent = exponent.checked_add(dropped)?;
        Some(Self { negative, digits: kept.trim_start_matches('0').to_owned(), exponent })
    }
}

/// Finds labels among a task's names. Names that older versions wrote (`1.0`) are found by what they are
/// named today, unless that is another's name.
#[derive(Debug, Clone)]
pub struct LabelNames<'n> {
    places: HashMap<Cow<'n, str>, usize>,
    /// The same by value: `2.50` is `2.5`, `True` is `true`; none where several names have one value.
    values: HashMap<String, Option<usize>>,
}

/// What a text says as a number, or as true or false, whoever wrote it. A zero in front (`007`) is no part of
/// a number: that is a code.
pub(super) fn value(text: &str) -> Option<String> {
    let whole = text.trim_start_matches('-').split(['.', 'e', 'E']).next().unwrap_or_default();
    if whole.len() > 1 && whole.starts_with('0') {
        return None;
    }
    let lower = text.to_ascii_lowercase();
    if lower == "true" || lower == "false" {
        return Some(lower);
    }
    Decimal::parse(text)?;
    label_of_number(text).map(Cow::into_owned)
}

impl<'n> LabelNames<'n> {
    /// The names in their order.
    #[must_use]
    pub fn new(names: &'n [String]) -> Self {
        let mut places: HashMap<Cow<'n, str>, usize> =
            names.iter().enumerate().map(|(place, name)| (Cow::Borrowed(name.as_str()), place)).collect();
        for (place, name) in names.iter().enumerate() {
            if let Some(today) = label_of_text(name) {
                places.entry(today).or_insert(place);
            }
        }
        let mut values = HashMap::new();
        for (place, name) in names.iter().enumerate() {
            if let Some(value) = value(name) {
                values.entry(value).and_modify(|known| *known = None).or_insert(Some(place));
            }
        }
        Self { places, values }
    }

    /// The place of a label.
    #[must_use]
    pub fn index(&self, label: &str) -> Option<usize> {
        let today = || self.places.get(&*label_of_text(label)?).copied();
        let by_value = || self.values.get(&value(label)?).copied().flatten();
        self.places.get(label).copied().or_else(today).or_else(by_value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn number(written: &str, name: &str) {
        assert_eq!(label_of_number(written).as_deref(), Some(name), "{written}");
    }

    #[test]
    fn a_number_has_one_name_however_it_is_written() {
        for written in ["1", "1.0", "1.000", "1e0", "10e-1", "0.1E+1"] {
            number(written, "1");
        }
        for (written, name) in [
            ("0", "0"),
            ("-0.0", "0"),
            ("-1.50", "-1.5"),
            ("1.10", "1.1"),
            ("1e3", "1000"),
            ("12.5e1", "125"),
            ("1.25e1", "12.5"),
            ("1e-5", "0.00001"),
            ("0.1", "0.1"),
            ("36893488147419103232", "36893488147419103232"),
            ("36893488147419103233", "36893488147419103233"),
            ("1e999999999", "1e999999999"),
            ("-2.50e-999999999", "-25e-1000000000"),
            ("inf", "inf"),
        ] {
            number(written, name);
        }
        assert_eq!(label_of_number("NaN"), None);
    }

    #[test]
    fn a_text_is_its_own_name_unless_it_is_a_whole_number_written_with_a_fraction() {
        let name = |text: &'static str| label_of_text(text).unwrap();
        for text in ["1", "1.0", "1.00"] {
            assert_eq!(name(text), "1");
        }
        assert_eq!(name("-3.0"), "-3");
        assert_eq!(name("-0.0"), "0");
        for text in
            ["01", "01.0", "1.", ".0", "1.10", "1.1", "1e3", "+1", "1.0.0", "v1.0", " 1.0", "nan.", "true"]
        {
            assert_eq!(name(text), text);
        }
        for none in ["", "NaN", "nan", "-nan", "NAN"] {
            assert_eq!(label_of_text(none), None);
        }
    }

    #[test]
    fn names_of_older_models_are_found_by_todays_name() {
        let names = ["1.0", "2", "2.0", "a"].map(str::to_owned);
        let labels = LabelNames::new(&names);
        assert_eq!(labels.index("1"), Some(0));
        assert_eq!(labels.index("1.0"), Some(0));
        assert_eq!([labels.index("2"), labels.index("2.0")], [Some(1), Some(2)]);
        assert_eq!([labels.index("a"), labels.index("b"), labels.index("")], [Some(3), None, None]);
    }

    #[test]
    fn a_value_that_another_program_wrote_otherwise_is_found_where_only_one_is_meant() {
        let names = ["2.5", "1.1", "1.10", "100", "true", "a"].map(str::to_owned);
        let labels = LabelNames::new(&names);
        for (label, place) in
            [("2.50", 0), ("1.1", 1), ("1.10", 2), ("1E2", 3), ("True", 4), ("FALSE", 9), ("A", 9)]
        {
            assert_eq!(labels.index(label), Some(place).filter(|place| *place < 9), "{label}");
        }
        assert_eq!(labels.index("1.100"), None, "two names have that value");
    }
}
