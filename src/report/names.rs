//! Owns what scenarios are called in words: `2:auto` says nothing to who does not know it.

use super::depth_of;

/// A scenario in a few words: what is frozen, and what heads see.
#[must_use]
pub fn in_words(scenario: &str) -> String {
    if let Some(depth) = depth_of(scenario) {
        return format!("heads at depth {depth}");
    }
    let (first, rest) = scenario.split_once(':').unwrap_or((scenario, ""));
    match (first, rest) {
        ("1", _) => "labels by their descriptions".to_owned(),
        ("2", "" | "last") => "heads on the last layer".to_owned(),
        ("2", "auto") => "heads on chosen features".to_owned(),
        ("2", features) => format!("heads on {features}"),
        ("3", frozen) => {
            let (task, features) = frozen.split_once(':').unwrap_or((frozen, ""));
            with_features(format!("head {task} frozen, the rest trained"), features)
        }
        (top, features) => match top.strip_prefix("top") {
            Some("1") => with_features("top layer trained".to_owned(), features),
            Some(count) => with_features(format!("{count} top layers trained"), features),
            None => scenario.to_owned(),
        },
    }
}

fn with_features(words: String, features: &str) -> String {
    if features.is_empty() { words } else { format!("{words}, heads on {features}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_has_words() {
        for (scenario, words) in [
            ("1", "labels by their descriptions"),
            ("2", "heads on the last layer"),
            ("2:last", "heads on the last layer"),
            ("2:auto", "heads on chosen features"),
            ("2:layers:3-5", "heads on layers:3-5"),
            ("3:domain", "head domain frozen, the rest trained"),
            ("3:domain:all", "head domain frozen, the rest trained, heads on all"),
            ("top1", "top layer trained"),
            ("top2:all", "2 top layers trained, heads on all"),
            ("depth-3", "heads at depth 3"),
        ] {
            assert_eq!(in_words(scenario), words, "{scenario}");
        }
    }
}
