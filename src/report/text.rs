//! Owns numbers and lists as people read them, and text that is safe inside HTML.

use crate::quantities::error_text;

/// A share to three digits: `0.918`.
pub(super) fn share(value: f64) -> String {
    format!("{value:.3}")
}

/// A difference of shares in points: `+1.2`.
pub(super) fn points(difference: f64) -> String {
    let points = 100.0 * difference;
    // −0.04 is not a loss.
    if points.abs() < 0.05 { "+0.0".to_owned() } else { format!("{points:+.1}") }
}

/// A share with its standard error, if it has one; a dash where nothing was measured.
pub(super) fn figure(value: Option<f64>, error: Option<f64>) -> String {
    let Some(value) = value else { return "–".to_owned() };
    let error =
        error_text(error, 3).map(|error| format!(" <span class=\"error\">± {}</span>", escape(&error)));
    share(value) + &error.unwrap_or_default()
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn and(parts: &[String]) -> String {
    match parts {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// A table that scrolls in itself, also by keyboard; `name` is what it is, for those who cannot see it.
pub(super) fn scrolled(name: &str, table: &str) -> String {
    format!(
        "<div class=\"scroll\" role=\"group\" tabindex=\"0\" aria-label=\"{}\">{table}</div>",
        escape(name)
    )
}

/// Text as it may stand anywhere in HTML.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_text() {
        assert_eq!(escape("<b a=\"1\">'&"), "&lt;b a=&quot;1&quot;&gt;&#39;&amp;");
    }

    #[test]
    fn small_differences_have_no_sign_of_their_own() {
        assert_eq!([points(-0.0004), points(-0.012), points(0.031)], ["+0.0", "-1.2", "+3.1"]);
    }
}
