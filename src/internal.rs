//! Owns what the integration tests look at behind the program's back, by the modules that it lies in.
//!
//! Refuses to be a library: it changes from version to version, and what no test looks at is not here.

pub mod classifier {
    pub use crate::classifier::{Run, apply_heads};
}

pub mod compare {
    pub use crate::compare::{CompareEvent, TimeLimit};
}

pub mod data {
    pub use crate::data::feature_table::FeatureTable;
    pub use crate::data::{Cell, FeatureColumns, TableReader, read_labelled_features};
}

pub mod embed {
    pub use crate::embed::{CutRows, StatesPlace, StatesProgress};
}

pub mod encoder {
    pub use crate::encoder::{Outputs, Start, head_weight};
}

pub mod fingerprint {
    pub use crate::fingerprint::{Fingerprint, TextKey};
}

pub mod graph {
    pub use crate::graph::{DataType, ModelProto, clear_names, decode, encode, proto};
}

pub mod quantities {
    pub use crate::quantities::date;
}

pub mod quantize {
    pub use crate::quantize::build::Built;
    pub use crate::quantize::{Agreement, BuildOptions, Precision, Variant, build, calibrate, sensitivity};
}

pub mod runtime {
    pub use crate::runtime::{Input, Load, Sessions, Values, allowed_cores};
}

pub mod store {
    pub use crate::store::{StatePrecision, list};
}

pub mod tokens {
    pub use crate::tokens::{Batching, OWN_TOKEN_BUDGET, Spacing, Tokenizer};
}

pub mod train {
    pub use crate::train::TrainEvent;
}

pub mod tuning {
    pub use crate::tuning::{Kept, Key, Setting, keep, kept};
}
