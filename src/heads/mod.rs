//! Owns linear heads: fitting one per task, applying it, saving and loading it. Two solvers implement linfa's
//! `Fit`, our descent and linfa-logistic; a head implements linfa's `Predict`.
//!
//! Refuses to believe a solver: the loss and gradient of a fit are computed here, at the weights it returned.
//! The only user of linfa and ndarray.

mod balance;
mod believed;
#[cfg(feature = "train")]
mod beside;
#[cfg(feature = "train")]
mod class_weight;
#[cfg(feature = "train")]
mod cross_validation;
#[cfg(feature = "train")]
mod curvature;
#[cfg(feature = "train")]
mod dense;
#[cfg(feature = "train")]
mod descent;
mod file;
#[cfg(feature = "train")]
mod fit;
#[cfg(feature = "train")]
mod folds;
mod head;
#[cfg(feature = "train")]
mod held_out;
#[cfg(feature = "train")]
mod logistic;
#[cfg(feature = "train")]
mod loss;
#[cfg(feature = "train")]
mod memory;
#[cfg(feature = "train")]
mod minimize;
#[cfg(feature = "train")]
mod mixture;
#[cfg(feature = "train")]
mod narrow;
#[cfg(feature = "train")]
mod objective;
mod options;
#[cfg(feature = "train")]
mod out_of_fold;
#[cfg(feature = "train")]
mod parallel;
#[cfg(feature = "train")]
mod precision;
#[cfg(feature = "train")]
mod preconditioner;
#[cfg(feature = "train")]
mod predict;
#[cfg(feature = "train")]
mod problem;
#[cfg(feature = "train")]
mod reduce;
#[cfg(feature = "train")]
mod refine;
#[cfg(feature = "train")]
mod run_off;
mod shape;
#[cfg(feature = "train")]
mod solver;
#[cfg(feature = "train")]
mod sparse;
#[cfg(feature = "train")]
mod standardize;
#[cfg(feature = "train")]
mod units;
mod view;
#[cfg(feature = "train")]
mod word_choice;
mod word_logits;
mod word_options;
#[cfg(feature = "train")]
mod word_problem;
mod word_rows;
mod words;

pub use balance::ClassWeight;
pub use believed::Believed;
#[cfg(feature = "train")]
pub use beside::{weigh_words, words_out_of_fold};
#[cfg(feature = "train")]
pub use class_weight::class_weights;
#[cfg(feature = "train")]
pub use cross_validation::{SCREENED_ROWS, Selection, Trial, select, select_bytes};
pub use file::{read, to_bytes};
#[cfg(feature = "train")]
pub use fit::{fit, fit_bytes};
#[cfg(feature = "train")]
pub use folds::{NO_FOLD, sample, text_folds};
pub use head::{Answers, Head};
#[cfg(feature = "train")]
pub use options::settled;
pub use options::{Alpha, Candidate, Examples, FitOptions, FitReport};
#[cfg(feature = "train")]
pub use out_of_fold::{OutOfFold, answers_out_of_fold, out_of_fold};
#[cfg(feature = "train")]
pub use refine::{Refined, begun, begun_words, refine};
#[cfg(feature = "train")]
pub use run_off::run_off;
pub use shape::Shape;
#[cfg(feature = "train")]
pub use units::Units;
pub use view::{FeatureView, RowWords};
pub use word_logits::WordLogits;
pub use word_options::{
    SettledWords, WORDS_AT_LEAST, Weighing, WordsOptions, WordsReport, WordsTrial, WordsWanted,
};
pub use word_rows::{WordEntry, WordRows, WordTable, entries};
pub use words::{LARGEST_BYTE, LARGEST_CODE, Words};
