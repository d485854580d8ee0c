//! Owns the options of training layers. Each is declared once, with its help, its default and what it may be:
//! from that come its field, its argument on the command line, its line in a run's recipe and its part in the
//! hash of a run.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::encoder::TrainedTensors;
use crate::error::{Error, Kind, Result};
use crate::store::StatePrecision;

/// What a value may be: in words, and whether a value is.
type Allowed<T> = (&'static str, fn(&T) -> bool);

const SHARE: Allowed<f32> = ("a number from 0 to below 1", |value| (0.0..1.0).contains(value));
const FACTOR: Allowed<f32> = ("a number of 0 or more", |value| *value >= 0.0 && value.is_finite());
const EPOCHS: Allowed<u64> = ("a whole number above 0", |value| *value > 0);
const PATIENCE: Allowed<u64> = ("a whole number", |_| true);
const TOKENS: Allowed<usize> = ("a whole number above 0", |value| *value > 0);
const INIT: Allowed<HeadInit> = ("fitted or random", |_| true);
const TRAIN: Allowed<TrainedTensors> = ("all or biases", |_| true);
const STATES: Allowed<StatePrecision> = ("f16 or f32", |_| true);

/// By default, as AdamW has them.
pub(super) const WEIGHT_DECAY: f32 = 0.01;
pub(super) const CLIP: f32 = 1.0;

/// An option, for whoever shows or reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionHelp {
    /// Its field's name, such as `learning_rate`.
    pub name: &'static str,
    /// What stands for its value, such as `RATE`.
    pub value: &'static str,
    pub help: String,
    pub default: String,
}

/// Options, each declared as `/// HELP`, `FIELD: TYPE = DEFAULT, VALUE, ALLOWED;`.
macro_rules! options {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident {$(
            $(#[doc = $help:literal])+
            $(#[serde($($serde:tt)+)])?
            $field:ident: $of:ty = $default:expr, $value:literal, $allowed:expr;
        )+}
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name {$(
            $(#[doc = $help])+
            $(#[serde($($serde)+)])?
            pub $field: $of,
        )+}

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl $name {
            /// All options, in the order in which they are shown.
            #[must_use]
            pub fn all() -> Vec<OptionHelp> {
                let defaults = Self::default();
                vec![$(OptionHelp {
                    name: stringify!($field),
                    value: $value,
                    help: concat!($($help),+).trim().to_owned(),
                    default: defaults.$field.to_string(),
                },)+]
            }

            /// Reads the value of an option.
            ///
            /// # Errors
            /// There is no such option, or it cannot have this value.
            pub fn set(&mut self, name: &str, text: &str) -> Result<()> {
                match name {
                    $(stringify!($field) => self.$field = read(name, text, $allowed)?,)+
                    _ => return Err(Error::new(Kind::Usage, "there is no such option").found(flag(name))),
                }
                Ok(())
            }

            /// Checks every value: for options that were not read by [`Self::set`].
            ///
            /// # Errors
            /// An option has a value that it cannot have.
            pub fn check(&self) -> Result<()> {
                $(checked(stringify!($field), &self.$field, $allowed)?;)+
                Ok(())
            }
        }
    };
}

options! {
    /// How what is not frozen is trained: parts of the backbone, and heads with them.
    pub struct LayerOptions {
        /// What of free layers is trained: `all`, or `biases`: biases and LayerNorms, no matrix.
        #[serde(skip_serializing_if = "TrainedTensors::is_default")]
        train: TrainedTensors = TrainedTensors::All, "WHAT", TRAIN;
        /// Trainable heads begin `fitted` on the frozen backbone's features, or `random`.
        head_init: HeadInit = HeadInit::Fitted, "HOW", INIT;
        /// Passes over the training rows, at most.
        epochs: u64 = 3, "N", EPOCHS;
        /// Highest learning rate, of the top layer; biases that are trained alone have ten times that.
        learning_rate: f32 = 2e-4, "RATE", FACTOR;
        /// Learning rate of the heads, as a multiple of the top layer's.
        head_rate: f32 = 5.0, "FACTOR", FACTOR;
        /// Learning rate of a layer, as a multiple of that of the layer above.
        layer_decay: f32 = 0.9, "FACTOR", FACTOR;
        /// Share of the steps in which the learning rate rises.
        warm_up: f32 = 0.1, "SHARE", SHARE;
        /// Decay of matrices; biases and `LayerNorm` have none.
        weight_decay: f32 = WEIGHT_DECAY, "DECAY", FACTOR;
        /// Longest gradient; 0 for any.
        clip: f32 = CLIP, "LENGTH", FACTOR;
        /// Share of the numbers dropped at random in trained layers.
        dropout: f32 = 0.1, "SHARE", SHARE;
        /// Epochs without a better validation score before training ends.
        patience: u64 = 2, "EPOCHS", PATIENCE;
        /// Tokens in a training batch, padding included.
        #[serde(alias = "token_budget")]
        train_tokens: usize = 1024, "N", TOKENS;
        /// How token states at the cut are kept: f16 or f32.
        states: StatePrecision = StatePrecision::default(), "PRECISION", STATES;
    }
}

/// How trainable heads begin when a part of the backbone is trained with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeadInit {
    /// Fitted on the frozen backbone's features: scenario 2's solution.
    #[default]
    Fitted,
    /// Drawn.
    Random,
}

impl FromStr for HeadInit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "fitted" => Ok(Self::Fitted),
            "random" => Ok(Self::Random),
            _ => Err(Error::new(Kind::Usage, "heads cannot begin like this")
                .found(format!("{text:?}"))
                .expected("fitted or random")),
        }
    }
}

