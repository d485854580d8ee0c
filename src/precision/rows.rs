//! Owns the rows of a run, read again from its tables: texts, labels, parts, and what the run's heads see of
//! them.
//!
//! Refuses tables that are not the ones the run was trained on.

use std::ops::Range;
use std::path::PathBuf;

use crate::classifier::Run;
use crate::classifier::run::TableRecipe;
use crate::data::{Part, Rare, Source};
use crate::dataset::{Columns, Dataset, keep_out_single};
use crate::embed::{Embedder, FeatureRows, Progress, covering};
use crate::error::{Error, Kind, Result};
use crate::fingerprint::TextKey;
use crate::heads::{FeatureView, WordsWanted};
use crate::task::Truth;
use crate::text::{AsText, OwnedText, Text};

/// What the heads see of some texts, in the order of the texts.
pub(super) struct Features {
    pub rows: FeatureRows,
    /// What each head sees of a whole row.
    pub columns: Vec<Range<usize>>,
}

impl Features {
    pub fn view(&self, head: usize) -> FeatureView<'_> {
        self.rows.view(&self.columns[head])
    }
}

/// The rows that a run was trained, validated and tested on.
pub struct RunRows {
    pub(super) texts: Vec<OwnedText>,
    pub(super) keys: Vec<TextKey>,
    pub(super) parts: Vec<Option<Part>>,
    /// Per task.
    cells: Vec<Vec<Option<String>>>,
    pub(super) features: Features,
}

impl RunRows {
    /// Reads the run's tables; features come from the store, or are computed.
    ///
    /// # Errors
    /// A table is gone or has changed, or the run was trained on features made elsewhere.
    pub fn read(run: &Run, embedder: &mut Embedder, progress: &mut dyn FnMut(&Progress)) -> Result<Self> {
        let data = &run.recipe.data;
        let Some(text) = data.text.as_ref().and_then(|_| data.text_columns()) else {
            return Err(Error::new(Kind::Usage, "the run was trained on cached features, not on texts")
                .at(&run.directory)
                .help("8-bit precisions, --depth and --keep-validation need the texts: train on them, or bundle with --precision fp32 alone"));
        };
        let tables: Vec<&TableRecipe> =
            [Some(&data.table), data.valid.as_ref(), data.test.as_ref()].into_iter().flatten().collect();
        // All of them before any is read.
        let tables: Vec<(PathBuf, &TableRecipe)> = tables
            .into_iter()
            .map(|table| Ok((table.find(&run.directory)?, table)))
            .collect::<Result<_>>()?;
        if run.recipe.heads.words.wanted != WordsWanted::No {
            embedder.look_at_words(embedder.own_grams())?;
        }
        let seen = run.rows()?;
        let (mut texts, mut keys, mut parts) = (Vec::new(), Vec::<TextKey>::new(), Vec::new());
        let mut cells = vec![Vec::new(); run.heads.len()];
        for (path, table) in tables {
            let source = Source::new(&path.to_string_lossy(), Some(table.format))?.with(table.reading)?;
            let kept = run.recipe.columns();
            let columns = Columns { kept: &kept, texts: true };
            let mut dataset = Dataset::from_texts(embedder, &source, &text, columns, false, progress)
                .map_err(|error| error.at(&path))?;
            if keys.is_empty() && data.rare == Rare::Drop {
                keep_out_single(&mut dataset, &kept);
            }
            parts.extend(dataset.keys.iter().map(|key| seen.part(key)));
            texts.extend(dataset.texts);
            keys.extend(dataset.keys);
            cells.iter_mut().zip(dataset.cells).for_each(|(all, added): (&mut Vec<_>, _)| all.extend(added));
        }
        let layout = embedder.layout();
        let columns = run.columns(&layout)?;
        let features = Features { rows: embedder.read_rows(&keys, covering(&columns))?, columns };
        Ok(Self { texts, keys, parts, cells, features })
    }

    /// All texts.
    #[must_use]
    pub fn into_texts(self) -> Vec<OwnedText> {
        self.texts
    }

    /// The labelled rows of a task in some parts.
    pub(super) fn of_task(&self, run: &Run, task: usize, parts: &[Part]) -> Truth {
        let head = &run.heads[task];
        Truth::new(head.kind, &head.labels, &self.cells[task], self.rows_of(parts).into_iter())
    }

    /// The rows in some parts.
    pub(super) fn rows_of(&self, parts: &[Part]) -> Vec<usize> {
        (0..self.parts.len())
            .filter(|&row| self.parts[row].is_some_and(|part| parts.contains(&part)))
            .collect()
    }

    /// The texts of some parts.
    pub(super) fn texts_of(&self, parts: &[Part]) -> Vec<Text<'_>> {
        self.rows_of(parts).into_iter().map(|row| self.texts[row].as_text()).collect()
    }

    /// At most so many training texts, evenly spread over the table.
    pub(super) fn sample(&self, most: usize) -> Vec<Text<'_>> {
        let train: Vec<usize> =
            (0..self.parts.len()).filter(|&row| self.parts[row] == Some(Part::Train)).collect();
        let step = train.len().div_ceil(most.max(1)).max(1);
        train.iter().step_by(step).map(|&row| self.texts[row].as_text()).collect()
    }
}
