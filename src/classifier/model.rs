//! Owns what a run and a bundle have in common: heads, what they see, how long texts are read, and a
//! backbone.
//!
//! Refuses to guess: a directory is a run, a file is a bundle.

use std::ops::Range;
use std::path::Path;

use super::run::{Recipe, Run, SplitRows};
use crate::backbone::Backbone;
use crate::bundle::{Bundle, PublicKey};
use crate::data::{KeptColumn, SEPARATOR, TextColumns};
use crate::embed::{Embedder, RowLayout};
use crate::error::{Error, Kind, Result};
use crate::heads::Head;
use crate::recognize::{Thing, Wanted};
use crate::tokens::LongTexts;

/// Something that `train` or `bundle` made.
pub enum Model {
    /// A run directory.
    Run(Box<Run>),
    /// A bundle.
    Bundle(Box<Bundle>),
}

impl Model {
    /// Opens a run directory or a bundle; with a key, only a bundle that was signed with it.
    ///
    /// # Errors
    /// It is neither, is damaged, or is not signed.
    pub fn open(path: &Path, key: Option<&PublicKey>) -> Result<Self> {
        refuse_unsigned(path, key)?;
        if is_bundle(path)? {
            return Ok(Self::Bundle(Box::new(Bundle::open(path, key)?)));
        }
        Ok(Self::Run(Box::new(Run::open(path)?)))
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Run(run) => &run.directory,
            Self::Bundle(bundle) => bundle.path(),
        }
    }

    /// The heads: one per task, with their labels.
    #[must_use]
    pub fn heads(&self) -> &[Head] {
        match self {
            Self::Run(run) => &run.heads,
            Self::Bundle(bundle) => bundle.heads(),
        }
    }

    /// What each head sees of a stored row, in the heads' order.
    ///
    /// # Errors
    /// The rows do not hold a head's features, or the run was trained on features made elsewhere.
    pub fn columns(&self, layout: &RowLayout) -> Result<Vec<Range<usize>>> {
        match self {
            Self::Run(run) => run.columns(layout),
            Self::Bundle(bundle) => bundle.columns(layout),
        }
    }

    /// Makes an embedder keep what stands in texts, where a head looks at that.
    ///
    /// # Errors
    /// Texts cannot be read in the embedder's windows.
    pub fn look_at_words(&self, embedder: &mut Embedder) -> Result<()> {
        let grams = self.heads().iter().find_map(|head| Some(head.words.as_ref()?.grams.clone()));
        grams.map_or(Ok(()), |grams| embedder.look_at_words(grams))
    }

    /// The columns of these tasks with how they are read; `separator` stands between the labels of a text, if
    /// it is not what it was in training (of a bundle: the usual text).
    ///
    /// # Errors
    /// There is no such task.
    pub fn kept_columns(&self, tasks: &[String], separator: Option<&str>) -> Result<Vec<KeptColumn>> {
        let own = match self {
            Self::Run(run) => run.recipe.data.separator.as_deref(),
            Self::Bundle(_) => None,
        };
        let separator = separator.or(own).unwrap_or(SEPARATOR);
        let column = |task: &String| {
            let head = self.heads().iter().find(|head| head.task == *task).ok_or_else(|| self.lacks(task))?;
            Ok(KeptColumn { name: task.clone(), form: head.kind.form(separator) })
        };
        tasks.iter().map(column).collect()
    }

    /// The error of a task that it does not have.
    #[must_use]
    pub fn lacks(&self, task: &str) -> Error {
        let known: Vec<&str> = self.heads().iter().map(|head| head.task.as_str()).collect();
        Error::new(Kind::Usage, "the model has no such task")
            .at(self.path())
            .found(format!("{task:?}"))
            .expected(format!("one of {}", known.join(", ")))
    }

    /// What happens to texts beyond the model's limit.
    #[must_use]
    pub fn long(&self) -> LongTexts {
        match self {
            Self::Run(run) => run.recipe.features.long,
            Self::Bundle(bundle) => bundle.long(),
        }
    }

    /// The column that the texts were in which it was trained on, or both of pairs, if they are known.
    #[must_use]
    pub fn text_columns(&self) -> Option<TextColumns> {
        match self {
            Self::Run(run) => run.recipe.data.text_columns(),
            Self::Bundle(bundle) => bundle.manifest().text_columns(),
        }
    }

    /// The same of what lies at a path, before it is opened.
    ///
    /// # Errors
    /// It is neither a run nor a bundle, or is damaged.
    pub fn peek_text_columns(path: &Path) -> Result<Option<TextColumns>> {
        if is_bundle(path)? {
            Bundle::peek_text_columns(path)
        } else {
            Ok(Recipe::open(path)?.data.text_columns())
        }
    }

    /// Which texts were in which part of the training table; none for a bundle, which does not know.
    ///
    /// # Errors
    /// The run's list is missing or damaged.
    pub fn rows(&self) -> Result<Option<SplitRows>> {
        match self {
            Self::Run(run) => run.rows().map(Some),
            Self::Bundle(_) => Ok(None),
        }
    }

    /// The backbone; `elsewhere` when a run's lies in another place than it says.
    ///
    /// # Errors
    /// It is gone or another one, or a bundle was told to use another than its own.
    pub fn backbone(&self, elsewhere: Option<&Path>) -> Result<Backbone> {
        match (self, elsewhere) {
            (Self::Run(run), _) => run.backbone(elsewhere),
            (Self::Bundle(bundle), None) => bundle.backbone(),
            (Self::Bundle(bundle), Some(other)) => {
                Err(Error::new(Kind::Usage, "a bundle has a backbone of its own")
                    .at(bundle.path())
                    .found(format!("--backbone {}", other.display()))
                    .help("leave --backbone away"))
            }
        }
    }
}

/// Whether a bundle lies at a path, or a run.
///
/// # Errors
/// It is something else.
pub fn is_bundle(path: &Path) -> Result<bool> {
    match Thing::of(path) {
        Thing::Bundle => Ok(true),
        Thing::Run => Ok(false),
        thing => Err(thing.instead_of(Wanted::Model, Some(path))),
    }
}

/// Refuses a directory where only what was signed may be loaded.
///
/// # Errors
/// There is a key.
pub fn refuse_unsigned(path: &Path, key: Option<&PublicKey>) -> Result<()> {
    if key.is_none() || path.is_file() {
        return Ok(());
    }
    Err(Error::new(Kind::Bundle, "only a bundle can be signed")
        .at(path)
        .found(if path.exists() { "a directory" } else { "nothing" })
        .expected("a file made by `frosthead bundle --sign`"))
}
