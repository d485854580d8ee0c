//! Owns the names that users say and read for the variants of an enum: each is written down once.
//!
//! Refuses any other word, and lists those that there are.

use crate::error::{Error, Kind};

/// Gives the variants of an enum their names: `Display` writes one, `FromStr` reads it. The text is what is
/// said of a word that is none of them.
macro_rules! named {
    ($kind:ident, $unknown:literal, $($variant:ident = $name:literal),+) => {
        impl std::fmt::Display for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $(Self::$variant => $name),+ })
            }
        }

        impl std::str::FromStr for $kind {
            type Err = $crate::error::Error;

            fn from_str(text: &str) -> $crate::error::Result<Self> {
                match text {
                    $($name => Ok(Self::$variant),)+
                    _ => Err($crate::named::unknown($unknown, text, &[$($name),+])),
                }
            }
        }
    };
}

pub(crate) use named;

/// The refusal of a word that is none of the names.
pub(crate) fn unknown(what: &str, text: &str, names: &[&str]) -> Error {
    let (last, others) = names.split_last().expect("an enum has variants: none is a bug");
    Error::new(Kind::Usage, what)
        .found(format!("{text:?}"))
        .expected(format!("{} or {last}", others.join(", ")))
}

#[cfg(test)]
mod tests {
    #[derive(Debug, PartialEq)]
    enum Colour {
        Red,
        Green,
        Blue,
    }
    named!(Colour, "there is no such colour", Red = "red", Green = "green", Blue = "blue");

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for colour in [Colour::Red, Colour::Green, Colour::Blue] {
            assert_eq!(colour.to_string().parse::<Colour>().unwrap(), colour);
        }
    }

    #[test]
    fn another_word_is_refused_with_the_names() {
        let error = "Red".parse::<Colour>().unwrap_err().to_string();
        assert_eq!(error, "there is no such colour: found \"Red\", expected red, green or blue");
    }
}