impl fmt::Display for HeadInit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fitted => "fitted",
            Self::Random => "random",
        })
    }
}

/// An option as it is written on the command line.
fn flag(name: &str) -> String {
    format!("--{}", name.replace('_', "-"))
}

fn read<T: FromStr>(name: &str, text: &str, allowed: Allowed<T>) -> Result<T> {
    let value = text.parse().ok().filter(|value| (allowed.1)(value));
    value.ok_or_else(|| impossible(name, text, allowed.0))
}

fn checked<T: fmt::Display>(name: &str, value: &T, allowed: Allowed<T>) -> Result<()> {
    if (allowed.1)(value) { Ok(()) } else { Err(impossible(name, &value.to_string(), allowed.0)) }
}

fn impossible(name: &str, text: &str, expected: &str) -> Error {
    Error::new(Kind::Usage, format!("{} makes no sense", flag(name))).found(text).expected(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_reads_what_it_shows_and_is_written_by_its_name() {
        let mut options = LayerOptions::default();
        // What came later is written only where it says something: the hashes of runs stay as they were.
        let train = TrainedTensors::Biases;
        let written = serde_json::to_value(LayerOptions { train, ..options.clone() }).unwrap();
        assert!(serde_json::to_value(&options).unwrap().get("train").is_none());
        for OptionHelp { name, value, help, default } in LayerOptions::all() {
            options.set(name, &default).unwrap();
            assert!(written.get(name).is_some(), "{name} is not written");
            assert!(help.ends_with('.') && !value.is_empty(), "{name}: {help}");
        }
        assert_eq!(options, LayerOptions::default());
        options.check().unwrap();
    }

    #[test]
    fn values_that_make_no_sense_are_refused_with_what_is_allowed() {
        for (name, text, part) in [
            ("dropout", "1", "below 1"),
            ("warm_up", "-0.1", "--warm-up"),
            ("learning_rate", "NaN", "0 or more"),
            ("clip", "inf", "0 or more"),
            ("epochs", "0", "above 0"),
            ("train_tokens", "many", "--train-tokens"),
            ("states", "f64", "f16 or f32"),
            ("head_init", "zero", "fitted or random"),
            ("train", "matrices", "all or biases"),
            ("beta3", "0", "no such option"),
        ] {
            let error = LayerOptions::default().set(name, text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let error = LayerOptions { dropout: 1.5, ..LayerOptions::default() }.check().unwrap_err();
        assert!(error.to_string().contains("--dropout"), "{error}");
    }

    #[test]
    fn what_a_recipe_does_not_say_is_the_default_and_old_names_are_read() {
        let read: LayerOptions = serde_json::from_str(r#"{"token_budget": 64, "states": "f32"}"#).unwrap();
        let states = StatePrecision::F32;
        assert_eq!(read, LayerOptions { train_tokens: 64, states, ..LayerOptions::default() });
    }
}
